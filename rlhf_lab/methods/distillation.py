"""Imitation of a teacher on text: supervised fine-tuning is behaviour cloning, labels at the student's own prefixes are
DAgger, and an ensemble of students is enough for DRIL. Fine-tuning on chosen answers imitates the winners of pairs.

    pi* teacher    pi student    x prompt    y response    s = (x, y_<t) prefix    n counts    c pseudo-count
    K prompts    S prefixes    V vocabulary    d_t occupancy of prefixes

Students are tables (`tabular.Tabular`): counts (K, S, V) of the teacher's next tokens, plus c. Levels are as in `lm`.
"""

import numpy as np
from numpy.random import Generator

from rlhf_lab.models import gibbs, lm, policies
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.numerics.optim import Params


def chosen_law(log_pi_0: Array, p: Array) -> Array:
    """log 2 pi_0(y) P(y beats pi_0): where fine-tuning on chosen answers ends, (..., A) (eq-chosen-law).

    Pairs are two answers of pi_0 each; `p` (..., A, A) is the share that prefers the first of two, 1/2 for two equal
    ones. RLHF Deciphered, sections 7.4 and 7.9.2, names the method.
    """
    return np.log(2) + log_pi_0 + np.log(np.einsum("...ij,...j->...i", p, np.exp(log_pi_0)))


def count(model: Tabular, prompt: Array, response: Array, token: Array) -> Array:
    """Count the tokens (N, T) that a teacher wrote behind the prefixes of `response` (N, T): (K, S, V).

    What stands behind the end of a response does not count. With `token` = `response` these are demonstrations.
    """
    token, response = checks.tokens("token", token, model.vocab), checks.tokens("response", response, model.vocab)
    if token.shape != response.shape:
        raise ValueError(f"there must be a token for each prefix: response {response.shape}, token {token.shape}")
    counts = np.zeros((len(model.prompts), model.states, model.vocab))
    rows, prefix, first = model.row(prompt), np.zeros(len(response), dtype=int), 0
    alive = lm.response_mask(response, model.eos) > 0
    for t in range(response.shape[-1]):
        np.add.at(counts, (rows[alive[:, t]], first + prefix[alive[:, t]], token[alive[:, t], t]), 1)
        prefix = prefix * model.words + np.minimum(response[:, t], model.words - 1)
        first += model.words**t
    return counts


def student(counts: Array, pseudo_count: float) -> Params:
    """pi(a | s) = (n(s, a) + c) / (n(s) + c V), parameters of a table, from counts (..., K, S, V) (eq-count-clone)."""
    checks.positive("pseudo_count", pseudo_count)
    logits = np.full(counts.shape, -np.log(counts.shape[-1]))
    seen = counts.any(-1)  # few prefixes are
    weight = counts[seen] + pseudo_count
    logits[seen] = np.log(weight / weight.sum(-1, keepdims=True))
    return {"logits": logits}


def teacher_tokens(model: Tabular, teacher: Params, prompt: Array, response: Array, rng: Generator) -> Array:
    """Let the teacher write the next token behind every prefix of `response` (N, T): tokens (N, T)."""
    return policies.sample(log_softmax(model.logits(teacher, prompt, response)), rng)


def on_policy_counts(
    model: Tabular,
    teacher: Params,
    counts: Array,
    prompt: Array,
    *,
    rounds: int,
    pseudo_count: float,
    rng: Generator,
) -> Array:
    """DAgger on text: the student answers `prompt` (N, P), the teacher labels every prefix, and so on; new counts.

    Each of the `rounds` answers its share of the prompts, in the order in which they stand, with the student so far.
    """
    if not 1 <= rounds <= len(prompt):
        raise ValueError(f"rounds must be from 1 to the {len(prompt)} prompts; got {rounds}")
    for part in np.array_split(prompt, rounds):
        said = lm.sample(model, student(counts, pseudo_count), part, model.horizon, rng)
        counts = counts + count(model, part, said, teacher_tokens(model, teacher, part, said, rng))
    return counts


def levels_of(log_pi: Array, vocab: int, horizon: int) -> list[Array]:
    """Return log pi(a | s) of every prefix, as `lm.policy_levels` does, from log pi(y | x) of all answers (..., K, A).

    The inverse of `lm.answers_of_levels`, for languages with `eos`: a prefix is as likely as all that begins with it.
    """
    words, blocks, first = vocab - 1, [], 0
    for length in range(horizon + 1):
        blocks.append(log_pi[..., first : first + words**length])
        first += words**length
    if first != log_pi.shape[-1]:
        raise ValueError(
            f"a language with {vocab} tokens and horizon {horizon} has {first} answers; got {log_pi.shape}"
        )
    mass, levels = blocks[-1], []
    for block in blocks[-2::-1]:
        longer = np.concatenate([mass.reshape(*mass.shape[:-1], -1, words), block[..., None]], axis=-1)
        top = longer.max(-1, keepdims=True)
        mass = (top + np.log(np.exp(longer - top).sum(-1, keepdims=True)))[..., 0]
        levels.append(longer - mass[..., None])
    return levels[::-1]


def prefix_occupancy(levels: list[Array]) -> list[Array]:
    """Return d_t(s), the chance that a text is still being written and begins with s: a list of (..., K, W^t)."""
    d = [np.ones((*levels[0].shape[:-2], 1))]
    for level in levels[:-1]:
        longer = d[-1][..., None] * np.exp(level)
        d.append(longer[..., :-1].reshape(*longer.shape[:-2], -1))
    return d


def loss_by_position(teacher: list[Array], pupil: list[Array], where: list[Array], start: Array) -> Array:
    """sum_s d_t(s) KL(pi*(. | s) || pi(. | s)) / sum_s d_t(s) for each position t, nats, (..., T) (eq-prefix-loss).

    `where` are the occupancies of whoever writes the prefixes, `start` (K,) the distribution of prompts. Agarwal et
    al. 2024 call the loss at the student's own prefixes on-policy distillation.
    """
    found = []
    for t, q, d in zip(teacher, pupil, where, strict=True):
        weight = d * start[:, None]
        found.append(np.sum(weight * lm.kl(t, q), axis=(-2, -1)) / np.sum(weight, axis=(-2, -1)))
    return np.stack(np.broadcast_arrays(*found), axis=-1)


def dril_answers(log_pi: Array, cost: list[Array], beta: float, eos: int) -> Array:
    """Return log pi of the policy that minimises E[sum_t C(s_t, a_t)] + beta KL(pi || student), (..., K, A), exactly.

    It is the Gibbs policy, `gibbs.log_policy`, of the reward that an answer earns by staying where the ensemble agrees:
    `cost` holds C for every prefix and token, `log_pi` (..., K, A) is the student.
    """
    return gibbs.log_policy(log_pi, -lm.answers_of_levels(cost, eos), beta)
