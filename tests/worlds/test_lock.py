"""The lock: closed forms of the wait for its first opening, beside enumeration and beside episodes that are played."""

import numpy as np
import pytest

from rlhf_lab.models import lm
from rlhf_lab.worlds import lock, token_mdp

RIGHT = np.array([2, 0, 1])


def test_only_the_combination_is_rewarded():
    world = lock.mdp(RIGHT, 3)
    rewards = world.answer_rewards()
    assert rewards.shape == (1, 27)
    assert rewards.sum() == 1
    assert (world.answers()[rewards[0].argmax()] == RIGHT).all()
    assert (world.horizon, world.vocab, world.eos) == (3, 3, None)
    seeds = np.array([[[2, 0, 1], [2, 0, 2], [0, 0, 1], [2, 0, 1]]])  # axes of seeds stand in front
    assert world.reward(np.zeros((1, 4, 1), dtype=int), seeds).tolist() == [[1, 0, 0, 1]]


@pytest.mark.parametrize("chance", [0.2, 1 / 3, 0.9])
def test_a_skilled_policy_is_right_at_each_dial_whatever_stands_before_it(chance):
    model, params = lock.model(3, 3), lock.skilled(RIGHT, 3, chance)
    assert params["logits"].shape == (1, 13, 3)
    for t, level in enumerate(map(np.exp, lm.policy_levels(model, params, lock.PROMPTS, 3))):
        assert level[..., RIGHT[t]] == pytest.approx(chance)
        assert np.delete(level, RIGHT[t], axis=-1) == pytest.approx((1 - chance) / 2)
    rewards = lock.mdp(RIGHT, 3).answer_rewards()
    log_pi = lm.answer_log_probs(model, params, lock.PROMPTS, 3)
    assert token_mdp.performance(log_pi, rewards, np.ones(1)) == pytest.approx(lock.chance_to_open(3, chance))


@pytest.mark.equation("eq-lock-chance")
@pytest.mark.parametrize("horizon", [1, 3, 8])
@pytest.mark.parametrize("symbols", [2, 3, 5])
def test_the_closed_forms_of_a_uniform_learner(horizon, symbols):
    uniform = 1 / symbols
    assert 1 / lock.chance_to_open(horizon, uniform) == pytest.approx(symbols**horizon)
    right = horizon * (symbols - 1) / (1 - symbols**-horizon)
    assert 1 / lock.chance_to_open(horizon, uniform, 1.0, 1.0) == pytest.approx(right)
    for q in (0.1, 0.7, 1 - 1 / horizon):
        ratio = symbols * q
        chance = symbols**-horizon * (ratio**horizon - 1) / (horizon * (ratio - 1))
        assert lock.chance_to_open(horizon, uniform, q, 1.0) == pytest.approx(chance)
    half = lock.chance_to_open(horizon, uniform, 0.5, 0.25)
    assert half == pytest.approx(
        0.25 * lock.chance_to_open(horizon, uniform, 0.5, 1.0) + 0.75 * symbols**-horizon, abs=1e-15
    )


def test_a_teacher_who_tosses_a_coin_is_no_help_with_two_symbols():
    assert lock.chance_to_open(9, 0.5, 0.5, [0, 0.3, 1]) == pytest.approx(np.full(3, 2**-9))


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
def test_resets_change_nothing_for_a_learner_that_is_as_good_as_the_teacher(q):
    assert lock.chance_to_open(7, q, q, [0, 0.2, 1]) == pytest.approx(np.full(3, q**7))


def test_a_teacher_who_errs_once_makes_the_wait_linear_with_the_factor_e():
    chances = [lock.chance_to_open(h, 1 / 4, 1 - 1 / h, 1.0) * h for h in (200, 400, 800)]
    assert 1 / chances[-1] == pytest.approx(3 * np.e, rel=0.01)
    assert 1 / chances[-1] - 3 * np.e == pytest.approx((1 / chances[-2] - 3 * np.e) / 2, rel=0.1)


@pytest.mark.equation("eq-lock-wait")
@pytest.mark.parametrize(
    ("horizon", "learner", "teacher", "share"),
    [(4, 1 / 3, 0.0, 0.0), (5, 0.25, 1.0, 1.0), (5, 0.25, 0.8, 0.5), (6, 0.5, 0.5, 1.0), (1, 0.3, 0.9, 1.0)],
)
def test_locks_that_are_played_wait_as_long_as_the_closed_form_says(horizon, learner, teacher, share):
    chance = lock.chance_to_open(horizon, learner, teacher, share)
    found = lock.wait(horizon, learner, teacher, share, runs=4000, rng=np.random.default_rng(1))
    error = (1 - chance) ** 0.5 / chance / 4000**0.5  # of a geometric law
    assert abs(found.mean() - 1 / chance) < 4 * error
    assert found.std() == pytest.approx((1 - chance) ** 0.5 / chance, rel=0.1)
    assert found.min() == 1
    assert found.dtype == np.intp


def test_a_long_wait_is_counted_through_all_batches():
    found = lock.wait(14, 0.5, runs=100, rng=np.random.default_rng(2))
    assert abs(found.mean() - 2**14) < 4 * 2**14 / 100**0.5
    assert found.max() > 4 * lock.BATCH


def test_a_lock_that_opens_at_once():
    assert (lock.wait(3, 1.0, runs=5, rng=np.random.default_rng(0)) == 1).all()


def test_a_teacher_who_is_left_out_sets_no_dial_right():
    found = lock.wait(2, 1.0, share=1.0, runs=2000, rng=np.random.default_rng(0))
    assert abs(found.mean() - 2) < 4 * (2 / 2000) ** 0.5
    assert lock.chance_to_open(2, 1.0, share=1.0) == 0.5


def test_bad_input():
    for wrong, shape in (([[1, 2]], r"\(1, 2\)"), ([], r"\(0,\)")):
        with pytest.raises(ValueError, match=f"^a combination is one row of symbols, at least one; got shape {shape}$"):
            lock.mdp(wrong, 3)
    with pytest.raises(ValueError, match="combination: token 3 is outside the vocabulary of 3 tokens, 0 to 2"):
        lock.mdp(np.array([0, 3]), 3)
    with pytest.raises(ValueError, match="a language needs at least 2 tokens; got a vocabulary of 1"):
        lock.mdp(np.array([0]), 1)
    for wrong in (0, 1, 1.2):
        with pytest.raises(ValueError, match=f"chance is that of a right symbol, .* got {wrong}"):
            lock.skilled(RIGHT, 3, wrong)
    with pytest.raises(ValueError, match=r"teacher must lie in \[0, 1\]; got 1.5"):
        lock.chance_to_open(3, 0.5, 1.5, 1.0)
    with pytest.raises(ValueError, match=r"learner must lie in \[0, 1\]; got -0.1"):
        lock.chance_to_open(3, -0.1)
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\]; got 2"):
        lock.wait(3, 0.5, 0.5, 2.0, runs=1, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="the horizon is the greatest number of tokens"):
        lock.chance_to_open(0, 0.5)
    with pytest.raises(
        ValueError, match=r"^this lock never opens: the learner is never right, and there is no end to wait for$"
    ):
        lock.wait(3, 0.0, 1.0, 1.0, runs=1, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="runs is the number of locks, a whole number from 1 on; got 0"):
        lock.wait(3, 0.5, runs=0, rng=np.random.default_rng(0))
