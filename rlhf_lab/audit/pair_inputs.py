"""What a loss of comparisons takes: its inputs by the names that people give them, and layouts of these.

h margin log pi(y_w)/pi_0(y_w) - log pi(y_l)/pi_0(y_l)    beta, tau KL weights
"""

from functools import partial

import autograd.numpy as np

from rlhf_lab.audit import names
from rlhf_lab.audit.binding import Case, Input
from rlhf_lab.audit.functions import Layout, Subject

FOUR = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")
USUAL = (0.1, 0.5, 0.2, 0.05, 0.01, 0.3, 1.0)  # weights that people write


def _beta(subject: Subject, case: Case) -> float:
    """The weight that is fixed inside a function: the slopes of its loss far on both sides, together."""
    beta = 0.0
    for far in (-2000.0, 2000.0):
        ends = [float(np.sum(subject(one(far * stretch, 0.0, 0.0, 0.0, 0.0)))) for stretch in (1.0, 1.5)]
        beta += abs(ends[1] - ends[0]) / 1000
    if not (np.isfinite(beta) and beta > 1e-4):
        return 1.0
    subject.note(f"no parameter beta: {beta:.4g}, worked out from its slope, is fixed inside it")
    return float(f"{beta:.6g}")


def _tau(subject: Subject, case: Case) -> float:
    """The weight that is fixed inside a function: its loss at margin 0 is 1 / (2 tau) squared."""
    start = abs(float(np.sum(subject(one(0.0, 0.0, 0.0, 0.0, 0.0)))))
    tau = 0.5 / np.sqrt(start) if start else np.inf
    if not 0 < tau < np.inf:
        return 1.0
    subject.note(f"no parameter tau: {tau:.4g}, worked out from its value at margin 0, is fixed inside it")
    return float(f"{tau:.6g}")


def one(*numbers: float) -> Case:
    """Return one comparison: four log-probabilities, and beta."""
    *four, weight = numbers
    return {name: np.array([value]) for name, value in zip(FOUR, four, strict=True)} | {"beta": weight}


def layouts(weight: Input) -> tuple[Layout, ...]:
    """Margins, log-ratios, or all answers in one array with their places, as in the DPO paper's appendix."""

    def margin(case: Case) -> Case:
        h = case[FOUR[0]] - case[FOUR[2]] - (case[FOUR[1]] - case[FOUR[3]])
        return case | {"margin": h}

    def by_model(case: Case) -> Case:
        return case | {"policy_ratio": case[FOUR[0]] - case[FOUR[1]], "reference_ratio": case[FOUR[2]] - case[FOUR[3]]}

    def by_answer(case: Case) -> Case:
        return case | {"chosen_ratio": case[FOUR[0]] - case[FOUR[2]], "rejected_ratio": case[FOUR[1]] - case[FOUR[3]]}

    def places(case: Case) -> Case:
        n = np.size(case[FOUR[0]])
        both = {
            "policy": np.concatenate([case[f] for f in FOUR[:2]]),
            "reference": np.concatenate([case[f] for f in FOUR[2:]]),
        }
        return case | both | {"chosen_places": np.arange(n), "rejected_places": np.arange(n, 2 * n)}

    spelled = partial(names.spelled, also=names.LOGS)
    index = partial(names.spelled, "idxs|idx|index|indices|inds", also="y")
    return (
        Layout(
            "takes the margin h", margin, inputs=(Input("margin", "h|margins?|deltas?|logits|log_?ratio_diff"), weight)
        ),
        Layout(
            "takes the log-ratio of the answers under policy and reference",
            by_model,
            inputs=(
                Input("policy_ratio", spelled(names.POLICY, "ratios?|logratios?")),
                Input("reference_ratio", spelled(names.REFERENCE, "ratios?|logratios?")),
                weight,
            ),
        ),
        Layout(
            "takes the log-ratio of each answer between policy and reference",
            by_answer,
            inputs=(
                Input("chosen_ratio", spelled(names.CHOSEN, "ratios?|logratios?|rewards?")),
                Input("rejected_ratio", spelled(names.REJECTED, "ratios?|logratios?|rewards?")),
                weight,
            ),
        ),
        Layout(
            "takes all answers in one array, and their places",
            places,
            inputs=(
                Input("policy", names.spelled(names.POLICY, also=names.LOGS)),
                Input("reference", names.spelled(names.REFERENCE, also="pi|" + names.LOGS)),
                Input("chosen_places", index(names.CHOSEN)),
                Input("rejected_places", index(names.REJECTED)),
                weight,
            ),
        ),
    )


def _name(which: str, *who: str) -> str:
    also = names.LOGS if who else f"{names.POLICY}|{names.LOGS}"
    short = {names.CHOSEN: "w", names.REJECTED: "l"}[which]
    start = "(r|ref|logref)" if who else "(p|pi|lp|logp|logpi)"
    return names.spelled(which, *who, also=f"pi|model|policy|{also}") + f"|{start}{short}"


FOUR_INPUTS = (
    Input("policy_chosen", _name(names.CHOSEN)),
    Input("policy_rejected", _name(names.REJECTED)),
    Input("reference_chosen", _name(names.CHOSEN, names.REFERENCE)),
    Input("reference_rejected", _name(names.REJECTED, names.REFERENCE)),
)
BETA, TAU = Input("beta", names.WEIGHT, _beta, USUAL), Input("tau", names.WEIGHT, _tau, USUAL)
