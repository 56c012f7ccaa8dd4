"""Behaviour cloning and what its errors cost, and what asking the expert changes: DAgger, with every question counted.

    pi* expert    pi policy    s state    a action    d_t occupancy    T horizon    r reward, at most 1 a step
    epsilon error of a policy where the expert goes    u what one wrong action costs    beta_i share of the expert
    q chance that a policy is unsure    delta chance that a guide is wrong    b how soon a policy is sure

Policies on grids are arrays (..., S, A), `expert` (S, A) is deterministic. Networks and labels carry leading axes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator, default_rng

from rlhf_lab.feedback.demonstrations import Labels, check_labels, draw_states, join_labels
from rlhf_lab.models import policies
from rlhf_lab.models.policies import Act, Network
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_prob_of
from rlhf_lab.numerics.optim import Params, adam, fit
from rlhf_lab.numerics.weighted import masked
from rlhf_lab.worlds.control import World, check_sizes, rollout
from rlhf_lab.worlds.gridworlds import Grid, occupancy, values

PRIOR = 0.95  # chance that a guide is wrong where nobody has checked


def error(policy: Array, expert: Array, d: Array) -> Array:
    """Return sum_t sum_s d_t(s) (1 - pi(pi*(s) | s)) / T, the share of steps at which a policy errs, (...).

    `d` (..., T, S) says where: with the expert's occupancy it is the error in training, with the policy's in use.
    """
    return np.sum(d * np.sum((1 - policy) * expert, axis=-1)[..., None, :], axis=(-2, -1)) / d.shape[-2]


def cloning_loss(logits: Array, action: Array, weight: Array) -> Array:
    """L(pi) = - sum_i w_i log pi(a_i | s_i) / sum_i w_i, nats, (...): how surprising the expert is (eq-cloning-loss).

    `logits` (..., N, A), `action` and `weight` (..., N). Pomerleau 1989; Brantley 2024.
    """
    return -np.sum(masked(log_prob_of(logits, np.asarray(action)), weight), axis=-1) / np.sum(weight, axis=-1)


def clone(network: Network, params: Params, labels: Labels, *, rounds: int, step_size: float) -> Params:
    """Fit a policy to what an expert did: `rounds` steps of Adam on the cloning loss of all pairs, without chance.

    A weight counts a pair, 0 leaves it out: seeds with different numbers of pairs train in one call.
    """
    checked = check_labels(labels, network.actions)

    def loss(params: Params, batch: Labels) -> Array:
        return cloning_loss(network.logits(params, batch.observation), batch.action, batch.weight)

    optimizer = adam(step_size)
    return fit(loss, params, lambda params, rng: [checked], rounds=rounds, optimizer=optimizer, rng=default_rng())[0]


def cliff_clone_gap(epsilon: Array, horizon: Array) -> Array:
    """T - (1 - (1 - epsilon)^T) / epsilon, about epsilon T^2 / 2: what a clone loses on the cliff (eq-cliff-clone).

    It errs with probability epsilon on the road, and always in the ditch, which no demonstration shows.
    """
    epsilon, horizon = np.asarray(epsilon), np.asarray(horizon)
    if not ((epsilon > 0) & (epsilon < 1)).all():
        raise ValueError(f"epsilon is a chance to err, above 0 and below 1; got {epsilon}")
    return horizon + np.expm1(horizon * np.log1p(-epsilon)) / epsilon


def cliff_dagger_gap(epsilon: Array, horizon: Array) -> Array:
    """epsilon (T - 1): what a policy loses on the cliff that errs with rate epsilon everywhere (eq-cliff-dagger).

    That is what DAgger learns: it has asked in the ditch, too.
    """
    return checks.share("epsilon", epsilon) * (np.asarray(horizon) - 1)


def expert_advantage(grid: Grid, expert: Array, horizon: int) -> Array:
    """V*_t(s) - Q*_t(s, a) of the expert, (T, S, A): what it costs to do `a` once and then to follow it.

    The answers that AggreVaTe asks an expert for. Ross and Bagnell 2014.
    """
    v, q = values(grid, expert, horizon)
    return v[..., None] - q


def gap(grid: Grid, expert: Array, policy: Array, horizon: int) -> Array:
    """J(pi*) - J(pi) = sum_t sum_s d_t(s) sum_a pi(a | s) (V*_t(s) - Q*_t(s, a)), (...) (eq-expert-difference).

    Kakade and Langford 2002: what a policy loses is the sum of what its actions cost, where *it* takes them. As a
    function of the policy it is what AggreVaTeD minimises. Sun et al. 2017.
    """
    cost = np.sum(policy[..., None, :, :] * expert_advantage(grid, expert, horizon), axis=-1)
    return np.sum(occupancy(grid, policy, horizon) * cost, axis=(-2, -1))


def clone_bound(epsilon: Array, horizon: int) -> Array:
    """J(pi*) - J(pi) <= epsilon T^2 if 0 <= r <= 1 and pi errs with rate epsilon where pi* goes (eq-clone-bound).

    Ross and Bagnell 2010.
    """
    return epsilon * horizon**2


def interactive_bound(epsilon: Array, u: float, horizon: int) -> Array:
    """J(pi*) - J(pi) <= u epsilon T if pi errs with rate epsilon where *it* goes (eq-interactive-bound).

    `u` is the largest cost of one wrong action, the maximum of `expert_advantage`. Ross, Gordon and Bagnell 2011.
    """
    return u * epsilon * horizon


def mixture(expert: Act, policy: Act, share: float) -> Act:
    """beta_i pi* + (1 - beta_i) pi: at each step, the expert acts with probability `share` (eq-dagger-mixture).

    Ross, Gordon and Bagnell 2011.
    """
    checks.share("share", share)

    def act(seen: Array, rng: Generator) -> Array:
        own = policy(seen, rng)
        return np.where(rng.random(own.shape) < share, expert(seen, rng), own)

    return act


def query_probability(log_pi: Array, b: float) -> Array:
    """q(s) = b / (b + m), with m the margin between the two best actions of `log_pi` (..., A) (eq-query-probability).

    Sure policies seldom ask. Cesa-Bianchi, Gentile and Zaniboni 2006.
    """
    best = np.sort(log_pi)
    return checks.positive("b", b) / (b + best[..., -1] - best[..., -2])


def guided_query_probability(q: Array, delta: Array) -> Array:
    """q(s) delta(s): ask the expert if unsure *and* if the guide is likely to be wrong (eq-guided-query).

    Brantley, Sharaf and Daume 2020.
    """
    return q * delta


def regret(played: Array, fixed: Array) -> Array:
    """gamma_N = mean_i l_i(pi_i) - min_k mean_i l_i(k), (...): what hindsight would have saved (eq-dagger-regret).

    `played` (..., N) is the loss of each round's policy in its own round, `fixed` (..., N, K) that of each of K
    policies that could have been kept for all rounds. Ross, Gordon and Bagnell 2011.
    """
    if np.shape(fixed)[:-1] != np.shape(played):
        raise ValueError(
            f"hindsight must keep a policy for the rounds that were played: losses {np.shape(played)} of the rounds, "
            f"{np.shape(fixed)} of the policies"
        )
    return np.mean(played, axis=-1) - np.min(np.mean(fixed, axis=-2), axis=-1)


class Answers(NamedTuple):
    """Labels of a round, and how often the expert was asked for them, (...)."""

    labels: Labels
    queries: Array


Ask = Callable[[Params, Labels, Generator], Answers]


def always(expert: Act) -> Ask:
    """Ask the expert about every state: DAgger."""

    def ask(params: Params, seen: Labels, rng: Generator) -> Answers:
        return Answers(seen._replace(action=expert(seen.observation, rng)), seen.weight.sum(-1))

    return ask


def when_unsure(network: Network, expert: Act, b: float) -> Ask:
    """Ask about a state with the probability of (eq-query-probability), and forget it otherwise."""

    def ask(params: Params, seen: Labels, rng: Generator) -> Answers:
        q = query_probability(network.log_policy(params, seen.observation), b)
        weight = seen.weight * (rng.random(q.shape) < q)
        return Answers(Labels(seen.observation, expert(seen.observation, rng), weight), weight.sum(-1))

    return ask


@dataclass
class Guided:
    """Ask as in (eq-guided-query): where the policy is unsure, a free `guide` answers unless it is likely to be wrong.

    States are counted, so observations must be one-hot rows. delta(s) = (PRIOR + k) / (1 + n) if the expert, asked n
    times in s, contradicted the guide k times; PRIOR is high, because a wrong label that is believed stays in the data.
    Each run needs an object of its own, since it remembers the answers.
    """

    network: Network
    expert: Act
    guide: Act
    b: float
    asked: Array = 0.0
    wrong: Array = 0.0

    def __call__(self, params: Params, seen: Labels, rng: Generator) -> Answers:
        """Return the labels of one round: the expert's, the guide's, and weight 0 where nobody was asked."""
        state = seen.observation
        if not (np.isin(state, (0, 1)).all() and (np.sum(state, axis=-1) == 1).all()):
            raise ValueError("a guide is checked state by state: observations must be one-hot rows, as those of a grid")
        q = query_probability(self.network.log_policy(params, state), self.b)
        delta = np.sum(state * (PRIOR + self.wrong) / (1 + self.asked), axis=-1)
        draw = rng.random(q.shape)
        ask, told, answer = draw < guided_query_probability(q, delta), self.guide(state, rng), self.expert(state, rng)
        weight = (seen.weight * ask)[..., None] * state
        self.asked = self.asked + weight.sum(-2, keepdims=True)
        self.wrong = self.wrong + (weight * (answer != told)[..., None]).sum(-2, keepdims=True)
        labels = Labels(state, np.where(ask, answer, told), seen.weight * (draw < q))
        return Answers(labels, weight.sum((-2, -1)))


class Round(NamedTuple):
    """A policy, and the number of answers of the expert, (...), that it has learned from."""

    params: Params
    queries: Array


def dagger(
    world: World,
    expert: Act,
    network: Network,
    params: Params,
    labels: Labels,
    ask: Ask,
    train: Callable[[Params, Labels, Generator], Params],
    *,
    rounds: int,
    episodes: int,
    keep: int,
    horizon: int,
    beta: float,
    rate: float = 0.0,
    rng: Generator,
) -> list[Round]:
    """Roll in with the mixture, ask about `keep` states of each episode, aggregate, train: `rounds` times.

    `params` are a clone of the demonstrations `labels`; in round i = 1, 2, ... the expert's share is beta^i. `ask` is
    one of the ways to ask above, `train(params, labels, rng)` fits the policy to all labels so far. While it drives,
    the policy trembles with `rate`; the expert does not. Returns the clone and the policy of every round. Ross, Gordon
    and Bagnell 2011, algorithm 3.1.
    """
    check_sizes(world, network)
    if rounds < 1 or episodes < 1:
        raise ValueError(f"DAgger needs at least 1 round of 1 episode; got {rounds} rounds of {episodes}")
    checks.share("beta", beta)
    labels = check_labels(labels, network.actions)
    found = [Round(params, labels.weight.sum(-1))]
    for i in range(1, rounds + 1):
        act = mixture(expert, policies.acting(network, params, rate), beta**i)
        play = rollout(world, act, (*labels.weight.shape[:-1], episodes), horizon, rng)
        answers = ask(params, draw_states(play, keep, rng), rng)
        labels = join_labels(labels, answers.labels)
        params = train(params, labels, rng)
        found.append(Round(params, found[-1].queries + answers.queries))
    return found
