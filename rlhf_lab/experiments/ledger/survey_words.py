"""What the survey of Chaudhari and co-authors (DEC) says of RLHF at large and of feedback, sections 1 to 5 and 7.3."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from scipy.special import expit

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ilhf.verdicts import above, brief
from rlhf_lab.experiments.ledger import small
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, measured, rounded
from rlhf_lab.experiments.ledger.survey_theory import BETA
from rlhf_lab.feedback import annotators, hidden_context, linear_fits
from rlhf_lab.methods import pluralism
from rlhf_lab.models import gibbs
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds.crowd import SHARES, crowd

GUMBEL = np.pi**2 / 6  # variance of the noise on a rating that makes ratings as noisy as comparisons


def texts(load: Load) -> Iterator[Claim]:
    """Yield the row on RLHF at large, section 1."""
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


def feedback(load: Load) -> Iterator[Claim]:
    """Yield the rows on what feedback tells, sections 2.1, 4, 5.1 and 7.3."""
    yield _most_probable()
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
        f"three kinds of people: it keeps each answer's mean share of votes, to {rounded(wins)}. That is not the "
        f"mean of their rewards: {order} of {len(mean)} answers have another rank by it",
        "sec-hidden-context",
        wins < EXACT,
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
        "eq. 5",
        "the factor (a) beside the prior, in the formula Pr(D | R), is the log-likelihood (MAP)",
        "a sentence",
        f"along the fitted direction the log-likelihood times the prior is largest at {best[0]:.0f} times the fit, "
        f"where the search ends, likelihood times prior at {best[1]:.2f}",
        "sec-fitting",
        abs(best[0] - 1) < 0.01,
        readings={"the likelihood, as in the formula": abs(best[1] - 1) < 0.01},
    )


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
