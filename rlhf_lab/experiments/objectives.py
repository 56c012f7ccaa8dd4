"""Soups of networks beside the front, and a gate learned from comparisons beside what could be learned instead.

Networks: PhraseWorld with answers of up to three tokens. Each seed pretrains a network of its own, the reference, and
fine-tunes it on the exact objective of each head, and of mixtures as a control: equal steps, the step size that `tune`
finds best. Soups of the two experts cost no step. The control of the shared start averages the weights of the helpful
expert of a seed and the harmless one of the next, whose networks were pretrained apart.

Gates: comparisons of answers of the prior to each of the four questions, from people whose trade-off depends on the
question. The heads of `gate` were fitted to ratings, of which no other row has any; all rows have the same comparisons,
each with the precision of the prior that `tune` finds best.
"""

from collections.abc import Iterable, Sequence
from functools import cache

import autograd.numpy as anp
import numpy as np
from numpy.random import Generator

from rlhf_lab.experiments.runner import Numbers, Study, in_blocks
from rlhf_lab.feedback.linear_fits import fit_linear, fit_ratings
from rlhf_lab.methods import objectives, rollouts
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds import phrase_world
from rlhf_lab.worlds.phrase_world import EOS, PARTS, PROMPTS, START, VOCAB

HORIZON, BETA = 3, 0.25
NETWORK = Recurrent(VOCAB, hidden=16, eos=EOS)
PRETRAIN, STEPS, STEP_SIZE = 300, 300, 0.03  # steps of Adam on exact gradients; the step size of fine-tuning
STEP_SIZES = (0.01, 0.03, 0.1)
WEIGHTS = np.linspace(0, 1, 9)  # of the helpful head in a soup
CONTROLS = (0.0, 0.25, 0.5, 0.75, 1.0)  # weights for which a network is fine-tuned
HEADS = np.array([[1.0, 1.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 0.5, 0.5]])  # helpful and harmless, of the parts
GATE = np.array([[1.0, 0.25], [0.5, 1.0], [0.5, 1.0], [1.0, 0.25]])  # for each question, what people weigh
COUNTS = (10, 20, 40, 80, 160, 320, 640, 1280)  # comparisons for each question
RATINGS, NOISE = 100, 1.0  # of answers to each question, for each head; their standard deviation
ROUNDS = 30  # of fitting gate and heads in turns
PRECISIONS = {"gate": 3.0, "both": 3.0, "free": 1.0, "one": 1.0}
TRIED = (0.1, 0.3, 1.0, 3.0, 10.0)


@cache
def parts(horizon: int) -> Array:
    """Return the parts of the oracular reward of every answer, (5, K, A)."""
    answers = lm.enumerate_responses(VOCAB, horizon, EOS)
    found = phrase_world.reward_parts(np.repeat(PROMPTS, len(answers), axis=0), np.tile(answers, (len(PROMPTS), 1)))
    return np.stack([found[name].reshape(len(PROMPTS), -1) for name in PARTS])


def phrase_heads(horizon: int) -> Array:
    """Return two heads of every answer, (2, K, A): harmless is the part `polite`, helpful all others together."""
    found = parts(horizon)
    return np.stack([found[[0, 1, 3, 4]].sum(0), found[2]])


def descend(loss: rollouts.Loss, params: Params, steps: int, step_size: float) -> Params:
    """Return the parameters after steps of Adam on an exact loss."""
    chance = np.random.default_rng(0)  # that nobody asks
    return optim.fit(
        loss, params, lambda params, rng: [None], rounds=steps, optimizer=optim.adam(step_size), rng=chance
    )[0]


def every_answer(params: Params) -> Array:
    """Return log pi(y | x) of every answer of the networks, (seeds, K, A)."""
    return lm.answer_log_probs(NETWORK, params, PROMPTS, HORIZON)


def pretrained(seeds: Sequence[int], first: int) -> Params:
    """Return a network for each seed that has learned the prior of PhraseWorld, from a start of its own."""
    prior = lm.answer_log_probs(phrase_world.model(), phrase_world.pretrained(), PROMPTS, HORIZON)
    starts = [NETWORK.init(np.random.default_rng([first, seed])) for seed in seeds]
    return descend(
        lambda params, _: anp.mean(lm.cross_entropy(prior, every_answer(params)), axis=-1),
        rollouts.stack(starts),
        PRETRAIN,
        0.02,
    )


def networks(seeds: Sequence[int], first: int = 0, step_size: float = STEP_SIZE) -> Numbers:
    """Return how far soups and trained networks are behind the front, in units of reward, (seeds, points)."""
    heads, base = phrase_heads(HORIZON), pretrained(seeds, first)
    log_pi_0 = every_answer(base)

    def behind(log_pi: Array, helpful: float) -> Array:
        best = gibbs.log_policy(log_pi_0, helpful * heads[0] + (1 - helpful) * heads[1], BETA)
        return objectives.shortfall(log_pi, best, BETA, START)

    def tuned(helpful: float) -> Params:
        reward = helpful * heads[0] + (1 - helpful) * heads[1]
        return descend(
            lambda params, _: -anp.dot(gibbs.objective(every_answer(params), log_pi_0, reward, BETA), START),
            base,
            STEPS,
            step_size,
        )

    trained = {helpful: tuned(helpful) for helpful in CONTROLS}
    experts = [trained[1.0], trained[0.0]]
    strangers = [experts[0], {name: np.roll(value, -1, axis=0) for name, value in experts[1].items()}]
    levels = [lm.policy_levels(NETWORK, each, PROMPTS, HORIZON) for each in experts]
    answers = np.stack([lm.answers_of_levels(each, EOS) for each in levels])
    rows: dict[str, list[Array]] = {name: [] for name in ("answers", "tokens", "weights", "strangers")}
    for helpful in WEIGHTS:
        mix = np.array([helpful, 1 - helpful])
        soups = {
            "answers": objectives.answer_soup(answers, mix),
            "tokens": lm.answers_of_levels(objectives.token_soup(levels, mix), EOS),
            "weights": every_answer(objectives.weight_soup(experts, mix)),
            "strangers": every_answer(objectives.weight_soup(strangers, mix)),
        }
        for name, log_pi in soups.items():
            rows[name].append(behind(log_pi, helpful))
    found = {name: np.stack(row, axis=-1) for name, row in rows.items()}
    controls = [behind(every_answer(trained[helpful]), helpful) for helpful in CONTROLS]
    return found | {"trained": np.stack(controls, axis=-1), "start": behind(log_pi_0, 0.5)}


@cache
def _log_prior() -> Array:
    return lm.answer_log_probs(phrase_world.model(), phrase_world.pretrained(), PROMPTS, phrase_world.HORIZON)


@cache
def prior() -> tuple[Array, Array, Array]:
    """Return features (K, A, 5), how far along each answer ends (K, A), and the covariance of features (K, 5, 5)."""
    log_pi = _log_prior()
    features, chance = np.moveaxis(parts(phrase_world.HORIZON), 0, -1), np.exp(log_pi)
    away = features - np.einsum("xa,xad->xd", chance, features)[:, None]
    ends = np.cumsum(chance, axis=-1)
    return features, ends / ends[:, -1:], np.einsum("xa,xad,xae->xde", chance, away, away)


def written(rng: Generator, *shape: int) -> Array:
    """Draw answers of the prior to each question, and return their features (K, *shape, 5)."""
    features, ends, _ = prior()
    return np.stack([f[np.searchsorted(e, rng.random(shape))] for f, e in zip(features, ends, strict=True)])


def asked(rng: Generator, count: int) -> tuple[Array, Array]:
    """Compare `count` pairs of answers for each question: differences of features (K, N, 5) and labels (K, N)."""
    pairs = written(rng, count, 2)
    difference = pairs[..., 0, :] - pairs[..., 1, :]
    margin = np.einsum("xd,xnd->xn", GATE @ HEADS, difference)
    return difference, (rng.random(margin.shape) < 1 / (1 + np.exp(-margin))).astype(float)


def rated(rng: Generator) -> Array:
    """Return heads (2, 5) fitted to noisy ratings of each: `RATINGS` answers to each question."""
    seen = written(rng, RATINGS)
    scores = [seen @ head + rng.normal(scale=NOISE, size=seen.shape[:-1]) for head in HEADS]
    return np.stack([fit_ratings(seen, score, personal=False).weights for score in scores])


def error(reward: Array) -> float:
    """Return by how much a reward (K, 5) of features is off: standard deviation under the prior, mean of questions."""
    away = reward - GATE @ HEADS
    return float(np.mean(np.sqrt(np.einsum("xd,xde,xe->x", away, prior()[2], away))))


def knobs(gate: Array, heads: Array) -> Array:
    """Return what the optimum of price 1 gains if a head's weight goes up by 1: in `polite` and `correct`, (2, 2)."""
    features, log_pi_0 = prior()[0], _log_prior()

    def earned(up: Array) -> Array:
        reward = np.einsum("xd,xad->xa", (gate + up) @ heads, features)
        law = np.exp(gibbs.log_policy(log_pi_0, reward, 1.0))
        return np.einsum("x,xa,xad->d", START, law, features)[[2, 0]]

    return np.stack([earned(up) - earned(0 * up) for up in np.eye(2)])


def gates(seed: int, first: int = 0, precisions: dict[str, float] = PRECISIONS) -> dict[str, Array]:
    """Return the error of each row after each of `COUNTS` comparisons, (points,), and the `knobs` of two in the end."""
    rng = np.random.default_rng([first, seed])
    difference, label = asked(rng, max(COUNTS))
    heads, start = rated(rng), rng.normal(size=HEADS.shape)
    found: dict[str, list[float]] = {name: [] for name in PRECISIONS}
    for count in COUNTS:
        d, y = difference[:, :count], label[:, :count]
        gate = objectives.fit_gate(d @ heads.T, y, precisions["gate"])
        both = objectives.fit_both(d, y, start, precisions["both"], ROUNDS)
        one = fit_linear(d.reshape(-1, d.shape[-1]), y.ravel(), precisions["one"]).mean
        found["gate"].append(error(gate @ heads))
        found["both"].append(error(both[0] @ both[1]))
        found["free"].append(error(fit_linear(d, y, precisions["free"]).mean))
        found["one"].append(error(np.tile(one, (len(PROMPTS), 1))))
    turned = {"knobs, gate": knobs(gate, heads), "knobs, both": knobs(*both)}
    return {name: np.array(row) for name, row in found.items()} | turned


def tune(seeds: Sequence[int] = range(5)) -> dict[str, dict[float, float]]:
    """Return mean errors for each precision, and shortfalls for each step size: how those above were found.

    The seeds begin with a number of their own, so that they are none of those of the study.
    """
    tried: Iterable[float] = TRIED
    runs = {p: [gates(seed, 1, dict.fromkeys(PRECISIONS, p)) for seed in seeds] for p in tried}
    found = {name: {p: float(np.mean([run[name] for run in row])) for p, row in runs.items()} for name in PRECISIONS}
    return found | {"trained": {s: float(networks(seeds, 1, s)["trained"].mean()) for s in STEP_SIZES}}


def study(seeds: Sequence[int]) -> Numbers:
    """Return what `networks` and `gates` return, with a first axis of seeds."""
    apart = [gates(seed) for seed in seeds]
    return networks(seeds) | {name: np.stack([each[name] for each in apart]) for name in apart[0]}


SETTINGS = {
    "horizon": HORIZON,
    "beta": BETA,
    "hidden": NETWORK.hidden,
    "pretrain": PRETRAIN,
    "steps": STEPS,
    "step size": STEP_SIZE,
    "counts": list(COUNTS),
    "ratings": RATINGS,
    "noise": NOISE,
    "rounds": ROUNDS,
    "precisions": PRECISIONS,
}
STUDY: Study = in_blocks(study, 10, SETTINGS)
