"""Learning to talk from logs of dialogues: proposals that a Q-function ranks, clones, critics, two levels, masks.

Beside the chapter "Dialogue is multi-turn"; functions stand in the order of its equations.

    b node: belief and last reply    u line    o reply    mu(u | b) who wrote the log    n(b, u, o) counts of the log
    n proposals    tau temperature    c price of a nat    z plan    y text    T turns    U lines    O replies

Levels hold an array for each turn, (n_t, U) or (n_t, U, O), as in `worlds.dialogues`. A learner knows which node it is
in, and the log; it does not know how the other side answers.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import autograd.numpy as np

from rlhf_lab.methods import offline
from rlhf_lab.methods.soft_values import soft_maximum
from rlhf_lab.models import gibbs
from rlhf_lab.models.lm import kl
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds.dialogues import Game, Log, Policy, Tree, sweep

TABLES = 100_000  # policies without memory that are tried; beyond that, a laptop waits
SPREAD = 600.0  # of Q / tau
START, STOP, STEP = -40.0, 5.0, 0.2  # log s of the integral in `proposal_law`; it goes on for unlikely proposals


def memoryless_value(game: Game, table: Array) -> Array:
    """What policies without memory earn, (...): lines (..., O, U) that depend on the last reply only (eq-memoryless).

    v_t(o, s) = sum_u pi(u | o) sum_(o', s') P(o', s' | s, u) (r(u, o') + v_(t+1)(o', s')), 0 behind the end.
    """
    lines, secrets = game.turn.shape[:2]
    onward = np.reshape(game.turn, (lines * secrets, -1))
    paid = np.sum(game.turn.sum(-1) * game.reward[:, None], axis=-1)
    goes_on = ~game.ends[:, None]
    value = np.zeros((*table.shape[:-1], secrets))
    for _ in range(game.horizon):
        following = np.reshape(goes_on * value, (*value.shape[:-2], -1))
        q = np.reshape(np.dot(following, onward.T), (*value.shape[:-2], lines, secrets)) + paid
        value = np.matmul(table, q)
    return np.sum(value * game.opening, axis=(-1, -2))


def best_memoryless(game: Game) -> tuple[Array, float]:
    """Return the best policy without memory and without chance, a table (O, U), and what it earns, by trying all.

    Raises `ValueError` if there are more than `TABLES`.
    """
    heard = np.flatnonzero((game.opening.sum(1) + game.turn.sum((0, 1, 3)) > 0) & ~game.ends)
    count = len(game.lines) ** len(heard)
    if count > TABLES:
        raise ValueError(f"{count:,} policies without memory are too many to try; the limit is {TABLES:,}")
    said = np.zeros((count, len(game.replies)), dtype=int)
    said[:, heard] = list(itertools.product(range(len(game.lines)), repeat=len(heard)))
    tables = np.eye(len(game.lines))[said]
    earned = memoryless_value(game, tables)
    return tables[np.argmax(earned)], float(np.max(earned))


def counts(nodes: Tree, log: Log, weight: Array | None = None) -> list[Array]:
    """Return n(b, u, o), levels (n_t, U, O): how often the log has each turn, each dialogue counted `weight` (N,)."""
    weight = np.ones(len(log.node)) if weight is None else np.asarray(weight, dtype=float)
    if weight.shape != (len(log.node),):
        raise ValueError(f"weight needs one number for each of the {len(log.node)} dialogues; got {weight.shape}")
    levels = []
    for t, chance in enumerate(nodes.chance):
        here = log.node[:, t] >= 0
        place = np.ravel_multi_index((log.node[here, t], log.line[here, t], log.reply[here, t]), chance.shape)
        levels.append(checks.tally(place, weight[here], chance.size).reshape(chance.shape))
    return levels


def clone(found: list[Array]) -> Policy:
    """mu(u | b) = n(b, u) / n(b), and uniform where the log never was (eq-dialogue-clone)."""
    return [np.exp(level) for level in offline.behaviour([n.sum(-1) for n in found])]


def filtered(earned: Array, share: float) -> Array:
    """Weights (N,) of dialogues for a filtered clone: 1 for the best `share` of what was earned, ties in, else 0.

    Raises `ValueError` if the share is outside (0, 1] (eq-dialogue-filter).
    """
    if not 0 < share <= 1:
        raise ValueError(f"share says how many dialogues are kept, in (0, 1]; got {share}")
    keep = np.sort(earned)[::-1][int(np.ceil(share * len(earned))) - 1]
    return (earned >= keep).astype(float)


def model(nodes: Tree, found: list[Array]) -> Tree:
    """Return the tree with the log's own frequencies for the chances of replies; 0 for what was never said.

    Sweeps over it are what batch Q-learning converges to (eq-dialogue-batch).
    """
    total = [np.sum(n, axis=-1, keepdims=True) for n in found]
    return nodes._replace(chance=[n / np.where(m > 0, m, 1) for n, m in zip(found, total, strict=True)])


class Learned(NamedTuple):
    """A policy, levels (n_t, U), and the Q-function that it was made from."""

    policy: Policy
    q: list[Array]


def naive_q(nodes: Tree, found: list[Array], reward: Array, unseen: list[Array]) -> Learned:
    """Q(b, u) = r + max_u' Q(b', u') where the log has been, and `unseen` elsewhere, which the maximum finds too.

    `unseen`, levels (n_t, U), is what the learner happens to say of lines that it has no data for (eq-dialogue-batch).
    """

    def guess(t: int, q: Array) -> Array:
        return np.where(found[t].sum(-1) > 0, q, unseen[t])

    values = sweep(model(nodes, found), reward, lambda t, q: np.max(guess(t, q), axis=-1))
    q = [guess(t, level) for t, level in enumerate(values.q)]
    return Learned([np.eye(level.shape[-1])[np.argmax(level, axis=-1)] for level in q], q)


def brac(nodes: Tree, found: list[Array], reward: Array, price: float) -> Learned:
    """KL control: V(b) = c log sum_u mu(u | b) exp(Q(b, u) / c), pi = mu exp((Q - V) / c) (eq-brac).

    It is BRAC with the divergence in the value and its best policy in closed form. Where the log never was, V is 0.
    """
    checks.positive("price", price)
    log_mu = offline.behaviour([n.sum(-1) for n in found])
    values = sweep(model(nodes, found), reward, lambda t, q: price * soft_maximum(log_mu[t] + q / price))
    policy = [np.exp(m + (q - v[:, None]) / price) for m, q, v in zip(log_mu, values.q, values.v, strict=True)]
    return Learned(policy, values.q)


def proposal_law(mu: Array, q: Array, n: int, tau: float) -> Array:
    """The law of one of n proposals u_i ~ mu, drawn from softmax(Q(u_i) / tau), (..., U) to (..., U) (eq-proposals).

    pi(u) = n mu(u) w(u) E[1 / (w(u) + sum of n - 1 others)], w = exp(Q / tau). 1 / x is the integral of exp(-s x) over
    s > 0, so the mean over the others is a power: one integral, on a grid of log s. Verma et al. 2022. Raises
    `ValueError` if Q / tau spreads by more than `SPREAD`.
    """
    checks.count("n", n, "the number of proposals")
    seen = mu > 0
    top = np.max(np.where(seen, q, -np.inf), axis=-1, keepdims=True)
    log_w = np.where(seen, (q - top) / checks.positive("tau", tau), 0.0)[..., None]
    if np.min(log_w) < -SPREAD:
        raise ValueError(
            f"tau = {tau:g} is too cold: Q / tau spreads by {-np.min(log_w):.0f}, at most {SPREAD:.0f} will do"
        )
    grid = np.arange(START, STOP - np.min(log_w), STEP)
    with np.errstate(divide="ignore"):
        log_mu = np.log(mu)[..., None]
    decay = -np.exp(log_w + grid)
    others = soft_maximum(np.swapaxes(log_mu + decay, -1, -2))[..., None, :]
    law = np.sum(np.exp(log_mu + log_w + grid + decay + (n - 1) * others), axis=-1)  # less a factor
    return law / np.sum(law, axis=-1, keepdims=True)


def chai(
    nodes: Tree,
    found: list[Array],
    reward: Array,
    n: int,
    tau: float,
    shape: Callable[[int, Array], Array] = lambda t, q: q,
) -> Learned:
    """Q(b, u) = r + E_pi Q(b', u'), pi the law of n proposals of the clone that Q re-ranks (eq-chai).

    `shape(t, q)` may make another Q of the target first, as `conservative` does.
    """
    mu = clone(found)
    values = sweep(
        model(nodes, found),
        reward,
        lambda t, q: np.sum(proposal_law(mu[t], shape(t, q), n, tau) * shape(t, q), axis=-1),
    )
    q = [shape(t, level) for t, level in enumerate(values.q)]
    return Learned([proposal_law(m, level, n, tau) for m, level in zip(mu, q, strict=True)], q)


def conservative(found: list[Array], alpha: float, *, data_term: bool = True) -> Callable[[int, Array], Array]:
    """Return the `shape` of CQL: Q = y - alpha (softmax(Q)(u) / mu(u) - 1) over the lines of the log (eq-public-cql).

    Without its data term, as in CHAI's public code, it is Q = y - alpha softmax(Q)(u) / mu(u): lower by alpha, each
    turn anew. Lines that were never said keep y.
    """

    def shape(t: int, y: Array) -> Array:
        n = found[t].sum(-1)
        log = offline.Log([n[:, None]], [np.where(n > 0, y, 0.0)[:, None]])
        q = offline.conservative_q(log, alpha).q[0][:, 0]
        return np.where(n > 0, q - (0.0 if data_term else alpha), y)

    return shape


def states(game: Game, log: Log, *, words: bool) -> tuple[Array, Array]:
    """Return what a critic sees: states (N, M) as numbers from 0, -1 behind the end, and rewards (N, M).

    A state is a node; with `words`, also what is already said of the line. The reward comes with the reply, in the last
    state of a turn. State 0 is the node before turn 1 of the first dialogue.
    """
    index: dict[tuple[int, int, tuple[str, ...]], int] = {}
    rows = []
    for node, line, reply in zip(log.node, log.line, log.reply, strict=True):
        row: list[tuple[int, float]] = []
        for t in np.flatnonzero(line >= 0):
            said = game.lines[line[t]].split() if words else [""]
            spoken = [(t, node[t], tuple(said[:k])) for k in range(len(said))]
            row += [(index.setdefault(key, len(index)), 0.0) for key in spoken]
            row[-1] = (row[-1][0], game.reward[line[t], reply[t]])
        rows.append(row)
    place, paid = np.full((len(rows), max(map(len, rows))), -1), np.zeros((len(rows), max(map(len, rows))))
    for k, row in enumerate(rows):
        place[k, : len(row)], paid[k, : len(row)] = zip(*row, strict=True)
    return place, paid


def td_lambda(place: Array, paid: Array, step: float, lam: float, value: Array) -> Array:
    """One dialogue after another: V(s_k) <- V(s_k) + eta (G_k - V(s_k)), in place; `value` has an entry for each state.

    G_k = r_k + (1 - lambda) V(s_(k+1)) + lambda G_(k+1), with V of before the dialogue (eq-td-lambda). lambda = 1 is
    Monte Carlo. Where it settles, V of a node is the mean of r + V of what followed, whether the states between two
    nodes are words or not (eq-td-fixed-point). Sutton and Barto 2018.
    """
    checks.positive("step", step)
    checks.share("lam", lam)
    for states_of, rewards in zip(place, paid, strict=True):
        seen = states_of[states_of >= 0]
        before = np.append(value[seen], 0.0)
        target = np.zeros(len(seen) + 1)
        for k in reversed(range(len(seen))):
            target[k] = rewards[k] + (1 - lam) * before[k + 1] + lam * target[k + 1]
        value[seen] += step * (target - before)[:-1]
    return value


class TwoLevels(NamedTuple):
    """What two optima are worth, units of reward, and how far their laws of plan and text are apart, nats."""

    manager: Array
    joint: Array
    kl: Array


def two_levels(log_plan: Array, log_text: Array, reward: Array, price: float) -> TwoLevels:
    """Optimum of a manager, who chooses plans z and leaves the texts to p(y | z), and of both levels (eq-two-levels).

    `log_plan` (Z,), `log_text` (Z, Y), `reward` (Z, Y). Manager: c log sum p(z) exp(E[R | z] / c). Joint: c log sum
    p(z, y) exp(R / c). The difference is c KL over (z, y) (eq-two-level-gap).
    """
    expected = np.sum(np.exp(log_text) * reward, axis=-1)
    both = np.reshape(log_plan[:, None] + log_text, -1)
    plans = gibbs.log_policy(log_plan, expected, price)
    law = np.reshape(plans[:, None] + log_text, -1)
    best = gibbs.log_policy(both, np.reshape(reward, -1), price)
    said = np.isfinite(law)
    return TwoLevels(
        price * gibbs.log_normaliser(log_plan, expected, price),
        price * gibbs.log_normaliser(both, np.reshape(reward, -1), price),
        kl(law[said], best[said]),
    )


def pair_counts(game: Game, nodes: Tree, log: Log) -> tuple[Array, Array]:
    """Count which words follow which: your lines after replies (O, U), and replies after your lines (U, O)."""
    before = np.column_stack([nodes.reply[0][log.node[:, 0]], log.reply[:, :-1]])
    alive = log.line >= 0
    shape = len(game.replies), len(game.lines)
    mine = checks.tally(np.ravel_multi_index((before[alive], log.line[alive]), shape), None, shape[0] * shape[1])
    other = checks.tally(np.ravel_multi_index((log.line[alive], log.reply[alive]), shape[::-1]), None, mine.size)
    return mine.reshape(shape).astype(float), other.reshape(shape[::-1]).astype(float)


def shared_clone(mine: Array, other: Array, same_line: Array, same_reply: Array, leak: float) -> Array:
    """A clone (O, U) whose parameters are the same for both sides: p(word | word before) (eq-leak).

    The loss counts your words with weight 1 and those of the other side with weight `leak`, which the mask should set
    to 0. `same_line` (O,) is the line that has the word of each reply, `same_reply` (U,) the reply that has the word of
    each line, -1 if there is none. What no data tell is uniform.
    """
    checks.share("leak", leak)
    padded = np.pad(other, ((0, 1), (0, 1)))
    total = mine + leak * padded[np.ix_(same_line, same_reply)]
    known = np.sum(total, axis=-1, keepdims=True)
    return np.where(known > 0, total / np.where(known > 0, known, 1.0), 1 / total.shape[1])
