"""Audits of chance and labels in the loops around a loss: what these functions do, tried out."""

from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral
from typing import Any

import autograd.numpy as np

from rlhf_lab.audit.binding import Input, Trouble, bound
from rlhf_lab.audit.report import Report
from rlhf_lab.audit.zoo import ZOO
from rlhf_lab.numerics.autodiff import Array

RNG = r"(np_?|random_?)?(rng|generator|gen|random_state|key|prng|random|r)"
SEED = r"(base_?|global_?|root_?|master_?)?(seed|entropy|s)"
MEMBERS = r"(n|num|k)?_?(members?|models?|ensembles?(_size|_members)?|heads?|k|m|critics?)"
SIZE = r"(n|num)?_?(pairs?|n|size|batch(_size)?|samples?|data|examples?|count|comparisons?)"
WORKERS = r"(n|num)?_?(workers?|envs?|n|count|processes|procs|actors?)"
Check = tuple[str, str, str]  # what should hold, how it does not ("" if it does), and which bug that is


class _Called:
    """A stranger's function, with what it raises told as a `Trouble`."""

    def __init__(self, function: Callable[..., Any], inputs: Sequence[Input]) -> None:
        if not callable(function):
            raise Trouble(f"pass the function itself, not what it returns; this is a {type(function).__name__}")
        self.function, self.places = function, bound(function, inputs)

    def __call__(self, **given: Any) -> Any:
        plain = [given[name] for key, name in self.places if key is None]
        named = {key: given[name] for key, name in self.places if key is not None}
        try:
            return self.function(*plain, **named)
        except (Exception, SystemExit) as error:  # whatever a stranger's function may raise
            raise Trouble(f"It raises {type(error).__name__}: {error}.") from None


def _report(name: str, function: Callable[..., Any], look: Callable[[list[str]], list[Check]]) -> Report:
    """Return the report of checks in the order in which they name bugs."""
    title = getattr(function, "__name__", type(function).__name__)
    conventions: list[str] = []
    try:
        checks = look(conventions)
    except Trouble as trouble:
        return Report(name, title, False, "not audited", str(trouble))
    states = {what: f"BROKEN: {how}" if how else "holds" for what, how, _ in checks}
    broken = [(how, bug) for _, how, bug in checks if how]
    if not broken:
        return Report(name, title, True, "right", "", "", "", states, tuple(conventions))
    how, named = broken[0]
    bug = next((bug for bug in ZOO if bug.name == named), None)
    words = bug.told if bug else "It does not do what it should. The zoo does not know this bug."
    verdict, where = (bug.name, bug.where) if bug else ("wrong", "")
    return Report(name, title, False, verdict, words, f"Seen: {how}", where, states, tuple(conventions))


def _numbers(value: Any, what: str) -> Array:
    try:
        value = value.detach().cpu() if hasattr(value, "detach") else value
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise Trouble(f"It returns {type(value).__name__}, not {what}.") from None


M, N = 40, 60  # members and pairs of a try


def _weights(function: Callable[..., Any], conventions: list[str]) -> list[Check]:
    call = _Called(function, (Input("rng", f"{RNG}|{SEED}"), Input("members", MEMBERS), Input("n", SIZE)))

    def drawn(seed: int) -> Array:
        try:
            found = call(rng=np.random.default_rng(seed), members=M, n=N)
        except Trouble:
            found = call(rng=seed, members=M, n=N)
            note = "takes a seed in place of a generator"
            conventions.extend([note] if note not in conventions else [])
        found = _numbers(found, f"weights of shape ({M}, {N})")
        if found.shape not in ((M, N), (N, M)):
            raise Trouble(f"With members = {M}, n = {N} it returns shape {found.shape}; it should be ({M}, {N}).")
        return found if found.shape == (M, N) else found.T

    tries = [drawn(seed) for seed in range(5)]
    every = np.concatenate(tries)
    values, mean = np.unique(every), float(np.mean(every))
    same = all(np.array_equal(weights, tries[0]) for weights in tries)
    members, pairs = (max(float(np.max(np.ptp(weights, axis=axis))) for weights in tries) for axis in (0, 1))
    rows, stuck = M - len(np.unique(tries[0], axis=0)), int(np.sum(np.ptp(tries[0], axis=0) == 0))
    alike = f"{rows} of {M} rows are those of another member" if rows and pairs else ""
    alike = alike or (f"{stuck} of {N} pairs have one weight for all members" if stuck else "")
    alike = alike if members else "all rows are equal"
    off = abs(mean - 1) > 5 * float(np.std(every)) / np.sqrt(every.size) + 1e-9
    if len(values) > 2 and not off:
        conventions.append("not double or nothing: other weights of mean 1")
    half = np.array_equal(values, [0.0, 1.0])
    return [
        ("no weight is negative", f"the smallest is {values[0]:.3g}" if values[0] < 0 else "", "negative weights"),
        (
            "members get weights of their own",
            alike,
            "same weights for all members",
        ),
        ("pairs get weights of their own", "" if pairs else "each row holds one number", "one coin for the batch"),
        (
            "weights are 1 on average",
            f"their mean is {mean:.2f}" if off and (members and pairs) else "",
            "single or nothing"
            if half
            else "weights sum to 1"
            if np.allclose(every.sum(1), 1)
            else "weights of another mean",
        ),
        ("another generator draws other weights", "five generators, the same weights" if same else "", "seeded inside"),
    ]


def bootstrap_weights(function: Callable[..., Any]) -> Report:
    """Audit weights of pairs for an ensemble: `function(rng, members, n)`, returning (members, n).

    Each member has weights of its own for every pair, of mean 1: double or nothing, or any other bootstrap.
    """
    return _report("bootstrap_weights", function, partial(_weights, function))


def _stream(worker: Any, conventions: list[str]) -> tuple[float, ...]:
    """The first numbers that a worker draws."""
    if isinstance(worker, Integral | np.random.SeedSequence):
        note = "returns seeds in place of generators"
        conventions.extend([note] if note not in conventions else [])
        worker = np.random.default_rng(worker)  # of a seed
    if hasattr(worker, "random"):
        return tuple(float(worker.random()) for _ in range(4))
    if hasattr(worker, "initial_seed"):  # of PyTorch
        return (float(worker.initial_seed()),)
    return tuple(float(x) for x in np.ravel(_numbers(worker, "generators")))


def _workers(function: Callable[..., Any], conventions: list[str]) -> list[Check]:
    call = _Called(function, (Input("seed", SEED), Input("workers", WORKERS)))

    def streams(seed: int) -> list[tuple[float, ...]]:
        made = call(seed=seed, workers=4)
        try:
            found = list(made)
        except TypeError:
            raise Trouble(f"With workers = 4 it returns {type(made).__name__}, not a list of generators.") from None
        if len(found) == 4 and len({id(worker) for worker in found}) == 1 and not isinstance(found[0], int):
            found = [_stream(found[0], conventions)] * 4  # a copy in each process draws the same
        if len(found) != 4:
            raise Trouble(f"With workers = 4 it returns {len(found)} generators.")
        return [_stream(worker, conventions) for worker in found]

    runs = [streams(seed) for seed in range(5)]
    one = len(set(runs[0])) < 4
    all_same = all(run == runs[0] for run in runs)
    shared = [(i, j) for i in range(5) for j in range(i) if set(runs[i]) & set(runs[j])]
    again = streams(0)
    other = "" if again == runs[0] else "seed 0 gives other streams again"
    return [
        ("the same seed is the same run", other, "run not repeatable"),
        (
            "workers draw their own numbers",
            "two workers draw the same numbers" if one else "",
            "one seed for all workers",
        ),
        ("another seed is another run", "seeds 0 to 4 give the same streams" if all_same else "", "seed ignored"),
        (
            "runs share no stream",
            f"seeds {shared[0][1]} and {shared[0][0]} have a stream in common" if shared and not all_same else "",
            "seeds of workers overlap",
        ),
    ]


def worker_rngs(function: Callable[..., Any]) -> Report:
    """Audit the generators of workers: `function(seed, workers)`, returning one for each: no two streams are the same.

    Seeds, or generators of another library, will do as well.
    """
    return _report("worker_rngs", function, partial(_workers, function))


def _expert(states: Array) -> Array:
    return np.asarray(states) * 7 % 5


def _student(states: Array) -> Array:
    return np.asarray(states) * 3 % 5 + 5


def _labels(function: Callable[..., Any], conventions: list[str]) -> list[Check]:
    inputs = (
        Input("states", r"(student_?|visited_?|rollout_?)?(states?|obs(ervations?)?|x|s|trajectory)"),
        Input("expert", r"(expert|teacher|oracle)(_?(policy|fn|pi|action))?|pi_?(e|star|expert)|query_expert"),
        Input("student", r"(student|learner|agent|policy|novice)(_?(policy|fn|pi))?|pi(_?(hat|theta|student|l))?"),
    )
    places = inputs[:2]
    try:
        call = _Called(function, inputs)
    except Trouble:
        call = _Called(function, places)
        conventions.append("takes no student: there is nothing of its labels in these")
    states = np.array([3, 8, 1, 12, 7, 5, 10, 2])
    found = call(states=states.copy(), expert=_expert, student=_student)
    if isinstance(found, tuple):
        conventions.append(f"returns {len(found)} results, of which the last is read")
        found = found[-1]
    labels = _numbers(found, "an action for each state, (M,)")
    if labels.shape != states.shape:
        raise Trouble(f"With states of shape {states.shape} it returns shape {labels.shape}.")
    of_student = int(np.sum(labels == _student(states)))
    other = int(np.sum(labels != _expert(states))) - of_student
    some = f"{of_student} of {len(states)} labels are the student's own" if of_student else ""
    strange = f"{other} labels are neither the expert's nor the student's" if other else ""
    order = "labels of other states" if np.array_equal(np.sort(labels), np.sort(_expert(states))) else ""
    return [
        ("no label is the student's own", some, "labels of the student"),
        ("every label is what the expert does in that state", strange, order),
    ]


def dagger_labels(function: Callable[..., Any]) -> Report:
    """Audit the labels of DAgger: `function(states, expert, student)`, returning an action for each state, (M,).

    `states` are those that the student came to; `expert` and `student` are functions from states to actions.
    """
    return _report("dagger_labels", function, partial(_labels, function))
