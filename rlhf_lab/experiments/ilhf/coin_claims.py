"""The claims of the ILHF paper on the coin, each held against what the stored studies found."""

from itertools import pairwise

import numpy as np

from rlhf_lab.experiments.ilhf.study import BETAS, STUDIES, Load, coin_kl
from rlhf_lab.experiments.ilhf.verdicts import NO, ON_COIN, PARTLY, YES, Row, above, brief, told, under
from rlhf_lab.methods import ilhf
from rlhf_lab.worlds import coin

PRETRAINED = {"answers": "pretrained on the answers", "texts": "pretrained on whole texts"}  # by the loss


def of_coin(load: Load) -> list[Row]:
    """Return the verdicts on the coin: figures 1 and 3."""
    last = {name: p[:, -1] for name, p in load("coin")["p"].items()}
    floor = float(coin_kl(coin.PRETRAINED))
    penalty = [last[f"reinforce {beta}"] for beta in BETAS[1:]]
    right = abs(last["ilhf"].mean() - coin.PEOPLE) < 0.01
    fails = all(above(coin.PRETRAINED - p) for p in penalty)
    kl = {name: coin_kl(p) for name, p in last.items()}
    worst = min(kl[f"reinforce {beta}"].mean() for beta in BETAS)
    gaps = [kl[f"reinforce {beta}"] - kl["ilhf"] for beta in BETAS]
    return [
        Row(
            ON_COIN,
            "ILHF says 1 as often as people want",
            "Fig. 1",
            "1/3",
            told(last["ilhf"]),
            YES if right else NO,
            "the ILHF gradient vanishes at 1/3 and nowhere else inside",
        ),
        Row(
            ON_COIN,
            "REINFORCE ends near-deterministic",
            "Fig. 1",
            "near 0",
            told(last["reinforce 0"]),
            YES if (last["reinforce 0"] < 0.05).all() else NO,
            "the reward has its maximum at one answer",
        ),
        Row(
            ON_COIN,
            "no KL weight recovers 1/3",
            "Fig. 1, App. B",
            "below 0.23",
            ", ".join(told(p) for p in penalty) + " (β = 1, 10, 100)",
            YES if fails else NO,
            "true for 0.23; false where pretraining says 1 more often than people: one β is then exact",
        ),
        Row(
            ON_COIN,
            "the divergence vanishes with ILHF only",
            "Fig. 3",
            "0; above 0 for all REINFORCE",
            f"{told(kl['ilhf'], 4)}; at least {worst:.3f}",
            YES if kl["ilhf"].mean() < 0.001 and worst > 0.9 * floor else NO,
            f"KL(1/3, 0.23) = {floor:.4f} bounds every REINFORCE agent with β > 0 from below",
        ),
        Row(
            ON_COIN,
            "REINFORCE's gap to ILHF depends on the divergence of pretraining alone",
            "Sec. 5.1",
            "a function of it",
            ", ".join(told(gap) for gap in gaps) + f" (β = 0, 1, 10, 100), for a divergence of {floor:.3f}",
            PARTLY if any(above(a - b) or above(b - a) for a, b in pairwise(gaps)) else YES,
            "not on it alone: pretraining is the same for all four. At one β and below 1/3 the exact gap grows "
            f"with the divergence: at β = 1 it is {_gap(0.3):.3f}, {_gap(0.23):.3f} and {_gap(0.1):.3f} from 0.3, "
            f"0.23 and 0.1. From 0.449, which is as divergent as 0.23, it is {_gap(0.449):.3f}",
        ),
    ]


def of_table_1(load: Load) -> list[Row]:
    """Return the verdicts on the coin with the network and the prompt of table 1."""
    found = load("didactic")
    starts = {loss: agents["ilhf"][:, 0] for loss, agents in found.items()}
    last = {loss: {name: p[:, -1] for name, p in agents.items()} for loss, agents in found.items()}
    arrives = [loss for loss, agents in last.items() if abs(agents["ilhf"].mean() - coin.PEOPLE) < 0.01]
    penalties = [f"reinforce {beta}" for beta in BETAS]
    leaves = [
        loss
        for loss, agents in last.items()
        if all(above(np.minimum(starts[loss], coin.PEOPLE) - agents[name]) for name in penalties)
    ]
    third = STUDIES["didactic"].settings["episodes"] // 3
    early = found["texts"]["ilhf"][:, found["texts"]["ilhf"].shape[1] // 3]
    several = {loss: agents["ensemble 10"] for loss, agents in last.items()}
    return [
        Row(
            ON_COIN,
            "with a prompt of ten tokens and two hidden units ILHF learns the votes",
            "Table 1, App. B",
            "1/3",
            " and ".join(f"{told(starts[loss])} to {told(last[loss]['ilhf'])} ({PRETRAINED[loss]})" for loss in found),
            _under(arrives),
            "pretraining ends at 0.23, as section 2.3 has it, if its loss is that of the answer. With that of whole "
            "texts, as in section 4.1, 200 passes do not teach two units to count the ten ones of the prompt, though "
            f"they could; ILHF is then at {brief(early)} after {third:,} episodes. Ten members with the anchor of "
            f"table 1 stay near their start: {brief(several['answers'])} and {brief(several['texts'])}",
        ),
        Row(
            ON_COIN,
            "there REINFORCE over-concentrates on -1, with a KL penalty or without",
            "Table 1, App. B",
            "a sentence",
            "; ".join(
                f"{', '.join(told(last[loss][name]) for name in penalties)} ({PRETRAINED[loss]})" for loss in found
            )
            + " (β = 0, 1, 10, 100)",
            _under(leaves),
            "counted if it ends below its start and below 1/3. After whole texts it starts above 1/3, and a penalty "
            "holds it there: it says 1 too often",
        ),
    ]


def _under(losses: list[str]) -> str:
    """Return the verdict on a claim that holds if pretraining has one of these losses; the paper has words for both."""
    return under(losses == [*PRETRAINED], [PRETRAINED[loss] for loss in losses])


def _gap(p_pre: float) -> float:
    return float(coin_kl(ilhf.tilted_coin(p_pre, coin.PEOPLE, 1.0)))
