"""What the lecture of Xiong claims, slide by slide."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ilhf.verdicts import PARTLY
from rlhf_lab.experiments.ledger import small
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, elsewhere, measured, rounded, shown
from rlhf_lab.feedback import annotators, linear_fits
from rlhf_lab.methods import direct, margins, pessimism, ratios
from rlhf_lab.models import gibbs
from rlhf_lab.numerics.autodiff import Array

BETA = 0.5


def objective(load: Load) -> Iterator[Claim]:
    """Yield the rows on the regularised objective and what optimises it."""
    lost, kl = small.left_on_the_table(BETA)
    yield measured(
        "reverse-KL bandit",
        "the optimum is π_0 exp(r / η) / Z",
        "a formula",
        f"20 other policies earn less, by η KL to it, to {rounded(abs(lost - kl).max())}",
        "sec-policy-gradients",
        bool((lost > 0).all()),
        abs(lost - kl).max() < EXACT,
    )
    least = min(float(gibbs.log_policy(t.log_pi_0, t.reward, BETA).min()) for t in small.trees())
    yield measured(
        "reverse-KL bandit",
        "a KL constraint admits a stochastic optimal policy",
        "stochastic",
        f"every answer of 20 trees keeps a probability, at least {np.exp(least):.0e}",
        "sec-policy-gradients",
        np.isfinite(least),
    )
    tree = small.trees()[0]
    p = annotators.bradley_terry(tree.reward[:, None] - tree.reward)
    ratio = gibbs.log_policy(tree.log_pi_0, tree.reward, BETA) - tree.log_pi_0
    off = abs(direct.dpo_target(p, BETA) - (ratio[:, None] - ratio)).max()
    yield measured(
        "practical algorithm",
        "DPO skips the reward model and optimises the same policy",
        "a loss",
        f"with exact preferences its best margins are those of the Gibbs policy, to {rounded(off)}",
        "sec-dpo",
        off < EXACT,
    )
    h = np.linspace(-3, 3, 13)
    both = margins.info_nca(np.stack([h, 0 * h], axis=-1), np.array([1.0, 0.0]), 0.5)
    off = abs(both - direct.dpo(h, 0.5)).max()
    least_at = {name: margins.optimal_margin(loss, 0.7) for name, loss in _losses().items()}
    side = {name: float(np.sign(found)) for name, found in least_at.items()}
    yield measured(
        "practical algorithm",
        "DPO, SLiC, IPO, InfoNCA and GPO are losses of one binary classification",
        "five losses",
        f"InfoNCA on two answers is DPO to {rounded(off)}; if 70% want the first answer, the best margin is "
        + ", ".join(f"{float(found):.2f} for {name}" for name, found in least_at.items())
        + ". GPO is the family to which these three belong",
        "sec-preference-losses",
        off < EXACT,
        set(side.values()) == {1.0},
    )
    yield elsewhere(
        "practical algorithm",
        "PPO loads four models at the same time",
        "4 models",
        "memory of large models. The four are there: policy, critic, reward and reference ({ref}`sec-ppo`)",
    )


def _losses() -> dict[str, direct.Loss]:
    return {
        "DPO": partial(direct.dpo, beta=0.5),
        "SLiC": partial(margins.slic, beta=0.5),
        "IPO": partial(margins.ipo, tau=0.5),
    }


def imperfect_rewards(load: Load) -> Iterator[Claim]:
    """Yield the rows on reward hacking and pessimism."""
    yield elsewhere(
        "reward hacking",
        "the best reward models agree with people in about 75%",
        "75%",
        "large models. Here R* itself disagrees with the labels of its own people ({ref}`sec-overoptimization`)",
    )
    yield shown(
        "reward hacking",
        "optimising a proxy heavily: higher reward, worse performance",
        "a figure",
        "at 3 nats the learned reward is higher than where the true one turns, for each of twenty seeds",
        "sec-overoptimization",
        'assert (believed[:, at_3] > believed[:, turn]).all(), "the learned reward rises"',
    )
    sizes = {count: data_sets(count=count) for count in (50, 100, 200)}
    held = [float(np.mean(data["needed"] <= 1)) for data in sizes.values()]
    needed = [float(np.quantile(data["needed"], 0.95)) for data in sizes.values()]
    yield measured(
        "RLHF with pessimism",
        "the reward less c √d times the uncertainty is a lower confidence bound",
        "no c",
        "with c = 1 it holds for all answers in "
        + ", ".join(f"{share:.0%}" for share in held)
        + " of 200 data sets of 50, 100 and 200 comparisons; 95% need c = "
        + ", ".join(f"{c:.1f}" for c in needed),
        "sec-lcb",
        min(held) > 0.95,
        readings={"a larger c": max(needed) < 10},
    )
    bound, loss, covered = (np.array([data[name] for data in sizes.values()]) for name in ("bound", "loss", "covered"))
    share = [float(np.median(each)) for each in loss / bound]
    yield measured(
        "theorem 1",
        "J(π*) - J(π) + η KL ≲ √d C* / √n with pessimism",
        "no constant",
        f"with the constant 2c it holds in all {covered.sum():.0f} of 600 data sets of 50, 100 and 200 pairs that "
        "the radius covers; the median loss is " + ", ".join(f"{each:.0%}" for each in share) + " of the bound",
        "sec-price",
        covered.any() and bool((loss <= bound)[covered].all()),
    )
    yield shown(
        "pessimism by ensemble",
        "the minimum of five rewards is a practical pessimism",
        "K = 5",
        "it wins back a part of what one network loses at 3 nats; but the mean of five does, too, and the minimum "
        "changes less than 0.2 of that",
        "sec-overoptimization",
        'assert abs(more.mean()) < 0.2, "scepticism changes little"',
        PARTLY,
    )
    p, q = np.array([0.25, 0.75]), np.array([0.6, 0.4])
    each = ratios.log_mean_ratio(p, q, 1)
    length = int(np.ceil(80 / each))
    under_q = float(np.sum(q * (p / q))) ** length
    yield elsewhere(
        "good coverage?",
        "the mean ratio of two models' probabilities is about exp(80)",
        "exp(80)",
        "two models of billions of parameters",
    )
    yield measured(
        "good coverage?",
        "so large a mean ratio shows a significant shift, due to long texts",
        "exp(80)",
        f"two coins, 0.75 and 0.4, have it after {length} throws if texts are those of the first; averaged over texts "
        f"of the second the mean is {under_q:.2f} at every length",
        "sec-density-ratios",
        ratios.log_mean_ratio(p, q, length) >= 80,
        abs(np.log(under_q)) > 1,
    )


def data_sets(times: int = 200, count: int = 100) -> dict[str, Array]:
    """Return, for each data set on one tree, the least c, the loss, its bound, and whether the radius covers theta.

    "off" (3, times) is the error of the learned reward on what its own optimum gains, at three prices.
    """
    tree, rng = small.trees()[1], np.random.default_rng(7)
    features = rng.normal(size=(27, 6)) / 2
    theta = rng.normal(size=6)
    first, second = rng.integers(27, size=(2, times, count))
    difference = features[first] - features[second]
    label = annotators.sample_labels(annotators.bradley_terry(difference @ theta), rng)
    fitted = linear_fits.fit_linear(difference, label, precision=1.0).mean
    cov = pessimism.offline_covariance(difference, precision=1.0)
    centre = pessimism.expected_features(tree.log_pi_0, features)
    wide = 6**0.5 * pessimism.uncertainty(features, centre, cov)
    needed = (((fitted - theta) @ (features - centre).T) / wide).max(-1)
    c = 3.0
    low = pessimism.lower_confidence_bound(features, centre, fitted, cov, c)
    world = tree.log_pi_0, features @ theta, BETA
    loss = pessimism.suboptimality(gibbs.log_policy(tree.log_pi_0, low, BETA), *world)
    coverage = pessimism.coverage_coefficient(gibbs.log_policy(*world), features, centre, cov, count)
    wrong = np.einsum("si,sij,sj->s", fitted - theta, cov, fitted - theta) ** 0.5
    bound = pessimism.guarantee(c * 6**0.5, coverage, count)
    learned, truth = (weights @ (features - centre).T for weights in (fitted, theta))
    own = (np.exp(gibbs.log_policy(tree.log_pi_0, learned, price)) for price in (2.0, 0.5, 0.1))
    off = abs(np.array([np.sum(pi * (learned - truth), axis=-1) for pi in own]))
    return {"needed": needed, "loss": loss, "bound": bound, "covered": wrong <= c * 6**0.5, "off": off}
