"""What the checkers of the chapter "Dialogue is multi-turn" know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths
from rlhf_lab.methods import dialogue
from rlhf_lab.numerics.autodiff import Array


def _belief_case(rng: Generator) -> Case:
    s, o = int(rng.integers(2, 4)), int(rng.integers(2, 4))
    turn = rng.integers(1, 9, size=(s, o, s)).astype(float)
    turn /= turn.sum((1, 2), keepdims=True)
    return np.exp(log_probs(rng, s)), turn, int(rng.integers(o))


def _next_belief(belief: Array, turn: Array, reply: int) -> Array:
    joint = belief @ turn[:, reply]
    return joint / joint.sum()


def _belief_mistakes(belief: Array, turn: Array, reply: int) -> dict[str, Any]:
    joint = belief @ turn[:, reply]
    stays = belief * turn[:, reply].sum(-1)
    flat = turn[:, reply].sum(0)
    moved = belief @ turn.sum(1)
    back = turn[:, reply] @ belief
    return {
        "You forgot to divide by the probability of the reply: a belief sums to 1.": joint,
        "You weigh the secrets by the reply, but forgot that the secret moves: sum over the old one.": stays
        / stays.sum(),
        "You forgot the belief of before: yours counts every secret the same.": flat / flat.sum(),
        "You forgot the reply: that is where the secret is, if you do not listen.": moved,
        "You sum over the next secret; the belief belongs to it. Sum over the old one.": back / back.sum(),
    }


NEXT_BELIEF = Exercise(
    "next_belief",
    "one probability for each secret after the turn",
    _next_belief,
    _belief_case,
    _belief_mistakes,
)


def _pair_case(rng: Generator) -> Case:
    n, u = int(rng.integers(1, 3)), int(rng.integers(3, 5))
    return np.exp(log_probs(rng, n, u)), tenths(rng, n, u), float(rng.choice([0.5, 1.0, 2.0]))


def _two_proposals(mu: Array, q: Array, tau: float) -> Array:
    return dialogue.proposal_law(mu, q, 2, tau)


def _pair_mistakes(mu: Array, q: Array, tau: float) -> dict[str, Any]:
    weight = np.exp(q / tau)
    tilted = mu * weight / (mu * weight).sum(-1, keepdims=True)
    soft = weight / weight.sum(-1, keepdims=True)
    share = weight[..., :, None] / (weight[..., :, None] + weight[..., None, :])
    better = (q[..., :, None] > q[..., None, :]) + 0.5 * (q[..., :, None] == q[..., None, :])
    return {
        "That is the limit of many proposals, mu exp(Q / tau), normalised; here there are two.": tilted,
        "That is softmax(Q / tau) over all lines; only two were proposed.": soft,
        "That is mu: one of the two at random. Q has to choose.": mu,
        "You take the better of the two; it is drawn from softmax(Q / tau) over them.": (
            2 * mu * np.sum(better * mu[..., None, :], axis=-1)
        ),
        "You forgot that either of the two can be the one: a factor of 2 is missing.": (
            mu * np.sum(share * mu[..., None, :], axis=-1)
        ),
        "You let a line meet every other, but never itself: both proposals can be the same.": (
            2 * mu * (np.sum(share * mu[..., None, :], axis=-1) - mu / 2)
        ),
        "You multiply Q by tau; it is divided by it.": dialogue.proposal_law(mu, q * tau, 2, 1.0),
        "You forgot tau.": dialogue.proposal_law(mu, q, 2, 1.0),
    }


TWO_PROPOSALS = Exercise(
    "two_proposals",
    "one row for each node, one column for each line",
    _two_proposals,
    _pair_case,
    _pair_mistakes,
    traits=lambda mu, q, tau: {"tau is 1": tau == 1},
)


def _manager_case(rng: Generator) -> Case:
    z, y = int(rng.integers(2, 4)), int(rng.integers(2, 4))
    return log_probs(rng, z), log_probs(rng, z, y), tenths(rng, z, y), float(rng.choice([0.5, 1.0, 2.0]))


def _level_gap(log_plan: Array, log_text: Array, reward: Array, price: float) -> Array:
    found = dialogue.two_levels(log_plan, log_text, reward, price)
    return np.asarray(found.joint - found.manager)


def _manager_mistakes(log_plan: Array, log_text: Array, reward: Array, price: float) -> dict[str, Any]:
    found = dialogue.two_levels(log_plan, log_text, reward, price)
    plan, text = np.exp(log_plan), np.exp(log_text)
    mean = np.sum(text * reward, axis=-1)
    law = plan * np.exp(mean / price)
    law /= law.sum()
    best = (plan[:, None] * text * np.exp(reward / price)).sum(-1)
    best /= best.sum()
    return {
        "That is what the joint optimum is worth; what the manager's is worth has to be subtracted.": found.joint,
        "That is what the manager's optimum is worth; subtract it from the joint one.": found.manager,
        "That is the divergence in nats; the gap is in units of reward: multiply by the price.": found.kl,
        "You take the divergence over plans; the worker's texts differ, too: it is over plans and texts.": (
            price * np.sum(law * np.log(law / best))
        ),
        "You compare with a manager who does not choose: its plans are tilted, too.": found.joint - plan @ mean,
        "The sign is flipped: the joint optimum is worth more.": found.manager - found.joint,
        "Your manager expects the best text of each plan; the worker writes as the prior does.": (
            found.joint - price * np.log(plan @ np.exp(reward.max(-1) / price))
        ),
    }


LEVEL_GAP = Exercise(
    "level_gap",
    "one number",
    _level_gap,
    _manager_case,
    _manager_mistakes,
    traits=lambda log_plan, log_text, reward, price: {"the price is 1": price == 1},
)


def _mask_case(rng: Generator) -> Case:
    n, t = int(rng.integers(2, 4)), int(rng.integers(4, 7))
    log_p = np.abs(tenths(rng, n, t)) * -1 - 0.1
    length = rng.integers(2, t + 1, size=n)
    speaker = np.where(np.arange(t) < length[:, None], rng.integers(0, 2, size=(n, t)), -1)
    speaker[:, 0], speaker[:, 1] = 0, 1
    return log_p, speaker, np.abs(tenths(rng, n)) + 0.1


def _dialogue_loss(log_p: Array, speaker: Array, weight: Array) -> Array:
    return -np.mean(weight * np.sum(log_p * (speaker == 1), axis=-1))


def _mask_mistakes(log_p: Array, speaker: Array, weight: Array) -> dict[str, Any]:
    mine, said = speaker == 1, speaker >= 0
    total = np.sum(log_p * mine, axis=-1)
    return {
        "The other side's words are in your loss: its tokens are not your actions.": (
            -np.mean(weight * np.sum(log_p * said, axis=-1))
        ),
        "There is no mask: padding and the other side's words are in your loss.": (
            -np.mean(weight * np.sum(log_p, axis=-1))
        ),
        "You learn to be the other side: your words are where speaker is 1.": (
            -np.mean(weight * np.sum(log_p * (speaker == 0), axis=-1))
        ),
        "You count padding as your own words.": -np.mean(weight * np.sum(log_p * (speaker != 0), axis=-1)),
        "You divide by the number of words: long dialogues count less then.": (
            -np.mean(weight * total / np.sum(mine, axis=-1))
        ),
        "You divide by the number of all words of the batch; the mean is over dialogues.": (
            -np.sum(weight * total) / np.sum(mine)
        ),
        "You forgot the weights of the dialogues.": -np.mean(total),
        "You return the sum; the loss is the mean over dialogues.": -np.sum(weight * total),
        "You return one loss for each dialogue; take the mean.": -weight * total,
        "You divide by the sum of the weights; the mean is over dialogues.": -np.sum(weight * total) / np.sum(weight),
        "You average weights and losses apart; multiply for each dialogue, then take the mean.": (
            -np.mean(weight) * np.mean(total)
        ),
    }


DIALOGUE_LOSS = Exercise("dialogue_loss", "one number", _dialogue_loss, _mask_case, _mask_mistakes)
