"""What every audit owes: its bugs are named, its right variants pass, each of its identities can break."""

from functools import cache

from rlhf_lab import audit
from rlhf_lab.audit.contracts import Function
from rlhf_lab.audit.functions import Layout, Subject
from rlhf_lab.audit.recognition import TOLERANCE
from rlhf_lab.audit.report import worst
from rlhf_lab.audit.zoo import ZOO


def bugs(kind):
    """The bugs of the zoo that an audit has to name."""
    return [bug for bug in ZOO if bug.audit == kind]


@cache
def told_of(bug):
    """The report of a bug of the zoo."""
    return getattr(audit, bug.audit)(bug.function)


def broken(kind):
    """Names of the identities that some bug of the zoo breaks."""
    reports = [told_of(bug) for bug in bugs(kind)]
    return {name for report in reports for name, state in report.identities.items() if state != "holds"}


def check_named(bug):
    """A bug of the zoo is recognised, with its words, its page and an input that shows it."""
    report = told_of(bug)
    assert (report.ok, report.verdict, report.told, report.where) == (False, bug.name, bug.told, bug.where)
    assert any(state.startswith("BROKEN: ") for state in report.identities.values())
    assert f".html#{bug.where}" in str(report)


def check_right(kind, function, *conventions):
    """A right function passes, and its conventions are told."""
    report = getattr(audit, kind)(function)
    assert report.ok, str(report)
    assert report.verdict == "right"
    assert not report.smallest
    for convention in conventions:
        assert convention in report.conventions


def breaks(contract, function, layout=None):
    """Names of the identities of a contract that a function breaks, however it is called in an audit."""
    layout = layout or Layout("")
    cases = layout.cases(contract.cases)
    subject = Subject(function, layout.inputs or contract.inputs, cases, layout)
    asked = [i for i in contract.identities if {*i.needs.split()} <= subject.given]
    return {i.name for i in asked if worst(i.look(Function(subject), cases), TOLERANCE[subject.digits])}
