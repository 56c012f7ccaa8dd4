"""A token is chosen where the running sum of the chances passes a number, in small batches and large ones."""

import numpy as np
import pytest

from rlhf_lab.numerics.draws import FEW, choose

CHANCES = np.array([0.5, 0.3, 0.2])


def test_tokens_divide_the_numbers_from_0_to_1_by_their_chances():
    numbers = np.array([0.0, 0.49, 0.51, 0.79, 0.81, 0.999])
    token, log_p = choose(np.tile(np.log(CHANCES), (6, 1)), numbers)
    np.testing.assert_array_equal(token, [0, 0, 1, 1, 2, 2])
    np.testing.assert_allclose(log_p, np.log(CHANCES)[token], rtol=1e-14)


@pytest.mark.parametrize("rows", [FEW, FEW + 1, 3 * FEW])
def test_rows_are_chosen_from_each_by_itself_however_many_there_are(rows):
    rng = np.random.default_rng(0)
    logits, chance = rng.normal(size=(rows, 5)), rng.random(rows)
    before = logits.copy()
    token, log_p = choose(logits, chance)
    one = [choose(row[None], number[None]) for row, number in zip(logits, chance, strict=True)]
    np.testing.assert_array_equal(token, np.concatenate([each for each, _ in one]))
    np.testing.assert_allclose(log_p, np.concatenate([each for _, each in one]), rtol=1e-12)
    np.testing.assert_array_equal(logits, before)


def test_shape_scale_and_a_constant_of_the_logits():
    logits = np.log(CHANCES) + np.array([[[1000.0]], [[-1000.0]]])
    token, log_p = choose(logits, np.array([[0.6], [0.9]]))
    np.testing.assert_array_equal(token, [[1], [2]])
    np.testing.assert_allclose(log_p, np.log([[0.3], [0.2]]), rtol=1e-12)
    assert choose(logits.astype("float32"), np.array([[0.6], [0.9]]))[1].dtype == np.float32
    assert choose(np.empty((0, 3)), np.empty(0))[0].shape == (0,)


def test_a_number_at_a_border_chooses_the_token_behind_it_and_what_is_forbidden_is_never_chosen():
    half = np.log([[0.5, 0.5]])
    assert choose(half, np.array([0.5]))[0] == 1
    forbidden = np.array([[-np.inf, 0.0, 0.0, -np.inf]])
    assert choose(forbidden, np.array([0.0]))[0] == 1
    assert choose(forbidden, np.array([1 - 2.0**-53]))[0] == 2
