"""What counts as a difference, and how it is told."""

import numpy as np
import pytest

from rlhf_lab.experiments.ilhf import verdicts


def test_means_errors_and_what_counts_as_a_difference():
    values = np.array([1.0, 2.0, 3.0, 6.0])
    assert verdicts.error(values) == pytest.approx(np.sqrt(14 / 3) / 2)
    assert verdicts.brief(values) == "3.000 ± 1.080"
    assert verdicts.brief(values, 1) == "3.0 ± 1.1"
    assert verdicts.told(values) == "3.000 ± 1.080 [2.500]"
    assert verdicts.told(values, 1) == "3.0 ± 1.1 [2.5]"
    assert verdicts.told(np.array([-1e-9, -1e-9, 1e-9])) == "0.000 ± 0.000 [0.000]"
    assert verdicts.above(values)
    assert not verdicts.above(-values)
    assert verdicts.above(values, 3 - 2.17)
    assert not verdicts.above(values, 3 - 2.15)
    curve = np.array([[4.0, 9.0, 1.0], [6.0, 9.0, 2.0]])
    assert verdicts.change(curve).tolist() == [-3, -4]
    assert verdicts.left(curve) == pytest.approx(0.3)
    assert verdicts.left_error(curve) == pytest.approx(0.2 / 5)  # residuals -0.2 and 0.2
    assert verdicts.area(curve).tolist() == [(4 + 9 + 9 + 1) / 4, (6 + 9 + 9 + 2) / 4]


def test_a_claim_may_hold_under_other_readings_only():
    assert verdicts.under(True, ["s = 3"]) == verdicts.YES == "reproduced"
    assert verdicts.under(False, ["s = 1", "s = 3"]) == "only under reading: s = 1, s = 3"
    assert verdicts.under(False, []) == verdicts.NO == "not reproduced"
