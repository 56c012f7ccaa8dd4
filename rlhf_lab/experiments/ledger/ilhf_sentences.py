"""What the ILHF paper says in sentences beside its figures: on rewards, losses and indices, tried as printed."""

from collections.abc import Iterator

import numpy as np

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ilhf.verdicts import brief
from rlhf_lab.experiments.ledger import small
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, measured, rounded
from rlhf_lab.feedback import annotators, linear_fits
from rlhf_lab.methods import ilhf
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import token_process
from rlhf_lab.worlds.token_process import TokenProcess


def rewards(load: Load) -> Iterator[Claim]:
    """Yield the rows on the model as a reward, and on what is preferred."""
    own, free = [], []
    for tree in small.trees():
        own.append(float(tree.log_pi_0.max() - np.exp(tree.log_pi_0) @ tree.log_pi_0))
        flat = np.full(27, -np.log(27))
        free.append(float(abs(gibbs.log_policy(flat, tree.log_pi_0, 1.0) - tree.log_pi_0).max()))
    yield measured(
        "sec. 3.1, 3.2",
        "π maximises its own reward log π",
        "reward-maximizing",
        f"always saying its likeliest answer earns {min(own):.1f} to {max(own):.1f} more on 20 trees",
        "sec-ilhf-loss",
        max(own) < EXACT,
        readings={"with an entropy bonus of 1": max(free) < EXACT},
    )
    least = []
    for seed, tree in enumerate(small.trees()):
        kinds = np.array([tree.reward, *np.random.default_rng([seed, 34]).normal(size=(2, 27))])
        margins = kinds[:, :, None] - kinds[:, None, :]
        votes = annotators.of_population(annotators.bradley_terry(margins), np.full(3, 1 / 3))
        best = int((votes @ np.exp(tree.log_pi_0)).argmax())
        least.append(float(votes[best].min()))
    kept = int(np.sum(np.array(least) > 0.5 - EXACT))
    yield measured(
        "sec. 2.3",
        "a model that maximises the likelihood of being preferred is at least as good as any other",
        "likely",
        "three kinds of people on each of 20 trees: the answer that most people prefer to those of π_0 is preferred to "
        f"every other, or as good, on {kept}; at worst it gets {min(least):.0%} of votes",
        "sec-agglomerative",
        kept > small.COUNT / 2,
    )
    tree = small.trees()[0]
    first, second = tree.log_pi_0[:13], tree.log_pi_0[13:26]
    label = np.arange(13) % 2
    told = np.array(ilhf.choice_log_probs(first, second))
    printed = np.where(label == 1, first, second) - np.logaddexp(first, second)
    off = abs(-np.where(label == 1, told[0], told[1]) + printed).max()
    yield measured(
        "sec. 3.2, 4.4",
        "the loss KL(P || Q) of one label is log (l_0 + l_1) less log l of the chosen response",
        "simplifies",
        f"to {rounded(off)}",
        "sec-ilhf-loss",
        off < EXACT,
    )


def indices(load: Load) -> Iterator[Claim]:
    """Yield the rows on states that are counted in two ways, and on an ensemble as a posterior."""
    lost, same = np.transpose([_two_counts(rng) for rng in np.random.default_rng(22).spawn(20)])
    yield measured(
        "sec. 4.1, 4.2",
        "S_(t+1) = tanh(W S_t + U X_t) with S_0 = S_τ gives the states of the token process",
        "two recursions",
        "in 4.1 it is X_(t+1), and X_0 of a response is not defined. Without it, the prompt loses its last token: "
        f"{brief(lost)} nats in texts of six tokens, 20 worlds",
        "sec-small-token-process",
        float(lost.max()) < EXACT,
        readings={"X_0 is the last token of the prompt": float(same.max()) < EXACT},
    )
    yield _posterior()


def _two_counts(rng: np.random.Generator, tokens: int = 6) -> tuple[float, float]:
    """Return KL from the answers of 4.1 to those of 4.2, without and with the last token of the prompt."""
    params, prompt = token_process.draw(rng).ideal, rng.integers(2, size=(1, 8))
    right, short = (lm.answer_log_probs(TokenProcess(2), params, text, tokens)[0] for text in (prompt, prompt[:, :-1]))
    state = params["start"]
    for token in prompt[0, :-1]:  # S_1 ... S_tau of 4.2 read X_1 ... X_(tau - 1)
        state = np.tanh(params["recurrent"] @ state + (2 * token - 1) * params["embed"])
    begin = params | {"start": np.tanh(params["recurrent"] @ state + (2 * prompt[0, -1] - 1) * params["embed"])}
    printed = lm.answer_log_probs(TokenProcess(2), begin, np.zeros((1, 0), dtype=int), tokens)[0]
    return float(lm.kl(right, short)), float(abs(right - printed).max())


def _posterior(times: int = 6, counts: tuple[int, int] = (400, 1600)) -> Claim:
    """Members that start at N(phi, Sigma) and weigh comparisons by double or nothing, each fitted to the end."""
    rng = np.random.default_rng(23)
    spread = np.mean(
        [[_spreads(theta, count, rng) for count in counts] for theta in rng.normal(size=(times, 4))], axis=0
    )
    usual, mean, total = spread[1] / spread[0]
    return measured(
        "sec. 4.4, alg. 2",
        "the ensemble approximates a posterior distribution",
        "approximates",
        f"fitted to the end, with weights drawn once, to {counts[1]:,} comparisons instead of {counts[0]}, the "
        f"posterior is {usual:.0%} as wide, members are {mean:.0%} if the anchor is added to the mean of losses, "
        f"{total:.0%} if to their sum",
        "sec-ilhf-ensembles",
        abs(mean / usual - 1) < 0.2,
        readings={"an anchor for the sum of losses": abs(total / usual - 1) < 0.2},
    )


def _spreads(theta: Array, count: int, rng: np.random.Generator, members: int = 40) -> list[float]:
    """Return the standard deviations of a posterior, and of members at the minimum of sum w loss + a |phi - phi_0|^2.

    The anchor a is `count`, as in a mean of losses with eta = 1, or 1, as in a sum.
    """
    difference = rng.normal(size=(count, 4))
    label = annotators.sample_labels(annotators.bradley_terry(difference @ theta), rng)
    found = [np.diag(linear_fits.fit_linear(difference, label, precision=1.0).covariance)]
    weight, start = ilhf.double_or_nothing((members, count), rng), 0.1 * rng.normal(size=(members, 4))
    products = np.einsum("nd,ne->nde", difference, difference).reshape(count, -1)
    for pull in (count, 1):
        phi = start
        for _ in range(8):  # of Newton's method
            p = annotators.bradley_terry(phi @ difference.T)
            score = (weight * (p - label)) @ difference + 2 * pull * (phi - start)
            curvature = ((weight * p * (1 - p)) @ products).reshape(-1, 4, 4) + 2 * pull * np.eye(4)
            phi = phi - np.linalg.solve(curvature, score[..., None])[..., 0]
        found.append(phi.var(0))
    return [float(np.sqrt(variance.mean())) for variance in found]
