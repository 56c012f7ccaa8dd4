"""What the lecture of Brantley claims of resets, and of its experiments with them."""

from collections.abc import Iterator

import numpy as np

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ilhf.verdicts import above, brief
from rlhf_lab.experiments.ledger import small
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, measured
from rlhf_lab.methods import resets
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import token_mdp

PERPLEXITY = {"SFT": 14.09, "PPO": 14.87, "PPO++": 13.42, "AggreVaTeD": 13.53}
PROMPTS = {"total": 210, "human labels": 117, "preference labels": 93}  # thousands


def starting_anywhere(load: Load) -> Iterator[Claim]:
    """Yield the rows on resets."""
    apart = []
    for seed, tree in enumerate(small.trees()):
        own, teacher = (token_mdp.policy_evaluation(p, tree.paid).v for p in (small.other(seed), tree.prior))
        apart.append(max(abs(a - b).max() for a, b in zip(own, teacher, strict=True)))
    yield measured(
        "approaches",
        "AggreVaTeD scores actions with r̂ + V^SFT; on the next slide with r̂ + V^π",
        "two scores",
        f"they differ by up to {max(apart):.1f} on 20 trees; with V^π it is PPO",
        "sec-resets",
        max(apart) < EXACT,
    )
    yield from _bound()
    found = load("resets")
    lock, phrases = found["lock"], found["phrases"]
    opened = {name: int(np.sum(lock[name][:, -1] < 0.01)) for name in ("PPO", "PPO++")}
    late = phrases["PPO++"].mean(1) - phrases["PPO"].mean(1)
    yield measured(
        "summary",
        "PPO++, with resets, improves on PPO",
        "a table",
        f"a lock is open at the end in {opened['PPO++']} of 20 runs, with PPO in {opened['PPO']}; where all start as "
        f"SFT it is {brief(late)} farther from the optimum on average",
        "sec-yardstick-resets",
        above(lock["PPO"][:, -1] - lock["PPO++"][:, -1]),
        above(-late),
    )
    yield from _tl_dr(found)


def _bound() -> Iterator[Claim]:
    horizon, q = 6, 0.8
    ratio = q ** -(horizon - 1)
    shares = (0.5, 0.05)
    printed, right = [], []
    for share in shares:
        gain = share * q ** (horizon - 1) / horizon
        printed.append(resets.printed_bound(horizon, ratio, gain))
        right.append(resets.reset_bound(horizon, share, ratio, gain))
    yield measured(
        "theory of PPO++",
        "J(π*) - J(π) ≤ O(H² max d*/d_SFT ε), without the share of resets",
        "no share",
        f"a stubborn policy at a lock of six dials loses 1; with a share of {shares[0]} the bound is {printed[0]:.1f}, "
        f"with {shares[1]} {printed[1]:.1f}. H / share instead of H² gives {right[0]:.1f} and {right[1]:.1f}",
        "sec-resets",
        *(bound >= 1 - EXACT for bound in printed),
    )


def _tl_dr(found: dict[str, dict[str, Array]]) -> Iterator[Claim]:
    told, first = found["described"], found["exact"]["SFT"][0, 1:]
    names = ("PPO", "PPO++", "AggreVaTeD")
    on = {kind: {"SFT": float(first[k])} | {n: float(told[n][:, k].mean()) for n in names} for kind, k in _COLUMNS}
    wanted = sorted(PERPLEXITY, key=PERPLEXITY.__getitem__)
    order = {kind: sorted(found, key=found.__getitem__) for kind, found in on.items()}
    lower = above(told["PPO"][:, 0] - told["PPO++"][:, 0])
    yield measured(
        "experimental results",
        "perplexity on TL;DR: PPO++ < AggreVaTeD < SFT < PPO",
        "13.42, 13.53, 14.09, 14.87",
        f"on texts of SFT's own kind {' < '.join(order['own'])}; on those of a better writer "
        f"{' < '.join(order['better'])}",
        "sec-perplexity",
        lower,
        order["own"] == wanted,
        order["better"] == wanted,
    )
    wins = {name: told[name][:, 3] for name in names}
    yield measured(
        "experimental results",
        "win rate: SFT < AggreVaTeD < PPO < PPO++",
        "29.5, 54.1, 60.7, 64.4%",
        f"against a better writer SFT {first[3]:.2f}, "
        + ", ".join(f"{name} {brief(rate)}" for name, rate in wins.items()),
        "sec-perplexity",
        all(above(rate - first[3]) for rate in wins.values()),
        above(wins["PPO++"] - wins["PPO"]) and above(wins["PPO"] - wins["AggreVaTeD"]),
    )


_COLUMNS = (("own", 0), ("better", 2))


def data(load: Load) -> Iterator[Claim]:
    """Yield the row on the size of a data set."""
    total = PROMPTS["human labels"] + PROMPTS["preference labels"]
    yield measured(
        "experimental setup",
        "TL;DR has 210K prompts, 117K with human and 93K with preference labels",
        "210K",
        f"117K and 93K are {total}K",
        "sec-perplexity",
        total == PROMPTS["total"],
    )
