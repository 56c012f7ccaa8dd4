"""A verdict of the ledger is made of tests."""

import numpy as np
import pytest

from rlhf_lab.experiments.ledger import claims

TOLD = ("sec. 1", "a claim", "1", "2", "sec-ledger")


@pytest.mark.parametrize(
    ("held", "readings", "verdict"),
    [
        ((True,), {}, "reproduced"),
        ((True, np.True_), {"another": True}, "reproduced"),
        ((True, False), {}, "in part"),
        ((False, np.True_), {"another": True}, "in part"),
        ((False,), {"another": True, "a third": False}, "only under reading: another"),
        ((False, False), {"another": True, "a third": np.True_}, "only under reading: another, a third"),
        ((False,), {"another": False}, "not reproduced"),
        ((np.False_,), None, "not reproduced"),
    ],
)
def test_a_verdict_follows_from_what_held(held, readings, verdict):
    row = claims.measured(*TOLD, *held, readings=readings)
    assert row == claims.Claim("sec. 1", "a claim", "1", "2", verdict, "sec-ledger")


def test_a_verdict_needs_a_test_or_an_assertion():
    with pytest.raises(ValueError, match="a verdict on 'a claim' needs at least one test"):
        claims.measured(*TOLD)
    with pytest.raises(ValueError, match="a verdict on 'a claim' needs an assertion"):
        claims.shown(*TOLD, "")


@pytest.mark.parametrize(("held", "readings"), [((True, None), {}), ((0.5,), {}), ((False,), {"another": None})])
def test_a_test_finds_true_or_false(held, readings):
    with pytest.raises(TypeError, match=r"a test on 'a claim' must find True or False; got (None|0\.5)"):
        claims.measured(*TOLD, *held, readings=readings)


def test_other_rows_say_what_decides():
    assert claims.shown(*TOLD, "assert 1 < 2") == claims.Claim(*TOLD[:4], "reproduced", TOLD[4], "assert 1 < 2")
    assert claims.shown(*TOLD, "assert 1 < 2", "in part").verdict == "in part"
    assert claims.elsewhere("sec. 1", "a claim", "1", "people") == claims.Claim(
        "sec. 1", "a claim", "1", "people", "not measurable here", ""
    )


def test_rounding_errors_are_told_in_words():
    assert [claims.rounded(off) for off in (0.0, -1e-10, 2e-9, 0.5)] == ["rounding errors"] * 2 + ["2e-09", "5e-01"]
