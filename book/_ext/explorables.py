"""The list of explorables: what readers move in their browser, over exact numbers of the package."""

from collections.abc import Callable
from typing import NamedTuple

import explorable_predictions as predictions
import explorable_runs as runs
import explorable_worlds as worlds


class Explorable(NamedTuple):
    """A name in a bar, the script that moves it, its numbers, and what a reader without scripts is told of them."""

    title: str
    script: str
    numbers: Callable[[], dict]
    still: Callable[[dict], str]


EXPLORABLES = {
    "beta": Explorable("what a price buys", "beta.js", worlds.beta, worlds.beta_still),
    "clip": Explorable("the clip range", "clip.js", runs.clip, runs.clip_still),
    "annotator": Explorable("be the annotator", "annotator.js", worlds.annotator, worlds.annotator_still),
    "best-of-n": Explorable("the best of n", "best_of_n.js", runs.best_of_n, runs.best_of_n_still),
    "tree": Explorable("walk through the tree", "tree.js", worlds.tree, worlds.tree_still),
    "predict-hacking": Explorable("draw what you get", "predict.js", predictions.hacking, predictions.still),
    "predict-lag": Explorable("draw what a lag costs", "predict.js", predictions.lag, predictions.still),
    "predict-tenfold": Explorable("draw the path of DPO", "predict.js", predictions.tenfold, predictions.still),
}
