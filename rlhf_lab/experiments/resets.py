"""What resets buy: episodes until a lock first opens, and PPO, PPO++, AggreVaTeD and DR-PO on one yardstick.

In `PHRASES` all learners start as the SFT policy, which is also the teacher and the prior. In `LOCK` they start as a
uniform policy, which is the prior, and the teacher is somebody else. Every run sees the same number of judged answers
and takes the same number of optimiser steps, at the best step size of those that `tune` tries, on seeds of its own.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from rlhf_lab.experiments import policy_gradients
from rlhf_lab.experiments.runner import Numbers, Piece, Study
from rlhf_lab.methods import best_of_n, ppo, resets, rollouts
from rlhf_lab.methods.resets import Write
from rlhf_lab.methods.rollouts import Task
from rlhf_lab.models import critics, gibbs, lm
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds import lock, token_mdp

LENGTHS = tuple(range(2, 11))  # of the locks that are waited for
SYMBOLS = 4
FRESH, BATCH, PASSES = 512, 256, 4
ANSWERS = 12_288  # of each run, in ANSWERS / BATCH * PASSES = 192 steps
BLOCK = 10  # seeds that train together
POINTS = 8  # of each curve, behind the start
SHARE = 0.5  # of answers that begin at a reset
WRITER_PRICE = 1.0  # the better writer of PhraseWorld is the optimum of this price
TEXTS = 200  # of that writer, which DR-PO resets into
COMBINATION, FACES, SKILL, PRICE = (5, 3, 3, 1, 1, 0), 6, 0.8, 0.05  # the lock of the curves, its teacher, its price


class Run(NamedTuple):
    """Who writes what the learner does not, whether it starts as the teacher, and the step size."""

    writes: str
    step_size: float
    as_teacher: bool = False


PHRASES = {
    "PPO": Run("learner", 0.02),
    "PPO++": Run("teacher begins", 0.02),
    "DR-PO": Run("data begin", 0.02),
    "AggreVaTeD": Run("teacher ends", 0.01),
}
LOCK = {
    "PPO": Run("learner", 3.0),
    "PPO++": Run("teacher begins", 3.0),
    "DR-PO": Run("data begin", 3.0),
    "AggreVaTeD": Run("teacher ends", 3.0),
    "PPO from the teacher": Run("learner", 3.0, True),
}
STEP_SIZES = {"phrases": (0.005, 0.01, 0.02, 0.04), "lock": (0.1, 0.3, 1.0, 3.0)}


class Setting(NamedTuple):
    """A task, its critic, the parameters of learner and teacher, and the texts of DR-PO."""

    task: Task
    critic: critics.Critic
    start: Params
    teacher: Params
    texts: tuple[Array, Array]


@cache
def phrases() -> Setting:
    """Return PhraseWorld with the recurrent network of the chapter on policy gradients."""
    task, sft = policy_gradients.pretrained()
    rng = np.random.default_rng(7)
    row = rng.choice(len(task.mdp.prompts), TEXTS, p=task.mdp.start)
    below = np.cumsum(np.exp(better_writer(task)), axis=-1)[row]
    said = np.sum(below < below[:, -1:] * rng.random((TEXTS, 1)), axis=-1)
    return Setting(task, policy_gradients.CRITIC, sft, sft, (task.mdp.prompts[row], task.mdp.answers()[said]))


def better_writer(task: Task) -> Array:
    """Return log-probabilities (K, A) of the writer of the reference texts: the optimum of another price."""
    return gibbs.log_policy(task.log_pi_0, task.rewards, WRITER_PRICE)


@cache
def locked() -> Setting:
    """Return a lock of six dials, a uniform learner and a teacher; the text of DR-PO is the combination."""
    right = np.array(COMBINATION)
    model = lock.model(len(right), FACES)
    uniform = model.init(np.random.default_rng(0))
    task = Task(lock.mdp(right, FACES), (model, uniform), PRICE)
    texts = lock.PROMPTS, right[None]
    return Setting(task, critics.TabularCritic(model), uniform, lock.skilled(right, FACES, SKILL), texts)


SETTINGS: dict[str, tuple[dict[str, Run], Callable[[], Setting]]] = {
    "phrases": (PHRASES, phrases),
    "lock": (LOCK, locked),
}


def writer(setting: Setting, writes: str) -> Write:
    """Return who writes the answers of a run, as `ppo.ppo` takes it."""
    teacher = setting.critic.language, setting.teacher
    if writes == "teacher begins":
        return resets.restarts(resets.teacher_begins(teacher), SHARE)
    if writes == "data begin":
        return resets.restarts(resets.data_begins(*setting.texts), SHARE)
    return resets.handing_over(teacher) if writes == "teacher ends" else rollouts.rollout


def learn(
    setting: Setting, run: Run, seeds: Sequence[int], first: int = 0, answers: int = ANSWERS, points: int = POINTS
) -> tuple[Params, Array]:
    """Return the parameters at the end, and the distance to the optimum (seeds, points) on the way."""
    task, critic = setting.task, setting.critic
    start = critic.head(setting.teacher if run.as_teacher else setting.start)
    sizes: dict[str, Any] = {"prompts": FRESH, "minibatch": BATCH, "epochs": PASSES, "value_weight": 0.1}
    loss, collect = ppo.ppo(task, critic, **sizes, write=writer(setting, run.writes))
    rounds = answers // FRESH
    params, history = optim.fit(
        loss,
        rollouts.stack([start] * len(seeds)),
        collect,
        rounds=rounds,
        optimizer=optim.adam(run.step_size),
        rng=np.random.default_rng([first, *seeds]),
        record=rollouts.every(rounds // points, lambda now: {"gap": task.each(critic.language, now, task.gap)}),
    )
    return params, np.stack([record["gap"] for record in history if "gap" in record], axis=-1)


def tune(seeds: Sequence[int] = range(4), points: int = POINTS) -> dict[str, dict[str, dict[float, float]]]:
    """Return the mean distance over a run for each step size: how the step sizes were found.

    The seeds begin with a number of their own, so that they are none of those of the study.
    """
    return {
        name: {
            method: {
                size: float(learn(make(), run._replace(step_size=size), seeds, first=1, points=points)[1].mean())
                for size in STEP_SIZES[name]
            }
            for method, run in runs.items()
        }
        for name, (runs, make) in SETTINGS.items()
    }


def described(log_pi: Array) -> Array:
    """Perplexity and win rate of a policy (K, A) with texts of the SFT policy, then with those of the better writer."""
    task = phrases().task
    tokens = np.sum(lm.response_mask(task.mdp.answers(), task.mdp.eos), axis=-1)
    found = []
    for log_p in (task.log_pi_0, better_writer(task)):
        found.append(task.mean(resets.perplexity(log_p, log_pi, tokens)))
        found.append(task.mean(best_of_n.win_rate(log_pi, log_p, task.rewards)))
    return np.array(found)


def teachers(horizon: int) -> dict[str, float]:
    """Return the chances of three teachers to set a dial right."""
    return {"always right": 1.0, "right with 1 - 1/H": 1 - 1 / horizon, "right with 1/2": 0.5}


def waits(seed: int, horizon: int) -> dict[str, int]:
    """Return how many episodes one lock of each kind needed: uniform learners, and those that start as the teacher."""
    rng = np.random.default_rng([seed, horizon])

    def taken(learner: float, teacher: float = 0.0, share: float = 0.0) -> int:
        return int(lock.wait(horizon, learner, teacher, share, runs=1, rng=rng)[0])

    found = {"uniform, no resets": taken(1 / SYMBOLS)}
    for name, q in teachers(horizon).items():
        found[f"uniform, {name}"] = taken(1 / SYMBOLS, q, 1.0)
        found[f"teacher, {name}, no resets"] = taken(q)
        found[f"teacher, {name}, resets"] = taken(q, q, 1.0)
    return found


def wait_for_locks(seeds: Sequence[int]) -> Numbers:
    """Return the waits of all kinds of locks, (seeds, lengths)."""
    each = [[waits(seed, horizon) for horizon in LENGTHS] for seed in seeds]
    return {"waits": {name: np.array([[one[name] for one in row] for row in each]) for name in each[0][0]}}


def train(world: str, method: str, seeds: Sequence[int]) -> Numbers:
    """Return the curves of one method, (seeds, points), and for PhraseWorld what the last policies are like."""
    runs, make = SETTINGS[world]
    setting = make()
    params, gaps = learn(setting, runs[method], seeds)
    found: Numbers = {world: {method: gaps}}
    if world == "phrases":
        found["described"] = {method: setting.task.each(setting.critic.language, params, described)}
    return found


def exact(seeds: Sequence[int]) -> Numbers:
    """Return the distance, and what `described` says, of policies of PhraseWorld that need no training: (seeds, 5)."""
    task = phrases().task
    prior = lm.policy_levels(*task.reference, task.mdp.prompts, task.mdp.horizon)
    q = token_mdp.policy_evaluation(prior, task.mdp.token_rewards(), 1.0, task.mdp.eos).q
    one_step = lm.answers_of_levels(best_of_n.weighted_decoding(prior, q, 1 / task.beta), task.mdp.eos)
    policies = {"SFT": task.log_pi_0, "one step": one_step, "optimum": task.log_optimum}
    looks = {name: np.concatenate([[task.gap(pi)], described(pi)]) for name, pi in policies.items()}
    return {"exact": {name: np.tile(look, (len(seeds), 1)) for name, look in looks.items()}}


def pieces(seeds: int) -> dict[str, Piece]:
    """Return the pieces of the study, for blocks of ten seeds: each method, the waits, and the exact policies."""
    found = {}
    for first in range(0, seeds, BLOCK):
        block = tuple(range(first, min(first + BLOCK, seeds)))
        for world, (runs, _) in SETTINGS.items():
            for k, method in enumerate(runs):
                found[f"{world}_{k}_seeds_{first}"] = Piece(block, partial(train, world, method, block))
        found[f"waits_seeds_{first}"] = Piece(block, partial(wait_for_locks, block))
        found[f"exact_seeds_{first}"] = Piece(block, partial(exact, block))
    return found


def join(parts: list[Any]) -> Any:
    """Return the numbers of all pieces as one, blocks of seeds behind each other."""
    if not isinstance(parts[0], dict):
        return np.concatenate(parts)
    keys = dict.fromkeys(key for part in parts for key in part)
    return {key: join([part[key] for part in parts if key in part]) for key in keys}


STUDY = Study(
    pieces,
    join,
    {
        "lengths": list(LENGTHS),
        "symbols": SYMBOLS,
        "answers": ANSWERS,
        "points": POINTS,
        "share": SHARE,
        "writer_price": WRITER_PRICE,
        "lock": [list(COMBINATION), FACES, SKILL, PRICE],
        "runs": {name: {method: list(run) for method, run in runs.items()} for name, (runs, _) in SETTINGS.items()},
    },
)
