"""What generalised advantage estimates are asked, and how they are laid out, beside loops."""

import types

import numpy as np
import pytest

from rlhf_lab.audit import traces, trajectories
from rlhf_lab.audit.binding import Input, meant
from rlhf_lab.audit.contracts import Right, by_name
from rlhf_lab.audit.discounts import discounted
from rlhf_lab.audit.functions import Subject
from rlhf_lab.audit.zoo import returns

ANSWERS, TRAJECTORIES = traces.answer_cases(), traces.trajectory_cases()
NAMES = [identity.name for identity in (*traces.ANSWERS, *traces.EPISODES)]


def looks(identities):
    return {identity.name: identity.look for identity in identities}


def both():
    """The identities of answers and those of episodes, each with its cases."""
    return ((looks(traces.ANSWERS), ANSWERS), (looks(traces.EPISODES), TRAJECTORIES))


def estimated(case, flow=False, carry=False, bootstrap=True, backwards=False):
    """Row by row; `flow` lets values, and `carry` errors, over the ends of episodes."""
    rewards, values = case["rewards"], case["values"]
    found = np.zeros(rewards.shape)
    n, t_end = rewards.shape
    for i in range(n):
        mask = case["mask"][i] if "mask" in case else np.ones(t_end)
        ends = case["ends"][i] if "ends" in case else np.append(np.diff(mask) < 0, mask[-1] > 0)
        later = 0.0
        for t in range(t_end) if backwards else range(t_end - 1, -1, -1):
            after = values[i, t + 1] if t + 1 < t_end else bootstrap * case.get("last_value", np.zeros(n))[i]
            live = 1.0 - ends[t]
            error = rewards[i, t] + case["gamma"] * after * (1 if flow else live) - values[i, t]
            later = (error + case["gamma"] * case["lam"] * (1 if carry else live) * later) * mask[t]
            found[i, t] = later
    return found


def asked(look, function, cases):
    """With the inputs that an identity may ask for."""
    function = types.SimpleNamespace(subject=types.SimpleNamespace(given={"gamma", "lam"}), call=function)
    wrapped = type("Asked", (), {"subject": function.subject, "__call__": lambda self, case: function.call(case)})()
    return list(look(wrapped, cases))


def holds(look, function, cases):
    return all(np.allclose(s.found, s.wanted) for s in asked(look, function, cases))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_asked_holds_of_a_loop(name):
    for questions, cases in both():
        if name in questions:
            assert asked(questions[name], estimated, cases)
            assert holds(questions[name], estimated, cases)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("lambda = 0: the TD error", lambda c: 1.1 * estimated(c)),
        ("lambda = 0: the TD error", lambda c: estimated(c | {"gamma": 1.0})),
        ("gamma = lambda = 1: rewards to come less the value", lambda c: estimated(c | {"lam": 0.5})),
        ("gamma = lambda = 1: rewards to come less the value", lambda c: estimated(c | {"gamma": 0.5})),
        ("a reward is not heard of by what comes after it", lambda c: estimated(c, backwards=True)),
        ("rows have nothing to do with each other", lambda c: estimated(c) - estimated(c).mean()),
        ("rows have nothing to do with each other", lambda c: estimated(c)[::-1]),
        ("sum of (gamma lambda)^k delta_(t+k)", lambda c: estimated(c | {"lam": c["lam"] ** 2})),
        ("values behind the end count for nothing", lambda c: estimated(c, flow=True)),
        ("rewards behind the end count for nothing", lambda c: c["rewards"].cumsum(1)),
        ("rewards behind the end count for nothing", lambda c: c["rewards"][:, ::-1].cumsum(1)[:, ::-1] * c["mask"]),
        ("no value flows over an end", lambda c: estimated(c, flow=True)),
        ("no reward flows over an end", lambda c: estimated(c, carry=True)),
        ("the last value stands behind what was cut", lambda c: estimated(c, bootstrap=False)),
    ],
)
def test_what_is_asked_breaks_where_it_should(name, change):
    for questions, cases in both():
        if name in questions:
            assert not holds(questions[name], change, cases)


def test_values_that_flow_are_asked_for_without_a_trace_so_that_errors_are_another_question():
    for name in ("values behind the end count for nothing", "rewards behind the end count for nothing"):
        for shown in asked(looks(traces.ANSWERS)[name], estimated, ANSWERS):
            changed = [n for n in ("rewards", "values") if not any(shown.case[n] is c[n] for c in ANSWERS)]
            assert changed == ["values" if name.startswith("values") else "rewards"]
            assert (shown.case["lam"] == 0) == name.startswith("values")
            case = next(c for c in ANSWERS if c["mask"] is shown.case["mask"])
            assert ((shown.case[changed[0]] != case[changed[0]]) == (case["mask"] == 0)).all()
    assert holds(looks(traces.EPISODES)["no value flows over an end"], lambda c: estimated(c, carry=True), TRAJECTORIES)


@pytest.mark.parametrize("which", [0, 1])
def test_what_is_asked_is_shown_with_the_case_that_was_asked_of(which):
    identities, cases = both()[which]
    errors = asked(identities["lambda = 0: the TD error"], estimated, cases)
    assert [(s.case["lam"], s.case["gamma"]) for s in errors] == [(0.0, case["gamma"]) for case in cases]
    to_come = asked(identities["gamma = lambda = 1: rewards to come less the value"], estimated, cases)
    assert [(s.case["lam"], s.case["gamma"]) for s in to_come] == [(1.0, 1.0)] * len(cases)
    for shown, case in zip(
        asked(identities["a reward is not heard of by what comes after it"], estimated, cases), cases, strict=True
    ):
        changed = (shown.case["rewards"] != case["rewards"]).astype(int)
        assert changed.tolist() == [[1] + [0] * (changed.shape[1] - 1)] * len(changed)
    rows = asked(identities["rows have nothing to do with each other"], estimated, cases)
    several = [case for case in cases if len(case["rewards"]) > 1]
    assert len(rows) == len(several)
    assert all(shown.case is case for shown, case in zip(rows, several, strict=True))


@pytest.mark.parametrize("cases_of", [traces.answer_cases, traces.trajectory_cases])
def test_rewards_and_values_have_one_decimal_and_either_sign(cases_of):
    cases = cases_of()
    for name in ("rewards", "values"):
        assert all(case[name].shape == case["mask" if "mask" in case else "ends"].shape for case in cases)
        tenths = 10 * np.concatenate([case[name].ravel() for case in cases])
        np.testing.assert_allclose(tenths, np.round(tenths))
        assert set(np.sign(tenths)) == {-1.0, 1.0}
        assert len(set(np.abs(tenths).round())) > 5
        assert np.abs(tenths).max() < 20


def test_each_end_of_an_episode_is_looked_at_up_to_itself():
    case = TRAJECTORIES[-1]
    shown = asked(looks(traces.EPISODES)["no reward flows over an end"], lambda c: np.ones(c["rewards"].shape), [case])
    assert [s.found.astype(int).tolist() for s in shown] == [
        [[1, 1, 0, 0, 0, 0], [0] * 6, [0] * 6],
        [[1, 1, 1, 1, 1, 0], [0] * 6, [0] * 6],
        [[0] * 6, [1, 0, 0, 0, 0, 0], [0] * 6],
        [[0] * 6, [1] * 6, [0] * 6],
    ]
    for s in shown:
        np.testing.assert_array_equal(s.found, s.wanted)
        row = int(s.found.any(1).argmax())
        moved = (s.case["rewards"] != case["rewards"]).astype(int)
        assert moved[row].tolist() == (1 - s.found[row]).astype(int).tolist()
        assert not np.delete(moved, row, axis=0).any()
        assert (s.case["last_value"] != case["last_value"]).all()


def test_a_last_value_counts_where_one_step_was_cut():
    look = looks(traces.EPISODES)["the last value stands behind what was cut"]
    (shown,) = asked(look, lambda c: 0 * c["rewards"], TRAJECTORIES)
    assert shown.case["last_value"] == pytest.approx(TRAJECTORIES[0]["last_value"] + 1)
    assert (shown.found.item(), shown.wanted.item()) == (0.0, 0.9)
    assert holds(look, lambda c: 2 * estimated(c), TRAJECTORIES)


@pytest.mark.parametrize("case", TRAJECTORIES)
def test_functions_of_answers_are_called_with_each_episode(case):
    np.testing.assert_allclose(traces.by_episode(returns.gae, case), estimated(case))

    def doubled(rewards, values, mask, gamma, lam):
        return 2 * returns.gae(rewards, values, mask, gamma, lam)

    np.testing.assert_allclose(traces.by_episode(doubled, case), 2 * estimated(case))
    bare = traces.by_episode(lambda rewards, values, mask: (rewards - values) * mask, case)
    np.testing.assert_allclose(bare, case["rewards"] - case["values"])


def test_each_episode_is_handed_over_as_one_row():
    shapes = set()

    def look(rewards, values, mask, gamma, lam):
        shapes.add((rewards.shape, values.shape, mask.shape))
        return returns.gae(rewards, values, mask, gamma, lam)

    traces.by_episode(look, TRAJECTORIES[4])
    assert shapes == {((1, 4),) * 3, ((1, 3),) * 3}


def test_forms_of_advantages():
    plain, sums, by_count, by_less = traces.forms(by_name)
    values, case = (
        np.array([[1.0, 3.0, 8.0]]),
        {"values": np.array([[1.0, 1.0, 5.0]]), "mask": np.array([[1.0, 1.0, 0.0]])},
    )
    assert plain.name == ""
    assert plain.shape(values, case) is values
    assert not plain.opaque
    assert sums.name == "advantages plus values: these are the returns"
    assert sums.shape(values, case).tolist() == [[2, 4, 0]]
    assert sums.shape(values, {"values": case["values"]}).tolist() == [[2, 4, 13]]
    for form, told, deviation in ((by_count, "the count", 1.0), (by_less, "the count less 1", 2**0.5)):
        assert form.name == f"whitened over the batch, by a variance that divides by {told}"
        np.testing.assert_allclose(form.shape(values, case), [[-1 / deviation, 1 / deviation, 0]], rtol=1e-6)
        np.testing.assert_allclose(form.shape(values[:, :2], {}), [[-1 / deviation, 1 / deviation]], rtol=1e-6)
    small = np.array([[0.0, 2e-4]])  # of variance 1e-8, and 1e-8 is added
    np.testing.assert_allclose(by_count.shape(small, {}), [[-(0.5**0.5), 0.5**0.5]])
    for form in (sums, by_count, by_less):
        assert form.opaque
        assert form.call is by_name
    assert traces.kept(values, case).tolist() == [[1, 3, 0]]
    assert traces.kept(values, {}) is values


GIVEN = tuple(Input(name) for name in ("rewards", "values", "mask", "gamma", "lam"))


@pytest.mark.parametrize(("gamma", "lam"), [(0.9, 0.7), (1.0, 0.5), (0.8, 1.0), (0.5, 0.0)])
@pytest.mark.parametrize(
    "shape",
    [
        lambda a, v, m: a,
        lambda a, v, m: a / 2,
        lambda a, v, m: (a + v) * m,
        lambda a, v, m: traces._whitened(a, {"mask": m}, 0),
    ],
)
def test_numbers_inside_are_worked_out_by_three_steps(gamma, lam, shape):
    def function(rewards, values, mask):
        return shape(returns.gae(rewards, values, mask, gamma, lam), values, mask)

    subject = Subject(function, GIVEN[:3], ANSWERS)
    assert traces._gamma(subject, ANSWERS[0]) == pytest.approx(gamma, abs=1e-5)
    assert traces._lam(subject, {"gamma": gamma}) == pytest.approx(lam, abs=1e-5)
    told = [
        f"no parameter {n}: {x:.4g}, worked out from its values, is fixed inside it"
        for n, x in (("gamma", gamma), ("lambda", lam))
    ]
    assert [note.replace("-0,", "0,") for note in subject.notes] == told


def test_a_function_is_looked_through_by_three_steps_that_end():
    seen = []
    found = traces._three(lambda case: seen.append(case) or np.ones((1, 3)), [1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert found.tolist() == [1, 1, 1]
    assert {name: np.asarray(value).tolist() for name, value in seen[0].items()} == {
        "rewards": [[1, 2, 3]],
        "values": [[4, 5, 6]],
        "mask": [[1, 1, 1]],
        "ends": [[0, 0, 1]],
        "last_value": [0],
        "gamma": 1,
        "lam": 1,
    }


def test_a_trace_is_that_at_a_discount_of_1_where_a_discount_is_taken():
    subject = Subject(
        lambda rewards, values, mask, gamma: returns.gae(rewards, values, mask, gamma, 0.7), GIVEN[:4], ANSWERS
    )
    assert traces._lam(subject, {"gamma": 0.5}) == pytest.approx(0.7)
    forgetful = Subject(lambda rewards, values: rewards - values, GIVEN[:2], ANSWERS)
    assert traces._gamma(forgetful, ANSWERS[0]) == 1.0
    assert forgetful.notes == []
    assert traces._lam(forgetful, {"gamma": 0.0}) == 1.0


CASE = {
    "rewards": np.array([[1.0, 2.0], [3.0, 4.0]]),
    "values": np.array([[5.0, 6.0], [7.0, 8.0]]),
    "ends": np.array([[1.0, 0.0], [0.0, 1.0]]),
    "last_value": np.array([9.0, 10.0]),
    "gamma": 0.9,
    "lam": 0.8,
}


def layouts_of(*names):
    """Every layout of a function with parameters of these names, with the contract that it is of."""
    scope = {}
    exec(f"def function({', '.join(names)}): pass", scope)
    return [
        (contract, layout) for contract in trajectories._contracts(scope["function"]) for layout in contract.layouts
    ]


TIME, ROW = "time comes first, (T, N)", "one trajectory at a time, (T,)"
LONG, NEXT = "values hold one more, behind the last step, (N, T + 1)", "the next value of every step is handed over"
ENDS = "flags mark the last step of an episode"
STARTS = "flags mark the first step of an episode, and what comes after the last one"
LIVE = "flags are 1 where the episode goes on"


def named(*ways, ends=""):
    return ["; ".join(text for text in (way, shape, ends) if text) for way in ways for shape in ("", TIME, ROW)]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("rewards values mask gamma lam", named("", LONG) + named("") + named(LONG)),
        ("rewards values gamma lam", named("") + named("") + named(LONG)),
        ("rewards values dones gamma lam", named("", ends=ENDS) + named(LONG, ends=ENDS)),
        ("rewards values dones last_value gamma lam", named("", NEXT, ends=ENDS)),
        ("rewards values last_value gamma lam", named("", NEXT)),
        ("rewards values episode_starts last_value gamma lam", named("", NEXT, ends=STARTS)),
        ("rewards values dones next_value next_done gamma lam", named("", NEXT, ends=STARTS)),
        ("rewards values masks next_value gamma lam", named("", NEXT, ends=LIVE)),
        ("rewards values episode_starts gamma lam", named("", ends=STARTS) + named(LONG, ends=STARTS)),
        (
            "rewards b f n gamma lam",
            named("") + named("", NEXT, ends=ENDS) + named("", ends=ENDS) + named(LONG, ends=ENDS),
        ),
    ],
)
def test_layouts_that_are_tried(names, wanted):
    found = [layout.name for _, layout in layouts_of(*names.split())]
    if names == "rewards values mask gamma lam":
        wanted = named("", LONG) + named("", ends=LIVE) + named(LONG, ends=LIVE)
    assert found == wanted


def handed(names, layout):
    """What a layout makes of the case, and what it makes of results of that shape."""
    (found,) = [one for _, one in layouts_of(*names.split()) if one.name == layout][-1:]
    cases = found.cases([CASE])
    return [found.into(case) for case in cases], found, cases


def test_time_first_and_one_trajectory_at_a_time():
    names = "rewards values dones last_value gamma lam"
    ((given,), layout, (case,)) = handed(names, f"{TIME}; {ENDS}")
    assert given["rewards"].tolist() == [[1, 3], [2, 4]]
    assert given["ends"].tolist() == [[1, 0], [0, 1]]
    assert (given["last_value"].tolist(), given["gamma"]) == ([9, 10], 0.9)
    assert layout.back(np.array([[1.0, 3.0], [2.0, 4.0]]), case).tolist() == [[1, 2], [3, 4]]
    (rows, layout, cases) = handed(names, f"{ROW}; {ENDS}")
    assert [row["rewards"].tolist() for row in rows] == [[1, 2], [3, 4]]
    assert [case["rewards"].tolist() for case in cases] == [[[1, 2]], [[3, 4]]]
    assert [row["last_value"] for row in rows] == [9.0, 10.0]
    assert all(isinstance(row["last_value"], float) for row in rows)
    assert layout.back(np.array([1.0, 2.0]), cases[0]).tolist() == [[1, 2]]
    assert layout.back(np.array(3.0), cases[0]).shape == ()


def test_values_one_longer_and_the_next_of_every_step():
    ((given,), _, _) = handed("rewards values dones gamma lam", f"{LONG}; {ENDS}")
    assert given["values"].tolist() == [[5, 6, 9], [7, 8, 10]]
    assert given["ends"].tolist() == CASE["ends"].tolist()
    ((given,), _, _) = handed("rewards values dones last_value gamma lam", f"{NEXT}; {ENDS}")
    assert given["values"].tolist() == [[5, 6], [7, 8]]
    assert given["last_value"].tolist() == [[6, 9], [8, 10]]
    answer = {name: CASE[name] for name in ("rewards", "values")} | {"mask": np.array([[1.0, 1], [1, 0]])}
    long = next(one for _, one in layouts_of("rewards", "values", "mask", "gamma", "lam") if one.name == LONG)
    assert long.into(answer)["values"].tolist() == [[5, 6, 0], [7, 8, 0]]
    assert long.back(np.ones((2, 2)), answer).tolist() == [[1, 1], [1, 0]]


def test_flags_of_first_steps_and_of_steps_that_go_on():
    ((given,), _, _) = handed("rewards values episode_starts last_value next_done gamma lam", STARTS)
    assert given["ends"].tolist() == [[0, 1], [0, 0]]
    assert given["last_end"].tolist() == [0, 1]
    three = trajectories._starts({"ends": np.array([[1, 0, 1], [0, 1, 0]])})
    assert three["ends"].tolist() == [[0, 1, 0], [0, 0, 1]]
    assert three["last_end"].tolist() == [1, 0]
    ((given,), _, _) = handed("rewards values masks next_value gamma lam", LIVE)
    assert given["ends"].tolist() == [[0, 1], [1, 0]]


def test_without_a_last_value_it_is_0_and_without_flags_nothing_ends():
    ((given,), _, _) = handed("rewards values dones gamma lam", ENDS)
    assert given["last_value"].tolist() == [0, 0]
    assert given["ends"].tolist() == CASE["ends"].tolist()
    ((given,), _, _) = handed("rewards values last_value gamma lam", NEXT)
    assert given["ends"].tolist() == [[0, 0], [0, 0]]
    ((given,), _, _) = handed("rewards values gamma lam", "")
    assert given["ends"].tolist() == [[0, 0], [0, 0]]
    assert given["last_value"].tolist() == [0, 0]
    ((given,), _, _) = handed("rewards values gamma lam", LONG)
    assert given["ends"].tolist() == [[0, 0], [0, 0]]
    assert given["values"].tolist() == [[5, 6, 9], [7, 8, 10]]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("r v done last_val gamma lam", "rewards values ends last_value gamma lam"),
        (
            "rewards vals episode_starts dones last_values gamma gae_lambda",
            "rewards values ends last_end last_value gamma lam",
        ),
        ("rewards values dones next_value next_done gamma lam", "rewards values ends last_value last_end gamma lam"),
        ("next_value rewards masks values gamma tau", "last_value rewards ends values gamma lam"),
        ("rewards values episode_starts last_value gamma lam", "rewards values ends last_value gamma lam"),
        ("rewards values dones gamma lam", "rewards values ends gamma lam"),
    ],
)
def test_names_that_trajectories_understand(names, wanted):
    of_episodes = [layout for contract, layout in layouts_of(*names.split()) if contract.identities is traces.EPISODES]
    assert of_episodes
    for layout in of_episodes:
        assert sorted(one.name for one in layout.inputs) == sorted(wanted.split())
        assert [meant(name, layout.inputs) for name in names.split()] == wanted.split()


@pytest.mark.parametrize("names", ["rewards values mask gamma lam", "rewards values dones last_value gamma lam"])
def test_sign_and_size_of_an_advantage_are_no_conventions(names):
    for contract, _ in layouts_of(*names.split()):
        assert (contract.name, contract.loss, contract.trained) == ("gae", False, ())
        assert contract.result == "sum over k of (gamma lambda)^k delta_(t+k)"
        assert contract.rights == (Right("", returns.gae),)
        assert [bug.name for bug in contract.fitted(None, ())] == [bug.name for bug in discounted()]
        of_answers = bool(contract.inputs)
        assert contract.identities is (traces.ANSWERS if of_answers else traces.EPISODES)
        assert contract.forms[0].call is (by_name if of_answers else traces.by_episode)
        assert all(("mask" if of_answers else "ends") in case for case in contract.cases)


def test_what_estimates_are_asked_of_answers_and_of_episodes():
    first = [
        ("lambda = 0: the TD error", "lam", ""),
        ("gamma = lambda = 1: rewards to come less the value", "gamma lam", ""),
        ("a reward is not heard of by what comes after it", "", "swept forward"),
        ("rows have nothing to do with each other", "", ""),
    ]
    last = ("sum of (gamma lambda)^k delta_(t+k)", "", "")
    assert [(i.name, i.needs, i.bug) for i in traces.ANSWERS] == [
        *first,
        ("values behind the end count for nothing", "mask", "value behind the end"),
        ("rewards behind the end count for nothing", "mask", "errors of padding"),
        last,
    ]
    assert [(i.name, i.needs, i.bug) for i in traces.EPISODES] == [
        *first,
        ("no value flows over an end", "ends", "value behind the end"),
        ("no reward flows over an end", "ends", "errors of padding"),
        ("the last value stands behind what was cut", "last_value", "bootstrap forgotten"),
        last,
    ]
    assert not any(i.caution for i in (*traces.ANSWERS, *traces.EPISODES))
