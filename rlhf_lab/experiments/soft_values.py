"""Can a network learn soft values? Psi and G by temporal differences, from answers of three writers, beside a control.

PhraseWorld with answers of up to three tokens. One network size learns the logits of the policy, Psi, or what has to be
added to the log prior, G. The control learns from the exact values of the same answers: it knows no temporal
differences, and what is left of its distance is the network's. Step sizes are the best of `STEP_SIZES` on the seeds of
`tune`, which are not those of the study; the control has that of the row that it controls.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from rlhf_lab.experiments.runner import Numbers, Study, in_blocks
from rlhf_lab.methods import rollouts
from rlhf_lab.methods import soft_values as soft
from rlhf_lab.methods.rollouts import Task
from rlhf_lab.models import lm
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds.phrase_world import EOS, PROMPTS, START, VOCAB, corpus, model, pretrained, reward
from rlhf_lab.worlds.token_mdp import Levels, TokenMDP

HORIZON, PRICE = 3, 0.5
NETWORK = Recurrent(VOCAB, hidden=16, eos=EOS)
ROUNDS, ANSWERS, POINTS = 2000, 64, 10  # of each run; one optimiser step a round
STEP_SIZES = (0.003, 0.01, 0.03, 0.1)
KINDS = {"psi": (soft.PSI, soft.psi_values), "G": (soft.G, soft.g_values)}


class Run(NamedTuple):
    """What is learned, who writes the answers, whether targets are the exact values, and the step size of `tune`."""

    kind: str
    writer: str
    exact: bool
    step_size: float


RUNS = {
    "psi, learner": Run("psi", "learner", False, 0.01),
    "psi, prior": Run("psi", "prior", False, 0.01),
    "psi, uniform": Run("psi", "uniform", False, 0.01),
    "psi, exact values": Run("psi", "prior", True, 0.01),
    "G, learner": Run("G", "learner", False, 0.01),
    "G, prior": Run("G", "prior", False, 0.01),
    "G, uniform": Run("G", "uniform", False, 0.01),
    "G, exact values": Run("G", "prior", True, 0.01),
}


@cache
def world() -> tuple[Task, Levels]:
    """Return the task, and its prior in every state."""
    mdp = TokenMDP(PROMPTS, START, reward, VOCAB, HORIZON, EOS)
    return Task(mdp, (model(), pretrained()), PRICE), lm.policy_levels(model(), pretrained(), PROMPTS, HORIZON)


@cache
def cloned() -> Params:
    """Return a network that has learned the prior from the corpus, cut to the horizon."""
    prompt, response = corpus()
    texts = optim.minibatches((prompt, response[:, :HORIZON]), 149)
    params, _ = optim.fit(
        lambda params, batch: lm.negative_log_likelihood(NETWORK, params, *batch),
        NETWORK.init(np.random.default_rng(4)),
        texts,
        rounds=150,
        optimizer=optim.adam(0.02),
        rng=np.random.default_rng(5),
    )
    return params


def policy(kind: str, params: Params) -> Array:
    """Return log pi(y | x) of every answer, (seeds, K, A): softmax Psi, or p exp(G) normalised, in every state."""
    _, prior = world()
    levels = lm.policy_levels(NETWORK, params, PROMPTS, HORIZON)
    if kind == "G":
        levels = [log_softmax(p + g) for p, g in zip(prior, levels, strict=True)]
    return lm.answers_of_levels(levels, EOS)


def writer(run: Run, seeds: int, answers: int = ANSWERS) -> soft.Draw:
    """Return the `draw` of a row: questions, and answers to each from what the writer knows of all answers."""
    task, prior = world()
    every, worth = task.mdp.answers(), task.rewards
    fixed = {"prior": prior, "uniform": [np.full(level.shape, -np.log(VOCAB)) for level in prior]}
    learns = run.writer == "learner"
    known = None if learns else _ends(lm.answers_of_levels(fixed[run.writer], EOS)[None])

    def draw(params: Params, rng: Generator) -> tuple[Array, Array, Array]:
        ends = _ends(policy(run.kind, params)) if known is None else known
        row = rng.choice(len(PROMPTS), (seeds, answers), p=START)
        place = row + (len(PROMPTS) * np.arange(seeds)[:, None] if learns else 0)
        index = np.searchsorted(ends, place + rng.random((seeds, answers))) - place * worth.shape[1]
        return PROMPTS[row], every[index], worth[row, index]

    return draw


def _ends(chances: Array) -> Array:
    """Return where each answer ends on a line on which every question of every seed takes a length of 1."""
    ends = np.cumsum(np.exp(chances), axis=-1)
    places = np.arange(ends[..., 0].size).reshape(*ends.shape[:-1], 1)
    return np.ravel(ends / ends[..., -1:] + places)


def exact_targets(run: Run, draw: soft.Draw) -> rollouts.Collect:
    """Return the `collect` of the control: the same answers, and the exact values of their tokens."""
    task, prior = world()
    q = KINDS[run.kind][1](prior, task.mdp.token_rewards(), PRICE, eos=EOS).q
    table = Tabular(VOCAB, HORIZON, tuple(map(tuple, PROMPTS.tolist())), EOS)

    def collect(params: Params, rng: Generator) -> Iterable[tuple[Array, Array, Array]]:
        prompt, response, _ = draw(params, rng)
        values = table.logits(table.of_levels(q), prompt, response)
        taken = np.take_along_axis(values, response[..., None], axis=-1)[..., 0]
        yield prompt, response, lm.response_mask(response, EOS) * taken

    return collect


def curve(run: Run, seeds: Sequence[int], first: int = 0, rounds: int = ROUNDS, points: int = POINTS) -> Array:
    """Return KL(pi || pi*), (seeds, 1 + points): at the start, and after equal shares of the rounds."""
    task, _ = world()
    rng = np.random.default_rng([first, *seeds])
    starts = [NETWORK.init(each) if run.kind == "G" else cloned() for each in rng.spawn(len(seeds))]
    if run.kind == "G":  # G starts at 0: the policy is the prior
        starts = [params | {"readout": 0 * params["readout"]} for params in starts]
    draw = writer(run, len(seeds))
    loss, collect = soft.td(task, NETWORK, KINDS[run.kind][0], draw)

    def distance(params: Params) -> dict[str, Array]:
        return {"kl": task.mean(lm.kl(policy(run.kind, params), task.log_optimum))}

    start, adam = rollouts.stack(starts), optim.adam(run.step_size)
    collect = exact_targets(run, draw) if run.exact else collect
    look = rollouts.every(rounds // points, distance)
    _, history = optim.fit(loss, start, collect, rounds=rounds, optimizer=adam, rng=rng, record=look)
    return np.stack([distance(start)["kl"], *(row["kl"] for row in history if "kl" in row)], axis=-1)


def tune(seeds: Sequence[int] = range(5)) -> dict[str, dict[float, float]]:
    """Return the distance at the end for each row of `RUNS` and each of `STEP_SIZES`: how those of `RUNS` were found.

    The seeds begin with a number of their own, so that they are none of those of the study.
    """
    return {
        name: {s: float(curve(run._replace(step_size=s), seeds, 1, points=1)[:, -1].mean()) for s in STEP_SIZES}
        for name, run in RUNS.items()
        if not run.exact
    }


def study(seeds: Sequence[int]) -> Numbers:
    """Return the curves of all rows of `RUNS`, (seeds, 1 + points)."""
    return {name: curve(run, seeds) for name, run in RUNS.items()}


SETTINGS = {
    "rounds": ROUNDS,
    "answers": ANSWERS,
    "points": POINTS,
    "horizon": HORIZON,
    "price": PRICE,
    "hidden": NETWORK.hidden,
    "runs": {name: list(run) for name, run in RUNS.items()},
}
STUDY: Study = in_blocks(study, 10, SETTINGS)
