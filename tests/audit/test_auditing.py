"""The steps of an audit, each by itself, with a contract of one line."""

import numpy as np
import pytest

from rlhf_lab.audit import auditing
from rlhf_lab.audit.binding import Input
from rlhf_lab.audit.contracts import Contract, Form, Right
from rlhf_lab.audit.functions import Layout
from rlhf_lab.audit.report import Report

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
