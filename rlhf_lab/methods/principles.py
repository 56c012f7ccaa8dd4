"""Rules in words: critique and revision, conditioning, a penalty for what is broken, and refinement by feedback.

Beside the chapter "Several objectives, and rules in words"; functions stand in the order of its equations.

    pi_0 reference    x prompt    y answer    u(y) its revision    C clean, the answers that break no rule
    q = 1 - pi_0(C) share that breaks one    beta KL weight    n tries of a refinement    F faults that people name

Answers are arrays over all A answers to K prompts, in the order of `lm.enumerate_responses`; laws are log pi (K, A).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from rlhf_lab.models import lm
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array

Look = Callable[[Array, Array], Array]
ROUNDS = 20  # of critique and revision; rules that need more contradict each other


class Rule(NamedTuple):
    """A principle in words, and what it means: which answers break it, (N,) true or false, and how they are rewritten.

    Both take prompts (N, P) and answers (N, T), padded with `eos`; `revise` returns answers (N, T). It is asked for
    broken ones only.
    """

    words: str
    breaks: Look
    revise: Look


def never(words: str, token: int, instead: int) -> Rule:
    """Return the rule that an answer does not say a token: another one is said in its place."""
    return Rule(
        words,
        lambda prompt, response: (response == token).any(-1),
        lambda prompt, response: np.where(response == token, instead, response),
    )


def say_once(words: str, eos: int) -> Rule:
    """Return the rule that no word is said twice: what is said again is left out."""
    return Rule(
        words,
        lambda prompt, response: _again(response, eos).any(-1),
        lambda prompt, response: _without(response, _again(response, eos), eos),
    )


def finish(words: str, eos: int) -> Rule:
    """Return the rule that an answer ends by itself, before the horizon: the last word of one that does not goes."""
    return Rule(
        words,
        lambda prompt, response: response[:, -1] != eos,
        lambda prompt, response: np.where(np.arange(response.shape[1]) == response.shape[1] - 1, eos, response),
    )


def _again(response: Array, eos: int) -> Array:
    said = [(response[:, :t] == response[:, t : t + 1]).any(-1) for t in range(response.shape[1])]
    return np.stack(said, axis=-1) & (response != eos)


def _without(response: Array, gone: Array, eos: int) -> Array:
    kept = np.full(response.shape, eos)
    row, t = np.nonzero(~gone)
    kept[row, (np.cumsum(~gone, axis=-1) - 1)[row, t]] = response[row, t]
    return kept


def critique(rules: Sequence[Rule], prompt: Array, response: Array) -> Array:
    """Return which rules each answer breaks, (R, N) true or false, for prompts (N, P) and answers (N, T)
    (eq-clean)."""
    if not rules:
        raise ValueError("a constitution needs at least one rule; got none")
    return np.stack([np.asarray(rule.breaks(prompt, response), dtype=bool) for rule in rules])


def revise(rules: Sequence[Rule], prompt: Array, response: Array, vocab: int, eos: int) -> Array:
    """u(y): critique, rewrite by the first rule that is broken, and again until none is: answers (N, T) (eq-revision).

    Raises `ValueError` if a rule rewrites an answer outside the language, or if the rules never come to an end, and
    names rule and answer.
    """
    checks.sizes(vocab, eos)
    response = checks.tokens("response", response, vocab).copy()
    rows = np.arange(len(response))
    for left in range(ROUNDS, -1, -1):
        broken = critique(rules, prompt[rows], response[rows])
        rows, broken = rows[broken.any(0)], broken[:, broken.any(0)]
        if not len(rows):
            break
        if not left:
            told = " and ".join(repr(rule.words) for rule, found in zip(rules, broken[:, 0], strict=True) if found)
            raise ValueError(
                f"after {ROUNDS} revisions answer {rows[0]}, now {response[rows[0]].tolist()}, breaks {told}: a "
                "revision does not cure what its rule forbids, or two rules undo each other"
            )
        first = np.argmax(broken, axis=0)
        for index in np.unique(first):
            these = rows[first == index]
            again = rules[index].revise(prompt[these], response[these])
            response[these] = _inside(rules[index], response[these], again, vocab, eos)
    return response


def _inside(rule: Rule, before: Array, after: Array, vocab: int, eos: int) -> Array:
    after = np.asarray(after)
    if after.shape != before.shape:
        raise ValueError(f"{rule.words!r} rewrites answers of shape {before.shape} to {after.shape}: pad with eos")
    wrong = (after < 0) | (after >= vocab) | ((lm.response_mask(after, eos) == 0) & (after != eos))
    if wrong.any():
        row = np.flatnonzero(wrong.any(-1))[0]
        raise ValueError(
            f"{rule.words!r} rewrites {before[row].tolist()} to {after[row].tolist()}, which is outside the language: "
            f"tokens are 0 to {vocab - 1}, and only eos, {eos}, follows eos"
        )
    return after


class World(NamedTuple):
    """A constitution and everything that can be said: `broken` (R, K, A), and the place `revised` (K, A) of u(y)."""

    broken: Array
    revised: Array


def enumerate_rules(rules: Sequence[Rule], prompts: Array, horizon: int, vocab: int, eos: int) -> World:
    """Return which rules every answer to the prompts (K, P) breaks, and which answer it is rewritten to."""
    answers = lm.enumerate_responses(vocab, horizon, eos)
    prompt, response = np.repeat(prompts, len(answers), axis=0), np.tile(answers, (len(prompts), 1))
    shape = len(prompts), len(answers)
    broken = critique(rules, prompt, response)
    revised = np.tile(np.arange(len(answers)), (len(prompts), 1))
    rows = np.flatnonzero(broken.any(0))
    revised.flat[rows] = lm.answer_index(revise(rules, prompt[rows], response[rows], vocab, eos), vocab, eos)
    return World(broken.reshape(len(rules), *shape), revised)


def push_forward(log_pi_0: Array, revised: Array) -> Array:
    """log pi_u(y | x) = log sum over u(y') = y of pi_0(y' | x): the law of revised texts (eq-push-forward).

    `revised` (K, A) holds the place of the revision of each answer; -inf for what nothing is rewritten to. Fine-tuning
    on revised answers has its least cross-entropy there. Raises `ValueError` if a place is none of the A answers, or
    the shapes differ.
    """
    revised, count = np.asarray(revised), log_pi_0.shape[-1]
    if revised.shape != log_pi_0.shape:
        raise ValueError(f"there must be one revision for each answer, {log_pi_0.shape}; got {revised.shape}")
    if (outside := (revised < 0) | (revised >= count)).any():
        raise ValueError(f"revised holds places of answers, 0 to {count - 1}; got {revised[outside][0]}")
    first = count * np.arange(log_pi_0.size // count).reshape(*revised.shape[:-1], 1)
    law = checks.tally((first + revised).ravel(), np.exp(log_pi_0).ravel(), log_pi_0.size)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(law.reshape(log_pi_0.shape)))


def conditioned(log_pi_0: Array, broken: Array) -> Array:
    """log pi_0(y | x, C), -inf for answers that break a rule: no clean policy is nearer to pi_0 (eq-conditioned).

    Its divergence is -log pi_0(C). `broken` (K, A) is true or false. Raises `ValueError` if pi_0 has no clean answer.
    """
    broken = _verdicts(broken, log_pi_0)
    kept = np.where(broken, -np.inf, log_pi_0)
    return kept - _log_mass(kept)


def clean_mass(log_pi_0: Array, broken: Array) -> Array:
    """log pi_0(C | x), (K,): minus the divergence of the nearest clean policy (eq-cheapest).

    For any clean pi, KL(pi || pi_0) = -log pi_0(C) + KL(pi || pi_0(. | C)) (eq-clean-kl), by `lm.kl`.
    """
    return _log_mass(np.where(_verdicts(broken, log_pi_0), -np.inf, log_pi_0))[..., 0]


def _log_mass(log_pi: Array) -> Array:
    top = np.max(log_pi, axis=-1, keepdims=True)
    if not np.isfinite(top).all():
        row = int(np.flatnonzero(~np.isfinite(top.ravel()))[0])
        raise ValueError(f"the reference writes no clean answer to prompt {row}: there is nothing to condition on")
    return top + np.log(np.sum(np.exp(log_pi - top), axis=-1, keepdims=True))


def _verdicts(broken: Array, log_pi: Array) -> Array:
    broken = np.asarray(broken)
    if broken.dtype != bool or broken.shape != log_pi.shape:
        raise ValueError(
            f"broken must say true or false of each answer, {log_pi.shape}; got {broken.dtype} of shape {broken.shape}"
        )
    return broken


def penalised_share(share: Array, beta: float) -> Array:
    """q e^(-1 / beta) / (1 - q + q e^(-1 / beta)): how much of a share q is left if -1 is paid for it (eq-penalty).

    The log-odds of breaking a rule fall by 1 / beta. The policy is `gibbs.log_policy` with the reward -1 for what is
    broken: its limit for beta to 0 is `conditioned` (eq-penalty-limit).
    """
    checks.positive("beta", beta)
    checks.share("share", share)
    left = share * np.exp(-1 / beta)
    return left / (1 - share + left)


def penalty_limit(log_pi_0: Array, score: Array) -> Array:
    """The limit for beta to 0 of the policy that pays a score (K, A) >= 0: pi_0 given the least score that it can have.

    For a score that is 0 for all clean answers, that is conditioning on clean. A classifier that gives clean answers
    different scores keeps only those with the least (eq-graded-limit).
    """
    checks.answer_rewards(score, log_pi_0.shape)
    reached = np.where(log_pi_0 > -np.inf, score, np.inf)
    return conditioned(log_pi_0, reached > np.min(reached, axis=-1, keepdims=True))


def refined(log_pi: Array, log_pi_0: Array, fault: Array, cures: Array, tries: int) -> Array:
    """The law of an answer after one round of feedback in words: faulty answers are tried anew (eq-refinement).

    `fault` (K, A) names the fault of each answer, 0 to F - 1, or -1 for none: then it stays. `cures` (F, K, A) is true
    for answers that are free of the fault. Of n `tries` from pi_0 the first that is free of it is kept, or the first of
    all if none is. log pi (K, A) before, and after. Scheurer et al. 2022. In the end, round after round, it is pi_0
    given that there is no fault (eq-refinement-limit).
    """
    tries = checks.count("tries", tries, "how many new answers are drawn for each that is found fault with")
    fault, cures = np.asarray(fault), np.asarray(cures, dtype=bool)
    if fault.shape != log_pi_0.shape or cures.shape[1:] != log_pi_0.shape:
        raise ValueError(
            f"there must be one fault for each answer, {log_pi_0.shape}, and for each fault which answers are free of "
            f"it, (F, *{log_pi_0.shape}); got {fault.shape} and {cures.shape}"
        )
    if (unknown := (fault < -1) | (fault >= len(cures))).any():
        raise ValueError(f"fault is 0 to {len(cures) - 1}, or -1 for none; got {fault[unknown][0]}")
    pi, pi_0 = np.exp(log_pi), np.exp(log_pi_0)
    law = pi * (fault < 0)
    for index, free in enumerate(cures):
        asked = np.sum(pi * (fault == index), axis=-1, keepdims=True)
        missed = np.sum(pi_0 * ~free, axis=-1, keepdims=True)
        found = sum(missed**k for k in range(tries))
        law = law + asked * pi_0 * np.where(free, found, missed ** (tries - 1))
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(law))
