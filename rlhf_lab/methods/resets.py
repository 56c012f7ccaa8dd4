"""Resets: somebody else writes the beginning of a text (PPO++, DR-PO) or its end (AggreVaTeD), the learner the rest.

Beside the chapter "Resets"; functions stand in the order of its equations.

    x prompt    y response    s state    mu teacher, who writes what the learner does not    d_t occupancy    D prompts
    zeta share of the episodes that begin at a reset    rho_zeta their start states    H horizon    A advantage
    pi policy    pi_0 prior    beta price of a nat    eps mean improvement that is left at the start states

Exact functions work on levels, as in `worlds.token_mdp`: states (K, W^t), values (K, W^t, V). The training loop is that
of `ppo`; what differs is the function that writes the answers of a round.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from rlhf_lab.methods import soft_values
from rlhf_lab.methods.best_of_n import weighted_decoding
from rlhf_lab.methods.rollouts import Rollout, Task, rollout
from rlhf_lab.models import lm
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.numerics.weighted import masked
from rlhf_lab.worlds.token_mdp import Levels, Values

Teacher = tuple[lm.LanguageModel, Params]
Write = Callable[[Task, lm.LanguageModel, Params, int, Generator], Rollout]
Begin = Callable[[Task, tuple[int, ...], Generator], tuple[Array, Array]]


def share_of_resets(share: float) -> float:
    """Return zeta if it lies in (0, 1]: without resets nothing is known of states that the policy avoids."""
    if not 0 < share <= 1:
        raise ValueError(f"share is that of episodes that begin at a reset, above 0 and at most 1; got {share}")
    return share


def starts(teacher: Levels, share: float) -> Levels:
    """rho_zeta(s) = zeta (1/H) sum_t d_t(s) + (1 - zeta) D(s), levels (K, W^t) (eq-reset-mixture).

    `teacher` is its occupancy, as `token_mdp.occupancy` returns it. The levels sum to less than 1 if answers may end
    before H: a reset into an answer that has ended leaves nothing to write. Brantley 2024, whose beta is zeta.
    """
    share_of_resets(share)
    mixed = [share / len(teacher) * level for level in teacher]
    return [mixed[0] + (1 - share) * teacher[0], *mixed[1:]]


def token_cost(q: Array, log_pi: Array, log_pi_0: Array, price: float) -> Array:
    """C(s, a) = V(s) - Q(s, a) + beta log pi / pi_0 (a | s), (..., V), the cost of AggreVaTeD (eq-token-cost).

    `q` are values of the teacher, V its mean under pi_0. What E_pi[C] loses to its least value is beta times the
    divergence from pi_0 exp(Q / beta). Sun et al. 2017; Brantley 2024, where one slide has V of pi by a slip.
    """
    checks.positive("price", price)
    return np.sum(np.exp(log_pi_0) * q, axis=-1, keepdims=True) - q + price * (log_pi - log_pi_0)


def coverage(comparator: Levels, teacher: Levels) -> float:
    """C = max over s of d_t(s) of a comparator over that of the teacher, infinite where the teacher never goes.

    Both are occupancies (K, W^t) of states, so what a comparator writes last is free.
    """
    pairs = list(zip(comparator, teacher, strict=True))
    if any(((one > 0) & (other <= 0)).any() for one, other in pairs):
        return np.inf
    return float(max(np.max(one[one > 0] / other[one > 0], initial=0.0) for one, other in pairs))


def mean_gain(at: Levels, gains: Levels) -> float:
    """Eps, the mean over the states `at` (K, W^t) of the improvement `gains` that each still promises."""
    return float(sum(np.sum(d * g) for d, g in zip(at, gains, strict=True)))


def gains(values: Values) -> Levels:
    """max_a A^pi(s, a), at least 0: what one better token in s would earn, levels (K, W^t) (eq-reset-gain)."""
    return [np.max(a, axis=-1) for a in values.advantage]


def reset_bound(horizon: int, share: float, ratio: float, gain: float) -> float:
    """J(pi') - J(pi) <= (H / zeta) C eps, for any comparator pi' (eq-reset-bound). Corrected from Brantley 2024."""
    return checks.horizon(horizon) / share_of_resets(share) * ratio * gain


def printed_bound(horizon: int, ratio: float, gain: float) -> float:
    """H^2 C eps, the bound that Brantley 2024 prints, with 1 for the constant of its O (eq-printed-bound).

    It lacks the share, and fails for shares below 1/H.
    """
    return checks.horizon(horizon) ** 2 * ratio * gain


def soft_gains(policy: Levels, prior: Levels, rewards: Levels, price: float, eos: int | None = None) -> Levels:
    """Beta KL(pi(. | s) || pi_+(. | s)), pi_+ prop. to pi_0 exp(Q / beta) with the soft Q of pi (eq-soft-reset-bound).

    In `reset_bound` they bound J_beta(pi*) - J_beta(pi) = beta KL(pi || pi*). Levels (K, W^t).
    """
    q = soft_values.soft_evaluation(policy, prior, rewards, price, eos=eos).q
    better = weighted_decoding(prior, q, 1 / price)
    return [price * lm.kl(one, other) for one, other in zip(policy, better, strict=True)]


def inside(mask: Array, rng: Generator) -> Array:
    """Draw a place in each answer, before one of its tokens and all alike: integers (..., N) from a mask (..., N, T).

    An answer of L tokens has L places, at most H: its states come at least as often as in `starts`, and `reset_bound`
    holds for this law, too.
    """
    length = np.sum(mask, axis=-1)
    return np.asarray(rng.random(length.shape) * length, dtype=np.intp)


def finish(teacher: Teacher, prompt: Array, response: Array, kept: Array, rng: Generator) -> Array:
    """Keep the first `kept` (..., N) tokens of each response (..., N, T) and draw the others from a model."""
    model, params = teacher
    cache, logits = model.start(params, prompt)
    written = np.array(np.broadcast_to(response, (*np.shape(logits)[:-1], response.shape[-1])))
    alive = np.ones(written.shape[:-1], dtype=bool)
    for t in range(written.shape[-1]):
        if t:
            cache, logits = model.step(params, cache, written[..., t - 1])
        drawn = np.argmax(logits + rng.gumbel(size=written.shape[:-1] + logits.shape[-1:]), axis=-1)
        written[..., t] = np.where(t < kept, written[..., t], np.where(alive, drawn, model.eos or 0))
        alive &= written[..., t] != model.eos
    return written


def judged(task: Task, own: Teacher, prompt: Array, response: Array, learned: Array) -> Rollout:
    """Return answers with their rewards, of which only the tokens `learned` (..., N, T) are trained and priced."""
    mask = learned * lm.response_mask(response, task.mdp.eos)
    log_pi, log_pi_0 = (masked(lm.token_log_prob(*who, prompt, response), mask) for who in (own, task.reference))
    return Rollout(prompt, response, np.asarray(task.mdp.reward(prompt, response), float), mask, log_pi, log_pi_0)


def teacher_begins(teacher: Teacher) -> Begin:
    """Return what draws beginnings for `restarts` from a teacher: PPO++ if it is the SFT policy. Brantley 2024."""

    def begin(task: Task, shape: tuple[int, ...], rng: Generator) -> tuple[Array, Array]:
        task.same_language("teacher", teacher[0])
        prompt = task.mdp.prompts[rng.choice(len(task.mdp.prompts), shape, p=task.mdp.start)]
        return prompt, finish(teacher, prompt, np.zeros((*shape, task.mdp.horizon), dtype=np.intp), 0, rng)

    return begin


def data_begins(prompt: Array, response: Array) -> Begin:
    """Return what draws beginnings for `restarts` from texts, (M, P) and (M, T): DR-PO. Chang et al. 2024.

    Each text is as likely as the next, so prompts come as often as in the texts, not as often as in the task.
    """
    prompt, response = np.asarray(prompt), np.asarray(response)
    checks.same_batch(prompt, response)
    if not len(prompt):
        raise ValueError("there is no text to reset into: DR-PO needs at least one prompt with its answer")

    def begin(task: Task, shape: tuple[int, ...], rng: Generator) -> tuple[Array, Array]:
        rows = rng.integers(len(prompt), size=shape)
        return prompt[rows], response[rows]

    return begin


def restarts(begin: Begin, share: float) -> Write:
    """Return a `write` for `ppo.ppo`: others write a beginning, the policy writes the rest and learns from it.

    A share zeta of the answers starts inside a text that `begin` draws, the others at its prompt.
    """
    share_of_resets(share)

    def write(task: Task, model: lm.LanguageModel, params: Params, prompts: int, rng: Generator) -> Rollout:
        prompt, text = begin(task, (*_seeds(task, model, params), prompts), rng)
        mask = lm.response_mask(text, task.mdp.eos)
        kept = np.where(rng.random(text.shape[:-1]) < share, inside(mask, rng), 0)
        response = finish((model, params), prompt, text, kept, rng)
        return judged(task, (model, params), prompt, response, np.arange(text.shape[-1]) >= kept[..., None])

    return write


def handing_over(teacher: Teacher) -> Write:
    """Return a `write` for `ppo.ppo`: AggreVaTeD, in which a teacher ends the text after a token of the policy.

    The policy writes up to a place inside its answer; the token there is the one that learns, from a reward whose mean
    is the teacher's Q. Sun et al. 2017; Chang et al. 2023.
    """

    def write(task: Task, model: lm.LanguageModel, params: Params, prompts: int, rng: Generator) -> Rollout:
        task.same_language("teacher", teacher[0])
        seen = rollout(task, model, params, prompts, rng)
        place = inside(seen.mask, rng)
        response = finish(teacher, seen.prompt, seen.response, place + 1, rng)
        return judged(task, (model, params), seen.prompt, response, np.arange(response.shape[-1]) == place[..., None])

    return write


def _seeds(task: Task, model: lm.LanguageModel, params: Params) -> tuple[int, ...]:
    return np.shape(model.start(params, task.mdp.prompts[:1])[1])[:-2]


def perplexity(log_p: Array, log_pi: Array, tokens: Array) -> Array:
    """exp of E_p[- log pi(y | x)] / E_p[tokens of y], at least 1: (..., K, A) to (..., K) (eq-perplexity).

    p wrote the reference texts, `tokens` (A,) are the lengths of the answers. Least for pi = p: Gibbs' inequality.
    """
    return np.exp(lm.cross_entropy(log_p, log_pi) / np.sum(np.exp(log_p) * tokens, axis=-1))
