"""What the survey of Chaudhari and co-authors (DEC) claims about rewards and optimisation, sections 4 to 6."""

from collections.abc import Iterator
from functools import partial
from itertools import permutations

import numpy as np

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ilhf.verdicts import above
from rlhf_lab.experiments.ledger import rates, small
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, measured, rounded
from rlhf_lab.feedback import evaluation
from rlhf_lab.methods import shaping
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.worlds import coin, token_mdp
from rlhf_lab.worlds.crowd import SHARES, crowd

BETA = 0.5


def rewards(load: Load) -> Iterator[Claim]:
    """Yield the rows on rewards and how they are learned, sections 4 and 5."""
    count = 4 * 3 // 2
    told = _ranking_information(4)
    yield measured(
        "sec. 4.1",
        "ranking N outputs gives more data: N (N - 1) / 2 comparisons",
        "6 for N = 4",
        f"{count} for N = 4, but they tell as much as {count * told:.1f} independent ones if all outputs are equally "
        "good",
        "sec-ratings",
        count == len([*permutations(range(4), 2)]) / 2,
        told > 1 - EXACT,
    )
    yield _best_is_not_people()
    yield _misgeneralisation()
    found = {"comparisons": rates.comparisons(), "rankings of three answers": rates.rankings()}
    yield measured(
        "sec. 7.3.2, 7.5",
        "the maximum-likelihood reward converges, for pairs and for rankings (Zhu et al.)",
        "a theorem",
        "from 100 reports on the error of six weights falls as "
        + " and as ".join(f"n^{rate.slope:.2f} with n {name}" for name, rate in found.items())
        + ", at least as fast as 1 / √n; at last it is "
        + " and ".join(f"{rate.ratio:.2f}" for rate in found.values())
        + " times what Fisher information says",
        "sec-fitting",
        *(rate.slope < -0.4 for rate in found.values()),
        *(abs(rate.ratio - 1) < 0.2 for rate in found.values()),
    )
    people, shares = crowd(), SHARES
    mean = gibbs.log_policy(people.log_pi_0, shares @ people.rewards, BETA)
    away = lm.kl(mean, gibbs.log_policy(people.log_pi_0, people.rewards, BETA))
    yield measured(
        "sec. 5.1",
        "an averaged reward is consistent with no single person",
        "no one",
        "the optimum of three kinds' mean reward is " + ", ".join(f"{kl:.1f}" for kl in away) + " nats from theirs",
        "sec-pluralism",
        bool((away > 0.01).all()),
    )
    yield _dense()


def _ranking_information(n: int) -> float:
    """Return the Fisher information of a Plackett-Luce ranking over that of all pairs, at equal rewards."""
    scores = []
    for order in permutations(range(n)):
        score = np.zeros(n)
        for place in range(n - 1):
            left = list(order[place:])
            score[order[place]] += 1
            score[left] -= 1 / len(left)
        scores.append(score)
    ranking = np.mean([np.outer(score, score) for score in scores], axis=0)
    pairs = (n * np.eye(n) - 1) / 4
    return float(np.trace(ranking) / np.trace(pairs))


def _best_is_not_people() -> Claim:
    said = np.array([1 - coin.PEOPLE, coin.PEOPLE])
    best = float(np.argmax(said))
    return measured(
        "sec. 4.1",
        "the model that maximises R* accurately reflects the preferences in the feedback",
        "a sentence",
        f"on the coin a share {coin.PEOPLE:.2f} wants 1; what maximises log l says 1 with probability {best:.0f}",
        "sec-agglomerative",
        abs(best - coin.PEOPLE) < 0.01,
    )


def _misgeneralisation() -> Claim:
    rng = np.random.default_rng(5)
    features, theta = rng.normal(size=(27, 8)), rng.normal(size=8)
    seen, truth = features[:5], features @ theta
    least = np.linalg.pinv(seen) @ truth[:5]
    free = np.eye(8) - np.linalg.pinv(seen) @ seen
    fits = least + rng.normal(size=(200, 8)) @ free
    inside = abs(fits @ seen.T - truth[:5]).max()
    outside = np.mean((fits @ features[5:].T - truth[5:]) ** 2, axis=1)
    return measured(
        "sec. 5, 5.1",
        "many rewards fit the data perfectly, and almost all are wrong outside",
        "almost all",
        f"200 rewards fit 5 of 27 answers, to {rounded(inside)}; the least squared error on the others is "
        f"{outside.min():.1f}, that of R* is 0",
        "sec-coverage",
        inside < EXACT,
        np.mean(outside > 0.01) > 0.95,
    )


def _dense() -> Claim:
    less = []
    for tree in small.trees():
        value = token_mdp.policy_evaluation(tree.prior, tree.paid).v
        flat = [np.broadcast_to(value[0], v.shape) for v in value]
        sparse, dense = (shaping.gradient_noise(tree.prior, tree.paid, small.START, phi).noise for phi in (flat, value))
        less.append(dense / sparse)
    return measured(
        "sec. 5.1, 7.8",
        "denser rewards make training faster and need fewer samples",
        "a sentence",
        "paid as changes of the value, rewards leave the gradient and "
        f"{np.min(less):.0%} to {np.max(less):.0%} of its noise on 20 trees, as a learned baseline would",
        "sec-dense-speed",
        np.median(less) < 1,
        max(less) < 1,
    )


def optimisation(load: Load) -> Iterator[Claim]:
    """Yield the rows on optimising an imperfect reward, section 6."""
    trees = small.trees()
    lost, kl = small.left_on_the_table(BETA)
    off = abs(lost - kl).max()
    yield measured(
        "eq. 17",
        "the KL-regularised optimum is proportional to pi_pre exp(R / β)",
        "a formula",
        f"20 other policies earn less, by β KL to it, to {rounded(off)}",
        "sec-policy-gradients",
        bool((lost > 0).all()),
        off < EXACT,
    )
    yield measured(
        "sec. 7.6.3",
        "a KL penalty is like Bayesian inference",
        "similar",
        f"J less β log Z is -β KL(π || posterior), to {rounded(off)}, for prior π_pre and likelihood exp(R / β)",
        "sec-policy-gradients",
        off < EXACT,
    )
    yield _delta_j()
    earned = np.array(
        [
            [np.exp(gibbs.log_policy(t.log_pi_0, t.reward, b)) @ t.reward for b in np.geomspace(0.05, 20, 25)]
            for t in trees
        ]
    )
    yield measured(
        "sec. 6.2",
        "a larger β lowers the performance of the best policy",
        "a sentence",
        f"J(π*) falls with every step of β from 0.05 to 20 on {np.sum((np.diff(earned) < 0).all(1))} of 20 trees",
        "sec-coverage",
        bool((np.diff(earned) < 0).all()),
    )
    harm = np.array([_harm(tree, seed) for seed, tree in enumerate(trees)])
    monotone = int(np.sum((np.diff(harm) < EXACT).all(1)))
    yield measured(
        "sec. 6.2",
        "a larger β mitigates the harm of a wrong reward",
        "a sentence",
        f"the loss ΔJ falls from {harm[:, 0].mean():.2f} at β = 0.05 to {harm[:, -1].mean():z.2f} at 20, on 20 trees "
        f"with random errors; it falls all the way on {monotone}",
        "sec-coverage",
        above(harm[:, 0] - harm[:, -1]),
        monotone == small.COUNT,
    )
    yield _two_updates()


def _harm(tree: small.Tree, seed: int) -> Array:
    """Return J(pi*) - J(pi_phi) for 25 prices, for a reward with errors as large as itself."""
    prices = np.geomspace(0.05, 20, 25)
    rewards = tree.reward, small.mistaken(seed)
    two = ([np.exp(gibbs.log_policy(tree.log_pi_0, r, b)) for b in prices] for r in rewards)
    best, found = (np.array(pi) @ tree.reward for pi in two)
    gap: Array = best - found
    return gap


def _delta_j() -> Claim:
    ratio = []
    for seed in range(small.COUNT):
        rng = np.random.default_rng([seed, 30])
        log_pi_0, start = log_softmax(rng.normal(size=(2, 9))), np.array([0.5, 0.5])
        reward = rng.normal(size=(2, 9))
        learned = reward + np.array([[0.0], [1.0]]) * rng.normal(size=(2, 9))  # exact where people judged
        gap = evaluation.performance_gap(log_pi_0, reward, learned, BETA, start, np.array([True, False]))
        apart = abs(np.exp(reward / BETA) - np.exp(learned / BETA))
        printed = start @ np.sum(np.exp(log_pi_0) * apart * reward, axis=1)
        ratio.append((gap.seen + gap.unseen) / printed)
    return measured(
        "sec. 6.2",
        "ΔJ is proportional to the mean of |exp(R*/β) - exp(R/β)| R* over unseen contexts",
        "one factor",
        f"the factor is {np.min(ratio):.2f} to {np.max(ratio):.2f} in 20 random worlds: normalisers Z and a sign are "
        "left out",
        "sec-coverage",
        np.ptp(ratio) < 0.01,
    )


def _two_updates() -> Claim:
    ahead = []
    for tree in small.trees():
        best = 1.0 * (np.arange(27) == tree.reward.argmax())
        slopes = (partial(token_mdp.policy_gradient, reward=tree.reward), partial(token_mdp.sft_gradient, target=best))
        paths = ([*token_mdp.follow(slope, tree.log_pi_0, 0.25, 60)] for slope in slopes)
        learned, imitated = (np.array(path) @ tree.reward for path in paths)
        ahead.append((learned - imitated)[[2, 60]])
    early, late = np.sum(np.array(ahead) > 0, axis=0)
    return measured(
        "sec. 6.3",
        "updates of RL are more informative than those of SFT, and need fewer samples",
        "a sentence",
        f"exact gradients, steps of equal length: that of the reward is ahead of imitating the best answer on {early} "
        f"of 20 trees after a path of 0.5, and on {late} after 15",
        "sec-pretraining",
        early == small.COUNT,
        late == small.COUNT,
    )
