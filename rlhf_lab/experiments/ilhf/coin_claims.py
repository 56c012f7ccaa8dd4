"""The claims of the ILHF paper on the coin, each held against what the stored studies found."""

from itertools import pairwise

from rlhf_lab.experiments.ilhf.study import BETAS, Load, coin_kl
from rlhf_lab.experiments.ilhf.verdicts import NO, ON_COIN, PARTLY, YES, Row, above, brief, told, under
from rlhf_lab.methods import ilhf
from rlhf_lab.worlds import coin


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
    near = {loss: abs(agents["ilhf"].mean() - coin.PEOPLE) < 0.01 for loss, agents in last.items()}
    names = [f"reinforce {beta}" for beta in BETAS]
    below = {loss: all(above(starts[loss] - agents[name]) for name in names) for loss, agents in last.items()}
    return [
        Row(
            ON_COIN,
            "so with a prompt of ten tokens and two hidden units",
            "Table 1, App. B",
            "1/3",
            f"ILHF {told(starts['answers'])} to {told(last['answers']['ilhf'])}",
            under(near["answers"], [WHOLE_TEXTS] if near["texts"] else []),
            "pretrained on the answers. If the loss is that of whole texts, as in section 4.1, two units do not learn "
            f"to count to ten: ILHF starts at {brief(starts['texts'])} and is at {brief(last['texts']['ilhf'])} after as "
            f"many episodes. Ten members, with the anchor, end at {brief(last['answers']['ensemble 10'])}",
        ),
        Row(
            ON_COIN,
            "and REINFORCE moves away from 1/3, with a KL penalty or without",
            "Table 1, App. B",
            "a sentence",
            ", ".join(told(last["answers"][name]) for name in names) + " (β = 0, 1, 10, 100)",
            under(below["answers"], [WHOLE_TEXTS] if below["texts"] else []),
            "1,500 episodes. After whole texts it is at "
            + ", ".join(brief(last["texts"][name]) for name in names)
            + ": from there every way leads towards 1/3 first",
        ),
    ]


def _gap(p_pre: float) -> float:
    return float(coin_kl(ilhf.tilted_coin(p_pre, coin.PEOPLE, 1.0)))
