"""What the survey of Chaudhari and co-authors (DEC) says on text as an MDP and on feedback, sections 1 to 5 and 7.3."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from scipy.special import expit

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ilhf.verdicts import PARTLY, above, brief
from rlhf_lab.experiments.ledger import small
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, measured, rounded, shown
from rlhf_lab.experiments.ledger.survey_theory import BETA
from rlhf_lab.feedback import annotators, hidden_context, linear_fits
from rlhf_lab.methods import pluralism
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import token_mdp
from rlhf_lab.worlds.crowd import SHARES, crowd

GUMBEL = np.pi**2 / 6  # variance of the noise on a rating that makes ratings as noisy as comparisons


def texts(load: Load) -> Iterator[Claim]:
    """Yield the rows on RLHF at large, and on text before anybody judges it, sections 1 to 3, 5.1 and 7.1."""
    poles = load("cartpole")
    share = poles["recipe"][:, -1].mean() / poles["true reward"].mean()
    yield measured(
        "sec. 1",
        "RLHF solves control problems without access to a reward",
        "solve",
        f"CartPole with the most labels: {brief(poles['recipe'][:, -1], 0)} of 200 steps, with the true reward "
        f"{brief(poles['true reward'], 0)}, at random {brief(poles['random policy'], 0)}",
        "sec-cartpole-preferences",
        share > 0.9,
    )
    laws = [gibbs.log_policy(t.log_pi_0, t.reward, BETA) for t in small.trees()]
    both = list(zip(laws, small.trees(), strict=True))
    worse = np.array([lm.cross_entropy(t.log_pi_0, law) - lm.entropy(t.log_pi_0) for law, t in both])
    more = np.array([small.earned(law, t) - small.earned(t.log_pi_0, t) for law, t in both])
    yield measured(
        "sec. 2, 7.1",
        "the objective of pretraining is not that of the user (objective mismatch)",
        "not necessarily",
        f"a policy that fits texts worse, by {worse.mean():.2f} nats on average, earns {more.mean():.2f} more than one "
        f"that fits them exactly, on {np.sum((worse > 0) & (more > 0))} of 20 trees",
        "sec-policy-gradients",
        bool((worse > 0).all()),
        bool((more > 0).all()),
    )
    told, model = np.array([0.5, 0.5, 0.0, 0.0]), 0.9 * np.array([0.5, 0.5, 0.0, 0.0])
    cost = [float(-told[:2] @ np.log((model + 0.1 * np.eye(4)[k])[:2] / told[:2])) for k in (2, 3)]
    yield measured(
        "sec. 7.1",
        "the likelihood does not penalise what no text says, and all errors weigh the same",
        "not explicitly",
        f"to say one answer that no text has, or another, in 10% costs {cost[0]:.3f} and {cost[1]:.3f} nats, whatever "
        "they are worth: the same, but not nothing",
        "sec-pretraining",
        abs(cost[0] - cost[1]) < EXACT,
        max(cost) < EXACT,
    )
    off = [
        abs(float(lm.entropy(t.log_pi_0)) - float(token_mdp.performance_by_token(t.prior, _surprise(t), small.START)))
        for t in small.trees()
    ]
    yield measured(
        "sec. 3",
        "the transition function is deterministic",
        "a delta",
        f"all chance is in the tokens: the entropy of texts is that of the policy, summed over steps, to "
        f"{rounded(max(off))} on 20 trees",
        "sec-token-mdp",
        max(off) < EXACT,
    )
    every = lm.enumerate_responses(small.VOCAB, small.HORIZON, None)
    states = [len({tuple(text[:t]) for text in every}) for t in range(small.HORIZON)]
    paths = [small.VOCAB**t for t in range(small.HORIZON)]
    yield measured(
        "sec. 5.1",
        "methods that join parts of trajectories cannot be applied to text directly",
        "cannot",
        f"each of {sum(states)} states of a tree has one way to it, so no two texts that have parted meet again",
        "sec-token-mdp",
        states == paths,
    )


def _surprise(tree: small.Tree) -> list[Array]:
    return [-level for level in tree.prior]


def feedback(load: Load) -> Iterator[Claim]:
    """Yield the rows on what feedback tells, sections 2.1, 4, 5.1 and 7.3."""
    yield _most_probable()
    rise, earned = np.transpose([_on_labels(seed) for seed in range(small.COUNT)])
    yield measured(
        "sec. 4.1",
        "RL cannot use preferences in their raw form: a reward must be learned",
        "not compatible",
        f"with the label against an answer of π_0 as reward, the policy gradient raises the share of wins by "
        f"{rise.mean():.2f} and the true reward by {earned.mean():.2f}, on {np.sum(earned > 0)} of 20 trees",
        "sec-nash",
        not above(rise),
        not above(earned),
    )
    kinds = crowd()
    margins = kinds.rewards[:, :, None] - kinds.rewards[:, None, :]
    votes = annotators.of_population(annotators.bradley_terry(margins), SHARES)
    fitted, mean = hidden_context.fit_utility(votes), pluralism.mean_reward(kinds.rewards, SHARES)
    wins = abs(hidden_context.borda(expit(fitted[:, None] - fitted)) - hidden_context.borda(votes)).max()
    order = int(np.sum(np.argsort(fitted) != np.argsort(mean)))
    yield measured(
        "sec. 4.1, 5.1",
        "a reward model averages over the preferences of all annotators",
        "averages",
        f"three kinds of people: it keeps each answer's mean share of wins, to {rounded(wins)}, but not the mean "
        f"reward: {order} of {len(mean)} answers have another rank by it",
        "sec-hidden-context",
        wins < EXACT,
        order == 0,
    )
    p = expit(np.array([0.1, 1.0]))
    pairs, rated = p * (1 - p) / (p - 0.5) ** 2, 2 * GUMBEL / np.array([0.1, 1.0]) ** 2
    yield measured(
        "sec. 7.3.2",
        "near similar answers are hard to tell apart, by ratings and by comparisons",
        "challenging",
        f"for the same certainty a tenth of the difference takes {rated[0] / rated[1]:.0f} times as many ratings, and "
        f"{pairs[0] / pairs[1]:.0f} times as many comparisons",
        "sec-ratings",
        rated[0] > 10 * rated[1],
        pairs[0] > 10 * pairs[1],
    )
    bits = _information()
    yield measured(
        "sec. 7.3.2",
        "a preference is a very sparse signal",
        "limited",
        f"one label tells {bits:.2f} bits of two normal rewards; to name the best of 27 answers takes "
        f"{np.log2(27):.2f}",
        "sec-label-worth",
        bits < 0.1 * np.log2(27),
    )
    yield shown(
        "sec. 7.3.2",
        "a sentence tells more than a comparison: where and how to improve",
        "more informative",
        "where it names one fault of several, more than four tries hardly help, and 23% of answers keep a fault after "
        "a round; four rounds leave one in 6%",
        "sec-objectives",
        'assert runs["names one", 1][4] < 0.06 and runs["names one", 4][1] > 0.23',
        PARTLY,
    )
    lost = _noisy((0.0, 0.3, 0.6))
    yield measured(
        "sec. 7.3.3",
        "noisy feedback hampers the trained model",
        "significantly",
        "with 0, 30 and 60% of 400 labels drawn at random, the optimum of the learned reward loses "
        + ", ".join(brief(loss) for loss in lost),
        "sec-slips",
        *(above(after - before) for before, after in pairwise(lost)),
    )


def _most_probable() -> Claim:
    rng = np.random.default_rng(11)
    difference, theta, precision = rng.normal(size=(100, 4)), rng.normal(size=4), 1.0
    label = annotators.sample_labels(annotators.bradley_terry(difference @ theta), rng)
    fitted = linear_fits.fit_linear(difference, label, precision).mean
    size = np.linspace(0, 30, 3001)  # along the fitted direction, in units of it
    margin = size[:, None] * (difference @ fitted) * (2 * label - 1)
    likelihood, log_prior = np.log(expit(margin)).sum(1), -precision / 2 * size**2 * (fitted @ fitted)
    best = [float(size[f.argmax()]) for f in (likelihood * np.exp(log_prior), likelihood + log_prior)]
    return measured(
        "eq. 4, 5",
        "the reward model maximises the log-likelihood times the prior (MAP)",
        "a product",
        f"along the fitted direction that product is largest at {best[0]:.2f} of the fit, likelihood times prior at "
        f"{best[1]:.2f}",
        "sec-fitting",
        abs(best[0] - 1) < 0.01,
        readings={"the likelihood times the prior": abs(best[1] - 1) < 0.01},
    )


def _on_labels(seed: int) -> tuple[float, float]:
    """Return what 60 exact steps on labels against pi_0 gain in wins and in reward."""
    tree = small.trees()[seed]
    wins = annotators.bradley_terry(tree.reward[:, None] - tree.reward) @ np.exp(tree.log_pi_0)
    path = token_mdp.follow(lambda pi: token_mdp.policy_gradient(pi, wins), tree.log_pi_0, 0.25, 60)
    first, *_, last = path
    return float((last - first) @ wins), float((last - first) @ tree.reward)


def _information() -> float:
    """Return the mutual information of a label and the difference of two normal rewards, in bits."""
    node, weight = np.polynomial.hermite_e.hermegauss(80)
    p = expit(2**0.5 * node)
    unsure = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return float(1 - weight @ unsure / weight.sum())


def _noisy(rates: tuple[float, ...], times: int = 50, count: int = 400) -> list[Array]:
    """Return what the optimum of a reward loses that was fitted to labels with mis-clicks, for each data set."""
    lost = []
    for rate in rates:
        rng = np.random.default_rng(12)
        features, theta, log_pi_0 = rng.normal(size=(27, 6)) / 2, rng.normal(size=6), small.trees()[0].log_pi_0
        first, second = rng.integers(27, size=(2, times, count))
        difference = features[first] - features[second]
        p = annotators.with_misclicks(annotators.bradley_terry(difference @ theta), rate)
        fitted = linear_fits.fit_linear(difference, annotators.sample_labels(p, rng), precision=1.0).mean
        found = gibbs.log_policy(log_pi_0, fitted @ features.T, BETA)
        lost.append(gibbs.gap(found, log_pi_0, features @ theta, BETA))
    return lost
