"""When are groups of annotators found, and what does it help the minority to look for them?

`threshold`: two groups with p = 1/2 +- a/2 and random signs, at rising numbers of labels. `minority`: curt and playful
people of the crowd, at rising shares of the playful, with equally many labels for every method; what the group that is
worse off gets of policies for one reward model, for two of groups that EM found, and for two of the groups as told.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rlhf_lab.experiments.runner import Numbers, in_blocks
from rlhf_lab.feedback import annotators, clusters
from rlhf_lab.methods import pluralism
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import crowd as crowds

BETA = 0.5
PEOPLE, LABELS = 200, (4, 30)  # annotators of `minority`, and labels of each
SHARES = (0.02, 0.04, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)  # of the playful
METHODS = ("average", "found", "told")


class Setting(NamedTuple):
    """Annotators, questions, the gap a, the share of the smaller group, and the numbers of labels that are tried."""

    people: int
    questions: int
    gap: float
    share: float
    labels: tuple[int, ...]


THRESHOLD = {
    "wide": Setting(200, 50, 0.4, 0.5, (2, 3, 4, 5, 6, 8, 12, 16, 24)),
    "narrow": Setting(200, 50, 0.25, 0.5, (4, 8, 10, 13, 16, 20, 30, 40, 60)),
    "unequal": Setting(400, 50, 0.4, 0.2, (2, 3, 4, 5, 6, 8, 12, 16, 24)),
}


def threshold(setting: Setting, seeds: Sequence[int]) -> Numbers:
    """Return the accuracy of EM, and of who knows the groups and their shares, (seeds, points)."""
    found = np.empty((2, len(seeds), len(setting.labels)))
    for place, labels in enumerate(setting.labels):
        for row, seed in enumerate(seeds):
            rng = np.random.default_rng([seed, place, setting.people, int(100 * setting.gap)])
            sign = rng.choice([-0.5, 0.5], size=setting.questions)
            p = 0.5 + setting.gap * np.stack([sign, -sign])
            member = (np.arange(setting.people) < setting.share * setting.people).astype(int)
            wins, asked = clusters.ask(p, member, labels, rng)
            by_em = clusters.fit_groups(wins, asked, 2, rng).member
            known = clusters.membership(
                clusters.log_likelihood(wins, asked, p), np.array([1 - setting.share, setting.share])
            )
            found[:, row, place] = [clusters.accuracy(each, member) for each in (by_em, known)]
    return {"em": found[0], "known": found[1]}


def minority(labels: int, seeds: Sequence[int]) -> Numbers:
    """Return what the worse-off group gets, reward less price, anchored, and EM's accuracy: (seeds, shares) each."""
    world = crowds.crowd()
    rewards = pluralism.anchored(world.rewards[[0, 2]], world.log_pi_0)
    first, second = np.triu_indices(len(world.texts), 1)
    p = annotators.bradley_terry(rewards[:, first] - rewards[:, second])
    often = np.exp(world.log_pi_0[first] + world.log_pi_0[second])
    found = {name: np.empty((len(seeds), len(SHARES))) for name in (*METHODS, "accuracy")}
    for row, seed in enumerate(seeds):
        for place, share in enumerate(SHARES):
            rng = np.random.default_rng([seed, place, labels])
            truth = (np.arange(PEOPLE) < round(share * PEOPLE)).astype(int)
            wins, asked = clusters.ask(p, truth, labels, rng, often / often.sum())
            member = clusters.fit_groups(wins, asked, 2, rng).member
            found["accuracy"][row, place] = clusters.accuracy(member, truth)
            for name, groups in zip(METHODS, (np.ones((PEOPLE, 1)), member, np.eye(2)[truth]), strict=True):
                learned = pluralism.anchored(clusters.group_utilities(wins, asked, groups), world.log_pi_0)
                log_pi = pluralism.max_min(world.log_pi_0, learned, BETA).log_pi
                found[name][row, place] = worst(log_pi, world.log_pi_0, rewards)
    return found


def worst(log_pi: Array, log_pi_0: Array, rewards: Array) -> float:
    """Return min_z J_beta of a policy."""
    return float(np.min(np.exp(log_pi) @ rewards.T) - BETA * lm.kl(log_pi, log_pi_0))


def best(share: float) -> dict[str, float]:
    """Return what the worse-off group gets without chance: from MaxMin, and from the mean reward."""
    world = crowds.crowd()
    rewards = pluralism.anchored(world.rewards[[0, 2]], world.log_pi_0)
    mean = pluralism.mean_reward(rewards, np.array([1 - share, share]))
    policies = {
        "max min": pluralism.max_min(world.log_pi_0, rewards, BETA).log_pi,
        "mean reward": gibbs.log_policy(world.log_pi_0, mean, BETA),
    }
    return {name: worst(log_pi, world.log_pi_0, rewards) for name, log_pi in policies.items()}


def run(seeds: Sequence[int]) -> Numbers:
    """Return both parts of the study."""
    curves = {name: threshold(setting, seeds) for name, setting in THRESHOLD.items()}
    return {**curves, **{f"minority, {labels} labels": minority(labels, seeds) for labels in LABELS}}


STUDY = in_blocks(
    run,
    5,
    {
        "beta": BETA,
        "people": PEOPLE,
        "labels": list(LABELS),
        "shares": list(SHARES),
        "threshold": {name: [*setting[:-1], list(setting.labels)] for name, setting in THRESHOLD.items()},
    },
)
