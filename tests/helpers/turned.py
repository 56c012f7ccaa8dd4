"""Whether a verdict of the ledger turns with the numbers that it rests on: stored ones, or what a function computes."""

import copy
import sys
from functools import cache

from rlhf_lab import experiments

LOAD = cache(experiments.stored)
YES, NO, PARTLY, ONLY = "reproduced", "not reproduced", "in part", "only under reading"


def verdict(rows, claim):
    row = next(row for row in rows if row.claim.startswith(claim))  # what comes later need not be computed
    return row.verdict.partition(": ")[0]


@cache
def as_it_is(part):
    return tuple(part(LOAD))


def by_stored(part, claim, place, change):
    """Return a verdict as it is, and with other numbers in a `place`, "study/key/.../key"."""
    study, *keys, last = place.split("/")
    numbers = copy.deepcopy(LOAD(study))
    within = numbers
    for key in keys:
        within = within[key]
    within[last] = change(within[last])
    turned = part(lambda name: numbers if name == study else LOAD(name))
    return verdict(as_it_is(part), claim), verdict(turned, claim)


def by_computed(monkeypatch, part, claim, name, wrong):
    """Return a verdict as it is, and with `wrong` for a function, named as its module calls it."""
    before = verdict(as_it_is(part), claim)
    module = sys.modules[part.__module__]
    where, _, function = name.rpartition(".")
    monkeypatch.setattr(getattr(module, where) if where else module, function, wrong)
    return before, verdict(part(LOAD), claim)
