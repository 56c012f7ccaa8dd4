"""Learning from logs of dialogues, many times over: what two critics learn, what dilution costs, who sells best.

Every method of a comparison reads the same logs. A setting stands in `BEST` because `tune` found it best on seeds that
are not those of the study.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.experiments.runner import Numbers, Study, in_blocks
from rlhf_lab.methods import dialogue
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import dialogues, haggling, small_talk, twenty_questions
from rlhf_lab.worlds.dialogues import Game, Log, Policy, Tree

CHECKS = (10, 20, 40, 80, 160, 320, 640, 1000)  # dialogues after which a critic is looked at
LAMBDAS = (0.0, 0.9, 1.0)
STEPS = (0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
SHARES = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)  # of good dialogues in a log
SIZE = 1000  # dialogues in a log
PROPOSALS, TAU = 5, 0.01  # at temperatures from 0.002 on, proposals earn the same within 0.001
PRICES = (0.1, 0.3, 1.0)  # of KL control in small talk
SLIPS = 0.3  # share of random lines of those whom the critics watch

GRID: dict[str, tuple[float, ...]] = {
    "filtered": (0.1, 0.2, 0.4, 0.6, 0.8),
    "naive": (0.0, 0.25, 0.5, 0.75),
    "CQL": (0.003, 0.01, 0.03, 0.1, 0.3),
    "CQL, public": (0.003, 0.01, 0.03, 0.1, 0.3),
    "KL control": (0.01, 0.02, 0.03, 0.05, 0.1),
}
BEST = {"filtered": 0.4, "naive": 0.25, "CQL": 0.03, "CQL, public": 0.03, "KL control": 0.03}
KEPT = 0.2  # share that the filter by return keeps of a diluted log; not tuned, the chapter looks at others
DILUTED_PRICE = 0.3  # of KL control; of 0.03, 0.1, 0.3 and 1 it earned most on seeds that are not shown
CRITIC_STEPS = {"utterance": (0.7, 0.2, 0.2), "token": (0.7, 0.5, 0.2)}


@cache
def world(name: str) -> tuple[Game, Tree]:
    """Return a game of the study and its tree."""
    games: dict[str, Callable[[], Game]] = {
        "questions": lambda: twenty_questions.game(8), "haggling": haggling.game, "talk": small_talk.game,
    }  # fmt: skip
    game = games[name]()
    return game, dialogues.tree(game)


def _solution(name: str) -> Policy:
    game, nodes = world(name)
    return dialogues.best(dialogues.solve(nodes, game.reward))


def critic(seed: Sequence[int], step: float, lam: float, *, words: bool) -> Array:
    """Return what TD(lambda) says of the first node after each of `CHECKS` dialogues, less what it is worth, (8,)."""
    game, nodes = world("questions")
    policy = [(1 - SLIPS) * p + SLIPS / p.shape[1] for p in _solution("questions")]
    worth = dialogues.evaluate(nodes, policy, game.reward)
    log = dialogues.sample(nodes, policy, CHECKS[-1], np.random.default_rng(seed))
    place, paid = dialogue.states(game, log, words=words)
    value, found = np.zeros(place.max() + 1), []
    for first, last in zip((0, *CHECKS), CHECKS, strict=False):
        dialogue.td_lambda(place[first:last], paid[first:last], step, lam, value)
        found.append(value[0] - worth)
    return np.array(found)


def _diluted(share: float, rng: Generator) -> Log:
    nodes = world("questions")[1]
    good = int(rng.binomial(SIZE, share))
    anybody = [np.full(c.shape[:2], 1 / c.shape[1]) for c in nodes.chance]
    pairs = (_solution("questions"), good), (anybody, SIZE - good)
    logs = [dialogues.sample(nodes, policy, count, rng) for policy, count in pairs if count]
    return Log(*(np.concatenate(column) for column in zip(*logs, strict=True)))


def from_diluted(share: float, rng: Generator, price: float = DILUTED_PRICE, kept: float = KEPT) -> dict[str, Array]:
    """Return what policies from one diluted log earn, and how often they name the thing, (2,) for each method."""
    game, nodes = world("questions")
    log = _diluted(share, rng)
    found, earned = dialogue.counts(nodes, log), dialogues.earned(game, log)
    won = (log.reply == game.replies.index(twenty_questions.RIGHT)).any(-1)
    policies = {
        "clone": dialogue.clone(found),
        "filter by return": dialogue.clone(dialogue.counts(nodes, log, dialogue.filtered(earned, kept))),
        "filter by success": dialogue.clone(dialogue.counts(nodes, log, won)),
        "naive": dialogue.naive_q(nodes, found, game.reward, [np.zeros(n.shape[:2]) for n in found]).policy,
        "KL control": dialogue.brac(nodes, found, game.reward, price).policy,
    }
    success = np.ones(game.reward.shape) * game.good
    return {
        name: np.array([dialogues.evaluate(nodes, policy, paid) for paid in (game.reward, success)])
        for name, policy in policies.items()
    }


def sellers(log: Log, settings: dict[str, float] = BEST) -> dict[str, Policy]:
    """Return the policies that each method learns from one log of haggling."""
    game, nodes = world("haggling")
    found, earned = dialogue.counts(nodes, log), dialogues.earned(game, log)
    told = nodes, found, game.reward
    guesses = [np.full(n.shape[:2], settings["naive"]) for n in found]
    mild = {
        kind: dialogue.conservative(found, settings[kind], data_term=kind == "CQL") for kind in ("CQL", "CQL, public")
    }
    return {
        "clone": dialogue.clone(found),
        "filtered": dialogue.clone(dialogue.counts(nodes, log, dialogue.filtered(earned, settings["filtered"]))),
        "naive": dialogue.naive_q(*told, guesses).policy,
        "proposals": dialogue.chai(*told, PROPOSALS, TAU).policy,
        **{kind: dialogue.chai(*told, PROPOSALS, TAU, shape).policy for kind, shape in mild.items()},
        "KL control": dialogue.brac(*told, settings["KL control"]).policy,
    }


def sold(policy: Policy) -> Array:
    """Return acceptance and revenue against each kind of buyer, (5, 2)."""
    game, nodes = world("haggling")
    found = [dialogues.visits(game, nodes, policy, haggling.odds(name)) for name in haggling.BUYERS]
    return np.array([[v[:, game.good].sum(), (v * game.reward).sum()] for v in found])


def haggle_log(seed: Sequence[int]) -> Log:
    """Return a log of `SIZE` dialogues of the cautious seller with buyers of all kinds."""
    game, nodes = world("haggling")
    policy = dialogues.constant(nodes, haggling.cautious_seller(game))
    return dialogues.sample(nodes, policy, SIZE, np.random.default_rng(seed))


def from_talk(name: str, rng: Generator) -> dict[str, Array]:
    """Return implicit reward and rating, (2,), of naive RL and of KL control from one log of small talk."""
    game, nodes = world("talk")
    paid, model = small_talk.implicit_reward(name), np.exp(small_talk.language_model())
    log = dialogues.sample(nodes, [np.tile(model, (len(b), 1)) for b in nodes.belief], SIZE, rng)
    found = dialogue.counts(nodes, log)
    policies = {"naive": dialogue.naive_q(nodes, found, paid, [rng.normal(size=n.shape[:2]) for n in found]).policy}
    policies |= {f"KL control, {price:g}": dialogue.brac(nodes, found, paid, price).policy for price in PRICES}
    return {
        method: np.array([dialogues.evaluate(nodes, policy, each) for each in (paid, game.reward)])
        for method, policy in policies.items()
    }


def tune_critics(seeds: Sequence[int] = range(6)) -> dict[str, dict[float, float]]:
    """Return the root mean square error of each critic and lambda with each of `STEPS`, mean over `CHECKS`."""

    def error(kind: str, lam: float, step: float) -> float:
        runs = [critic((1, seed), step, lam, words=kind == "token") for seed in seeds]
        return float(np.sqrt(np.mean(np.square(runs), axis=0)).mean())

    return {
        f"{kind}, {lam:g}": {each: error(kind, lam, each) for each in STEPS} for kind in CRITIC_STEPS for lam in LAMBDAS
    }


def tune(seeds: Sequence[int] = range(5)) -> dict[str, dict[float, float]]:
    """Return the mean revenue of each setting of `GRID`, of seeds that begin with a number of their own."""
    game, nodes = world("haggling")
    logs = [haggle_log((1, seed)) for seed in seeds]

    def worth(method: str, value: float) -> float:
        policies = [sellers(log, BEST | {method: value})[method] for log in logs]
        return float(np.mean([dialogues.evaluate(nodes, policy, game.reward) for policy in policies]))

    return {method: {value: worth(method, value) for value in values} for method, values in GRID.items()}


def _by_seed(rows: list[dict[str, Any]]) -> Numbers:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def study(seeds: Sequence[int]) -> Numbers:
    """Return the numbers of all comparisons, arrays whose first axis is the seed."""
    critics = {
        f"{kind}, {lam:g}": np.array([critic((0, seed), step, lam, words=kind == "token") for seed in seeds])
        for kind, steps in CRITIC_STEPS.items()
        for lam, step in zip(LAMBDAS, steps, strict=True)
    }
    diluted = [[from_diluted(share, np.random.default_rng((0, seed))) for share in SHARES] for seed in seeds]
    return {
        "critics": critics,
        "diluted": {name: np.array([[at[name] for at in row] for row in diluted]) for name in diluted[0][0]},
        "sellers": _by_seed([{k: sold(p) for k, p in sellers(haggle_log((0, seed))).items()} for seed in seeds]),
        "talk": {
            name: _by_seed([from_talk(name, np.random.default_rng((0, seed))) for seed in seeds])
            for name in (*small_talk.IMPLICIT, "together")
        },
    }


SETTINGS = {
    "critics": {kind: list(steps) for kind, steps in CRITIC_STEPS.items()},
    "size": SIZE,
    "shares": list(SHARES),
    "sellers": BEST,
    "diluted": DILUTED_PRICE,
    "prices": list(PRICES),
}
STUDY: Study = in_blocks(study, 4, SETTINGS)
