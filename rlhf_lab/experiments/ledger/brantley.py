"""What the lecture of Brantley claims, slide by slide."""

from collections.abc import Iterator

import numpy as np
from scipy.special import expit

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ilhf.verdicts import PARTLY, above, brief
from rlhf_lab.experiments.ledger import small
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, measured, shown
from rlhf_lab.experiments.ledger.survey import SIGN
from rlhf_lab.methods import dril, imitation
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import gridworlds

BETA = 0.5


def imitating(load: Load) -> Iterator[Claim]:
    """Yield the rows on imitation."""
    rates, steps = 10.0 ** -np.arange(4, 7)[:, None], 2 ** np.arange(3, 9)
    clone, asked = (
        np.array([gap(rate, steps) for rate in rates])
        for gap in (imitation.cliff_clone_gap, imitation.cliff_dagger_gap)
    )
    slopes = [np.polyfit(np.log(steps), np.log(gap).T, 1)[0] for gap in (clone, asked)]
    yield measured(
        "behaviour cloning",
        "its performance gap is O(ε H²)",
        "quadratic",
        f"exact on the cliff with ε = 0.0001, 0.00001 and 0.000001: H^{slopes[0].max():.2f} at most "
        "from 8 to 256 steps, and never above ε H²",
        "sec-imitation",
        abs(slopes[0] - 2).max() < 0.15,
        bool((clone <= rates * steps**2).all()),
    )
    yield measured(
        "DAgger",
        "its performance gap is O(ε H)",
        "linear",
        f"exact on the cliff for a policy that errs with these ε everywhere: H^{slopes[1].max():.2f} at most",
        "sec-imitation",
        abs(slopes[1] - 1).max() < 0.15,
    )
    cliff, policy = gridworlds.cliff(), np.array([[0.99, 0.01], [1.0, 0.0]])
    ditch = gridworlds.occupancy(cliff, policy, 64).mean(0)[1]
    own = gridworlds.occupancy(cliff, np.array([[1.0, 0.0], [0.0, 1.0]]), 64).mean(0)[1]
    yield measured(
        "behaviour cloning",
        "training and test distribution differ (covariate shift)",
        "a table",
        f"a clone that errs in 1% of steps spends {ditch:.0%} of 64 steps where the expert spends {own:.0%}",
        "sec-imitation",
        ditch > 5 * (own + 0.01),
    )
    yield shown(
        "ALVINN",
        "demonstrations must also show how to recover",
        "a quotation",
        "where experts never leave the road, more of their steps teach nothing: the learner steers back by chance",
        "sec-asking",
        'assert np.allclose(back, 1 / 3), "an expert\'s states teach nothing new"',
    )
    yield from _kappa()
    yield shown(
        "covariate shift revisited",
        "the gap of DRIL scales linearly",
        "O(ε H / √E)",
        "slope within 0.15 of 1 on the track, that of the clone within 0.15 of 2. The number of members was not varied",
        "sec-imitation",
        'assert abs(slope - (2 if method == "sft" else 1)) < 0.15, "as the theorem says"',
    )
    runs = load("imitation")
    gain = runs["dril"] - runs["clone"]
    few, many = gain[:, :4].mean(1), gain[:, 4:].mean(1)
    yield measured(
        "summary",
        "DRIL does better than behaviour cloning",
        "a figure",
        f"CartPole, fifty runs: {brief(few, 0)} steps more with one to four demonstrations, {brief(many, 0)} with "
        "five to twenty",
        "sec-disagreement",
        above(few),
        above(many),
    )


def _kappa() -> Iterator[Claim]:
    ratio, variance = np.array([1.0, 64.0]), np.array([[0.0, 0.0], [1 / 12, 1 / 12]])
    right, rate, steps = dril.kappa(ratio, variance).kappa, 0.01, 64
    ditch = gridworlds.occupancy(gridworlds.cliff(), np.array([[1 - rate, rate], [1.0, 0.0]]), steps).mean(0)[1]
    lost = float(imitation.cliff_clone_gap(rate, steps))
    bounds = {k: float(dril.kappa_bound(k, rate, ditch / 12, 1.0, steps)) for k in (1 / right, right)}
    printed, turned = bounds.values()
    yield measured(
        "theory of DRIL",
        "J(π*) - J(π) = O(κ ε H) with κ = min_U v(U) / concentrability",
        "variance over concentrability",
        f"a clone on the cliff loses {lost:.0f} of {steps} steps; with κ as printed the bound is {printed:.1f}, with "
        f"numerator and denominator exchanged {turned:.0f}",
        "sec-dril",
        lost <= printed,
        readings={"κ upside down": lost <= turned},
    )
    yield measured(
        "covariate shift revisited",
        "κ is 12 in the example with two states",
        "12",
        f"{right:.0f}: members are uniform where nobody went, with a variance of 1/12",
        "sec-dril",
        abs(right - 12) < EXACT,
    )


def rlhf(load: Load) -> Iterator[Claim]:
    """Yield the rows on the pipeline, whose signs are tried as they are printed."""
    margin = np.linspace(-2, 2, 5)
    slope = expit(-margin)  # of log sigmoid
    yield measured(
        "RLHF, step 3",
        "r̂ = arg min sum of log sigmoid(r(τ_1) - r(τ_2))",
        "arg min",
        f"going down, the margin of what was preferred falls: the slope is {slope.min():.2f} to {slope.max():.2f} at "
        "margins of 2 to -2, and there is no minimum",
        "sec-pipeline",
        bool((-slope > 0).all()),
        readings={SIGN: bool((slope > 0).all())},
    )
    tree = small.trees()[0]
    world = tree.log_pi_0, tree.reward
    best = gibbs.log_policy(*world, BETA)
    alone = np.where(np.arange(27) == tree.log_pi_0.argmin(), 0.0, -700.0)  # the answer that SFT likes least
    plus, minus = ([_objective(law, world, sign) for law in (best, alone)] for sign in (BETA, -BETA))
    yield measured(
        "RLHF, step 4",
        "E[r̂] + λ KL(π || π_SFT) is maximised",
        "a plus",
        f"always saying what SFT says least earns {plus[1]:.2f} by it, the Gibbs policy {plus[0]:.2f}; with a minus "
        f"{minus[1]:.2f} and {minus[0]:.2f}",
        "sec-policy-gradients",
        plus[0] > plus[1],
        readings={SIGN: minus[0] > minus[1]},
    )
    yield shown(
        "uncertainty-weighted optimisation",
        "a penalty on disagreement keeps optimisation safer (Coste et al.)",
        "a figure",
        "mean less variance wins back a part of what one network loses at 3 nats; but the mean alone does, too, and "
        "the penalty changes less than 0.2 of that",
        "sec-overoptimization",
        'assert abs(more.mean()) < 0.2, "scepticism changes little"',
        PARTLY,
    )


def _objective(log_pi: Array, world: tuple[Array, Array], sign: float) -> float:
    return float(np.exp(log_pi) @ world[1] + sign * lm.kl(log_pi, world[0]))
