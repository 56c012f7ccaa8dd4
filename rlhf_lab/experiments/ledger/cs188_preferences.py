"""What the CS 188 lecture claims on learning from preferences, and on the latest trends."""

from collections.abc import Iterator

import numpy as np
from scipy.special import expit

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ilhf.verdicts import PARTLY, above, brief
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, measured, shown
from rlhf_lab.experiments.ledger.survey import SIGN
from rlhf_lab.feedback import annotators, hidden_context, linear_fits
from rlhf_lab.methods import pluralism
from rlhf_lab.models import gibbs
from rlhf_lab.worlds.crowd import SHARES, crowd

PRICE = 0.5


def preferences(load: Load) -> Iterator[Claim]:
    """Yield the rows on preferences of segments, and on latest trends."""
    far = annotators.with_misclicks(annotators.bradley_terry(np.array([-1e3, 1e3])), 0.1)
    yield measured(
        "other tricks",
        "a mis-click has a constant probability that does not decay with the difference of rewards",
        "10%",
        f"at differences of -1,000 and 1,000 the chance of the first is {far[0]:.2f} and {far[1]:.2f}",
        "sec-slips",
        abs(far - [0.05, 0.95]).max() < EXACT,
    )
    track, poles = load("segments"), load("cartpole")
    more = {name: np.mean([_loss(runs, name) for runs in track.values()], axis=0) for name in track["pays_1"]}
    term = poles["10% wrong"].mean(1) - poles["10% wrong, no term"].mean(1)
    yield measured(
        "other tricks",
        "assuming 10% mis-clicks helps",
        "a trick",
        f"without the term the track loses {brief(more['no mis-click term'])} more; with it CartPole, 10% of labels "
        f"wrong, stays up {brief(term, 0)} steps longer",
        "sec-imitation-segments",
        above(more["no mis-click term"]),
        above(term),
    )
    one = poles["recipe"].mean(1) - poles["one model"].mean(1)
    yield measured(
        "other tricks",
        "an ensemble of reward models helps",
        "a trick",
        f"one model loses {brief(more['one model'])} more on the track; the ensemble stays up {brief(one, 0)} steps "
        "longer on CartPole",
        "sec-imitation-segments",
        above(more["one model"]),
        above(one),
    )
    end = poles["recipe"][:, -1] - poles["true reward"]
    yield measured(
        "results: Mujoco",
        "a reward from synthetic preferences does better than the normal reward",
        "a figure",
        f"CartPole with the most labels: {brief(end, 0)} steps against the true reward",
        "sec-cartpole-preferences",
        above(end),
    )
    solved = [int(np.sum(runs["recipe"][:, 7] < EXACT)) for runs in track.values()]
    yield measured(
        "results: most importantly",
        "few labels are enough to learn a skill without a reward",
        "a small amount",
        f"64 answers are enough for the exact optimum on the track in {' and '.join(map(str, solved))} of 200 runs",
        "sec-imitation-segments",
        min(solved) > 190,
    )
    slope = expit(-np.linspace(-2, 2, 5))
    yield measured(
        "summaries: the full picture",
        "loss = log sigmoid(r_j - r_k)",
        "no minus sign",
        f"its slope in the margin of the better answer is positive, {slope.min():.2f} to {slope.max():.2f}: minimised, "
        "it turns the preference round",
        "sec-pipeline",
        bool((-slope > 0).all()),
        readings={SIGN: bool((slope > 0).all())},
    )
    yield shown(
        "learning to summarize",
        "training on a reward model for too long lowers performance",
        "a figure",
        "what you get turns and falls while the learned reward rises, for each of twenty seeds",
        "sec-overoptimization",
        'assert (got[:, at_3] < got[:, turn]).all(), "and what you get falls, for each seed"',
    )


def _loss(runs: dict[str, np.ndarray], name: str) -> np.ndarray:
    found: np.ndarray = (runs[name] - runs["recipe"]).mean(1)
    return found


def trends(load: Load) -> Iterator[Claim]:
    """Yield the rows on pluralism and the latest trends."""
    kinds = crowd()
    votes = annotators.of_population(
        annotators.bradley_terry(kinds.rewards[:, :, None] - kinds.rewards[:, None, :]), SHARES
    )
    fitted, counts = hidden_context.fit_utility(votes), hidden_context.borda(votes)
    same = bool((np.argsort(fitted) == np.argsort(counts)).all())
    yield measured(
        "distributional preference learning",
        "the ordinary utility agrees closely with the Borda count",
        "closely",
        f"the order of {len(counts)} answers is {'the same' if same else 'another'}, correlation "
        f"{np.corrcoef(fitted, counts)[0, 1]:.3f}",
        "sec-hidden-context",
        same,
    )
    one = gibbs.log_policy(kinds.log_pi_0, fitted, PRICE)
    gets = [float(gibbs.objective(one, kinds.log_pi_0, r - np.exp(kinds.log_pi_0) @ r, PRICE)) for r in kinds.rewards]
    yield measured(
        "distributional preference learning",
        "RLHF overrules minorities",
        "a sentence",
        f"less what it costs, kinds of {', '.join(f'{share:.0%}' for share in SHARES)} gain "
        + ", ".join(f"{value:.2f}" for value in gets),
        "sec-pluralism",
        gets[-1] < 0 < gets[0],
    )
    yield shown(
        "distributional preference learning",
        "it finds where hidden context matters",
        "a figure",
        "its spread is more than 5 times as wide where two kinds differ if people are sure, and less than 1.4 times if "
        "they are noisy",
        "sec-hidden-context",
        "assert wider[0] > 5 and wider[1] > 1.5 and wider[2] < 1.4",
        PARTLY,
    )
    away = []
    for price in (0.1, 0.25, 0.5, 1.0):
        own = gibbs.log_policy(kinds.log_pi_0, kinds.rewards, price)
        pooled = gibbs.log_policy(kinds.log_pi_0, fitted, price)
        away.append([float(pluralism.distributional(law, own, SHARES)) for law in (kinds.log_pi_0, pooled)])
    worse = [after > before for before, after in away]
    yield measured(
        "pluralistic alignment",
        "RLHF may reduce distributional pluralism",
        "may",
        "nats between people and policy, before and after, at prices 0.1, 0.25, 0.5 and 1: "
        + ", ".join(f"{before:.2f} to {after:.2f}" for before, after in away),
        "sec-three-pluralisms",
        *worse,
    )
    difference, label = np.array([[1.0, -1.0]]), np.array([1.0])
    free, smooth = (
        linear_fits.iterated_data_smoothing(difference, label, rounds=rounds, step_size=1.0, rate=rate).weights
        for rate, rounds in ((0.0, 1000), (0.1, 1000))
    )
    margin = [[float(path[at] @ difference[0]) for at in (100, 1000)] for path in (free, smooth)]
    yield measured(
        "iterated data smoothing",
        "if a pair was compared once, the loss drives rewards to infinity; smoothing does not",
        "infinity",
        f"margin after 100 and 1,000 steps: {margin[0][0]:.1f} and {margin[0][1]:.1f}; smoothed {margin[1][0]:.1f} and "
        f"{margin[1][1]:.1f}",
        "sec-smoothing",
        margin[0][1] > margin[0][0] + 0.5 * np.log(10),
        abs(margin[1][1] - margin[1][0]) < 0.01,
    )
    kept = _kept_after_smoothing()
    yield measured(
        "iterated data smoothing",
        "it trusts rarely seen data less",
        "a sentence",
        f"two pairs, won by the first answer in 75% of 4 and of 400 comparisons: of the same log-odds it keeps "
        f"{kept[0]:.0%} and {kept[1]:.0%}",
        "sec-smoothing",
        kept[0] < 0.9 * kept[1],
    )


def _kept_after_smoothing() -> np.ndarray:
    """Return the share of the log-odds of 3 to 1 that is left, of pairs compared 4 and 400 times."""
    difference = np.repeat(np.eye(2), (4, 400), axis=0)
    label = np.concatenate([np.arange(n) < 0.75 * n for n in (4, 400)]).astype(float)
    run = linear_fits.iterated_data_smoothing(difference, label, step_size=5.0, rate=0.02, rounds=2000)
    share: np.ndarray = run.weights[-1] / np.log(3)
    return share
