"""The steps of an audit, each by itself, with a contract of one line."""

import functools
from dataclasses import replace

import autograd.numpy as np
import pytest
from autograd.tracer import getval

from rlhf_lab.audit import auditing
from rlhf_lab.audit.binding import Input, Misbehaved, Trouble
from rlhf_lab.audit.contracts import Contract, Form, Identity, Right, Shown
from rlhf_lab.audit.functions import Layout, Subject
from rlhf_lab.audit.report import Report
from rlhf_lab.audit.zoo import Bug

X = Input("x")
WEIGHT = Input("weight", "weight", lambda subject, case: 10.0 + float(np.sum(subject(case))), (3.0,))
RIGHT, OTHER = Right("", lambda x, weight: weight * x), Right("less", lambda x, weight: weight - x)
CASES = ({"x": np.array([1.0])}, {"x": np.array([1.0, -4.0])})
TIMES = Contract("times", (X, WEIGHT), "a product", (RIGHT,), CASES, (Form(""),), ())
TURNED = Layout("turned round", lambda case: case | {"x": -case["x"]}, cases=lambda cases: cases[:1])
REPORT = Report("times", "f", False, "wrong", "")


def test_cases_hold_all_inputs_and_what_is_fixed():
    made = {}
    subject, cases, absent, known = auditing._called(TIMES, TURNED, lambda x: x + 3, {"other": 5}, made)
    assert cases == [{"x": CASES[0]["x"], "weight": 12.0, "other": 5}]  # 10 + (-1 + 3)
    assert (absent, known) == ([WEIGHT], [])
    assert subject(CASES[1]).tolist() == [2, 7]
    assert (subject.layout, subject.given) == (TURNED, {"x"})
    assert subject.made is made
    _, cases, absent, _ = auditing._called(TIMES, Layout(""), lambda x: x, {"weight": 7.0}, {})
    assert ([case["weight"] for case in cases], absent) == ([7, 7], [])
    _, cases, absent, _ = auditing._called(TIMES, Layout("", inputs=(X,)), lambda x: x, {}, {})
    assert (["weight" in case for case in cases], absent) == ([False, False], [])


def test_what_was_met_before_an_input_was_left_out_is_kept():
    def loud(x):
        print("here")
        return x

    subject, *_, known = auditing._called(TIMES, Layout(""), loud, {}, {})
    assert known == subject.notes == ["prints while it runs ('here')"]
    assert known is not subject.notes


def test_any_kind_may_be_meant_by_what_nobody_knows_but_strict_ones(monkeypatch):
    def told(contract, subject, cases):
        np.log(np.zeros(1))  # minus infinity, without a warning
        return contract.rights, subject, cases

    monkeypatch.setattr(auditing, "clues", told)
    found = auditing.Found(3, 1.0, REPORT, TIMES._replace(layouts=(TURNED,)))
    strict = TIMES._replace(strict=True, rights=(Right("strict", abs),))
    more = TIMES._replace(rights=(RIGHT, OTHER))
    made = {}
    report = auditing._with_clues(found, [TIMES, strict, more], lambda x: x, {"weight": 7.0}, made)
    rights, subject, cases = report.clues
    assert (rights, cases) == ((RIGHT, OTHER), [CASES[0] | {"weight": 7.0}])
    assert subject.layout is TURNED
    assert subject.made is made
    assert auditing._with_clues(found, [TIMES], None, {}, {}) is REPORT  # which cannot be called


@pytest.mark.parametrize(
    ("broken", "asked", "best"),
    [
        ((0.5,), (0,), 0),
        ((0.5, 0.5), (0,), 0),  # as near as the first
        ((0.5, 0.25), (0, 1), 1),
        ((0.5, 0.75, 0.25), (0,), 2),
        ((0.5, 0.25, 0.1), (0, 1), 2),
    ],
)
def test_the_first_is_looked_at_longer_and_the_second_where_it_breaks_less(monkeypatch, broken, asked, best):
    contracts = [TIMES._replace(name=str(k)) for k in range(len(broken))]
    shallow = [
        auditing.Found(3, b, Report(c.name, "f", False, "wrong", ""), c) for b, c in zip(broken, contracts, strict=True)
    ]
    shallow.append(auditing.Found(4, 0.0, REPORT, TIMES))
    calls = []

    def tried(contracts, function, fixed, made, *, deep):
        calls.append((tuple(contracts), function, fixed, made, deep))
        return [auditing.Found(4, 1.0, REPORT, TIMES)] if deep else list(shallow)

    monkeypatch.setattr(auditing, "_all_tried", tried)
    monkeypatch.setattr(auditing, "_with_clues", lambda *given: given)
    found, each, *more = auditing.audit(contracts, abs, weight=7.0)
    (first, second) = calls
    assert first[:3] == (tuple(contracts), abs, {"weight": 7.0})
    assert second[:3] == (tuple(contracts[k] for k in asked), abs, {"weight": 7.0})
    assert (first[4], second[4]) == (False, True)
    assert first[3] is second[3] is more[2]
    assert first[3] == {}
    assert (found, each, more[:2]) == (shallow[best], contracts, [abs, {"weight": 7.0}])


def test_what_is_known_gets_no_clues(monkeypatch):
    found = [auditing.Found(2, 0.0, REPORT, TIMES), auditing.Found(2, 0.0, Report("2", "f", False, "wrong", ""), TIMES)]
    monkeypatch.setattr(auditing, "_all_tried", lambda *given, deep: found)
    assert auditing.audit(TIMES, abs) is REPORT


def wrong_with(*states, ok=False, verdict="wrong"):
    return Report("times", "f", ok, verdict, "", identities=dict(enumerate(states)))


def tried_as(monkeypatch, results, *, deep, patient=False):
    """What is found where two contracts in two layouts have these results, and what was tried."""
    contracts = [TIMES._replace(name=name, layouts=(Layout("1"), Layout("2")), patient=patient) for name in "ab"]
    made, seen = {}, []

    def tried(contract, layout, *given, deep):
        assert given == (abs, {"weight": 7.0}, made)
        assert given[2] is made
        seen.append((contract.name + layout.name, deep))
        return results[contract.name + layout.name]

    monkeypatch.setattr(auditing, "_tried", tried)
    found = auditing._all_tried(contracts, abs, {"weight": 7.0}, made, deep=deep)
    assert {d for _, d in seen} == {deep}
    for one in found:
        assert one.contract in [c._replace(layouts=(layout,)) for c in contracts for layout in c.layouts]
    names = [one.contract.name + one.contract.layouts[0].name for one in found]
    assert [one.report for one in found] == [results[name][1] for name in names]
    return [(name, one.rank, one.broken) for name, one in zip(names, found, strict=True)], [name for name, _ in seen]


def test_what_is_known_by_each_contract_and_layout_has_the_share_that_is_broken(monkeypatch):
    results = {
        "a1": (3, wrong_with("BROKEN: x", "holds", "CAUTION: y", "BROKEN: z")),
        "a2": (3, wrong_with()),  # whose identities say nothing
        "b1": (2, wrong_with("BROKEN: x")),
        "b2": (4, wrong_with("holds")),
    }
    all_of_them = [("a1", 3, 0.5), ("a2", 3, 1.0), ("b1", 2, 0.0), ("b2", 4, 0.0)]
    assert tried_as(monkeypatch, results, deep=False) == (all_of_them, ["a1", "a2", "b1", "b2"])
    assert tried_as(monkeypatch, results, deep=True) == (all_of_them[2:3], ["a1", "a2", "b1"])


@pytest.mark.parametrize("patient", [False, True])
def test_what_is_right_is_looked_for_no_longer_and_what_has_a_section_only_by_the_patient(monkeypatch, patient):
    right = {"a1": (3, wrong_with()), "a2": (0, wrong_with(ok=True)), "b1": (4, REPORT), "b2": (4, REPORT)}
    assert tried_as(monkeypatch, right, deep=False, patient=patient) == ([("a2", 0, 0.0)], ["a1", "a2"])
    known = right | {"a1": (0, wrong_with()), "b1": (1, REPORT)}
    found = [("a1", 0, 0.0), ("b1", 1, 0.0), ("b2", 4, 1.0)] if patient else [("a1", 0, 0.0)]
    assert tried_as(monkeypatch, known, deep=False, patient=patient) == (
        found,
        ["a1", "b1", "b2"] if patient else ["a1"],
    )


@pytest.mark.parametrize(
    ("verdicts", "kept"),
    [
        ({"3": "right"}, "3"),
        ({"3": "beta twice"}, "3"),
        ({"3": "beta twice", "4": "sign lost"}, "3"),
        ({"3": "beta twice", "4": "right"}, "4"),
        ({"4": "sign lost"}, "4"),
        ({}, "11"),  # 10 + 1
    ],
)
def test_numbers_that_people_write_are_tried_where_a_function_is_wrong(monkeypatch, verdicts, kept):
    contract = TIMES._replace(inputs=(X, WEIGHT._replace(usual=(3.0, 4.0))), cases=CASES[:1])
    notes = {}

    def judged(contract, name, subject, cases, *, deep):
        assert (contract.name, name, deep) == ("times", "same", False)
        (weight,) = (f"{case['weight']:.4g}" for case in cases)
        assert [case["x"].tolist() for case in cases] == [[1]]
        notes[weight] = list(subject.notes)
        verdict = verdicts.get(weight, "wrong")
        return len(notes), Report(weight, name, verdict == "right", verdict, "")

    def same(x):
        print("here")
        return x

    monkeypatch.setattr(auditing, "_judged", judged)
    rank, report = auditing._tried(contract, Layout(""), same, {}, {}, deep=False)
    assert (rank, report.audit) == (list(notes).index(kept) + 1, kept)
    loud = "prints while it runs ('here')"
    inside = {w: [loud, f"no parameter weight: {w} is fixed inside it"] for w in list(notes)[1:]}
    assert notes == {"11": [loud]} | inside


def test_what_is_not_simply_wrong_is_judged_once(monkeypatch):
    calls = []

    def judged(contract, name, subject, cases, *, deep):
        calls.append((name, deep))
        return 3, wrong_with(verdict="not finite")

    monkeypatch.setattr(auditing, "_judged", judged)
    assert auditing._tried(TIMES, Layout(""), functools.partial(abs), {}, {}, deep=True) == (
        3,
        wrong_with(verdict="not finite"),
    )
    assert calls == [("partial", True)]


@pytest.mark.parametrize(("error", "rank"), [(Misbehaved, 1), (Trouble, 4)])
def test_what_cannot_be_judged_is_told(monkeypatch, error, rank):
    def judged(*given, deep):
        raise error("why")

    monkeypatch.setattr(auditing, "_judged", judged)
    wanted = Report("times", "abs", False, "not audited", "why")
    assert auditing._tried(TIMES, Layout(""), abs, {}, {}, deep=False) == (rank, wanted)


def odd(loss, cases):
    for case in cases:
        yield Shown(case, loss(case | {"x": -case["x"]}), -loss(case))


def far(loss, cases):
    case = {"x": np.array([1000.0]), "weight": 1.0}
    yield Shown(case, np.isfinite(loss(case)) * 1.0, np.ones(1))


def squared(x, weight):
    return weight * x**2


def cubed(x, weight):
    return weight * x**3


LINE = Contract(
    "line",
    (X, Input("weight")),
    "a product",
    (RIGHT,),
    (
        {"x": np.array([3.0]), "weight": 0.5},
        {"x": np.array([0.5, -2.0]), "weight": 2.0},
        {"x": np.array([1.0, -0.25, 0.75]), "weight": 3.0},
    ),
    (Form("one for each"), Form("their mean", lambda values, case: np.mean(values))),
    (Identity("odd", odd), Identity("finite far away", far, caution=True)),
    ("x",),
    bugs=(
        Bug("squared", "line", "You square.", squared, RIGHT.function, "", "sec-dpo"),
        Bug("cubed", "line", "You cube.", cubed, RIGHT.function, "", ""),
    ),
)
HOLD = {"odd": "holds", "finite far away": "holds"}
EVEN = "BROKEN: with x = [3.], weight = 0.5 it gives [{}]; it should be [{}]"
UNKNOWN = "It should return a product. The zoo does not know this bug."


def smallest(found):
    return f"Smallest input that shows it: with x = [3.], weight = 0.5 it gives [{found}]; it should be [1.5]"


def judged(function, contract=LINE, *, deep=False):
    subject = Subject(function, contract.inputs, contract.cases)
    return auditing._judged(contract, "f", subject, list(contract.cases), deep=deep)


def test_what_is_right_is_told_with_its_form():
    for change, told in ((lambda v: v, "one for each"), (np.mean, "their mean")):
        report = Report("line", "f", True, "right", "", identities=HOLD, conventions=(told,))
        assert judged(lambda x, weight, change=change: change(weight * x)) == (0, report)
    floats = "not written for automatic differentiation: only its numbers are judged"
    report = Report("line", "f", True, "right", "", identities=HOLD, conventions=("one for each", floats))
    assert judged(lambda x, weight: [float(weight) * float(v) for v in x]) == (0, report)
    untrained = LINE._replace(trained=())
    report = Report("line", "f", True, "right", "", identities=HOLD, conventions=("one for each",))
    assert judged(lambda x, weight: [float(weight) * float(v) for v in x], untrained) == (0, report)


@pytest.mark.parametrize(
    ("bug", "rank", "found", "turned"), [(LINE.bugs[0], 0, "4.5", "-4.5"), (LINE.bugs[1], 2, "13.5", None)]
)
def test_a_bug_is_told_with_the_smallest_input_that_shows_it(bug, rank, found, turned):
    states = HOLD | ({"odd": EVEN.format(found, turned)} if turned else {})
    report = Report("line", "f", False, bug.name, bug.told, smallest(found), bug.where, states, ("one for each",))
    assert judged(bug.function) == (rank, report)


def test_numbers_that_are_right_without_a_gradient_are_told_apart():
    rank, report = judged(lambda x, weight: weight * getval(x))
    assert (rank, report.ok, report.verdict) == (1, False, "wrong gradient")
    assert report.told.startswith("Its numbers are right and its gradient is not: there is none in x. Is something ")
    assert (report.smallest, report.where, report.identities) == ("", "", HOLD)


def shifted(x, weight):
    return weight * x + x**2


def test_what_nobody_knows_is_told_by_what_it_should_return():
    states = HOLD | {"odd": EVEN.format("7.5", "-10.5")}  # -1.5 + 9, and -(1.5 + 9)
    report = Report("line", "f", False, "wrong", UNKNOWN, smallest("10.5"), "", states)
    assert judged(shifted) == (3, report)
    assert judged(shifted, LINE._replace(strict=True)) == (4, report)
    named = LINE._replace(identities=(LINE.identities[0]._replace(bug="squared"), LINE.identities[1]))
    assert judged(shifted, named) == (3, replace(report, verdict="squared", told="You square.", where="sec-dpo"))


def test_what_is_not_finite_is_told():
    rank, report = judged(lambda x, weight: weight * x / np.where(x > 1, 0.0, 1.0))
    assert (rank, report.ok, report.verdict, report.where) == (3, False, "not finite", "")
    assert report.told == "It returns NaN or infinity for inputs that have a finite answer."
    assert (
        report.identities["finite far away"]
        == "CAUTION: with x = [1000.], weight = 1. it gives [0.]; it should be [1.]"
    )


def test_nothing_that_was_guessed_is_no_report(monkeypatch):
    given = []
    monkeypatch.setattr(auditing, "_guessed", lambda *args: given.append(args))
    monkeypatch.setattr(auditing, "_known", None)  # which is asked for no second time
    assert judged(squared, deep=True) == (4, Report("line", "f", False, "wrong", ""))
    ((contract, rights, subject, seen, cases),) = given
    assert (contract, rights, cases) == (LINE, [RIGHT], list(LINE.cases))
    assert [values.tolist() for values in seen.values] == [subject(case).tolist() for case in LINE.cases]


def test_what_is_equal_to_four_digits_is_right():
    four = "equal to four digits: a small number in a denominator, or single precision inside"
    report = Report("line", "f", True, "right", "", identities=HOLD, conventions=("one for each", four))
    assert judged(lambda x, weight: weight * x + 1e-5 * x**2) == (0, report)


def test_what_breaks_no_identity_is_right_but_by_a_strict_contract():
    def also_odd(x, weight):
        return weight * x + x**5

    assert judged(also_odd) == (0, Report("line", "f", True, "right", "", identities=HOLD))
    rank, report = judged(also_odd, LINE._replace(strict=True))
    assert (rank, report.ok, report.told) == (4, False, UNKNOWN)


def test_an_identity_may_overflow_and_is_broken_by_an_error():
    def raising(loss, cases):
        np.log(np.zeros(1))
        raise Trouble("why")

    identity = Identity("i", raising)
    assert auditing._all_looked([identity], None, [], (0.0, 0.0)) == {identity: "why"}
    assert auditing._state(identity, "why") == "BROKEN: why"


ALL, WITHOUT = (LINE, "rights", "subject", "seen", "cases"), (LINE, "rights", "seen", "cases")


def chained(monkeypatch, steps, last):
    """Let the step `last` find something, and keep what each is called with."""
    calls = []
    for name in steps:
        monkeypatch.setattr(auditing, name, lambda *given, n=name: calls.append((n, given)) or (n == last and n))
    return calls


GUESSES = {"sized": WITHOUT, "partly_rounded": ALL, "exchanged": ALL, "retold": WITHOUT}


@pytest.mark.parametrize("last", GUESSES)
def test_guesses_come_one_after_the_other(monkeypatch, last):
    calls = chained(monkeypatch, GUESSES, last)
    assert auditing._guessed(*ALL) == last
    names = list(GUESSES)[: list(GUESSES).index(last) + 1]
    assert calls == [(name, GUESSES[name]) for name in names]


@pytest.mark.parametrize("last", ["recognised", "twisted", "rounded"])
def test_what_is_known_is_looked_for_in_an_order(monkeypatch, last):
    fitted = LINE._replace(fitted=lambda loss, cases: [loss(cases)])

    def subject(case):
        return np.array([len(case)])

    calls = chained(monkeypatch, ["recognised", "twisted", "rounded"], last)
    assert auditing._known(fitted, "rights", subject, "seen", "cases") == last
    wanted = [
        ("recognised", (fitted, "rights", LINE.bugs, "seen", "cases")),
        ("recognised", (fitted, [np.array([5.0])], (), "seen", "cases")),
        ("twisted", (fitted, "rights", "seen", "cases")),
        ("rounded", (fitted, "rights", subject, "seen", "cases")),
    ]
    assert calls == wanted[: {"recognised": 1, "twisted": 3, "rounded": 4}[last]]
