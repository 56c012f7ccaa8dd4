"""What the checkers of the chapter "Dense rewards" know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, tenths
from rlhf_lab.methods import actor_critic, shaping
from rlhf_lab.models import lm
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics.autodiff import Array


def _shaped_case(rng: Generator) -> Case:
    n, t = int(rng.integers(1, 4)), int(rng.integers(2, 5))
    mask = (np.arange(t) < rng.integers(1, t + 1, size=n)[:, None]).astype(float)
    return tenths(rng, n, t), tenths(rng, n, t), mask, float(rng.choice([0.5, 0.8, 0.9]))


def _next(values: Array) -> Array:
    return np.concatenate([values[:, 1:], np.zeros((len(values), 1))], axis=1)


def _shaped_mistakes(rewards: Array, potential: Array, mask: Array, discount: float) -> dict[str, Any]:
    after = _next(mask)
    following = after * _next(potential)
    cut_off = mask * (np.arange(mask.shape[1]) == mask.shape[1] - 1) * potential
    before = np.concatenate([np.zeros((len(mask), 1)), potential[:, :-1]], axis=1)
    return {
        "Behind <eos> yours still has a potential: that of a finished answer is 0.": (
            mask * (rewards + discount * _next(potential) - potential)
        ),
        "An answer that reaches the horizon has ended, too: its potential is 0, not that of its last state.": (
            mask * (rewards + discount * (following + cut_off) - potential)
        ),
        "Your finished answers keep the potential of their last state; it must be 0.": (
            mask * (rewards + discount * (following + (mask - after) * potential) - potential)
        ),
        "Behind the end there are no rewards: multiply by the mask.": rewards + discount * following - potential,
        "The sign of the shaping term is flipped.": mask * (rewards + potential - discount * following),
        "You forgot the discount.": mask * (rewards + following - potential),
        "The discount multiplies the next potential only.": mask * (rewards + discount * (following - potential)),
        "The discount stands at the wrong potential: the next one is discounted.": (
            mask * (rewards + following - discount * potential)
        ),
        "You return the shaping term; add it to the rewards.": mask * (discount * following - potential),
        "You compare with the state before; a token is paid for the state that it leads to.": (
            mask * (rewards + discount * potential - before)
        ),
    }


SHAPED_REWARDS = Exercise(
    "shaped_rewards",
    "one row for each answer, one column for each token",
    actor_critic.td_errors,
    _shaped_case,
    _shaped_mistakes,
    traits=lambda rewards, potential, mask, discount: {"all answers reach the horizon": mask.all()},
)


def _harmless_case(rng: Generator) -> Case:
    words, horizon = ((1, 2), (2, 2), (1, 3), (3, 2), (2, 3))[rng.integers(5)]
    count, discount, eos = int(rng.integers(2, 6)), float(rng.choice([0.5, 0.8, 1.0])), words
    potential = [tenths(rng, count, words**t) for t in range(horizon)]
    potential[0] *= rng.integers(2, size=(count, 1))  # so that some sums are 0
    last = [*potential, np.repeat(potential[-1], words, axis=1)]
    answers = lm.enumerate_responses(words + 1, horizon, eos)
    mask = lm.response_mask(answers, eos)
    kind = rng.integers(5, size=(count, 1))
    ends = (kind == 1) * 0.7 + (kind == 2) * np.concatenate(last, axis=1)
    terms = shaping.shaping(potential, words + 1, discount, eos, ends)
    terms = [np.where(kind[..., None] == 3, potential[0][..., None], level) for level in terms]
    table = Tabular(words + 1, horizon, tuple((k,) for k in range(words + 1)), eos)
    place = table.places(np.zeros((len(answers), 1), dtype=int), answers)
    read = np.concatenate(terms, axis=1)[:, place]
    bonus = np.take_along_axis(read, np.broadcast_to(answers, (count, *answers.shape))[..., None], axis=-1)[..., 0]
    moved = discount ** -np.arange(horizon) * (np.arange(horizon) == mask.sum(-1)[:, None] - 1)
    bonus = bonus + (kind[..., None] == 4) * tenths(rng, count, 1, 1) * moved
    return np.where(mask > 0, bonus, tenths(rng, *bonus.shape)), mask, discount


def _equal(numbers: Array) -> Array:
    return np.ptp(numbers, axis=1) < 1e-9


def _harmless(bonus: Array, mask: Array, discount: float) -> Array:
    return _equal(np.sum(bonus * mask * discount ** np.arange(mask.shape[1]), axis=-1))


def _harmless_mistakes(bonus: Array, mask: Array, discount: float) -> dict[str, Any]:
    paid = bonus * mask * discount ** np.arange(mask.shape[1])
    last = mask - np.concatenate([mask[:, 1:], np.zeros((len(mask), 1))], axis=1)
    return {
        "The sums need not be 0: it is enough that they are the same for all answers.": (
            np.abs(paid.sum(-1)).max(axis=1) < 1e-9
        ),
        "You forgot the discount: step t counts with its t-th power.": _equal(np.sum(bonus * mask, axis=-1)),
        "Padding counts in yours: multiply by the mask.": (
            _equal(np.sum(bonus * discount ** np.arange(mask.shape[1]), axis=-1))
        ),
        "You ask each step to be paid the same; only the sum over an answer must be the same.": (
            np.ptp(paid, axis=1).max(axis=-1) < 1e-9
        ),
        "You look at the last token only; sum over all tokens.": _equal(np.sum(paid * last, axis=-1)),
        "You divide by the length; the optimum depends on the sum.": _equal(paid.sum(-1) / mask.sum(-1)),
        "It is the other way round: True says that the optimum stays.": ~_harmless(bonus, mask, discount),
    }


HARMLESS = Exercise(
    "harmless",
    "True or False for each bonus",
    _harmless,
    _harmless_case,
    _harmless_mistakes,
    traits=lambda bonus, mask, discount: {"the discount is 1": discount == 1},
)


def _scores_case(rng: Generator) -> Case:
    n, t, eos = int(rng.integers(3, 7)), int(rng.integers(2, 5)), 2
    written = rng.choice(3, size=(n, t), p=[0.4, 0.4, 0.2])
    mask = lm.response_mask(written, eos)
    weight, start = float(rng.choice([0.5, 2.0])), float(rng.choice([0.2, 0.4]))
    return written, mask, rng.integers(2, size=n).astype(float), start, weight


def _agree(written: Array) -> Array:
    """Return whether two answers have the same token at each place, shape (N, N, T)."""
    return (written[:, None] == written).astype(float)


def _before(same: Array) -> Array:
    return np.concatenate([np.ones((*same.shape[:-1], 1)), same[..., :-1]], axis=-1)


def _counts(through: Array, label: Array) -> tuple[Array, Array]:
    return np.sum(through * label[:, None], axis=1), np.sum(through, axis=1)


def _step_scores(written: Array, mask: Array, label: Array, start: float, weight: float) -> Array:
    total, n = _counts(np.cumprod(_before(_agree(written)), axis=-1), label)
    return mask * (total + weight * start) / (n + weight)


def _scores_mistakes(written: Array, mask: Array, label: Array, start: float, weight: float) -> dict[str, Any]:
    same = _agree(written)
    total, n = _counts(np.cumprod(_before(same), axis=-1), label)
    last, last_n = _counts(_before(same), label)
    late, late_n = _counts(np.cumprod(same, axis=-1), label)
    place, place_n = _counts(np.broadcast_to(mask, same.shape), label)
    return {
        "You compare the token before only; a beginning is all tokens before, in their order.": (
            mask * (last + weight * start) / (last_n + weight)
        ),
        "Your beginning includes the token itself; the score belongs to the state before it.": (
            mask * (late + weight * start) / (late_n + weight)
        ),
        "You pool all answers that reach this place; only those with the same beginning count.": (
            mask * (place + weight * start) / (place_n + weight)
        ),
        "You leave the answer itself out; it completes its own beginnings, too.": (
            mask * (total - label[:, None] + weight * start) / (n - 1 + weight)
        ),
        "You take the mean of the labels only; add h_0, which counts as w labels.": mask * total / n,
        "You forgot h_0 in the numerator.": mask * total / (n + weight),
        "h_0 counts as w labels: multiply it by the weight.": mask * (total + start) / (n + weight),
        "Behind the end there are no states: multiply by the mask.": (total + weight * start) / (n + weight),
    }


STEP_SCORES = Exercise(
    "step_scores",
    "one row for each answer, one column for the state before each token",
    _step_scores,
    _scores_case,
    _scores_mistakes,
    traits=lambda written, mask, *rest: {"no answer has more than two tokens": mask.shape[1] == 2},
)


def _price_case(rng: Generator) -> Case:
    answers, horizon, count = int(rng.integers(3, 6)), int(rng.integers(2, 4)), int(rng.integers(2, 5))
    length = np.maximum(rng.integers(1, horizon + 1, size=answers), rng.choice([1, horizon], p=[0.7, 0.3]))
    steps = np.arange(horizon)
    mask = (steps < length[:, None]).astype(float)
    reward, bonus = tenths(rng, answers), tenths(rng, count, answers, horizon)
    share, constant = (
        rng.choice([0.0, 0.5, 1.0, 3.0], size=(count, 1)),
        tenths(rng, count, 1) * rng.integers(2, size=(count, 1)),
    )
    left = share * reward + constant - np.sum(bonus * mask, axis=-1)
    repeats = rng.random((count, 1, 1)) < 0.75
    bonus = bonus + repeats * left[..., None] * (steps == length[:, None] - 1)
    return reward, bonus, mask, float(rng.choice([0.2, 0.5, 2.0]))


def _share(reward: Array, total: Array) -> tuple[Array, Array]:
    """How many times a bonus repeats the reward, and whether it does so in all answers, each (M,)."""
    share = total @ reward / (reward @ reward)
    return share, np.max(np.abs(total - share[:, None] * reward), axis=1) < 1e-9


def _paid(reward: Array, bonus: Array, mask: Array) -> tuple[Array, Array]:
    total = np.sum(bonus * mask, axis=-1)
    return _share(reward - reward.mean(), total - total.mean(axis=1, keepdims=True))


def _effective_price(reward: Array, bonus: Array, mask: Array, beta: float) -> Array:
    share, repeats = _paid(reward, bonus, mask)
    return np.where(repeats, beta / (1 + share), 0.0)


def _price_mistakes(reward: Array, bonus: Array, mask: Array, beta: float) -> dict[str, Any]:
    share, repeats = _paid(reward, bonus, mask)
    moves = np.abs(share) > 1e-9
    alone = np.divide(beta, share, out=np.full(len(share), np.inf), where=moves)
    level, level_repeats = _share(reward, np.sum(bonus * mask, axis=-1))
    return {
        "A reward that counts more is worth more nats: the price is divided, not multiplied.": (
            np.where(repeats, beta * (1 + share), 0.0)
        ),
        "You forgot the reward itself, to which the bonus is added.": np.where(repeats, alone, 0.0),
        "Padding counts in yours: multiply by the mask.": _effective_price(reward, bonus, np.ones(mask.shape), beta),
        "A constant moves no optimum: compare differences between answers.": (
            np.where(level_repeats, beta / (1 + level), 0.0)
        ),
        "You fit a line, but not all points need lie on it; then there is no price, and the answer is 0.": (
            beta / (1 + share)
        ),
        "You return how often the reward counts; the price is beta over that.": np.where(repeats, 1 + share, 0.0),
        "You halve the price for each bonus; a bonus may repeat the reward another number of times.": (
            np.where(repeats, np.where(moves, beta / 2, beta), 0.0)
        ),
        "A bonus with the same sum for all answers leaves the optimum alone: the price stays beta.": (
            np.where(repeats & moves, beta / (1 + share), 0.0)
        ),
    }


EFFECTIVE_PRICE = Exercise(
    "effective_price",
    "one price for each bonus",
    _effective_price,
    _price_case,
    _price_mistakes,
    traits=lambda reward, bonus, mask, beta: {"there is no padding": mask.all()},
)
