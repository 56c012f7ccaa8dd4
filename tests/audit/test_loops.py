"""The audits of chance, labels and costs in loops."""

import functools
import random

import numpy as np
import pytest

from rlhf_lab import audit
from rlhf_lab.audit.report import Report
from rlhf_lab.audit.zoo import ZOO, loops
from rlhf_lab.methods import dril

AUDITS = ("bootstrap_weights", "worker_rngs", "dagger_labels", "dril_cost")
BUGS = [bug for bug in ZOO if bug.audit in AUDITS]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bugs_have_names(bug):
    report = audit.AUDITS[bug.audit](bug.function)
    assert (report.ok, report.verdict, report.told, report.where) == (False, bug.name, bug.told, bug.where)
    assert report.smallest
    assert (report.audit, report.function) == (bug.audit, bug.function.__name__)


class Tensor:
    """An array as PyTorch has it, which has to be detached first."""

    def __init__(self, values):
        self.values = values

    def detach(self):
        return self

    def cpu(self):
        return self.values


class Seeded:
    """A generator as PyTorch has it, which tells its seed."""

    def __init__(self, seed):
        self.initial_seed = lambda: seed


def remembered(seed, workers, memory=[]):  # noqa: B006 (it keeps something from an earlier call)
    memory.append(len(memory))
    return [np.random.default_rng([seed, memory[-1], i]) for i in range(workers)]


RIGHT = {
    "bootstrap_weights": {
        "the book's": loops.bootstrap_weights,
        "Poisson": lambda rng, members, n: rng.poisson(1, (members, n)),
        "with replacement": lambda rng, k, n: rng.multinomial(n, np.ones(n) / n, size=k),
        "Bayesian": lambda seed, n_models, n: np.random.default_rng(seed).exponential(size=(n_models, n)),
        "in order": lambda rng, members, n, /: 2 * rng.integers(0, 2, (members, n)),
        "three weights": lambda rng, members, n: rng.binomial(2, 0.5, (members, n)),
        "from a seed": lambda seed, members, n: np.random.RandomState(seed).poisson(1, (members, n)),
        "coins": lambda rng, members, n: 2.0 * (rng.random((members, n)) < 0.5),
        "pairs first": lambda generator, num_members, num_pairs: generator.poisson(1, (num_pairs, num_members)),
        "turned": lambda num_pairs, n_models, generator: 2 * generator.integers(0, 2, (n_models, num_pairs)),
        "one by one": lambda rng, members, n: [[2 * int(rng.random() < 0.5) for _ in range(n)] for _ in range(members)],
        "integers": lambda rng, members, n: 2 * rng.integers(0, 2, (members, n)),
    },
    "worker_rngs": {
        "turned": lambda n_workers, base_seed: np.random.default_rng(base_seed).spawn(n_workers),
        "the book's": loops.worker_rngs,
        "spawned": lambda seed, n_workers: np.random.default_rng(seed).spawn(n_workers),
        "lists of seeds": lambda seed, workers: [np.random.default_rng([seed, i]) for i in range(workers)],
        "of Python": lambda seed, workers: [random.Random(f"{seed}-{i}") for i in range(workers)],
        "sequences": lambda seed, n: np.random.SeedSequence(seed).spawn(n),
        "numbers": lambda seed, n: np.random.SeedSequence(seed).generate_state(n),
        "old generators": lambda seed, n_envs: [np.random.RandomState(1000 * seed + i) for i in range(n_envs)],
        "of PyTorch": lambda seed, n: [Seeded(10 * seed + i) for i in range(n)],
        "jumped": lambda seed, n: [np.random.Generator(np.random.PCG64(seed).jumped(i + 1)) for i in range(n)],
    },
    "dagger_labels": {
        "the book's": loops.dagger_labels,
        "without the student": lambda obs, expert: [expert(o) for o in obs],
        "with states": lambda states, expert_policy, policy: (states, expert_policy(states)),
        "with all": lambda states, expert, student: (states, student(states), expert(states)),
        "a list": lambda states, teacher, learner: [int(teacher(s)) for s in states],
        "an array": lambda observations, oracle, agent: np.array([oracle(o) for o in observations]),
        "asked for nothing": lambda states, expert, student: (student(states), expert(states))[1],
        "turned": lambda learner, teacher_policy, trajectory: teacher_policy(trajectory),
        "of a tensor": lambda states, expert, student: Tensor(expert(states)),
        "another order": lambda student, expert, states: expert(states),
        "by keyword": lambda states, *, expert, student=None: expert(states),
    },
    "dril_cost": {
        "the book's": loops.dril_cost,
        "of the package": lambda probs, actions: (
            dril.disagreement(probs)[np.arange(len(actions)), actions]
            if hasattr(dril, "disagreement")
            else probs[:, np.arange(len(actions)), actions].var(0)
        ),
        "of probabilities": lambda probs, actions: probs[:, np.arange(len(actions)), actions].var(0),
        "less 1": lambda logp, a: np.exp(logp[:, np.arange(len(a)), a]).var(0, ddof=1),
        "deviation": lambda log_probs, actions: np.exp(log_probs[:, np.arange(len(actions)), actions]).std(0),
        "mean": lambda log_probs, actions: np.exp(log_probs[:, np.arange(len(actions)), actions]).var(0).mean(),
        "loop": lambda log_probs, actions: [
            np.var([np.exp(member[i, a]) for member in log_probs]) for i, a in enumerate(actions)
        ],
        "squares": lambda ensemble_log_probs, actions: (
            ((p := np.exp(np.take_along_axis(ensemble_log_probs, actions[None, :, None], 2)[..., 0])) ** 2).mean(0)
            - p.mean(0) ** 2
        ),
    },
}


@pytest.mark.parametrize(("name", "which"), [(name, which) for name in RIGHT for which in RIGHT[name]])
def test_right_functions_pass(name, which):
    report = audit.AUDITS[name](RIGHT[name][which])
    assert report.ok, str(report)
    assert set(report.identities.values()) <= {"holds"}


OF_MEAN_1, SEEDS = "not double or nothing: other weights of mean 1", "returns seeds in place of generators"
CONVENTIONS = {
    "Poisson": (OF_MEAN_1,),
    "with replacement": (OF_MEAN_1,),
    "three weights": (OF_MEAN_1,),
    "Bayesian": (OF_MEAN_1,),
    "from a seed": ("takes a seed in place of a generator", OF_MEAN_1),
    "pairs first": (OF_MEAN_1,),
    "sequences": (SEEDS,),
    "numbers": (SEEDS,),
    "without the student": ("takes no student: there is nothing of its labels in these",),
    "with states": ("returns 2 results, of which the last is read",),
    "with all": ("returns 3 results, of which the last is read",),
}


@pytest.mark.parametrize(("name", "which"), [(name, which) for name in AUDITS[:3] for which in RIGHT[name]])
def test_conventions_are_told_once(name, which):
    assert audit.AUDITS[name](RIGHT[name][which]).conventions == CONVENTIONS.get(which, ())


@pytest.mark.parametrize(
    ("name", "check", "seen"),
    [
        ("one coin for the batch", "pairs get weights of their own", "each row holds one number"),
        ("same weights for all members", "members get weights of their own", "all rows are equal"),
        ("weights sum to 1", "weights are 1 on average", "their mean is 0.02"),
        ("negative weights", "no weight is negative", "the smallest is -1"),
        ("seeded inside", "another generator draws other weights", "five generators, the same weights"),
        ("one seed for all workers", "workers draw their own numbers", "two workers draw the same numbers"),
        ("seeds of workers overlap", "runs share no stream", "seeds 0 and 1 have a stream in common"),
        ("seed ignored", "another seed is another run", "seeds 0 to 4 give the same streams"),
        ("run not repeatable", "the same seed is the same run", "seed 0 gives other streams again"),
        ("labels of the student", "no label is the student's own", "8 of 8 labels are the student's own"),
        (
            "labels of other states",
            "every label is what the expert does in that state",
            "5 labels are neither the expert's nor the student's",
        ),
    ],
)
def test_what_was_seen_is_told_beside_the_check_that_breaks_alone(name, check, seen):
    bug = next(bug for bug in BUGS if bug.name == name)
    report = audit.AUDITS[bug.audit](bug.function)
    assert {what: state for what, state in report.identities.items() if state != "holds"} == {check: f"BROKEN: {seen}"}
    assert (report.smallest, report.conventions) == (f"Seen: {seen}", ())


def test_seeds_are_handed_over_where_a_generator_does_not_fit():
    seeds = []

    def weights(seed, members, n):
        if isinstance(seed, np.random.Generator):
            raise TypeError("a seed")
        seeds.append(seed)
        return np.random.default_rng(seed).poisson(1, (members, n))

    assert audit.bootstrap_weights(weights).ok
    assert seeds == [0, 1, 2, 3, 4]
    draws = []
    audit.bootstrap_weights(lambda rng, members, n: draws.append(rng.random()) or rng.poisson(1, (members, n)))
    assert draws == [np.random.default_rng(seed).random() for seed in range(5)]


def test_bugs_of_weights_are_seen_in_every_one_of_five_tries():
    """Weights of the first generators are right ones."""
    tries = []

    def last_is_negative(rng, members, n):
        tries.append(2.0 * rng.integers(0, 2, (members, n)))
        return tries[-1] - 4.0 * (len(tries) == 5)

    report = audit.bootstrap_weights(last_is_negative)
    assert (report.verdict, report.smallest, len(tries)) == ("negative weights", "Seen: the smallest is -4", 5)


@pytest.mark.parametrize(
    ("name", "function", "verdict", "words"),
    [
        ("bootstrap_weights", lambda rng, members, n: rng.random((members, n)) < 0.5, "single or nothing", "0.5"),
        (
            "bootstrap_weights",
            lambda rng, members, n: rng.normal(1, 1, (members, n)),
            "negative weights",
            "the smallest is -",
        ),
        (
            "bootstrap_weights",
            lambda rng, members, n: 3 * rng.random((members, n)),
            "weights of another mean",
            "their mean is 1.",
        ),
        ("bootstrap_weights", lambda rng, members, n: rng.random(n), "not audited", "it returns shape (60,)"),
        ("bootstrap_weights", lambda rng: rng, "not audited", "It takes (rng)"),
        ("bootstrap_weights", lambda rng, members, n: "2", "not audited", "returns shape"),
        ("bootstrap_weights", lambda rng, members, n: "two", "not audited", "It returns str"),
        ("worker_rngs", lambda seed, n: [np.random.default_rng(seed)] * n, "one seed for all workers", "two workers"),
        (
            "worker_rngs",
            lambda seed, n: [np.random.default_rng() for _ in range(n)],
            "run not repeatable",
            "other streams again",
        ),
        ("worker_rngs", remembered, "run not repeatable", "other streams again"),
        ("worker_rngs", lambda seed, n: range(seed, seed + n), "seeds of workers overlap", "seeds 0 and 1"),
        ("worker_rngs", lambda seed, n: [np.random.default_rng(seed)], "not audited", "returns 1 generators"),
        ("worker_rngs", lambda seed, n: np.zeros(()), "not audited", "returns ndarray, not a list"),
        ("bootstrap_weights", lambda rng, k, n: "two", "not audited", "It returns str, not weights of shape (40, 60)."),
        ("dagger_labels", lambda s, e, p: "two", "not audited", "It returns str, not an action for each state, (M,)."),
        ("dagger_labels", 7, "not audited", "not what it returns; this is a int"),
        ("worker_rngs", lambda seed, n: list("abcd"), "not audited", "It returns str, not generators."),
        ("worker_rngs", lambda seed, n: None, "not audited", "returns NoneType, not a list"),
        ("worker_rngs", lambda seed, n: 1 / 0, "not audited", "It raises ZeroDivisionError"),
        ("dagger_labels", lambda s, e, p: np.where(s > 5, e(s), p(s)), "labels of the student", "of 8 labels"),
        ("dagger_labels", lambda s, e, p: e(s + 1), "wrong", "neither the expert's"),
        ("dagger_labels", lambda s, e, p: e(s)[:3], "not audited", "it returns shape (3,)"),
        ("dagger_labels", 7, "not audited", "pass the function itself"),
        ("dril_cost", lambda lp, a: 3.0, "wrong", "it gives 3."),
        (
            "dril_cost",
            lambda lp, a: -np.exp(lp[:, np.arange(len(a)), a]).std(0),
            "disagreement rewarded",
            "it gives [-",
        ),
    ],
)
def test_what_is_wrong_is_told(name, function, verdict, words):
    report = audit.AUDITS[name](function)
    assert not report.ok
    assert report.verdict == verdict
    assert words in str(report)


@pytest.mark.parametrize("name", AUDITS[:3])
def test_a_report_says_which_audit_it_is_and_nothing_more_than_needed(name):
    right = audit.AUDITS[name](RIGHT[name]["the book's"])
    assert right == Report(name, name, True, "right", "", "", "", dict.fromkeys(right.identities, "holds"), ())
    silent = audit.AUDITS[name](lambda: None)
    assert silent == Report(name, "<lambda>", False, "not audited", silent.told)
    assert silent.told.startswith("It takes (nothing)")


def test_labels_of_nobody_are_a_bug_that_the_zoo_does_not_know():
    report = audit.dagger_labels(lambda states, expert, student: expert(states) + 20)
    unknown = "It does not do what it should. The zoo does not know this bug."
    assert (report.ok, report.verdict, report.told, report.where) == (False, "wrong", unknown, "")
    assert report.smallest == "Seen: 8 labels are neither the expert's nor the student's"


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.audit == "bootstrap_weights"], ids=lambda bug: bug.name)
def test_bugs_of_weights_have_the_same_names_where_pairs_come_first(bug):
    assert audit.bootstrap_weights(lambda rng, members, n: bug.function(rng, members, n).T).verdict == bug.name


def test_one_sequence_for_all_workers_is_one_seed():
    report = audit.worker_rngs(lambda seed, workers: [np.random.SeedSequence(seed)] * workers)
    assert (report.verdict, report.conventions) == ("one seed for all workers", (SEEDS,))


def test_seeds_that_share_a_stream_are_told():
    base = [0, 10, 20, 30, 10]
    report = audit.worker_rngs(
        lambda seed, workers: [base[seed] + 100 * (seed == 4) * (i > 0) + i for i in range(workers)]
    )
    assert (report.verdict, report.smallest) == (
        "seeds of workers overlap",
        "Seen: seeds 1 and 4 have a stream in common",
    )


def test_a_loop_without_a_name_is_called_by_what_it_is():
    report = audit.worker_rngs(functools.partial(loops.worker_rngs))
    assert (report.function, report.ok) == ("partial", True)


def test_every_check_can_break():
    seen = [audit.AUDITS[bug.audit](bug.function).identities for bug in BUGS]
    broken = {what for states in seen for what, state in states.items() if state != "holds"}
    every = {what for states in seen for what in states}
    assert every == broken


def test_members_that_share_weights_and_pairs_with_one_weight_are_counted():
    def twins(rng, members, n):
        weights = rng.exponential(size=(members, n))
        weights[1] = weights[0]
        return weights

    def stuck(rng, members, n):
        weights = rng.exponential(size=(members, n))
        weights[:, : rng.integers(1, 9)] = 1.0
        return weights

    def both(rng, members, n):
        weights = twins(rng, members, n)
        weights[:, 0] = 1.0
        return weights

    one_weight = np.all(stuck(np.random.default_rng(0), 40, 60) == 1, axis=0).sum()
    for function, seen in (
        (twins, "1 of 40 rows are those of another member"),
        (stuck, f"{one_weight} of 60 pairs have one weight for all members"),
        (both, "1 of 40 rows are those of another member"),
    ):
        report = audit.bootstrap_weights(function)
        assert (report.verdict, report.smallest) == ("same weights for all members", f"Seen: {seen}")
