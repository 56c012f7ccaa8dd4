"""What a report shows: the smallest case that shows a gap well, and its numbers in words."""

import importlib
import pkgutil
import re

import numpy as np
import pytest

from rlhf_lab import audit
from rlhf_lab.audit import contracts, report
from rlhf_lab.audit.contracts import Contract, Identity, Shown

EXACT = (1e-9, 1e-9)


def gaps(*sizes):
    """Cases that are so far apart, each on both sides of 1."""
    return [Shown({"size": size}, np.array([1.0, 1.0 - size]), np.array([1.0, 1.0])) for size in sizes]


@pytest.mark.parametrize(
    ("sizes", "shown"),
    [
        ([0.01, 0.2, 1.0], 0.2),  # the first one that is at least a tenth of the largest
        ([0.5, 5.0], 0.5),
        ([1.0, 10.0], 1.0),
        ([0.95, 10.0], 10.0),
        ([-0.95, -10.0, 3.0], -10.0),
        ([3.0, 150.0, np.inf], 150.0),  # all that is above 1000 is as large as that
        ([100.05, 1e9], 100.05),
        ([99.9, 1e9], 1e9),
        ([1.0, 50.0, np.nan], np.nan),
        ([0.0, 0.0, 1e-3], 1e-3),
    ],
)
def test_the_first_case_that_shows_a_tenth_of_the_largest_gap_is_shown(sizes, shown):
    np.testing.assert_equal(report.worst(gaps(*sizes), EXACT).case["size"], shown)


def test_gaps_within_the_tolerance_are_none():
    assert report.worst(gaps(0.0, 1e-10), EXACT) is None
    both = Shown({}, np.array([np.nan]), np.array([np.nan]))
    assert report.worst([both], EXACT) is None


@pytest.mark.parametrize(
    ("found", "wanted", "agree"),
    [
        ([100.0, 1.0], [100.029, 1.0], True),  # a reach of 3e-4 of what is wanted, and 3e-5
        ([100.0, 1.0], [100.031, 1.0], False),
        ([0.0, 1.0], [2.9e-5, 1.0], True),
        ([0.0, 1.0], [3.1e-5, 1.0], False),
        ([1.0, 1.0], [1.0, 1.1], False),
        ([np.nan, 1.0], [np.nan, 1.0], True),
        ([np.nan, 1.0], [0.0, 1.0], False),
        ([np.inf, 1.0], [np.inf, 1.0], True),
        ([1.0], [np.inf], False),
        ([True, False], [1, 0], True),
        ([], [], True),
    ],
)
def test_numbers_agree_if_all_of_them_do(found, wanted, agree):
    assert report.close(np.array(found), np.array(wanted), (3e-4, 3e-5)) == agree


def test_numbers_agree_up_to_the_border_and_whatever_holds_them():
    assert report.close(np.array(1.25), np.array(1.0), (0.25, 0.0))
    assert not report.close(np.array(1.25), np.array(1.0), (0.1875, 0.0))
    assert not report.close(np.array(np.nan), np.array(1.0), (1e-3, 1e-3))
    assert not report.close(np.array(1.0), np.array(np.nan), (1e-3, 1e-3))
    assert report.close(np.array([1.0, 2.0]), np.array(1.0), (0.0, 1.0))  # one number beside several
    held = np.array([1, 2.5], dtype=object)
    assert report.close(held, held, (0.0, 0.0))
    assert (
        report.in_words(Shown({"beta": 0.5}, held, held))
        == "with beta = 0.5 it gives [1. , 2.5]; it should be [1. , 2.5]"
    )


def test_numbers_are_shown_with_four_digits_and_long_rows_by_their_ends():
    shown = Shown({"beta": 0.5}, np.array([-0.0, 1.0, 1 / 3]), np.array(2))
    assert report.in_words(shown) == "with beta = 0.5 it gives [0. , 1. , 0.3333]; it should be 2."
    square = Shown({"beta": 0.5}, np.ones((2, 2), dtype=int), np.zeros(0))
    assert report.in_words(square) == "with beta = 0.5 it gives [[1., 1.], [1., 1.]]; it should be []"
    twelve, thirteen = (report.in_words(Shown({"beta": 0.5}, np.zeros(n), np.zeros(1))) for n in (12, 13))
    assert twelve == f"with beta = 0.5 it gives [{', '.join(['0.'] * 12)}]; it should be [0.]"
    assert thirteen == "with beta = 0.5 it gives [0., 0., 0., ..., 0., 0., 0.]; it should be [0.]"


def test_near_is_a_hundredth_of_it_or_apart():
    for wanted in (0.0, 1.0, -100.0):
        reach = 0.01 * (1 + abs(wanted))
        inside, outside = (np.array(wanted + 0.99 * reach), np.array(wanted - 1.01 * reach))
        assert contracts.near(inside, np.array(wanted)) == wanted
        assert contracts.near(outside, np.array(wanted)) == outside
    row = np.array([1.0])
    assert contracts.near(row, np.array(1.0)) is row


def held(name):
    """The identities that a module of the audits holds, by themselves, in contracts, and in tables of these."""
    for value in vars(importlib.import_module(f"rlhf_lab.audit.{name}")).values():
        one = [value] if isinstance(value, Contract | Identity) else value
        for each in one.values() if isinstance(one, dict) else one if isinstance(one, tuple | list) else ():
            yield from each.identities if isinstance(each, Contract) else [each] if isinstance(each, Identity) else []


def test_an_identity_has_a_name_that_goes_on_after_its_state_and_words_that_can_be_read_aloud():
    modules = [module.name for module in pkgutil.iter_modules(audit.__path__) if module.name != "__main__"]
    named = {identity.name for module in modules for identity in held(module)}
    assert len(named) > 80
    for name in named:
        assert re.match(r"[a-z0-9(<-]", name), name
        assert not re.search(r"[A-Z]{2}(?<!KL|TD)", name), name
