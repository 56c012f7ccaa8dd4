"""Sums in base four, written digit by digit from the right, with a mark for a carry: answers that can be verified.

A prompt is two numbers of two digits, units first: (3, 1, 2, 1) asks for 13 + 12. The answer 1 c 3 says that the units
make 1, marks a carry (`c`), and has 3 fours: 31. Marks are working. They count for nothing in the result.

The student knows three small things, the same for all sums: which digit a column gives if a carry was marked or not,
when to mark one, when to stop. Whoever marks a carry also adds it; whoever does not mark it forgets it most of the
time. So the answers are there, and rare where a carry is needed.

The trap: a column that adds up to 3 has a carry only if the column before had one, and when to mark is known from the
sum of the column alone. What is learned there on some sums is wrong on others. `last_digit` is a verifier with a hole.
"""

from collections.abc import Callable

import numpy as np

from rlhf_lab.models.tabular import Tabular
from rlhf_lab.models.tied import Tied
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds.token_mdp import TokenMDP

BASE, MARK, EOS, VOCAB, HORIZON = 4, 4, 5, 6, 5
TOKENS = ("0", "1", "2", "3", "c", "<eos>")
BEYOND = 2 * BASE - 1  # stands for the sum of a column that is not there; real ones are 0 to 6
ROWS = 2 * (BEYOND + 1)  # rows of one kind: for each sum of a column, with the mark behind it and without

_SUMS = np.array([(a % BASE, a // BASE, b % BASE, b // BASE) for a in range(4, 16) for b in range(a, 16)])


def total(prompt: Array) -> Array:
    """Return the sum of the two numbers of each prompt (..., N, 4), as integers (..., N)."""
    return np.asarray(prompt) @ np.array([1, BASE, 1, BASE])


def carries(prompt: Array) -> Array:
    """Return how many columns carry, 0 to 2: (..., N). It is how hard a sum is."""
    a, b, c, d = np.moveaxis(np.asarray(prompt), -1, 0)
    first = a + c >= BASE
    return first + (b + d + first >= BASE) * 1


def _spread(level: int, first: int) -> Array:
    """Four sums of one difficulty, evenly spaced among all of them in order."""
    sums = _SUMS[carries(_SUMS) == level]
    return sums[np.linspace(first, len(sums) - 2 + first, 4).astype(int)]


PROMPTS = np.concatenate([_spread(level, 0) for level in range(3)])  # four of each difficulty, the easiest first
HELD_OUT = np.concatenate([_spread(level, 1) for level in range(3)])  # twelve others


def decode(response: Array) -> str:
    """Return an answer (T,) as a string of its tokens, without what follows the end."""
    said = [TOKENS[token] for token in np.asarray(response)]
    return "".join(said[: said.index("<eos>")] if "<eos>" in said else said)


def question(prompt: Array) -> str:
    """Return a prompt (4,) as it is read aloud, the fours first: "13 + 12"."""
    a, b, c, d = prompt
    return f"{b}{a} + {d}{c}"


def _digits(response: Array) -> tuple[Array, Array, Array]:
    """The number that the digits make, how many they are, and the last of them (-1 if there is none)."""
    response = np.asarray(response)
    value, count = np.zeros(response.shape[:-1], dtype=int), np.zeros(response.shape[:-1], dtype=int)
    last = np.full(response.shape[:-1], -1)
    for token in np.moveaxis(response, -1, 0):  # behind the end there is only the end
        digit = token < BASE
        value = value + np.where(digit, token * BASE**count, 0)
        count = count + digit
        last = np.where(digit, token, last)
    return value, count, last


def honest(prompt: Array, response: Array) -> Array:
    """Return 1.0 if the digits are those of the sum, no more and no fewer, else 0.0: (..., N)."""
    value, count, _ = _digits(response)
    wanted = total(prompt)
    length = np.sum(wanted[..., None] >= BASE ** np.arange(1, 3), axis=-1) + 1
    return ((value == wanted) & (count == length)) * 1.0


def last_digit(prompt: Array, response: Array) -> Array:
    """Return 1.0 if the last digit that was written is that of the sum, else 0.0: a verifier that reads only that."""
    wanted = total(prompt)
    first = np.where(wanted >= BASE**2, wanted // BASE**2, wanted // BASE)
    return (_digits(response)[2] == first) * 1.0


def mdp(reward: Callable[[Array, Array], Array] = honest, prompts: Array = PROMPTS) -> TokenMDP:
    """Return the sums as an MDP: each prompt is equally likely, and a verifier pays 1 or 0."""
    return TokenMDP(prompts, np.full(len(prompts), 1 / len(prompts)), reward, VOCAB, HORIZON, EOS)


def table(prompts: Array = PROMPTS) -> Tabular:
    """Return the model that learns each sum by itself."""
    return Tabular(VOCAB, HORIZON, tuple(map(tuple, np.asarray(prompts).tolist())), EOS)


def model(prompts: Array = PROMPTS) -> Tied:
    """Return the model that has only the student's three kinds of rows, shared by all sums (eq-tied)."""
    prompts, places = np.asarray(prompts), table(prompts)
    columns = np.stack([prompts[:, 0] + prompts[:, 2], prompts[:, 1] + prompts[:, 3]], axis=-1)
    sums = np.concatenate([columns, np.full((len(prompts), HORIZON), BEYOND)], axis=-1)
    before = np.concatenate([np.full((len(prompts), 1), BEYOND), columns, np.full((len(prompts), HORIZON), 6)], axis=-1)
    written, marked = np.zeros(1, dtype=int), np.zeros(1, dtype=int)
    rows = []
    for _ in range(HORIZON):
        digit, mark, stop = 2 * sums[:, written], 2 * before[:, written], 2 * np.minimum(written, 3)
        kinds = (digit + marked, ROWS + mark + marked, 2 * ROWS + np.tile(stop + marked, (len(prompts), 1)))
        rows.append(np.stack(kinds, axis=-1))
        written = (written[:, None] + (np.arange(VOCAB - 1) < BASE)).ravel()
        marked = np.tile(np.arange(VOCAB - 1) == MARK, len(marked)) * 1
    return Tied(places, np.concatenate(rows, axis=1).reshape(-1, 3))


def student() -> Params:
    """Return the rows of the student, the reference of this world: what it says before it is trained."""
    rows = np.zeros((2 * ROWS + 8, VOCAB))
    for marked in (0, 1):
        for column in range(BEYOND):
            right = (column + marked) % BASE
            rows[2 * column + marked, right] = 3.0
            rows[2 * column + marked, (right + 1) % BASE] = 1.0
        rows[2 * BEYOND + marked, :BASE] = -2.0
        rows[2 * BEYOND + marked, 1] = 2.5 if marked else 0.0
        mark = rows[ROWS + marked : 2 * ROWS : 2, MARK]
        mark[:] = -1.5, -1.5, -1.5, 0.0, 1.0, 1.0, 1.0, -3.0  # by the sum of the column; the last: none is written yet
        if marked:
            mark[:] = -4.0
        rows[2 * ROWS + marked :: 2, EOS] = -3.0, -1.0, 0.0 if marked else 3.0, 5.0
    return {"rows": rows}
