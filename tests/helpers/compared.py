"""Comparisons that several tests share: drawn from the model, and written as people write them."""

from dataclasses import dataclass

import numpy as np

from rlhf_lab.leaderboard import comparisons


@dataclass(frozen=True)
class Data:
    winner: np.ndarray
    loser: np.ndarray
    tie: np.ndarray
    items: int


def simulate(seed, items=7, size=300, nu=0.0, truth=None):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=items) if truth is None else truth
    one = rng.integers(items, size=size)
    two = (one + rng.integers(1, items, size=size)) % items
    lead = truth[one] - truth[two]
    weights = np.stack([np.exp(lead / 2), np.exp(-lead / 2), np.full(size, nu)])
    outcome = (rng.random(size) > np.cumsum(weights / weights.sum(0), axis=0)).sum(0)
    return Data(np.where(outcome == 1, two, one), np.where(outcome == 1, one, two), outcome == 2, items)


def read_text(text, tmp_path, name="c.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return comparisons.read(path)


TEXT = """winner,loser,tie,annotator
a,b,,ann
b,a,no,bob
a,c,0,ann
c,b,false,bob
b,a,yes,ann
c,a,1,bob
a,b,True,ann
a,c,,
"""
