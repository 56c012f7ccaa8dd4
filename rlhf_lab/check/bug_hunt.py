"""What the checkers of the chapter "Find the bug" know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.audit.zoo import pairs, returns
from rlhf_lab.check import dpo, policy_gradients, ppo
from rlhf_lab.check.bug_zoo import NOTHING, first_line
from rlhf_lab.check.diagnosis import Case, Exercise, Function, log_probs, tenths, wants_function
from rlhf_lab.methods import actor_critic, direct, policy_gradient
from rlhf_lab.numerics.autodiff import Array

GIVEN = "Its numbers are those of the function as it was given: "


def _margin_mistakes(chosen: Array, rejected: Array, chosen_0: Array, rejected_0: Array, beta: float) -> dict[str, Any]:
    up, down = chosen - chosen_0, rejected - rejected_0
    h = up - down
    return {
        GIVEN + "halve all log-probabilities, double beta, and see whether the loss stays.": direct.dpo(h, beta**2),
        "Now beta is nowhere: with another beta the loss is the same.": direct.dpo(h, 1.0),
        "You mended the reward of the chosen answer only.": direct.dpo(up - beta * down, beta),
        "You mended the reward of the rejected answer only.": direct.dpo(beta * up - down, beta),
        "The sign of the margin is flipped: the loss must fall as the chosen answer gains.": direct.dpo(-h, beta),
        "Now the reference is gone: see what the loss is before training.": direct.dpo(chosen - rejected, beta),
    }


OF_DPO = dpo.DPO_LOSS
MENDED_MARGIN = Exercise(
    "mended_margin", "one number for each pair", OF_DPO.key, OF_DPO.draw, _margin_mistakes, hard=OF_DPO.hard
)


def _each(log_pi: Array, tokens: Array) -> Array:
    return np.asarray(np.take_along_axis(log_pi, tokens[..., None], axis=-1)[..., 0])


def _scored(log_pi: Array, tokens: Array, mask: Array) -> Array:
    return np.asarray(np.sum(_each(log_pi, tokens[:, 1:]) * mask[:, 1:], axis=-1))


def _mask_case(rng: Generator) -> Case:
    count, width, words = int(rng.integers(1, 4)), int(rng.integers(4, 7)), int(rng.integers(2, 5))
    asked = rng.integers(1, 3, size=(count, 1))
    ends = np.minimum(rng.integers(asked + 1, width + 2), width)
    place = np.arange(width)
    mask = ((place >= asked) & (place < ends)).astype(float)
    return log_probs(rng, count, width - 1, words), rng.integers(words, size=(count, width)), mask


def _mask_mistakes(log_pi: Array, tokens: Array, mask: Array) -> dict[str, Any]:
    each, read = _each(log_pi, tokens[:, 1:]), _each(log_pi, tokens[:, :-1])
    now, before = mask[:, 1:], mask[:, :-1]
    more = np.concatenate([now[:, 1:], np.zeros((len(now), 1))], axis=1)
    summed = {
        GIVEN + "change the padding, then the first token of an answer, and see what moves.": each * before,
        "Now nothing is masked: prompt and padding count, too.": each,
        "You count what both masks mark: the first token of the answer is still lost.": each * now * before,
        "You count what one of the masks marks: what stands behind <eos> counts.": each * np.maximum(now, before),
        "You moved the tokens to the mask; log_pi[t] belongs to the token at place t + 1.": read * before,
        "Now the <eos> of an answer is lost: it was written, too.": each * now * more,
        "You take the mean over the tokens; the log-probability of a text is a sum.": each * now / now.sum(1)[:, None],
    }
    return {told: np.sum(terms, axis=1) for told, terms in summed.items()}


MENDED_MASK = Exercise(
    "mended_mask",
    "one number for each text",
    _scored,
    _mask_case,
    _mask_mistakes,
    traits=lambda log_pi, tokens, mask: {"no text has padding": mask[:, -1].all()},
)


def _clip_mistakes(log_pi: Array, log_old: Array, advantage: Array, epsilon: float) -> dict[str, Any]:
    ratio = np.exp(log_pi - log_old)
    held = np.clip(ratio, 1 - epsilon, 1 + epsilon)
    plain, clipped = ratio * advantage, held * advantage
    objective = {
        GIVEN + "see what the gradient is where a good token has become much less likely.": clipped,
        "Now nothing is clipped: a good token can gain without limit.": plain,
        "You take the larger of the two: nothing holds a token that went too far.": np.maximum(plain, clipped),
        "You clip above 1 + epsilon only: a bad token has to stop elsewhere.": np.minimum(ratio, 1 + epsilon)
        * advantage,
        "You clip below 1 - epsilon only: a good token has to stop elsewhere.": np.maximum(ratio, 1 - epsilon)
        * advantage,
    }
    return {told: -np.mean(terms) for told, terms in objective.items()}


MENDED_CLIP = Exercise(
    "mended_clip", "one number, the mean over tokens", ppo.PPO_LOSS.key, ppo.PPO_LOSS.draw, _clip_mistakes
)


def _sweep(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> Array:
    return actor_critic.gae(rewards, values, mask, gamma, lam)


def _sweep_case(rng: Generator) -> Case:
    count, width = int(rng.integers(1, 4)), int(rng.integers(2, 6))
    mask = (np.arange(width) < rng.integers(1, width + 1, size=(count, 1))).astype(float)
    gamma, lam = float(rng.choice([0.5, 0.8, 0.9])), float(rng.choice([0.3, 0.6, 0.95]))
    return tenths(rng, count, width), tenths(rng, count, width), mask, gamma, lam


def _sweep_mistakes(rewards: Array, values: Array, mask: Array, gamma: float, lam: float) -> dict[str, Any]:
    case = rewards, values, mask, gamma, lam
    errors, decay = actor_critic.td_errors(rewards, values, mask, gamma), gamma * lam
    everywhere = returns.swept(rewards + gamma * returns.shifted(values) - values, decay)
    return {
        GIVEN + "change the values behind a short answer, and see what moves.": returns.value_behind_the_end(*case),
        "Now no error holds the value of the next token, not even inside an answer.": returns.next_value_missing(*case),
        "The errors behind the end flow into the answer: they count for nothing.": returns.errors_of_padding(*case),
        "You mask the advantages only: what stands behind an answer has flowed into it by then.": everywhere * mask,
        "Now the last token has no error; its reward and its value count, too.": returns.swept(
            errors * returns.shifted(mask), decay
        ),
        "You return the TD errors: sum them up, with weights (gamma lambda)^k.": errors,
    }


MENDED_SWEEP = Exercise(
    "mended_sweep",
    "one number for each token",
    _sweep,
    _sweep_case,
    _sweep_mistakes,
    traits=lambda rewards, values, mask, gamma, lam: {"all answers are equally long": mask.all()},
)


def _baseline_mistakes(rewards: Array) -> dict[str, Any]:
    groups, k = rewards.shape
    others, rows = rewards.sum(1, keepdims=True) - rewards, rewards.sum(0) - rewards
    baseline = {
        GIVEN + "add 1 to all rewards of a group, and see whether the advantages stay.": (others + rewards) / (k - 1),
        "A constant cancels now, but the baseline still holds the answer's own reward.": (others + rewards) / k,
        "The sum is right, and the number of its terms is not: count the others.": others / k,
        "You subtract the sum of the others; subtract their mean.": others,
        "You compare across the groups; the others answer the same prompt.": rows / (groups - 1),
        "You return the baseline; subtract it from the rewards.": rewards - others / (k - 1),
    }
    return {told: rewards - what for told, what in baseline.items()}


MENDED_BASELINE = Exercise(
    "mended_baseline",
    "one number for each answer",
    policy_gradient.rloo_advantages,
    policy_gradients.RLOO_ADVANTAGES.draw,
    _baseline_mistakes,
)


def _divergence(log_pi: Array, log_ref: Array) -> Array:
    return policy_gradient.k3(log_pi - log_ref)


def _divergence_case(rng: Generator) -> Case:
    log_pi, log_ref = -rng.integers(1, 41, size=(2, int(rng.integers(1, 6)))) / 10
    return log_pi, log_ref


def _divergence_mistakes(log_pi: Array, log_ref: Array) -> dict[str, Any]:
    u = log_pi - log_ref
    return {
        GIVEN + "see what the means of ratio and log-ratio are on answers from pi.": np.expm1(u) - u,
        "You turned the ratio and not the log-ratio: with one of them the result can be negative.": np.expm1(-u) - u,
        "You turned the log-ratio and not the ratio: on answers from pi its mean is not 1.": np.expm1(u) + u,
        "The 1 is lost: for equal policies the estimate has to be 0.": np.exp(-u) + u,
        "That is k1, which has the right mean and can be negative.": u,
        "That is k2, whose mean is right only near the reference.": policy_gradient.k2(u),
    }


MENDED_DIVERGENCE = Exercise(
    "mended_divergence", "one number for each answer", _divergence, _divergence_case, _divergence_mistakes
)


def _by_itself(chosen: Array, rejected: Array, chosen_0: Array, rejected_0: Array, beta: float) -> Array:
    return pairs.each_by_itself(beta * (chosen - chosen_0), beta * (rejected - rejected_0))


# What is said of a wrong answer, and the loss that it is about: False is wrong for the right ones, True for the others.
LOSSES: dict[str, Function] = {
    "False for the right loss. Is -beta / 2 the slope that you ask for, and do you allow for rounding?": pairs.dpo_loss,
    "True for a loss that is log 2 whatever the policy is. Look at the gradient, too.": pairs.reference_not_frozen,
    "True for a loss that begins at 2 log 2, with the right gradient. Look at the loss, too.": _by_itself,
    "True for a loss whose gradient is -beta^2 / 2. Which beta tells that from -beta / 2?": pairs.beta_twice,
    "True for a loss whose gradient is -1/2. Which beta tells that from -beta / 2?": pairs.beta_missing,
    "True for a loss without a reference. Where two answers are equally likely, that does not show.": (
        pairs.reference_missing
    ),
    "True for a loss with the references exchanged. Where they are equal, that does not show.": pairs.reference_crossed,
    "True for a loss with chosen and rejected swapped. Which sign does its gradient have?": pairs.answers_swapped,
    "True for a loss that trusts the wrong side. Which sign does its gradient have?": pairs.smoothing_reversed,
    "True for a loss that begins at 1/2.": pairs.log_missing,
    "False for a loss of ratios in place of log-ratios: it is wrong, but a first step does not show it.": (
        pairs.ratios_not_logs
    ),
}


def first_step(function: Function) -> str | None:
    """Return which of `LOSSES` a reader's check of the first step judges wrongly, or None if it judges all rightly."""
    wants_function("first_step", function)
    try:
        answers = [function(_named(loss)) for loss in LOSSES.values()]
    except Exception as error:
        return f"It raises {first_line(error)}. It is called with a loss of the five arguments of margin_loss."
    if all(answer is None for answer in answers):
        return NOTHING
    if strange := [answer for answer in answers if not isinstance(answer, bool | np.bool_)]:
        return f"It returns {type(strange[0]).__name__}, not True or False: bool(...) makes one of a single number."
    if len({bool(answer) for answer in answers}) == 1:
        return f"It returns {answers[0]} for every loss, right or wrong."
    wrong = [told for told, answer in zip(LOSSES, answers, strict=True) if told.startswith(f"{answer} ")]
    return f"It returns {wrong[0]}" if wrong else None


def _named(loss: Function) -> Function:
    def named(chosen: Array, rejected: Array, chosen_0: Array, rejected_0: Array, beta: float) -> Array:
        return np.asarray(loss(chosen, rejected, chosen_0, rejected_0, beta))

    return named
