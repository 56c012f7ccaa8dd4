"""Batches of one length: every text once, next to texts of about its length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_lab.numerics.batches import SORTED, by_length


@given(st.lists(st.integers(1, 40), min_size=1, max_size=300), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_each_text_comes_once_and_the_longest_of_a_batch_is_told(lengths, size, seed):
    lengths = np.array(lengths)
    collect = by_length(lengths, size, lambda rows, longest: (rows, longest))
    batches = list(collect({}, np.random.default_rng(seed)))
    assert sorted(np.concatenate([rows for rows, _ in batches])) == list(range(len(lengths)))
    for rows, longest in batches:
        assert longest == lengths[rows].max()
        assert len(rows) <= size
    assert sum(len(rows) < size for rows, _ in batches) <= 1, "only the last may be smaller"


def test_little_is_padding_and_the_order_of_lengths_is_no_order():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 33, size=32 * SORTED)
    batches = list(by_length(lengths, 32, lambda rows, longest: lengths[rows])({}, rng))
    longest = np.array([batch.max() for batch in batches])
    spent = sum(32 * longest)
    assert lengths.sum() < spent < lengths.sum() + 2 * len(lengths), "32 of 512 sorted texts span about two lengths"
    assert (np.diff(longest) < 0).any()
    assert (np.diff(longest) > 0).any()


def test_texts_of_one_length_stay_in_the_order_that_was_drawn():
    batches = by_length(np.full(100, 7), 5, lambda rows, longest: rows.tolist())({}, np.random.default_rng(0))
    drawn = np.random.default_rng(0).permutation(100).reshape(20, 5).tolist()
    assert sorted(batches) == sorted(drawn)


@pytest.mark.parametrize(
    ("lengths", "size"), [([], 3), ([0, 2], 3), ([1.0, 2.0], 3), ([[1], [2]], 3), ([1, 2], 0), ([1, 2], 1.5)]
)
def test_nonsense_is_refused_before_any_work(lengths, size):
    with pytest.raises(ValueError, match=r"lengths are whole numbers|size is the number"):
        by_length(np.array(lengths), size, lambda rows, longest: rows)
