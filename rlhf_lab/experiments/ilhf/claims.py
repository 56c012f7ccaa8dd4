"""The claims of the ILHF paper, each held against what the stored studies found."""

from itertools import pairwise
from typing import Any

import numpy as np

from rlhf_lab.experiments.ilhf.study import ALONE, BEST, BETAS, SIZES, STEADY, STUDIES, WARM, Load
from rlhf_lab.experiments.ilhf.verdicts import (
    NO,
    ON_DIVERGENCE,
    ON_ENSEMBLES,
    ON_MEMORY,
    PARTLY,
    YES,
    Row,
    above,
    area,
    brief,
    change,
    left,
    left_error,
    told,
    under,
)
from rlhf_lab.numerics.autodiff import Array

TABLE_3 = {10: (1.0384, 0.0061), 15: (1.0467, 0.0084), 30: (1.0338, 0.0062), 50: (1.0365, 0.0088)}
SCALES = (("1/3", "tau64"), ("1", "scale1"), ("3", "scale3"))
VANISHED = 0.1  # share of the first divergence that counts as nothing
LAG = 10  # at which memory counts as long
JOINT = "one Adam for all members"
MORE_LEARNING = {  # readings of plain ILHF, and what the verdict calls them
    "ilhf, 10 passes": "10 passes",
    "ilhf, step 0.01": "step 0.01",
    "ilhf, batches of 16": "batches of 16",
    "all: ilhf": "all parameters",
    "all: ilhf, 10 passes": "all parameters and 10 passes",
    "narrow: ilhf": "first token weights within 0.316",
}
ETAS = ("1", "1/64", "0")
SCALES_OF_JOINT = (("1/3", "joint"), ("1", "joint1"))
ENSEMBLES = {  # readings of ten members, and the plain agent that they are compared with
    "ensemble": "ilhf",
    "ensemble, eta/64": "ilhf",
    "ensemble, eta 0": "ilhf",
    "ensemble, prior 0.0001": "ilhf",
    "ensemble, moments passed": "ilhf",
    "ensemble, batches of 16": "ilhf, batches of 16",
    "ensemble, anchored at phi_pre": "ilhf",
    "narrow: ensemble 50": "narrow: ilhf",
    "all: ensemble, eta 0": "all: ilhf",
    "all: one torso, all anchored": "all: ilhf",
    "all: one torso, eta 0": "all: ilhf",
}


def chance() -> float:
    """Return the mean size of what `memory` finds in independent logits: a mean over texts of correlations.

    Each is nearly normal with variance 1/n, n pairs a text.
    """
    pairs = STUDIES["memory"].settings["long"] - WARM - LAG
    return float((2 / (np.pi * STEADY * pairs)) ** 0.5)


def of_memory(load: Load) -> list[Row]:
    """Return the verdicts on how long the token process remembers: figure 2 and appendix C."""
    found = load("memory")
    alpha = {scale: abs(kinds["long"][:, LAG]) for scale, kinds in found["alpha"].items()}
    stuck = {scale: found["constant"][scale] + found["alternating"][scale] for scale in alpha}
    third, _, three = alpha
    top = alpha[three].argmax()
    return [
        Row(
            ON_MEMORY,
            "long-tailed dependence",
            "Fig. 2",
            "a figure",
            f"size at lag {LAG}: " + ", ".join(f"{told(a)} ({_temperature(name)})" for name, a in alpha.items()),
            under(
                above(alpha[third], chance()), [_temperature(name) for name, a in alpha.items() if above(a, chance())]
            ),
            f"independent logits give {chance():.3f}. The formula as printed starts at 1/τ and flattens everything; at "
            "long lags short texts show bias, not memory. At s = 3 a few worlds carry the mean: the largest, "
            f"{alpha[three][top]:.2f}, writes texts of which {stuck[three][top]:.0%} come to repeat themselves",
        ),
        Row(
            ON_MEMORY,
            "texts do not settle on a repeated pattern",
            "App. C",
            "none does",
            "share whose last 32 tokens are constant or alternate, in the worst world: "
            + ", ".join(f"{share.max():.0%} ({_temperature(name)})" for name, share in stuck.items()),
            YES if stuck[third].max() < 0.01 else NO,
            "no token is ever certain, so no text is stuck for ever; but at s = 3, the reading with a long memory, "
            f"more than a tenth of the texts repeat themselves in {(stuck[three] > 0.1).sum()} worlds of 20",
        ),
    ]


def _temperature(name: str) -> str:
    return name.replace("scale", "s =")


def of_divergence(load: Load) -> list[Row]:
    """Return the verdicts on who approaches the ideal process: figure 4a."""
    kl, readings = load("tau64")["kl"], _readings(load)
    grows = {s: _growing(load(name)["kl"]) for s, name in SCALES}
    apart = {name: load(name)["kl"] for name in ALONE}
    alone = {name: _growing(runs) for name, runs in apart.items()}
    moved = {name: change(runs["ilhf"]) for name, runs in apart.items()}
    elsewhere = _listed({f"at s = {s}": betas for s, betas in grows.items()})
    remain = {called: readings[name] for name, called in MORE_LEARNING.items()}
    falls = [above(-change(run)) for name, run in kl.items() if name == "ilhf" or name == BEST]
    return [
        Row(
            ON_DIVERGENCE,
            "the divergence vanishes with ILHF",
            "Fig. 4a",
            "about 0",
            f"{told(kl['ilhf'][:, 0])} to {told(kl['ilhf'][:, -1])}",
            under(_vanishes(kl["ilhf"]), [called for called, run in remain.items() if _vanishes(run)]),
            f"{_remains(kl['ilhf'])} are left: 100 steps of 0.001 move no weight by more than about 0.1. More steps, "
            "larger ones, more weights or another start leave "
            + ", ".join(f"{_remains(run)} ({called})" for called, run in remain.items())
            + ". Only those count that are two errors below a tenth",
        ),
        Row(
            ON_DIVERGENCE,
            "ILHF and ensembles approach the ideal",
            "Fig. 4a",
            "a figure",
            f"change {told(change(kl['ilhf']))} and {told(change(kl[BEST]))}",
            YES if all(falls) else NO,
            "in every reading with one temperature for all. With a temperature for one alone ILHF changes by "
            f"{', '.join(f'{told(by)} ({name})' for name, by in moved.items())}: it follows people, and is judged by "
            "the process",
        ),
        Row(
            ON_DIVERGENCE,
            "REINFORCE diverges for every KL weight",
            "Fig. 4a",
            "a figure",
            "change " + ", ".join(told(change(kl[f"reinforce {beta}"])) for beta in BETAS) + " (β = 0, 1, 10, 100)",
            under(
                grows["1/3"] == [*BETAS],
                [f"s = {s}" for s, betas in grows.items() if betas == [*BETAS]]
                + [name for name, betas in alone.items() if betas == [*BETAS]],
            ),
            f"It diverges with these β: {elsewhere}. At s = 1/3 rewards are too flat to move it in 100 steps. Large "
            "weights hold it at its start. With a temperature for one alone it diverges with "
            + "; ".join(f"{', '.join(map(str, betas)) or 'none'} ({name})" for name, betas in alone.items()),
        ),
        Row(
            ON_DIVERGENCE,
            "REINFORCE stays behind ILHF",
            "Fig. 4a",
            "a figure",
            ", ".join(told(kl[f"reinforce {beta}"][:, -1] - kl["ilhf"][:, -1]) for beta in BETAS) + " more",
            YES if all(above(kl[f"reinforce {beta}"][:, -1] - kl["ilhf"][:, -1]) for beta in BETAS) else NO,
            "paired over the same worlds",
        ),
    ]


def _growing(runs: dict[str, Array]) -> list[int]:
    return [beta for beta in BETAS if above(change(runs[f"reinforce {beta}"]))]


def _listed(betas: dict[str, list[int]]) -> str:
    return ", ".join(f"{' and '.join(map(str, found)) or 'none'} {where}" for where, found in betas.items())


def _vanishes(curve: Array) -> bool:
    return left(curve) + 2 * left_error(curve) < VANISHED


def _remains(curve: Array) -> str:
    return f"{100 * left(curve):.0f} ± {100 * left_error(curve):.0f}%"


def of_ensembles(load: Load) -> list[Row]:
    """Return the verdicts on ensembles: figures 4 and 5, table 3."""
    study = load("tau64")
    kl, duels = study["kl"], study["duels"]
    gain = area(kl["ilhf"]) - area(kl[BEST])
    readings, three = _readings(load), load("scale3")["kl"]
    ahead = [three["ilhf"][:, column] - three[BEST][:, column] for column in (0, -1)]
    torso, same = (readings[f"all: one torso, {kind}"] for kind in ("eta 0", "no diversity"))
    faster = [n for n, rival in ENSEMBLES.items() if _faster(readings[n], readings[rival])]
    runs = [load(name)["kl"] for _, name in SCALES_OF_JOINT]
    faster += [JOINT] if any(_faster(run[f"joint 50, eta {eta}"], run["ilhf"]) for run in runs for eta in ETAS) else []
    joint = {s: _joint(run) for (s, _), run in zip(SCALES_OF_JOINT, runs, strict=True)}
    third, one = joint.values()
    alike = [gains["joint 50, eta 0"] - gains["joint 50, eta 0, no diversity"] for gains in joint.values()]
    held = one["joint 50, eta 1"] - one["joint 50, eta 1, no diversity"]
    steps = [area(kl[f"ensemble {few}"]) - area(kl[f"ensemble {many}"]) for few, many in pairwise(SIZES)]
    found = [
        Row(
            ON_ENSEMBLES,
            "ensembles learn much faster than ILHF",
            "Fig. 4a, 5",
            "a figure",
            f"mean divergence over 100 episodes {told(-gain)} above that of ILHF (M = 50)",
            under(_faster(kl[BEST], kl["ilhf"]), faster),
            "the anchor η = 1 on a mean loss holds members back; without it the mean divergence of ten is still "
            f"{brief(area(readings['ensemble, eta 0']) - area(readings['ilhf']))} above. One Adam for all gains "
            f"{brief(third['joint 50, eta 0'])} at η = 0, of which diversity gives {brief(alike[0], 4)}, and at s = 1 "
            f"{brief(one['joint 50, eta 0'])} and {brief(alike[1])}; steps √50 times as long gain plain ILHF "
            f"{brief(third['ilhf, step x sqrt 50'])} and {brief(one['ilhf, step x sqrt 50'])}. With η = 1 it gains "
            f"{brief(third['joint 50, eta 1'])}, and {brief(one['joint 50, eta 1'])} at s = 1, where diversity gives "
            f"{brief(held)}. One torso, stepped by each of ten members, gains "
            f"{brief(area(readings['all: ilhf']) - area(torso))} at η = 0, of which diversity gives "
            f"{brief(area(same) - area(torso))}: it is steps. At s = 3 a mixture is "
            f"{brief(ahead[0], 1)} closer before it learns, {brief(area(three['ilhf']) - area(three[BEST]), 1)} on "
            f"average and {brief(ahead[1], 1)} at the end",
        ),
        _sizes(kl, "more members, faster learning", "Fig. 5", load("joint")["kl"]),
        Row(
            ON_ENSEMBLES,
            "the gain by more members decreases",
            "Fig. 5",
            "a figure",
            ", ".join(map(told, steps)) + " (10 to 15, 15 to 30, 30 to 50)",
            YES if above(steps[0]) and above(steps[0] - steps[-1]) else NO,
            f"there is no gain that could decrease; {JOINT} was run with two sizes only",
        ),
    ]
    rivals = {"REINFORCE": [f"reinforce {b}" for b in BETAS], "ILHF": ["ilhf"]}
    rivals["smaller ensembles"] = [f"ensemble {m}" for m in SIZES[:-1]]
    shared = load("joint")["duels"]
    for rival, names in rivals.items():
        ratios = [duels[f"{name} vs {BEST}"]["geometric"] for name in names]
        improper = ", ".join(brief(duels[f"{name} vs {BEST}"]["means"]) for name in names)
        found.append(
            Row(
                ON_DIVERGENCE if rival == "REINFORCE" else ON_ENSEMBLES,
                f"Ensemble-ILHF 50 beats {rival}",
                "Fig. 4b",
                "ratio below 1",
                ", ".join(told(ratio) for ratio in ratios),
                under(
                    all(above(1 - ratio) for ratio in ratios),
                    [JOINT] if rival == "ILHF" and above(_ratio(shared, 50, "ilhf"), 1) else [],
                ),
                f"inclusive score ratio as we define it; the ratio of means, not a proper score, gives {improper}",
            )
        )
    for members, (value, spread) in TABLE_3.items():
        duel = duels[f"ensemble {members} vs ilhf"]
        ratio = duel["geometric"]
        found.append(
            Row(
                ON_ENSEMBLES,
                f"Ensemble-ILHF {members} beats ILHF",
                "Table 3",
                f"{value:.4f} ± {spread:.4f}",
                told(ratio, 4),
                under(
                    above(ratio, 1),
                    [JOINT] if members in (10, 50) and above(_ratio(shared, members, "ilhf"), 1) else [],
                ),
                ("with the anchor, ensembles learn more slowly" if above(1 - ratio) else "no difference")
                + f"; ratio of losses {brief(duel['losses'], 4)}, of means {brief(duel['means'], 4)}"
                + (_of_one_adam(shared, members) if members in (10, 50) else ""),
            )
        )
    return found


def _ratio(duels: dict[str, Any], members: int, rival: str) -> Array:
    ratio: Array = duels[f"joint {members}, eta 0 vs {rival}"]["geometric"]
    return ratio


def _of_one_adam(duels: dict[str, Any], members: int) -> str:
    plain, same = (_ratio(duels, members, rival) for rival in ("ilhf", f"joint {members}, eta 0, no diversity"))
    return f". One Adam for all, η = 0: {brief(plain, 4)}, and {brief(same, 4)} against members without diversity"


def _readings(load: Load) -> dict[str, Array]:
    narrow = {f"narrow: {name}": run for name, run in load("narrow")["kl"].items()}
    return {**load("controls")["kl"], **load("readings")["kl"], **narrow}


def _joint(kl: dict[str, Array]) -> dict[str, Array]:
    """Return by how much each agent's mean divergence lies below that of plain ILHF."""
    return {name: area(kl["ilhf"]) - area(run) for name, run in kl.items()}


def _sizes(kl: dict[str, Array], claim: str, figure: str, joint: dict[str, Array] | None = None) -> Row:
    """Judge whether 50 members are below 10 in the mean over all episodes, by more than they are at the beginning."""
    lower, ahead = _lower(kl["ensemble 10"], kl[BEST])
    why = "each member learns from the same comparisons as one agent would"
    readings = []
    if joint:
        more, _ = _lower(joint["joint 10, eta 0"], joint["joint 50, eta 0"])
        same, _ = _lower(*(joint[f"joint {members}, eta 0, no diversity"] for members in (10, 50)))
        readings = [JOINT] if _faster(joint["joint 50, eta 0"], joint["joint 10, eta 0"]) else []
        why += f". One Adam for all members: {brief(more)} at η = 0, and {brief(same)} without diversity"
    return Row(
        ON_ENSEMBLES,
        claim,
        figure,
        "a figure",
        f"mean divergence of M = 10 less that of M = 50: {told(lower)}; before learning {told(ahead)}",
        under(_faster(kl[BEST], kl["ensemble 10"]), readings),
        why,
    )


def _faster(one: Array, other: Array) -> bool:
    """Return whether one lies below the other in the mean over all episodes, by more than at the beginning."""
    lower, ahead = _lower(other, one)
    return above(lower) and above(lower - ahead)


def _lower(few: Array, many: Array) -> tuple[Array, Array]:
    return area(few) - area(many), (few - many)[:, 0]


def of_longer_texts(load: Load) -> list[Row]:
    """Return the verdicts on texts of 128 and 256 tokens: figures 6 and 7."""
    found = []
    for length, figure in ((128, "Fig. 6"), (256, "Fig. 7")):
        kl = load(f"tau{length}")["kl"]
        gain = area(kl["ilhf"]) - area(kl[BEST])
        behind = [kl[f"reinforce {beta}"][:, -1] - kl["ilhf"][:, -1] for beta in BETAS]
        ends = told(kl["ilhf"][:, -1])
        found.append(
            Row(
                ON_DIVERGENCE,
                f"at τ = {length} ILHF learns the ideal, REINFORCE does not",
                figure,
                "a figure",
                f"ILHF {told(kl['ilhf'][:, 0])} to {ends}; REINFORCE {', '.join(map(told, behind))} above it",
                (YES if _vanishes(kl["ilhf"]) else PARTLY) if all(map(above, behind)) else NO,
                f"{_remains(kl['ilhf'])} of the divergence are left after 150 episodes, {_remains(kl['ilhf'][:, :11])} "
                "after 100: whether it vanishes depends on where the line is drawn",
            )
        )
        found.append(
            Row(
                ON_ENSEMBLES,
                f"at τ = {length} ensembles learn faster than ILHF",
                figure,
                "a figure",
                f"mean divergence {told(-gain)} above that of ILHF (M = 50)",
                YES if _faster(kl[BEST], kl["ilhf"]) else NO,
                "the anchor may be why, as it is in part at τ = 64; no control was run at this length",
            )
        )
        found.append(_sizes(kl, f"at τ = {length} more members, faster learning", figure))
    return found
