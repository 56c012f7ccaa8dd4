"""Changes that make special cases, one by one."""

import numpy as np

from rlhf_lab.audit import special


def test_one_number_has_the_shape_of_the_input():
    case = {"a": np.array([[3.0, 4.0]]), "b": 5.0}
    assert special.constant("a", 2.0, case)["a"].tolist() == [[2, 2]]
    assert special.constant("b", 2.0, case) == case | {"b": 2.0}
