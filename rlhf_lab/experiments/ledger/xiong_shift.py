"""What the lecture of Xiong claims on data that policies leave behind, and on preferences beyond Bradley-Terry."""

from collections.abc import Iterator

import numpy as np

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ilhf.verdicts import above, brief
from rlhf_lab.experiments.ledger import small
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, measured, rounded, shown
from rlhf_lab.experiments.online import worlds
from rlhf_lab.feedback import annotators, hidden_context
from rlhf_lab.methods import ilhf, nash, online
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.worlds.crowd import SHARES, crowd

BETA = 0.5


def shift(load: Load) -> Iterator[Claim]:
    """Yield the rows on rewards that meet other answers than those of their data."""
    yield shown(
        "reward hacking",
        "fine-tuned reward models foresee choices in distribution, and often poorly out of distribution",
        "often",
        "on pairs as in training the accuracy of five networks is within 0.05 of the ceiling; on pairs of the policy "
        "that optimises them it is below 0.6",
        "sec-calibration",
        'assert found["own favourites"][0] < 0.6, "hardly better than a coin"',
    )
    kinds = crowd()
    margins = kinds.rewards[:, :, None] - kinds.rewards[:, None, :]
    votes = annotators.of_population(annotators.bradley_terry(margins), SHARES)
    first = _fitted(votes, kinds.log_pi_0)
    later = _fitted(votes, gibbs.log_policy(kinds.log_pi_0, first, BETA))
    moved, apart = int(np.sum(np.argsort(first) != np.argsort(later))), float(abs(later - first).max())
    yield measured(
        "reward hacking",
        "the learned reward is sensitive to the distribution that sampled its data",
        "a sentence",
        "fitted to all votes of three kinds of people on answers drawn by π_0, and then by the optimum of what was "
        f"learned: {moved} of {len(first)} answers have another rank, and one moves by {apart:.1f} within a range of "
        f"{np.ptp(first):.1f}",
        "sec-hidden-context",
        moved > 0,
        apart > 0.1 * np.ptp(first),
    )
    better, less = [], []
    for tree in small.trees():
        goal = small.earned(gibbs.log_policy(tree.log_pi_0, tree.reward, BETA), tree)
        better.append(float(np.exp(tree.log_pi_0)[tree.reward > goal].sum()))
        less.append(goal - small.earned(tree.log_pi_0, tree))
    yield measured(
        "online exploration",
        "π_0 can only sample low-reward responses",
        "only",
        f"it earns {min(less):.1f} to {max(less):.1f} less than the optimum on 20 trees; but {np.mean(better):.0%} of "
        "its answers are worth more than what the optimum earns on average",
        "sec-online",
        min(less) > 0,
        float(np.mean(better)) < 0.01,
    )
    off = []
    for seed, tree in enumerate(small.trees()):
        log_pi = small.answers(small.other(seed))
        paid = np.exp(log_pi) @ ilhf.penalised(tree.reward, log_pi, tree.log_pi_0, BETA)
        off.append(abs(float(paid - gibbs.objective(log_pi, tree.log_pi_0, tree.reward, BETA))))
    yield measured(
        "practical algorithm",
        "PPO optimises the regularised objective by the reward r - η log (π / π_0)",
        "a formula",
        f"the mean of this reward is the objective, to {rounded(max(off))} on 20 trees",
        "sec-policy-gradients",
        max(off) < EXACT,
    )
    yield _converges()


def _fitted(votes: Array, log_pi: Array) -> Array:
    """Return the rewards that fit votes on pairs of answers of pi best, with mean 0."""
    fitted = hidden_context.fit_utility(votes, np.outer(np.exp(log_pi), np.exp(log_pi)))
    centred: Array = fitted - fitted.mean()
    return centred


def _converges() -> Claim:
    world, rng = worlds("linear", range(20)), np.random.default_rng(18)
    trail = online.learn(world, online.hybrid(64), batches=[64] * 8, precision=1.0, rng=rng)
    best = world.policy(world.theta)
    kl = [lm.kl(best, world.policy(theta)) @ world.start for theta in (trail.theta[1], trail.theta[-1])]
    return measured(
        "offline against hybrid",
        "under coverage, π_t tends to π*",
        "an arrow",
        f"KL(π* || π_t) is {brief(kl[0])} after 64 labels offline and {brief(kl[1])} after 448 more online, in 20 "
        f"linear worlds; it fell in {np.sum(kl[1] < kl[0])}",
        "sec-online",
        above(kl[0] - kl[1]),
        float(kl[1].mean()) < 0.5 * float(kl[0].mean()),
    )


def beyond(load: Load) -> Iterator[Claim]:
    """Yield the rows on preferences that no reward explains."""
    wins = np.array([[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]])
    utility = hidden_context.fit_utility(wins)
    off = abs(annotators.bradley_terry(utility[:, None] - utility) - wins).max()
    exact = abs(annotators.bradley_terry(nash.log_odds(wins)) - wins).max()
    yield measured(
        "preference model",
        "it has a larger capacity than Bradley-Terry: it need not be transitive",
        "larger",
        f"of three answers that beat each other in a circle, log-odds of pairs give each chance of winning to "
        f"{rounded(exact)}; the best rewards are off by up to {off:.2f}",
        "sec-nash",
        exact < EXACT,
        off > 0.01,
    )
    least, sure = [], 0
    for seed in range(10):
        rng = np.random.default_rng([seed, 19])
        upper = np.triu(rng.normal(size=(5, 5)), 1)
        sure += bool((upper - upper.T + np.eye(5) > 0).all(1).any())
        game = nash.Game(upper - upper.T, log_softmax(rng.normal(size=5)), BETA)
        least.append(float(np.exp(nash.equilibrium(game)).min()))
    yield measured(
        "KL-regularised game",
        "its optimal policy is stochastic",
        "guaranteed",
        f"in ten random games every one of five answers keeps a probability of at least {min(least):.1%}; in {sure} of "
        "them one answer beats all others, and without KL only it would be said",
        "sec-nash",
        min(least) > 0.001,
    )
    hacked, saved = [], []
    for seed, tree in enumerate(small.trees()):
        laws = (gibbs.log_policy(tree.log_pi_0, small.mistaken(seed, 4.0), price) for price in (0.5, 0.05))
        held, free = (small.earned(law, tree) for law in laws)
        hacked.append(free < small.earned(tree.log_pi_0, tree))
        saved.append(held - free)
    spared = np.array(saved)[hacked]
    yield measured(
        "KL-regularised game",
        "the KL term can mitigate reward hacking",
        "potentially",
        "errors four times as large as rewards: at a price of 0.05 the optimum of the learned reward is worse than π_0 "
        f"on {spared.size} of 20 trees; 0.5 is better on {np.sum(spared > 0)} of these, and on "
        f"{np.sum(np.array(saved) > 0)} of all",
        "sec-coverage",
        bool((spared > 0).any()),
    )
