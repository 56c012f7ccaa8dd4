"""PhraseWorld: a toy assistant that is asked about tea and ice, small enough to list everything it could say.

Four prompts of three words, ten words to answer with, answers of up to five tokens: 111,111 answers to each prompt.

The trap: the reward judges what is said, not whether it is English. "thanks hot yes" scores as well as "yes hot
thanks". Only the pretrained model knows how people talk, which is why every chapter stays close to it.
"""

from functools import cache

import numpy as np

from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds import words
from rlhf_lab.worlds.token_mdp import TokenMDP

WORDS = ("yes", "no", "it", "is", "tea", "ice", "hot", "cold", "thanks", "fool", "<eos>")
VOCAB = len(WORDS)
EOS = VOCAB - 1
HORIZON = 5
QUESTIONS = ("is tea hot", "is tea cold", "is ice hot", "is ice cold")
START = np.array([3, 1, 1, 3]) / 8  # people mostly ask what is true
PARTS = ("correct", "on topic", "polite", "brief", "fresh")

_INDEX = {word: token for token, word in enumerate(WORDS)}
_YES, _NO, _TEA, _ICE, _HOT, _COLD, _THANKS, _FOOL = (
    _INDEX[w] for w in ("yes", "no", "tea", "ice", "hot", "cold", "thanks", "fool")
)


def encode(text: str, length: int | None = None) -> Array:
    """Return the tokens of a text, padded with `<eos>` to `length` if one is given.

    A text that ends in "…" was cut off: it has no `<eos>`, so it must have `length` words already.
    """
    return words.encode(WORDS, text, length)


def decode(tokens: Array) -> str:
    """Return the text of one row of tokens up to the first `<eos>`; "…" marks an answer that the horizon cut off."""
    return words.decode(WORDS, tokens)


PROMPTS = np.stack([encode(question) for question in QUESTIONS])


def word_counts(prompt: Array, response: Array) -> Array:
    """Return how often each response says each word, in columns of its own for each question: (..., N, 40).

    Features of a reward model that reads words, not sentences.
    """
    prompt, response = _texts(prompt, response)
    asked = (prompt[..., None, :] == PROMPTS).all(-1)
    counts = np.moveaxis(_counts(response), 0, -1).astype(float)
    return np.reshape(asked[..., :, None] * counts[..., None, :], (*counts.shape[:-1], -1))


def reward_parts(prompt: Array, response: Array) -> dict[str, Array]:
    """Return the parts of the oracular reward, each (..., N), for prompts (..., N, 3) and responses (..., N, T).

    correct: +2 if the verdict or the temperature is right and none is wrong, -2 if one is wrong. on topic: -1 for
    naming the other thing. polite: +1 for thanks, -2 for an insult. brief: -1/4 for each word beyond three, -1 more
    if the horizon cut the answer off. fresh: -1 for each word said again.
    """
    prompt, response = _texts(prompt, response)
    counts = _counts(response)
    said = counts > 0
    tea, asks_hot = (prompt == _TEA).any(-1), (prompt == _HOT).any(-1)
    true = np.where(tea == asks_hot, _YES, _NO), np.where(tea, _HOT, _COLD)
    false = np.where(tea == asks_hot, _NO, _YES), np.where(tea, _COLD, _HOT)
    right, wrong = (_says(said, pair[0]) | _says(said, pair[1]) for pair in (true, false))
    length = counts.sum(0)
    parts = (
        2.0 * (right & ~wrong) - 2.0 * wrong,
        0.0 - _says(said, np.where(tea, _ICE, _TEA)),
        1.0 * said[_THANKS] - 2.0 * said[_FOOL],
        0.0 - 0.25 * np.maximum(length - 3, 0) - (length == response.shape[-1]),
        0.0 - (length - said.sum(0)),
    )
    return dict(zip(PARTS, parts, strict=True))


def reward(prompt: Array, response: Array) -> Array:
    """Return the oracular reward R*(x, y), shape (..., N): the sum of its parts."""
    return sum(reward_parts(prompt, response).values())


def _texts(prompt: Array, response: Array) -> tuple[Array, Array]:
    prompt, response = checks.tokens("prompt", prompt, VOCAB), checks.tokens("response", response, VOCAB)
    checks.same_batch(prompt, response)
    rows = np.broadcast_shapes(prompt.shape[:-1], response.shape[:-1])
    return np.broadcast_to(prompt, (*rows, prompt.shape[-1])), np.broadcast_to(response, (*rows, response.shape[-1]))


def _counts(response: Array) -> Array:
    """Return how often each response (..., N, T) says each word, (words, ..., N): sums over a short axis are slow."""
    rows, alive, places = np.arange(response[..., 0].size), True, []
    for token in np.moveaxis(response, -1, 0):
        alive = alive & (token != EOS)
        places.append(np.where(alive, token, EOS).ravel() * len(rows) + rows)
    counts = checks.tally(np.concatenate(places), size=(EOS + 1) * len(rows))
    return np.reshape(counts, (EOS + 1, *response.shape[:-1]))[:EOS]


def _says(said: Array, word: Array) -> Array:
    return np.reshape(np.take(said, word.ravel() * word.size + np.arange(word.size)), word.shape)


# How often people write an answer: to a question whose answer is yes, and to one whose answer is no. They
# agree too readily, and lose patience with silly questions.
_CORPUS = (
    (20, 16, "{verdict}"),
    (24, 18, "{verdict} it is {true}"),
    (12, 10, "{verdict} thanks"),
    (10, 10, "{thing} is {true}"),
    (8, 8, "it is {true} thanks"),
    (10, 18, "{lie}"),
    (12, 20, "{lie} it is {false}"),
    (6, 6, "it is {false}"),
    (9, 13, "{verdict} fool"),
    (6, 9, "{thing} is {true} fool"),
    (4, 7, "fool"),
    (5, 5, "it is it is it"),
    (4, 4, "{verdict} {verdict} {verdict}"),
    (3, 3, "{true} {true} {true} {true} {true}"),
    (6, 6, "{other} is {false}"),
    (3, 3, "thanks thanks"),
)


@cache
def _corpus_lines() -> tuple[tuple[int, str, int], ...]:
    lines = []
    for row, question in enumerate(QUESTIONS):
        _, thing, asked = question.split()
        true, false = ("hot", "cold") if thing == "tea" else ("cold", "hot")
        verdict, lie = ("yes", "no") if asked == true else ("no", "yes")
        other = "ice" if thing == "tea" else "tea"
        for if_yes, if_no, text in _CORPUS:
            filled = text.format(verdict=verdict, lie=lie, true=true, false=false, thing=thing, other=other)
            lines.append((row, filled, if_yes if verdict == "yes" else if_no))
    return tuple(lines)


def mdp() -> TokenMDP:
    """Return this world as an MDP: four questions, answers of up to five tokens, the oracular reward."""
    return TokenMDP(PROMPTS, START, reward, VOCAB, HORIZON, EOS)


def corpus() -> tuple[Array, Array]:
    """Return the pretraining text, prompts (N, 3) and answers (N, 5): what people wrote, flaws and all."""
    lines = _corpus_lines()
    rows = np.repeat([row for row, _, _ in lines], [count for _, _, count in lines])
    answers = np.stack([encode(text, HORIZON) for _, text, _ in lines])
    return PROMPTS[rows], np.repeat(answers, [count for _, _, count in lines], axis=0)


def model() -> Tabular:
    """Return the tabular model of this world: it can be any policy."""
    return Tabular(VOCAB, HORIZON, tuple(map(tuple, PROMPTS.tolist())), EOS)


def pretrained(pseudo_count: float = 0.1) -> Params:
    """Return the parameters of `model()` fitted to the corpus: counts of each next token, plus `pseudo_count`.

    The pseudo-count keeps every answer possible, so that KL divergences to this model are finite.
    """
    checks.positive("pseudo_count", pseudo_count)
    table = model()
    prompts, answers = corpus()
    counts = np.full((len(QUESTIONS), table.states, VOCAB), pseudo_count)
    rows, prefix, first, alive = _rows(prompts), np.zeros(len(answers), dtype=int), 0, np.ones(len(answers), dtype=bool)
    for t in range(HORIZON):
        np.add.at(counts, (rows[alive], first + prefix[alive], answers[alive, t]), 1)
        alive = answers[:, t] != EOS
        prefix = prefix * table.words + np.minimum(answers[:, t], table.words - 1)
        first += table.words**t
    return {"logits": np.log(counts / counts.sum(-1, keepdims=True))}


def _rows(prompts: Array) -> Array:
    return (prompts[:, None, :] == PROMPTS).all(axis=2).argmax(axis=1)
