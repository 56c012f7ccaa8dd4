"""What the survey of Chaudhari and co-authors (DEC) says of RL beside its alternatives, sections 6.3 and 7.4 to 7.9."""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import numpy as np

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ilhf.verdicts import above, brief
from rlhf_lab.experiments.ledger import small
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, measured, rounded, shown
from rlhf_lab.experiments.ledger.survey_theory import BETA
from rlhf_lab.experiments.ledger.xiong import data_sets
from rlhf_lab.feedback import annotators, linear_fits
from rlhf_lab.methods import best_of_n, imitation
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.worlds import token_mdp


def supervised(load: Load) -> Iterator[Claim]:
    """Yield the rows on RL beside supervised learning, sections 5.1, 6.3 and 7.4."""
    scales = (0.0, 1.0, 2.0, 4.0)
    ahead = np.array([[_ahead_of_chosen(seed, scale) for seed in range(small.COUNT)] for scale in scales])
    wins = (ahead > 0).sum(1)
    yield measured(
        "sec. 5.1",
        "the benefits of RL hinge on an accurate reward",
        "contingent",
        "with errors 0, 1, 2 and 4 times as large as rewards, the optimum of the learned reward is ahead of "
        f"fine-tuning on chosen answers on {', '.join(map(str, wins))} of 20 trees",
        "sec-chosen-only",
        wins[0] == small.COUNT,
        wins[-1] < small.COUNT / 2,
    )
    lead, able = np.transpose([[_elsewhere(seed, known) for known in (6, 8)] for seed in range(small.COUNT)])
    yield measured(
        "sec. 6.3",
        "updates of RL generalise better than those of SFT",
        "better",
        "twenty worlds of linear policies, exact gradients on ten prompts, each method at the best step of its path: "
        f"on ten other prompts RL earns {brief(lead)} more than imitating the best answers if policies know six of "
        f"eight features that pay, and {brief(able)} more if they know all",
        "sec-pretraining",
        above(lead),
        above(able),
    )
    rate, steps = 0.01, 64
    clone, asked = (float(f(rate, steps)) for f in (imitation.cliff_clone_gap, imitation.cliff_dagger_gap))
    yield measured(
        "sec. 6.3, 7.4",
        "behaviour cloning does poorly outside the distribution of its data",
        "poorly",
        f"a policy that errs in 1% of the steps of an expert on the cliff loses {clone:.0f} of {steps} steps if it "
        f"never saw the ditch, and {asked:.1f} if it errs in 1% there, too",
        "sec-imitation",
        clone > 5 * asked,
    )
    better = []
    for seed, tree in enumerate(small.trees()):
        wins_of = annotators.bradley_terry(tree.reward[:, None] - tree.reward) @ np.exp(tree.log_pi_0)
        taught = tree.log_pi_0 + np.log(2 * wins_of)
        laws = (gibbs.log_policy(first, small.mistaken(seed), BETA) for first in (taught, tree.log_pi_0))
        with_sft, without_sft = (small.earned(law, tree) for law in laws)
        better.append(with_sft - without_sft)
    yield measured(
        "sec. 7.4",
        "starting RL with a fine-tuned model does better than with a pretrained one",
        "significant",
        f"errors as large as rewards: the optimum of the learned reward at β = {BETA} earns {brief(np.array(better))} "
        f"more if the reference was fine-tuned on chosen answers; more on {np.sum(np.array(better) > 0)} of 20 trees",
        "sec-pipeline",
        above(np.array(better)),
    )


def _ahead_of_chosen(seed: int, scale: float) -> float:
    """Return how much nearer the optimum RL on a reward with errors ends than fine-tuning on chosen answers."""
    tree = small.trees()[seed]
    wins = annotators.bradley_terry(tree.reward[:, None] - tree.reward) @ np.exp(tree.log_pi_0)
    laws = tree.log_pi_0 + np.log(2 * wins), gibbs.log_policy(tree.log_pi_0, small.mistaken(seed, scale), BETA)
    chosen, learned = (float(gibbs.gap(law, tree.log_pi_0, tree.reward, BETA)) for law in laws)
    return chosen - learned


def _elsewhere(seed: int, known_features: int) -> float:
    """Return the lead of RL over SFT on prompts that neither saw: eight features pay, and policies know some."""
    rng = np.random.default_rng([seed, 31])
    features, reward = rng.normal(size=(20, 9, 8)), rng.normal(size=8)
    known, paid = features[..., :known_features], features @ reward
    best = 1.0 * (paid == paid.max(1, keepdims=True))
    ends = []
    for slope in (partial(token_mdp.policy_gradient, reward=paid), partial(token_mdp.sft_gradient, target=best)):
        theta, earned = np.zeros(known_features), []
        for _ in range(40):
            pi = np.exp(log_softmax(known @ theta))
            earned.append(float(np.sum(pi[10:] * paid[10:]) / 10))
            direction = np.einsum("ca,cad->d", slope(pi)[:10], known[:10])
            theta = theta + 0.2 * direction / np.linalg.norm(direction)
        ends.append(max(earned))
    return ends[0] - ends[1]


def rewards(load: Load) -> Iterator[Claim]:
    """Yield the rows on reward models that meet what they were not trained on, sections 7.5 to 7.7."""
    right = _foreseen((2, 4, 8, 16, 32))
    best = right[int(right.mean(1).argmax())]
    yield measured(
        "sec. 7.5",
        "very large reward models overfit (Ouyang et al.)",
        "can",
        "of 32 weights, ever smaller, that pay, linear rewards know 2, 4, 8, 16 or all: fitted to 100 comparisons they "
        "foresee " + ", ".join(f"{each.mean():.1%}" for each in right) + " of new ones",
        "sec-fitting",
        above(best - right[-1]),
    )
    off = data_sets()["off"]
    yield measured(
        "sec. 7.5, 7.6.4",
        "a reward model is less right at higher rewards",
        "miscalibrated",
        "fitted to 100 comparisons, it errs on what the optimum of its own gains over π_0, at prices of 2, 0.5 and "
        "0.1 by " + ", ".join(brief(each, 2) for each in off),
        "sec-lcb",
        *(above(more - less) for less, more in pairwise(off)),
    )
    yield shown(
        "sec. 7.7",
        "other prompts in RL than in reward learning misalign the policy",
        "can",
        "with rewards learned on questions about tea, answers about ice are worse than before at each of ten prices, "
        "averaged over five networks",
        "sec-coverage",
        'assert (ice[1:6].mean(0) < usual).all(), "worse than the model that learned nothing"',
    )
    more, left = np.transpose([_with_bonus(tree) for tree in small.trees()])
    yield measured(
        "sec. 7.7",
        "an entropy bonus makes answers more diverse, but does not always resolve the loss",
        "not always",
        f"a bonus of 0.1 an answer's nat raises the entropy of the optimum by {more.mean():.2f} nats on average, on "
        f"{np.sum(more > 0)} of 20 trees; it stays below that of π_0 on {np.sum(left > 0)}",
        "sec-pipeline",
        bool((more > 0).all()),
        bool((left > 0).any()),
    )


def _foreseen(sizes: tuple[int, ...], times: int = 20, count: int = 100) -> Array:
    """Return the accuracy on new labels of rewards that know the first weights, (sizes, times)."""
    rng, theta = np.random.default_rng(33), 0.8 ** np.arange(max(sizes))
    seen, new = rng.normal(size=(2, times, count, len(theta)))
    label, p = (
        annotators.sample_labels(annotators.bradley_terry(seen @ theta), rng),
        annotators.bradley_terry(new @ theta),
    )
    found = []
    for size in sizes:
        weights = linear_fits.fit_linear(seen[..., :size], label, precision=0.1).mean
        margin = (new[..., :size] @ weights[..., None])[..., 0]
        found.append(np.where(margin > 0, p, 1 - p).mean(-1))
    return np.array(found)


def _with_bonus(tree: small.Tree, bonus: float = 0.1) -> tuple[float, float]:
    """Return by how much a bonus raises the entropy of the optimum, and how much below that of pi_0 it stays."""
    best = gibbs.log_policy(tree.log_pi_0, tree.reward, BETA)
    flatter = token_mdp.with_temperature(best, 1 + bonus / BETA)  # pi_0^(b / (b + a)) exp(R / (b + a))
    plain, raised, first = (float(lm.entropy(law)) for law in (best, flatter, tree.log_pi_0))
    return raised - plain, first - raised


def without(load: Load) -> Iterator[Claim]:
    """Yield the rows on what needs no RL, section 7.9."""
    share = np.array([_of_frontier(tree) for tree in small.trees()])
    yield measured(
        "sec. 7.9.1",
        "instead of RL you can sample several outputs and rank them by the reward",
        "not necessary",
        f"best of 4 gains {share.min():.0%} to {share.max():.0%} of what the Gibbs policy of the same divergence "
        f"gains, {share.mean():.0%} on average over 20 trees",
        "sec-exact-best-of-n",
        share.mean() > 0.9,
    )
    gains = []
    for seed, tree in enumerate(small.trees()):
        for reward in (tree.reward, small.mistaken(seed)):
            law = gibbs.log_policy(tree.log_pi_0, reward, BETA)
            picked = best_of_n.log_best_of_n(law, reward, 4)
            gains.append(small.earned(picked, tree) - small.earned(law, tree))
    true, learned = np.array(gains).reshape(-1, 2).T
    yield measured(
        "sec. 7.9.1",
        "best-of-n on an RLHF model improves its results",
        "better",
        f"best of 4 adds {brief(true)} to the optimum's reward; by a reward with errors as large as itself, which "
        f"trained the policy, too, {brief(learned)}, and less than nothing on {np.sum(learned < 0)} of 20 trees",
        "sec-exact-best-of-n",
        above(true),
        above(learned),
    )
    off = max(float(np.ptp(tree.reward - BETA * (law - tree.log_pi_0))) for law, tree in _optima())
    yield measured(
        "sec. 7.9.2",
        "the policy is a reward model, implicitly",
        "an intuition",
        f"β log(π / π_0) of the optimum is the reward, to a constant and {rounded(off)}",
        "sec-dpo",
        off < EXACT,
    )


def _optima() -> Iterator[tuple[Array, small.Tree]]:
    for tree in small.trees():
        yield gibbs.log_policy(tree.log_pi_0, tree.reward, BETA), tree


def _of_frontier(tree: small.Tree, n: int = 4) -> float:
    """Return what best-of-n gains as a share of what the Gibbs policy of the same divergence gains."""
    picked = best_of_n.log_best_of_n(tree.log_pi_0, tree.reward, n)
    spent, low, high = float(lm.kl(picked, tree.log_pi_0)), 1e-2, 1e2
    for _ in range(60):
        price = (low * high) ** 0.5
        law = gibbs.log_policy(tree.log_pi_0, tree.reward, price)
        low, high = (price, high) if lm.kl(law, tree.log_pi_0) > spent else (low, price)
    usual = small.earned(tree.log_pi_0, tree)
    return (small.earned(picked, tree) - usual) / (small.earned(law, tree) - usual)
