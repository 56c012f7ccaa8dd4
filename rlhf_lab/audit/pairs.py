"""Audits of losses of comparisons: DPO, IPO, and the reward model.

h margin log pi(y_w)/pi_0(y_w) - log pi(y_l)/pi_0(y_l)    beta, tau KL weights
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit.contracts import Contract, Form, Function, Identity, Report, Right, Shown, audit
from rlhf_lab.audit.functions import Case, Input, Subject
from rlhf_lab.audit.zoo import pairs
from rlhf_lab.numerics.autodiff import Array

FOUR = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")
CHOSEN, REJECTED = (
    r"(chosen|winn?er|win|preferred|pos|positive|y?w)",
    r"(rejected|loser|lose|dispreferred|neg|negative|y?l)",
)
POLICY, REFERENCE = r"(policy|pi|model|theta|actor)", r"(reference|ref|ref_model|pi_?ref|base|pi_?0|old)"
LOGS = r"(_?(log_?p(rob)?s?|lp|log_?ratios?))?"


def _also(who: str, which: str, *, optional: bool) -> str:
    """The names that people give to log-probabilities: policy_chosen_logps, logp_w, ref_logps_rejected, ..."""
    owner = f"({who}_)?" if optional else f"{who}_"
    back = f"(_{who})?" if optional else f"_{who}"
    return rf"{owner}{which}{LOGS}|{owner}{LOGS[1:-2]}_{which}|{which}{LOGS}{back}" + f"|{LOGS[1:-2]}_{which}{back}"


def _beta(subject: Subject, case: Case) -> float:
    """The weight that is fixed inside a function: the slope of its loss far on the wrong side."""
    ends = [float(np.sum(np.abs(subject(_one(-far, 0.0, 0.0, 0.0, 0.0))))) for far in (2000.0, 3000.0)]
    beta = (ends[1] - ends[0]) / 1000
    if not (np.isfinite(beta) and beta > 1e-4):
        return 1.0
    subject.note(f"no parameter beta: {beta:.4g}, worked out from its slope, is fixed inside it")
    return float(f"{beta:.6g}")


def _tau(subject: Subject, case: Case) -> float:
    """The weight that is fixed inside a function: its loss at margin 0 is 1 / (2 tau) squared."""
    tau = 0.5 / np.sqrt(abs(float(np.sum(subject(_one(0.0, 0.0, 0.0, 0.0, 0.0))))))
    if not np.isfinite(tau):
        return 1.0
    subject.note(f"no parameter tau: {tau:.4g}, worked out from its value at margin 0, is fixed inside it")
    return float(f"{tau:.6g}")


def _one(*numbers: float) -> Case:
    *four, weight = numbers
    return {name: np.array([value]) for name, value in zip(FOUR, four, strict=True)} | {"beta": weight}


def _cases(weight: str) -> tuple[Case, ...]:
    """One comparison, and batches of up to seven: log-probabilities from -3 to 0, weights of three sizes."""
    rng = np.random.default_rng(0)
    sizes = (1, 1, 1, 2, 3, 4, 7)
    drawn = [{name: -rng.integers(1, 31, size=n) / 10 for name in FOUR} for n in sizes]
    return tuple(case | {weight: w} for case, w in zip(drawn, (0.5, 0.1, 2.0, 0.5, 0.1, 1.0, 0.3), strict=True))


MEAN = Form("the mean over the batch", lambda values, case: np.mean(values, axis=-1))
SUM = Form("the sum over the batch", lambda values, case: np.sum(values, axis=-1))
EACH = Form("a loss for each comparison", lambda values, case: values)
FORMS = (MEAN, SUM, EACH)


def _singles(cases: Sequence[Case]) -> list[Case]:
    return [case for case in cases if np.size(next(iter(case.values()))) == 1]


def _moved(case: Case, **by: float) -> Case:
    return case | {name: case[name] + step for name, step in by.items()}


def _margin(case: Case) -> Array:
    return np.sum(
        case["policy_chosen"] - case["reference_chosen"] - (case["policy_rejected"] - case["reference_rejected"])
    )


def _at_reference(value: Callable[[Case], float], loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in _singles(cases):
        same = case | {f"policy_{y}": case[f"reference_{y}"] for y in ("chosen", "rejected")}
        yield Shown(same, np.sum(loss(same)), value(same))


def _only_the_margin(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in _singles(cases):
        for who in ("policy", "reference"):
            moved = _moved(case, **{f"{who}_chosen": -0.7, f"{who}_rejected": -0.7})
            yield Shown(moved, np.sum(loss(moved)), np.sum(loss(case)))


def _reference_counts(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in _singles(cases):
        for which in ("chosen", "rejected"):
            yield Shown(
                _moved(case, **{f"reference_{which}": -0.8}),
                np.sum(loss(_moved(case, **{f"reference_{which}": -0.8}))),
                np.sum(loss(_moved(case, **{f"policy_{which}": 0.8}))),
            )


def _swapped(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in _singles(cases):
        other = {
            "policy_chosen": case["policy_rejected"],
            "policy_rejected": case["policy_chosen"],
            "reference_chosen": case["reference_rejected"],
            "reference_rejected": case["reference_chosen"],
        }
        found = np.sum(loss(case)) - np.sum(loss(case | other))
        yield Shown(case, found, -case["beta"] * _margin(case))


def _weight_scales(weight: str, loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in _singles(cases):
        other = case | {name: case[name] / 2 for name in FOUR} | {weight: 2 * case[weight]}
        yield Shown(other, np.sum(loss(other)), np.sum(loss(case)))


def _at_target(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in _singles(cases):
        there = case | {"policy_chosen": case["policy_chosen"] + 0.5 / case["tau"] - _margin(case)}
        yield Shown(there, np.sum(loss(there)), np.zeros(()))


def _rows(names: Sequence[str], loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    """The loss of a batch is made of the losses of its comparisons, by mean or sum."""
    for case in cases:
        size = np.size(case[names[0]])
        rows = [case | {name: case[name][i : i + 1] for name in names} for i in range(size)]
        each, found = np.array([np.sum(loss(row)) for row in rows]), np.asarray(loss(case))
        wholes = [each] if found.shape == each.shape else [np.mean(each), np.sum(each)]
        yield Shown(case, found, min(wholes, key=lambda whole: float(np.max(np.abs(whole - found)))))


def _far(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in _singles(cases)[:1]:
        for far in (-2000.0, 2000.0):
            away = _one(min(far, 0.0), min(-far, 0.0), 0.0, 0.0, case["beta"])
            yield Shown(away, np.sum(loss(away)), max(0.0, -case["beta"] * far))


def _key(key: Callable[..., Array], loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case in _singles(cases):
        weight = {name: case[name] for name in ("beta", "tau") if name in case}
        yield Shown(case, np.sum(loss(case)), np.sum(key(*(case[name] for name in FOUR), **weight)))


FOUR_INPUTS = (
    Input("policy_chosen", _also(POLICY, CHOSEN, optional=True)),
    Input("policy_rejected", _also(POLICY, REJECTED, optional=True)),
    Input("reference_chosen", _also(REFERENCE, CHOSEN, optional=False)),
    Input("reference_rejected", _also(REFERENCE, REJECTED, optional=False)),
)
DPO = Contract(
    "dpo_loss",
    (*FOUR_INPUTS, Input("beta", "b|temperature|kl_coef|kl_weight", _beta)),
    "log(1 + exp(-beta h)), for each comparison or averaged",
    (Right("", pairs.dpo_loss),),
    _cases("beta"),
    FORMS,
    (
        Identity("log 2 where the policy is the reference", partial(_at_reference, lambda case: float(np.log(2)))),
        Identity("only the margin matters", _only_the_margin),
        Identity("the reference counts as much as the policy", _reference_counts),
        Identity("exchanging the answers changes it by beta h", _swapped),
        Identity("twice beta is twice the margin", partial(_weight_scales, "beta"), needs="beta"),
        Identity("a batch is made of its comparisons", partial(_rows, FOUR)),
        Identity("finite at far margins", _far, caution=True),
        Identity("log(1 + exp(-beta h))", partial(_key, pairs.dpo_loss)),
    ),
    FOUR[:2],
)

IPO = Contract(
    "ipo_loss",
    (*FOUR_INPUTS, Input("tau", "beta|b|temperature|kl_coef|kl_weight", _tau)),
    "(h - 1 / (2 tau))^2, for each comparison or averaged",
    (Right("", pairs.ipo_loss),),
    _cases("tau"),
    FORMS,
    (
        Identity(
            "1 / (2 tau)^2 where the policy is the reference",
            partial(_at_reference, lambda case: 0.25 / case["tau"] ** 2),
        ),
        Identity("only the margin matters", _only_the_margin),
        Identity("the reference counts as much as the policy", _reference_counts),
        Identity("0 where the margin is 1 / (2 tau)", _at_target),
        Identity("a batch is made of its comparisons", partial(_rows, FOUR)),
        Identity("(h - 1 / (2 tau))^2", partial(_key, pairs.ipo_loss)),
    ),
    FOUR[:2],
)
REWARDS = ("chosen_rewards", "rejected_rewards")


def _rewards(loss: Function, cases: Sequence[Case]) -> Iterator[tuple[Case, float]]:
    for case in cases:
        if np.size(case[REWARDS[0]]) == 1:
            yield case, float(np.sum(loss(case)))


def _equal_rewards(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case, _ in _rewards(loss, cases):
        same = case | {REWARDS[1]: case[REWARDS[0]]}
        yield Shown(same, np.sum(loss(same)), np.log(2))


def _constants_cancel(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case, found in _rewards(loss, cases):
        moved = _moved(case, **dict.fromkeys(REWARDS, 0.7))
        yield Shown(moved, np.sum(loss(moved)), found)


def _rewards_exchanged(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case, found in _rewards(loss, cases):
        other = dict(zip(REWARDS, [case[name] for name in REWARDS[::-1]], strict=True))
        yield Shown(case, found - np.sum(loss(case | other)), np.sum(case[REWARDS[1]] - case[REWARDS[0]]))


def _reward_key(loss: Function, cases: Sequence[Case]) -> Iterator[Shown]:
    for case, found in _rewards(loss, cases):
        yield Shown(case, np.array(found), np.sum(pairs.reward_model_loss(*(case[name] for name in REWARDS))))


def _reward_cases() -> tuple[Case, ...]:
    rng = np.random.default_rng(1)
    return tuple({name: rng.integers(-30, 31, size=n) / 10 for name in REWARDS} for n in (1, 1, 1, 2, 3, 5))


def _reward_name(which: str) -> str:
    return rf"(r_?|rewards?_?|scores?_?|logits_?)?{which}(_?(rewards?|scores?|logits?))?"


REWARD_MODEL = Contract(
    "reward_model_loss",
    (Input(REWARDS[0], _reward_name(CHOSEN)), Input(REWARDS[1], _reward_name(REJECTED))),
    "log(1 + exp(-(R(y_w) - R(y_l)))), for each comparison or averaged",
    (Right("", pairs.reward_model_loss),),
    _reward_cases(),
    FORMS,
    (
        Identity("log 2 for equal rewards", _equal_rewards),
        Identity("a constant in all rewards cancels", _constants_cancel),
        Identity("exchanging the answers changes it by their difference", _rewards_exchanged),
        Identity("a batch is made of its comparisons", partial(_rows, REWARDS)),
        Identity("-log sigmoid of the difference", _reward_key),
    ),
    REWARDS,
)


def dpo_loss(function: Callable[..., Any], *, beta: float | None = None) -> Report:
    """Audit a loss of DPO: `function(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta)`.

    Arrays (N,) hold log-probabilities of whole answers. It may return a loss for each comparison, their mean or their
    sum. Parameters are read by name (`ref_logps_chosen`, say) or taken in this order; `beta` may be fixed inside: it is
    then worked out, or tell it here.
    """
    return audit(DPO, function, **({} if beta is None else {"beta": beta}))


def ipo_loss(function: Callable[..., Any], *, tau: float | None = None) -> Report:
    """Audit a loss of IPO: `function(policy_chosen, policy_rejected, reference_chosen, reference_rejected, tau)`.

    As `dpo_loss`; `tau` is the weight that many call beta.
    """
    return audit(IPO, function, **({} if tau is None else {"tau": tau}))


def reward_model_loss(function: Callable[..., Any]) -> Report:
    """Audit a loss of a reward model: `function(chosen_rewards, rejected_rewards)`, rewards (N,) of the two answers."""
    return audit(REWARD_MODEL, function)
