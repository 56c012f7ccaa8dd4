"""Why do chosen answers fall? Each line takes one thing away from the same training, and the chosen are watched.

Parts of it can be exchanged: who answers (300 comparisons, or fresh ones at every step), the weight beta, the shared
parameters (a network, or a table with a logit for each answer), the comparisons that push their own chosen answer down,
and the loss.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np
from numpy.random import Generator

from rlhf_lab.experiments.dpo.lines import BETA, DPO, train
from rlhf_lab.experiments.dpo.networks import COUNT, NETWORK, People, always, people, places
from rlhf_lab.experiments.runner import Numbers, in_blocks
from rlhf_lab.feedback import annotators, pairs, preferences
from rlhf_lab.feedback.pairs import PreferenceBatch
from rlhf_lab.methods import direct
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds import phrase_world
from rlhf_lab.worlds.phrase_world import HORIZON, PROMPTS, START

POINTS = (0, 1, 2, 3, 5, 10, 20, 40, 75, 150, 300)
SIZE, TABLE_SIZE = 0.01, 0.05
MILD, ALPHA = 2.0, 0.1
BETAS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0)


def _means(chosen: Array, rejected: Array) -> Numbers:
    return {"chosen": chosen.mean(-1), "rejected": rejected.mean(-1)}


def _along(found: Sequence[Numbers]) -> Numbers:
    return {name: np.stack([each[name] for each in found], axis=-1) for name in found[0]}


def change(batch: PreferenceBatch, params: Params) -> Numbers:
    """Return the mean log-ratio of the 300 chosen answers and of the rejected ones, and the loss, (seeds,)."""
    both = [lm.log_prob(NETWORK, params, batch.prompt, answer) for answer in (batch.chosen, batch.rejected)]
    chosen, rejected = both[0] - batch.reference_chosen, both[1] - batch.reference_rejected
    return _means(chosen, rejected) | {"loss": DPO(chosen - rejected).mean(-1)}


def of_exact(who: People, beta: float) -> Numbers:
    """Return the same of the Gibbs policy of the oracular reward, at weight `beta`."""
    ratio = gibbs.log_policy(who.log_start, who.oracle, beta) - who.log_start
    seeds = np.arange(len(ratio))[:, None]
    return _means(*(ratio[seeds, *place] for place in places(who.batch)))


def turned(params: Params, batch: PreferenceBatch) -> Array:
    """Return which comparisons would lower their own chosen answer if each were the only one, (seeds, N)."""
    copies = {name: np.repeat(value[:, None], COUNT, axis=1) for name, value in params.items()}
    own, shared = direct.gradient_overlap(NETWORK, copies, *(text[:, :, None] for text in batch[:3]))
    return shared > own


def fresh(who: People) -> Any:
    """Return a `collect` that asks about 300 new pairs of the reference at every step."""

    def collect(params: Params, rng: Generator) -> list[PreferenceBatch]:
        prompt = PROMPTS[rng.choice(len(PROMPTS), COUNT, p=START)]
        prompt = np.broadcast_to(prompt, (len(who.log_start), *prompt.shape))
        first, second = preferences.draw_pairs(NETWORK, who.start, prompt, HORIZON, rng)
        gain = [
            phrase_world.reward(x, y) - phrase_world.reward(x, z) for x, y, z in zip(prompt, first, second, strict=True)
        ]
        label = annotators.sample_labels(annotators.bradley_terry(np.stack(gain)), rng)
        return [pairs.compare(NETWORK, who.start, prompt, first, second, label)]

    return collect


def without_turned(who: People) -> Any:
    """Return a `collect` that leaves out, at every step, the comparisons that are turned at that step."""

    def collect(params: Params, rng: Generator) -> list[PreferenceBatch]:
        return [who.batch._replace(weight=np.where(turned(params, who.batch), 0.0, 1.0))]

    return collect


def of_table(who: People, points: Sequence[int]) -> Numbers:
    """Train a table on the same comparisons: a logit for each answer, so that nothing is shared but the sum to 1.

    Logits of answers that nobody compared stay where they are; their probability is counted exactly.
    """
    index = [prompt * who.log_start.shape[-1] + answer for prompt, answer in places(who.batch)]
    seeds = np.arange(len(who.log_start))
    compared = [np.unique(np.concatenate([each[k] for each in index])) for k in seeds]
    width = max(map(len, compared))
    picks = [
        np.stack([np.searchsorted(compared[k], each[k])[:, None] == np.arange(width) for k in seeds]).astype(float)
        for each in index
    ]

    def loss(params: Params, batch: Any) -> Array:
        return anp.mean(DPO(anp.sum((picks[0] - picks[1]) * params["logits"][:, None], axis=-1)), axis=-1)

    def ratios(params: Params) -> Numbers:
        ratio = np.zeros((len(seeds), len(PROMPTS) * who.log_start.shape[-1]))
        for k in seeds:
            ratio[k, compared[k]] = params["logits"][k, : len(compared[k])]
        log_pi = log_softmax(who.log_start + ratio.reshape(who.log_start.shape))
        moved = (log_pi - who.log_start).reshape(ratio.shape)
        return _means(*(np.take_along_axis(moved, each, axis=1) for each in index))

    trail = train(loss, {"logits": np.zeros((len(seeds), width))}, always(None), points[-1], TABLE_SIZE)
    return _along([ratios(trail[point]) for point in points])


def run(seeds: Sequence[int], points: Sequence[int] = POINTS) -> Numbers:
    """Return {"chosen", "rejected"} of each line, (seeds, points), the exact ones at each of `BETAS`."""
    who = people(seeds)
    loss, mild = (direct.preference_loss(NETWORK, partial(direct.dpo, beta=beta)) for beta in (BETA, MILD))
    imitating = direct.with_sft(NETWORK, DPO, ALPHA)

    def line(loss: Any, collect: Any) -> Numbers:
        trail = train(loss, who.start, collect, points[-1], SIZE)
        return _along([change(who.batch, trail[point]) for point in points])

    return {
        "as it is": line(loss, always(who.batch)),
        "no turned": line(loss, without_turned(who)),
        "table": of_table(who, points),
        "fresh": line(loss, fresh(who)),
        "mild": line(mild, always(who.batch)),
        "fresh, mild": line(mild, fresh(who)),
        "with sft": line(imitating, always(who.batch)),
        "exact": _along([of_exact(who, beta) for beta in BETAS]),
    }


SETTINGS: dict[str, Any] = {
    "beta": BETA,
    "mild": MILD,
    "alpha": ALPHA,
    "points": list(POINTS),
    "size": SIZE,
    "table_size": TABLE_SIZE,
    "betas": list(BETAS),
    "count": COUNT,
}
STUDY = in_blocks(run, 5, SETTINGS)
