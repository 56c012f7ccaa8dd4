"""Lines that a reader draws before the book shows them: what is given, what is asked for, and what is true.

A line is a name, a colour, and numbers x and y. The line that is asked for is drawn at a few values of x, of which the
first is given.
"""

from functools import cache

import numpy as np

from rlhf_lab import experiments
from rlhf_lab.experiments import verifiable
from rlhf_lab.experiments.dpo import networks
from rlhf_lab.feedback import annotators, linear_fits
from rlhf_lab.methods import overoptimization
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import phrase_world

SEEDS, PAIRS = 20, 100


def _line(name: str, colour: str, x: Array, y: Array) -> dict:
    return {"name": name, "colour": colour, "x": np.round(x, 4).tolist(), "y": np.round(y, 4).tolist()}


@cache
def _hacked() -> tuple[Array, Array, Array, Array]:
    """Return KL, and at each what is got and what is believed with a learned reward, and the best there is (51,)."""
    world, rng = phrase_world, np.random.default_rng(0)
    answers = lm.enumerate_responses(world.VOCAB, world.HORIZON, world.EOS)
    bags, bag = np.unique(np.sort(answers, axis=-1), axis=0, return_inverse=True)
    of_answers = lm.answer_log_probs(world.model(), world.pretrained(), world.PROMPTS, world.HORIZON)
    log_pi_0 = overoptimization.merge(of_answers, bag.ravel())
    texts = np.repeat(world.PROMPTS, len(bags), axis=0), np.tile(bags, (4, 1))
    gold = world.reward(*texts).reshape(4, -1)
    row = rng.choice(4, size=(SEEDS, PAIRS), p=world.START)
    first, second = (overoptimization.draw(log_pi_0, row, rng) for _ in range(2))
    label = annotators.sample_labels(annotators.bradley_terry(gold[row, first] - gold[row, second]), rng)
    words = world.word_counts(*texts).reshape(4, -1, 40)
    theta = linear_fits.fit_linear(words[row, first] - words[row, second], label, precision=1.0).mean
    hoped = overoptimization.centred(np.matmul(words, theta[:, None, :, None])[..., 0], log_pi_0)
    grid = np.linspace(0, 5, 51)

    def along(reward: Array, value: Array) -> Array:
        tilted = [gibbs.log_policy(log_pi_0, reward, beta) for beta in np.geomspace(30, 0.02, 22)]
        policies = [np.broadcast_to(log_pi_0, tilted[0].shape), *tilted]
        kl = np.array([lm.kl(log_pi, log_pi_0) @ world.START for log_pi in policies])
        earned = np.array([np.vecdot(np.exp(log_pi), value) @ world.START for log_pi in policies])
        return np.mean([np.interp(grid, *run) for run in zip(kl.T, earned.T, strict=True)], axis=0)

    start = world.START @ np.vecdot(np.exp(log_pi_0), gold)
    return grid, along(hoped, gold), along(hoped, hoped) + start, along(gold[None], gold[None])


@cache
def hacking() -> dict:
    """Return what an optimiser believes that it gets, which is given, and what it gets, which is asked for."""
    grid, got, believed, best = _hacked()
    asked = np.arange(0, 51, 10)
    return {
        "figure": "fig-hacking",
        "names": ["KL from the pretrained model (nats)", "reward"],
        "ends": {"x": [0, 5], "y": [-2, 3.4]},
        "asked": _line("what you get", "--learned", grid[asked], got[asked]),
        "truth": _line("what you get", "--learned", grid, got),
        "given": [_line("what you believe", "--pretrained", grid, believed)],
        "more": [_line("the best there is", "--exact", grid, best)],
    }


@cache
def tenfold() -> dict:
    """Return how far DPO is from the optimum with its tuned step size, which is given, and with ten times that."""
    far = {
        name: experiments.stored("dpo networks")["dpo"]["far"][:10, k].mean(0) for name, k in (("dpo", 1), ("more", 3))
    }
    steps = np.array(networks.POINTS)
    asked = [k for k, step in enumerate(steps) if step in (0, 50, 100, 200, 300)]
    return {
        "figure": "fig-roads-of-networks",
        "names": ["steps of DPO", "distance from the Gibbs policy"],
        "ends": {"x": [0, 300], "y": [0, 3]},
        "asked": _line("ten times the step size", "--dpo", steps[asked], far["more"][asked]),
        "truth": _line("ten times the step size", "--dpo", steps, far["more"]),
        "given": [_line("the tuned step size", "--dpo", steps, far["dpo"])],
        "more": [],
    }


@cache
def lag() -> dict:
    """Return how often a student is right whose writer lags behind, without a correction of the weights."""
    runs, lags = experiments.stored("verifiable")["runs"], np.array(verifiable.LAGS)
    right = {n: np.array([runs[f"lag {k}, {n}"]["right"].mean() for k in lags]) for n in ("none", "token", "answer")}
    asked = [k for k, rounds in enumerate(lags) if rounds in (1, 4, 8, 12, 16)]
    return {
        "figure": "fig-lag",
        "names": ["rounds behind", "right, over the run"],
        "ends": {"x": [1, 16], "y": [0.4, 0.9]},
        "asked": _line("no correction", "--pretrained", lags[asked], right["none"][asked]),
        "truth": _line("no correction", "--pretrained", lags, right["none"]),
        "given": [],
        "more": [
            _line("token ratio", "--ppo", lags, right["token"]),
            _line("ratio of the answer", "--exact", lags, right["answer"]),
        ],
    }


def still(numbers: dict) -> str:
    """Tell what would be asked for."""
    name, start = numbers["asked"]["name"], numbers["asked"]["y"][0]
    told = f"With scripts, you draw the line of “{name}” here before you see it. It begins at {start:.2f}."
    return told.replace(" -", " \u2212")
