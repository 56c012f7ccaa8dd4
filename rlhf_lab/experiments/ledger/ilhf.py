"""What the ILHF paper claims: the rows of its scoreboard, and what its formulas and sentences say besides."""

from collections.abc import Iterator

import numpy as np
from scipy.special import expit

from rlhf_lab.experiments.ilhf import scoreboard
from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ilhf.verdicts import ON_COIN, ON_DIVERGENCE, ON_ENSEMBLES, ON_MEMORY, PARTLY, brief
from rlhf_lab.experiments.ledger import small
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, measured, rounded, shown
from rlhf_lab.experiments.ledger.survey import SIGN
from rlhf_lab.feedback import annotators
from rlhf_lab.methods import ilhf, pluralism
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import coin, token_process
from rlhf_lab.worlds.crowd import SHARES, crowd
from rlhf_lab.worlds.token_process import TokenProcess

PRICE = 0.5
FINDINGS = (ON_COIN, ON_MEMORY, ON_DIVERGENCE, ON_ENSEMBLES)  # as on the page of the scoreboard


def figures(load: Load) -> Iterator[Claim]:
    """Yield the rows of the scoreboard, in its order."""
    found = scoreboard.rows(lambda name: load(f"ilhf {name}"))
    for row in sorted(found, key=lambda row: FINDINGS.index(row.finding)):
        yield Claim(row.where, row.claim, row.paper, row.ours, row.verdict, "sec-scoreboard")


def formulas(load: Load) -> Iterator[Claim]:
    """Yield the rows on formulas, tried as they are printed."""
    yield _half()
    tree = small.trees()[0]
    first, second = tree.log_pi_0[:13], tree.log_pi_0[13:26]
    told = np.exp(ilhf.choice_log_probs(first, second)[0])
    off = abs(told - np.exp(first) / (np.exp(first) + np.exp(second))).max()
    yield measured(
        "sec. 3.2",
        "the softmax of two rewards log π is π / (π + π'): Bradley-Terry",
        "an identity",
        f"to {rounded(off)}",
        "sec-ilhf-loss",
        off < EXACT,
    )
    p = expit(np.linspace(-3, 3, 13))
    factor = [((1 - x) * (1 - p) + x * p) for x in (-1, 1)]  # as printed, x = -1 or 1
    right = [(1 - x) / 2 * (1 - p) + (1 + x) / 2 * p for x in (-1, 1)]
    yield measured(
        "sec. 4.2, 4.3",
        "the likelihood weighs tokens by 1 - x and x, x = -1 or 1",
        "a product",
        f"the factor of the token -1 is {factor[0].min():.2f} at a logit of 3: no probability",
        "sec-small-token-process",
        min(f.min() for f in factor) >= 0,
        readings={"(1 ± x) / 2": bool(np.allclose(right, [1 - p, p]))},
    )
    log_p = np.log(p[p < 0.9])
    yield measured(
        "sec. 4.1",
        "pretraining minimises the mean of log π(X)",
        "min",
        f"that is {log_p.min():.1f} for a text of probability {np.exp(log_p.min()):.2f} and {log_p.max():.1f} for one "
        f"of {np.exp(log_p.max()):.2f}: the minimum is the least likely",
        "sec-pretraining",
        log_p.argmin() == log_p.size - 1,
        readings={SIGN: (-log_p).argmin() == log_p.size - 1},
    )
    logits = np.array([-np.log(2) / 2, np.log(2) / 2])  # of 1 and -1
    shares = np.exp(logits) / np.exp(logits).sum()
    yield measured(
        "app. B",
        "logits of -ln √2 and ln √2 generate votes of 1/3 and 2/3",
        "1/3, 2/3",
        f"{shares[0]:.4f} and {shares[1]:.4f}; the larger belongs to -1, which is named first",
        "sec-agglomerative",
        abs(shares - [1 / 3, 2 / 3]).max() < EXACT,
    )
    values = np.random.default_rng(0).normal(size=(4, 64))
    printed, usual = (
        f(values, 1)[:, 0] for f in (token_process.autocorrelation_as_printed, token_process.autocorrelation)
    )
    yield measured(
        "app. C",
        "the formula of the autocorrelation",
        "1 at lag 0",
        f"as printed it is {printed.mean():.3f} at lag 0 for τ = 64",
        "sec-memory",
        abs(printed - 1).max() < 1e-6,
        readings={"means of n terms divided by n, and not by τ - k once more": abs(usual - 1).max() < 1e-6},
    )


def _half() -> Claim:
    tree = small.trees()[0]
    beats = annotators.bradley_terry(tree.reward[:, None] - tree.reward)
    laws = np.exp([tree.log_pi_0, *(small.answers(small.other(seed)) for seed in range(9))])
    won = np.einsum("ka,ab,kb->k", laws, beats, laws)
    frozen = beats @ laws[0]
    return measured(
        "sec. 2.2",
        "RLHF maximises E[L(A, B)] with A and B from π",
        "an objective",
        f"it is {won.min():.2f} to {won.max():.2f} for ten policies; against a frozen opponent the best answer wins "
        f"{frozen.max():.2f}",
        "sec-nash",
        np.ptp(won) > EXACT,
        readings={"B from a frozen policy": frozen.max() > 0.5},
    )


def agents(load: Load) -> Iterator[Claim]:
    """Yield the rows on what agents become."""
    alone = [float(t.reward.max() - np.exp(small.answers(small.other(k))) @ t.reward) for k, t in _numbered()]
    yield measured(
        "sec. 2.3",
        "some optimal policy says one answer (agglomerative)",
        "a Dirac delta",
        f"it earns {min(alone):.1f} to {max(alone):.1f} more than a random policy on 20 trees, and nobody earns more",
        "sec-agglomerative",
        min(alone) > 0,
    )
    stuck = [float(ilhf.coin_slope(p, coin.PEOPLE)) for p in (0.0, 1e-6, coin.PRETRAINED)]
    yield measured(
        "sec. 2.3",
        "a degenerate policy cannot be mended by gradients",
        "precludes",
        f"the slope of ILHF is {abs(stuck[0]):.0f} at p = 0, {stuck[1]:.0e} at a millionth and {stuck[2]:.2f} at 0.23",
        "sec-ilhf-loss",
        stuck[0] == 0,
        abs(stuck[1]) < 1e-4 * abs(stuck[2]),
    )
    kinds = crowd()
    ideal = gibbs.log_policy(kinds.log_pi_0, kinds.rewards, PRICE)
    people = pluralism.linear_pool(ideal, SHARES)
    by_share = pluralism.inclusive_rest(annotators.bradley_terry(people[:, None] - people))
    each = annotators.bradley_terry(ideal[:, :, None] - ideal[:, None, :])
    by_person = pluralism.inclusive_rest(annotators.of_population(each, SHARES))
    away = [float(lm.kl(people, law)) for law in (by_share, by_person)]
    yield measured(
        "sec. 1",
        "ILHF converges to the response distribution of the population",
        "demonstrably",
        f"if votes follow log of the mixture of three kinds of people, to {rounded(away[0])}; if each person votes, it "
        f"ends {away[1]:.2f} nats from them",
        "sec-whose-phrases",
        away[0] < 1e-6,
        away[1] < 0.01,
    )
    yield measured(
        "sec. 4.3",
        "some agent attains zero divergence",
        "0",
        f"the process, padded to ten units, differs from itself on 50 texts by {rounded(_padded())}",
        "sec-small-token-process",
        _padded() < EXACT,
    )
    study = load("ilhf tau64")
    start, shadow = study["kl"]["ilhf"][:, 0], study["shadow kl"]
    yield measured(
        "app. D",
        "a larger agent fits the process of its texts almost perfectly",
        "almost",
        f"before fine-tuning it is {brief(start)} nats from the ideal process, the shadow process itself "
        f"{brief(shadow)}: {brief(start - shadow)} more on average, {abs(start - shadow).mean():.3f} more or less in a "
        "world",
        "sec-small-token-process",
        abs(float((start - shadow).mean())) < 0.1 * float(shadow.mean()),
        float(abs(start - shadow).mean()) < 0.1 * float(shadow.mean()),
    )
    yield shown(
        "app. C",
        "each next token depends on a relatively long history",
        "a sentence",
        "a reader of three tokens misses less than half a percent in the median of 400 worlds; in about one of "
        "eight it still loses 0.001 nats",
        "sec-memory",
        'assert 1 / 16 < (lost[:, 3] > 1e-3).mean() < 1 / 4, "some worlds remember longer"',
        PARTLY,
    )


def _numbered() -> Iterator[tuple[int, small.Tree]]:
    yield from enumerate(small.trees())


def _padded() -> float:
    rng = np.random.default_rng(4)
    process = token_process.draw(rng).ideal
    room = {name: np.zeros((10,) * value.ndim) for name, value in process.items()}
    for name, value in process.items():
        room[name][tuple(slice(2) for _ in value.shape)] = value
    texts = rng.integers(2, size=(50, 16))
    prompt, answer = texts[:, :8], texts[:, 8:]
    small_one, large = (
        lm.log_prob(TokenProcess(size), params, prompt, answer) for size, params in ((2, process), (10, room))
    )
    off: Array = abs(small_one - large)
    return float(off.max())
