"""A dialogue as a game with a secret: tables of who says what, and exact play by dynamic programming over beliefs.

Beside the chapter "Dialogue is multi-turn"; functions stand in the order of its equations.

    u a line of yours    o a reply    s the secret, which the other side knows    b belief, P(s | dialogue)
    U lines    O replies    S secrets    T turns    n_t beliefs that can be reached before turn t    pi policy

What was said matters only through the belief and the last reply. Both together are a node; before turn t there are n_t
of them. A policy is a list of T arrays (n_t, U) of probabilities.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array

END = "<end>"
DIGITS = 12  # beliefs that agree so far are one
NODES = 200_000  # beliefs before one turn; beyond that, a laptop waits
Policy = list[Array]


@dataclass(frozen=True)
class Game:
    """What two sides can say, and how the other side answers.

    `opening` (O, S) is the probability of a secret and of the reply that opens the dialogue; `turn` (U, S, O, S) that
    of a reply and the next secret, given a line and the secret; `reward` (U, O) is paid for a line and its reply. A
    reply of `ends` (O,) ends the dialogue; one of `good` (O,) is a success. Turn `horizon` is the last in any case.
    Raises `ValueError` if the tables do not fit, or if probabilities do not sum to 1.
    """

    lines: tuple[str, ...]
    replies: tuple[str, ...]
    opening: Array
    turn: Array
    reward: Array
    ends: Array
    good: Array
    horizon: int

    def __post_init__(self) -> None:
        checks.count("horizon", self.horizon, "the number of turns")
        u, o, s = len(self.lines), len(self.replies), np.shape(self.opening)[-1]
        wanted = {"opening": (o, s), "turn": (u, s, o, s), "reward": (u, o), "ends": (o,), "good": (o,)}
        for name, shape in wanted.items():
            if np.shape(getattr(self, name)) != shape:
                raise ValueError(f"{name} must have shape {shape}; got {np.shape(getattr(self, name))}")
        for name, said in (("lines", self.lines), ("replies", self.replies)):
            if len(set(said)) < len(said):
                raise ValueError(f"{name}: the same words stand twice")
        checks.probabilities("opening", np.ravel(self.opening))
        checks.probabilities("turn", np.reshape(self.turn, (u, s, -1)))

    def line(self, words: str) -> int:
        """Return the number of a line. Raises `ValueError` if it is not in the language."""
        if words not in self.lines:
            raise ValueError(f"{words!r} is outside the language of this game; its lines are: {', '.join(self.lines)}")
        return self.lines.index(words)


class Tree(NamedTuple):
    """All nodes that a dialogue can reach, level by level.

    `start` (n_0,) are probabilities of the first nodes. Level t has `belief` (n_t, S), the last `reply` (n_t,), the
    `chance` (n_t, U, O) of each reply, and the node `child` (n_t, U, O) of level t + 1 behind it; -1 if there is none.
    """

    start: Array
    belief: list[Array]
    reply: list[Array]
    chance: list[Array]
    child: list[Array]


def tree(game: Game) -> Tree:
    """Find every node, by b'(s') = sum_s b(s) P(o, s' | s, u) / P(o | b, u) (eq-belief).

    Raises `ValueError` if more than `NODES` nodes stand before one turn.
    """
    start = np.sum(game.opening, axis=-1)
    reply = np.flatnonzero(start)
    found = Tree(start[reply], [game.opening[reply] / start[reply, None]], [reply], [], [])
    u, s, o, _ = game.turn.shape
    step = np.moveaxis(game.turn, 1, 0).reshape(s, -1)
    for t in range(game.horizon):
        joint = (found.belief[t] @ step).reshape(-1, u, o, s)
        chance = joint.sum(-1)
        found.chance.append(chance)
        child = np.full(chance.shape, -1)
        if t + 1 < game.horizon:
            goes_on = (chance > 10.0**-DIGITS) & ~game.ends
            beliefs, said = joint[goes_on] / chance[goes_on][:, None], np.nonzero(goes_on)[2]
            index: dict[bytes, int] = {}
            keys = (row.tobytes() for row in np.column_stack([said, np.round(beliefs, DIGITS) + 0.0]))
            child[goes_on] = [index.setdefault(key, len(index)) for key in keys]
            if len(index) > NODES:
                raise ValueError(f"{len(index)} beliefs before turn {t + 2} are too many: shorten the horizon")
            first = np.unique(child[goes_on], return_index=True)[1]
            found.reply.append(said[first])
            found.belief.append(beliefs[first])
        found.child.append(child)
    return found


class Values(NamedTuple):
    """Values of the nodes, a level for each turn: `v` (n_t,) and `q` (n_t, U)."""

    v: list[Array]
    q: list[Array]


def sweep(nodes: Tree, reward: Array, backup: Callable[[int, Array], Array]) -> Values:
    """Sweep from the last turn to the first: q(b, u) = sum_o P(o | b, u) (r(u, o) + v(b')), v = backup(t, q).

    `reward` (U, O). Behind the end, v is 0 (eq-belief-value).
    """
    values = Values([], [])
    for t in reversed(range(len(nodes.chance))):
        following = np.append(values.v[0] if values.v else (), 0.0)[nodes.child[t]]  # the last entry is that of -1
        values.q.insert(0, np.sum(nodes.chance[t] * (reward + following), axis=-1))
        values.v.insert(0, backup(t, values.q[0]))
    return values


def solve(nodes: Tree, reward: Array) -> Values:
    """V(b) = max_u Q(b, u): exact, because there is no other node that a dialogue could reach (eq-belief-value)."""
    return sweep(nodes, reward, lambda t, q: np.max(q, axis=-1))


def evaluate(nodes: Tree, policy: Policy, reward: Array) -> float:
    """Return what a policy earns in a dialogue on average, sum over first nodes of P(b) V^pi(b)."""
    values = sweep(nodes, reward, lambda t, q: np.sum(policy[t] * q, axis=-1))
    return float(nodes.start @ values.v[0])


def visits(game: Game, nodes: Tree, policy: Policy, opening: Array) -> Array:
    """Return how often each line meets each reply in a dialogue, on average, (U, O), for other odds of the secret.

    `opening` (O, S) has the shape of that of the game: one kind of buyer only, say. The policy knows nothing of it
    (eq-visits). Rewards are weighted sums: sum(visits * reward) is what the policy earns.
    """
    weight = np.asarray(opening)[nodes.reply[0]]
    total = np.zeros(game.reward.shape)
    for t, child in enumerate(nodes.child):
        joint = np.einsum("ns,nu,usop->nuop", weight, policy[t], game.turn, optimize=True)
        total += joint.sum((0, -1))
        goes_on = child >= 0
        weight = np.zeros((len(nodes.belief[t + 1]) if t + 1 < game.horizon else 0, weight.shape[1]))
        np.add.at(weight, child[goes_on], joint[goes_on])
    return total


def best(values: Values) -> Policy:
    """Return the policy that says the line of the largest Q; of lines that are level, the first."""
    return [np.eye(q.shape[-1])[np.argmax(np.round(q, DIGITS - 2), axis=-1)] for q in values.q]


def constant(nodes: Tree, table: Array) -> Policy:
    """Return the policy without memory that says each line u after a reply o with probability `table` (O, U)."""
    return [table[reply] for reply in nodes.reply]


class Log(NamedTuple):
    """Dialogues (N, T): the node before each turn, the line and the reply; -1 behind the end."""

    node: Array
    line: Array
    reply: Array


def sample(nodes: Tree, policy: Policy, count: int, rng: Generator) -> Log:
    """Draw dialogues of a policy. The secret need not be drawn: the replies have the law that the belief gives."""
    checks.count("count", count, "the number of dialogues")
    at = rng.choice(len(nodes.start), size=count, p=nodes.start)
    log = Log(*np.full((3, count, len(nodes.chance)), -1))
    for t, chance in enumerate(nodes.chance):
        alive = np.flatnonzero(at >= 0)
        here = at[alive]
        line = _draw(policy[t][here], rng)
        reply = _draw(chance[here, line], rng)
        for column, value in zip(log, (here, line, reply), strict=True):
            column[alive, t] = value
        at[alive] = nodes.child[t][here, line, reply]
    return log


def _draw(probabilities: Array, rng: Generator) -> Array:
    below = np.cumsum(probabilities, axis=-1)
    return np.sum(below[:, :-1] <= rng.random((len(below), 1)) * below[:, -1:], axis=-1)


def earned(game: Game, log: Log) -> Array:
    """Return what each dialogue of a log earned, (N,)."""
    return np.sum(np.where(log.line >= 0, game.reward[log.line, log.reply], 0.0), axis=-1)


def write(game: Game, log: Log, opening: Sequence[int]) -> list[list[str]]:
    """Write a log as text: the reply that opens (N,), then lines and replies in turn, and `<end>`."""
    texts = []
    for first, lines, replies in zip(opening, log.line, log.reply, strict=True):
        turns = [(game.lines[u], game.replies[o]) for u, o in zip(lines, replies, strict=True) if u >= 0]
        texts.append([game.replies[first], *(words for pair in turns for words in pair), END])
    return texts


def read(game: Game, nodes: Tree, texts: Iterable[Sequence[str]]) -> Log:
    """Read a log of dialogues, as `write` makes them.

    Raises `ValueError`, and says which dialogue it is, if one lacks its `<end>`, goes on behind its end, has words
    outside the language, or a reply that the other side cannot give.
    """
    rows = [_read(game, nodes, k, text) for k, text in enumerate(texts)]
    log = Log(*np.full((3, len(rows), game.horizon), -1))
    for k, row in enumerate(rows):
        for t, turn in enumerate(row):
            for column, value in zip(log, turn, strict=True):
                column[k, t] = value
    return log


def _read(game: Game, nodes: Tree, k: int, text: Sequence[str]) -> list[tuple[int, int, int]]:
    if not text or text[-1] != END:
        raise ValueError(
            f"dialogue {k} lacks its terminal mark {END!r}: without it nobody knows whether it was cut off"
        )
    opening, *said = text[:-1]
    unknown = [reply for reply in (opening, *said[1::2]) if reply not in game.replies]
    if unknown:
        raise ValueError(f"dialogue {k}: nobody replies {unknown[0]!r} in this game")
    first = np.flatnonzero(nodes.reply[0] == game.replies.index(opening))
    if not len(first) or len(said) % 2 or len(said) > 2 * game.horizon:
        raise ValueError(f"dialogue {k} must open with a reply, then lines and replies in turn, {game.horizon} at most")
    at, row = int(first[0]), []
    for t, (words, answer) in enumerate(zip(said[::2], said[1::2], strict=True)):
        u, o = game.line(words), game.replies.index(answer)
        if at < 0 or nodes.chance[t][at, u, o] == 0:
            why = "it is over" if at < 0 else f"after {words!r} nobody replies {answer!r}"
            raise ValueError(f"dialogue {k}, turn {t + 1}: {why}")
        row.append((at, u, o))
        at = int(nodes.child[t][at, u, o])
    if at >= 0:
        raise ValueError(f"dialogue {k} stops after {len(row)} turns, but it was not over: {END!r} stands too early")
    return row
