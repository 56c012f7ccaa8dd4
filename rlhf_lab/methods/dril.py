"""Disagreement-regularised imitation: an ensemble of clones says where demonstrations end; a policy stays inside.

    pi policy    pi_m member of the ensemble    C cost    d_pi share of time in a state    T horizon    A actions
    n counts of the demonstrations    q quantile    lambda weight of cloning    G cost to go    gamma discount
    U states that count as shown    alpha concentrability on U    v least disagreement outside U    u cost of an error
    epsilon error of pi where the expert goes

Costs are pure numbers: a variance of probabilities, at most 1/4, or -1 and +1. After Brantley, Sun and Henaff 2020.
"""

from collections.abc import Iterable
from typing import NamedTuple

import autograd.numpy as np
from autograd import grad
from numpy.random import Generator

from rlhf_lab.feedback import demonstrations
from rlhf_lab.feedback.demonstrations import Labels
from rlhf_lab.methods.imitation import cloning_loss
from rlhf_lab.models import policies
from rlhf_lab.models.policies import Network
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_prob_of
from rlhf_lab.numerics.optim import Params, adam, fit
from rlhf_lab.worlds.control import World, check_sizes, rollout
from rlhf_lab.worlds.gridworlds import Grid, most_visits, occupancy


def posterior_ensemble(counts: Array, members: int, rng: Generator, pseudo_count: float = 1.0) -> Array:
    """Draw pi_m(. | s) ~ Dirichlet(c + n(s, .)), (M, ..., S, A) from counts (..., S, A) (eq-posterior-ensemble).

    The posterior of a table that begins with a pseudo-count c; in states without demonstrations, members are arbitrary.
    Gamma variables are drawn as logarithms, that of shape a as one of shape a + 1 and an exponential one: for a small
    c they would all be rounded to 0. Marsaglia and Tsang 2000.
    """
    a = checks.positive("pseudo_count", pseudo_count) + np.asarray(counts)
    size = (_members(members), *a.shape)
    return policies.softmax(np.log(rng.standard_gamma(a + 1, size)) - rng.standard_exponential(size) / a)


def bootstrap(weight: Array, members: int, rng: Generator) -> Array:
    """Draw how often each pair counts for each member, (M, ..., N): as many draws as there are pairs, with replacement.

    `weight` (..., N) counts the pairs that are there. Efron 1979.
    """
    total = np.sum(demonstrations.check_weights(weight), axis=-1)
    if (np.mod(weight, 1) != 0).any():
        raise ValueError("a bootstrap draws pairs: weights must be whole numbers, how often each pair is there")
    return rng.multinomial(total.astype(int), weight / total[..., None], size=(_members(members), *total.shape))


def _members(members: int) -> int:
    if members < 2:
        raise ValueError(f"an ensemble of {members} cannot disagree with itself; use at least 2 members, 5 are usual")
    return members


def disagreement(probs: Array) -> Array:
    """C(s, a) = Var_m(pi_m(a | s)), the variance over the members, first axis of `probs` (eq-policy-disagreement).

    Brantley, Sun and Henaff 2020.
    """
    _members(len(probs))
    return np.var(probs, axis=0)


def costs(network: Network, ensemble: Params, rows: Labels) -> Array:
    """Return C(s, a) for observations and actions (..., N), from an ensemble of networks (M, ...): (..., N)."""
    log_pi = network.log_policy(ensemble, rows.observation)
    action = np.broadcast_to(rows.action, log_pi.shape[:-1])
    return disagreement(np.exp(np.take_along_axis(log_pi, action[..., None], axis=-1)[..., 0]))


def clipped(cost: Array, threshold: Array) -> Array:
    """+1 where the members disagree more than the threshold, -1 elsewhere (eq-clipped-disagreement).

    Brantley, Sun and Henaff 2020.
    """
    return np.where(cost > threshold, 1.0, -1.0)


def threshold(cost: Array, weight: Array, quantile: float) -> Array:
    """Return the smallest cost that a share `quantile` of the demonstrations, (..., N), does not exceed: (...)."""
    if not 0 < quantile < 1:
        raise ValueError(f"quantile is a share of the demonstrations, above 0 and below 1; got {quantile}")
    order = np.argsort(cost)
    demonstrations.check_weights(weight)
    share = np.cumsum(np.take_along_axis(weight, order, axis=-1), axis=-1) / np.sum(weight, axis=-1, keepdims=True)
    place = np.argmax(share >= quantile - 1e-12, axis=-1)
    return np.take_along_axis(cost, np.take_along_axis(order, place[..., None], axis=-1), axis=-1)[..., 0]


def objective(expected_cost: Array, cloning: Array, weight: Array) -> Array:
    """E_(s, a ~ pi)[C(s, a)] + lambda L(pi): stay where the ensemble agrees, and imitate there (eq-dril-objective)."""
    return expected_cost + weight * cloning


def expected_cost(grid: Grid, policy: Array, cost: Array, horizon: int) -> Array:
    """Return sum_t sum_s d_t(s) sum_a pi(a | s) C(s, a) / T, exactly, for `policy` and `cost` (..., S, A)."""
    steps = occupancy(grid, policy, horizon)
    return np.sum(steps * np.sum(policy * cost, axis=-1)[..., None, :], axis=(-2, -1)) / horizon


def costs_to_go(cost: Array, alive: Array, discount: float) -> Array:
    """Return G_t = C_t + gamma G_(t+1), (T, ...), time first; nothing is paid once an episode is over."""
    total, found = 0.0, np.empty(cost.shape)
    for t in range(len(cost) - 1, -1, -1):
        total = cost[t] * alive[t] + discount * total
        found[t] = total
    return found


def advantages(to_go: Array, alive: Array) -> Array:
    """Return E / (E - 1) times G_t less the mean of G_t over the episodes, (T, ..., E), 0 once an episode is over.

    The mean is over all E episodes, those that are over with a cost of 0. Leaving an episode out of its own mean would
    be the same: that is what the factor does, so that the gradient has no bias.
    """
    episodes = to_go.shape[-1]
    if episodes < 2:
        raise ValueError(f"a mean over episodes needs at least 2 of them; got {episodes}")
    return (to_go - to_go.mean(-1, keepdims=True)) * alive * episodes / (episodes - 1)


def surrogate(log_pi: Array, advantage: Array, horizon: int) -> Array:
    """sum_t A_t log pi(a_t | s_t) / T, mean over episodes; its gradient is that of the cost (eq-dril-gradient).

    `log_pi` and `advantage` (..., E, T') hold the steps of E episodes side by side. Williams 1992.
    """
    return np.mean(np.sum(advantage * log_pi, axis=-1), axis=-1) / horizon


def dril(
    world: World,
    network: Network,
    params: Params,
    ensemble: Params,
    labels: Labels,
    limit: Array | None,
    *,
    rounds: int,
    episodes: int,
    horizon: int,
    weight: float,
    discount: float,
    step_size: float,
    rng: Generator,
) -> Params:
    """Start from a clone, and mix its cloning loss with policy-gradient steps on the cost of an ensemble of clones.

    `params` are the clone, `ensemble` the same with a leading axis of members, `labels` the demonstrations, `weight` is
    lambda. The cost is clipped at `limit` (...), see `threshold`, or raw if that is None; infinity makes it -1 at every
    step, so that nothing counts but to go on. Each round plays `episodes` episodes for each seed and takes one step of
    Adam. Brantley, Sun and Henaff 2020, algorithm 1, with REINFORCE.
    """
    check_sizes(world, network)
    checks.positive("weight", weight)
    checks.share("discount", discount)
    if np.shape(ensemble["weights"])[1:] != np.shape(params["weights"]):
        raise ValueError(
            f"an ensemble has the shape of the parameters, behind an axis of members: weights "
            f"{np.shape(params['weights'])}, of the ensemble {np.shape(ensemble['weights'])}"
        )
    if limit is not None and np.isnan(limit).any():
        raise ValueError("limit is NaN: take it from `threshold`, or None for the raw cost")
    shown = demonstrations.check_labels(labels, network.actions)
    lead = shown.weight.shape[:-1]

    def collect(params: Params, rng: Generator) -> Iterable[tuple[Labels, Array]]:
        play = rollout(world, policies.acting(network, params), (*lead, episodes), horizon, rng)
        length = len(play.alive)
        rows = Labels(*(_rows(part, len(lead)) for part in (play.observation, play.action, play.alive)))
        cost = costs(network, ensemble, rows)
        cost = cost if limit is None else clipped(cost, np.asarray(limit)[..., None])
        timed = np.moveaxis(np.reshape(cost, (*lead, episodes, length)), -1, 0)
        yield rows, np.moveaxis(advantages(costs_to_go(timed, play.alive, discount), play.alive), 0, -1)

    def loss(params: Params, batch: tuple[Labels, Array]) -> Array:
        rows, advantage = batch
        log_pi = log_prob_of(network.logits(params, rows.observation), rows.action)
        imitate = cloning_loss(network.logits(params, shown.observation), shown.action, shown.weight)
        return objective(surrogate(np.reshape(log_pi, advantage.shape), advantage, horizon), imitate, weight)

    return fit(loss, params, collect, rounds=rounds, optimizer=adam(step_size), rng=rng)[0]


def _rows(values: Array, lead: int) -> Array:
    # (T, ..., E, rest) to (..., E * T, rest)
    moved = np.moveaxis(values, 0, lead + 1)
    return np.reshape(moved, (*moved.shape[:lead], -1, *moved.shape[lead + 2 :]))


def solve_table(
    grid: Grid, counts: Array, cost: Array, *, horizon: int, weight: Array, rate: float, rounds: int, step_size: float
) -> Array:
    """Return the pi (..., S, A) that, trembling with `rate`, minimises (eq-dril-objective): exact natural gradient.

    `counts` (..., S, A) are the demonstrations, `cost` (..., S, A) is C, `weight` (...) is lambda, `rate` is above 0.
    Each round adds to the logits what the objective gains from each action in a state, for a visit there, times
    `step_size`: rare states learn as fast as frequent ones. Starts from a policy that does not care; what is returned
    does not tremble. Kakade 2001.
    """
    checks.positive("weight", np.min(weight))
    checks.positive("rate", rate)
    checks.positive("step_size", step_size)

    def value(policy: Array) -> Array:
        shaky = policies.trembling(policy, rate)
        imitate = -np.sum(counts * np.log(shaky), axis=(-2, -1)) / np.sum(counts, axis=(-2, -1))
        return np.sum(objective(expected_cost(grid, shaky, cost, horizon), imitate, weight))

    slope, logits = grad(value), np.zeros(np.shape(cost))
    for _ in range(rounds):
        policy = policies.softmax(logits)
        visits = occupancy(grid, policies.trembling(policy, rate), horizon).mean(-2)[..., None]
        logits = logits - step_size * slope(policy) / np.where(visits > 0, visits, 1.0)
    return policies.softmax(logits)


def concentrability(grid: Grid, shown: Array, horizon: int) -> Array:
    """max_pi d_pi(s) / d_pi*(s) for each state, (S,), over all policies there are (eq-concentrability).

    `shown` (T, S) is the expert's occupancy. Infinite where others can go and the expert never is, 0 where nobody can.
    """
    most, own = most_visits(grid, horizon), shown.sum(0)
    ratio = np.full(len(own), np.inf)
    np.divide(most, own, out=ratio, where=own > 0)
    return np.where(most == 0, 0.0, ratio)


def dril_bound(ratio: Array, variance: Array, epsilon: Array, cost: Array, u: float, horizon: int) -> Array:
    """J(pi*) - J(pi) <= min_U u T (alpha(U) epsilon + E_pi[C] / v(U)), (...) (eq-dril-bound).

    alpha(U) = max_(s in U) ratio and v(U) = min_(s not in U, a) variance, for a `ratio` (S,), the concentrability, and
    a `variance` (S, A), that of the ensemble; `epsilon` (...) is the error of pi where the expert goes, `cost` (...)
    what it pays a step where *it* goes. U may be empty, with alpha 0, or hold all states: then nothing is paid. S + 1
    sets are enough, since what lies below the largest ratio of U may join it for nothing.
    """
    least, best = np.min(variance, axis=-1), np.full(np.shape(epsilon), np.inf)
    for limit in (-1.0, *np.unique(ratio)):
        inside = ratio <= limit
        alpha, v = ratio[inside].max(initial=0.0), least[~inside].min(initial=np.inf)
        if v > 0 and np.isfinite(alpha):
            best = np.minimum(best, alpha * epsilon + cost / v)
    return u * horizon * best


class Kappa(NamedTuple):
    """The smallest kappa, and the set that gives it: inside U (S,), alpha(U), and the least variance outside."""

    kappa: float
    inside: Array
    alpha: float
    variance: float


def kappa(ratio: Array, variance: Array) -> Kappa:
    """min_U alpha(U) / v(U), alpha = max(1, max_(s in U) ratio), v = min_(s not in U, a) variance (eq-dril-kappa).

    `ratio` (S,) is the concentrability, `variance` (S, A) that of the ensemble. U is not empty and leaves a state out.
    Two S sets are enough: what lies below the largest ratio of U may join it for nothing, so U holds all ratios up to
    some number, or, if that would be all states, all but one. After Brantley, Sun and Henaff 2020.
    """
    states = len(ratio)
    if states < 2:
        raise ValueError(f"kappa needs at least 2 states; got {states}")
    least, best = np.min(variance, axis=-1), None
    sets = [ratio <= limit for limit in np.unique(ratio)] + [np.arange(states) != left for left in range(states)]
    for inside in sets:
        if not inside.all():
            alpha, v = max(1.0, ratio[inside].max()), least[~inside].min()
            value = alpha / v if v > 0 else np.inf
            if best is None or value < best.kappa:
                best = Kappa(float(value), inside, float(alpha), float(v))
    assert best is not None
    return best


def kappa_bound(kappa: Array, epsilon: Array, cost: Array, u: float, horizon: int) -> Array:
    """J(pi*) - J(pi) <= kappa u (epsilon + E_pi[C]) T (eq-kappa-bound): that of `dril_bound`, made simpler and larger.

    `epsilon` is the error of pi where the expert goes, `cost` its expected cost a step where *it* goes. After
    Brantley, Sun and Henaff 2020.
    """
    return kappa * u * (epsilon + cost) * horizon
