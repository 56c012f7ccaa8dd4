"""The optimisers against the textbook, and what the loop promises."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.tracer import getval
from tqdm import tqdm

from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import log_softmax

GRADS = [{"w": np.random.default_rng(k).normal(size=(2, 3)), "b": np.array(0.1 * k - 0.2)} for k in range(6)]
RNG = np.random.default_rng(0)
START = {"w": np.ones((2, 3)), "b": np.array(0.5)}


def test_adam_is_the_algorithm_of_the_paper():
    optimizer = optim.adam(0.1, b1=0.8, b2=0.95, eps=1e-3)
    params, state = START, optimizer.init(START)
    for grads in GRADS:
        params, state = optimizer.update(params, grads, state)
    for name, theta in START.items():
        m = v = 0.0
        for t, grads in enumerate(GRADS, start=1):
            m = 0.8 * m + 0.2 * grads[name]
            v = 0.95 * v + 0.05 * grads[name] ** 2
            theta = theta - 0.1 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-3)
        assert params[name] == pytest.approx(theta, rel=1e-13)


def test_the_defaults_of_adam_are_those_of_the_paper():
    usual, spelled = optim.adam(0.1), optim.adam(0.1, b1=0.9, b2=0.999, eps=1e-8)
    results = []
    for optimizer in (usual, spelled):
        params, state = START, optimizer.init(START)
        for grads in GRADS:
            params, state = optimizer.update(params, grads, state)
        results.append(params["w"].tolist())
    assert results[0] == results[1]


def test_the_first_step_of_adam_has_the_step_size():
    optimizer = optim.adam(0.01)
    params, _ = optimizer.update(START, GRADS[0], optimizer.init(START))
    assert START["w"] - params["w"] == pytest.approx(0.01 * np.sign(GRADS[0]["w"]), rel=1e-6)


def test_gradient_descent_goes_straight_down():
    optimizer = optim.sgd(0.1)
    params, state = optimizer.update(START, GRADS[1], optimizer.init(START))
    assert params["w"] == pytest.approx(START["w"] - 0.1 * GRADS[1]["w"], rel=1e-14)
    assert state == ()


def once(*batches):
    return lambda params, rng: iter(batches)


def quadratic(params, batch):
    return batch * anp.sum(params["x"] ** 2, axis=-1)


def run(params, **changed):
    settings = {"rounds": 5, "optimizer": optim.sgd(0.1), "rng": np.random.default_rng(0)} | changed
    return optim.fit(settings.pop("loss", quadratic), params, settings.pop("collect", once(1.0)), **settings)


def test_gradient_descent_on_a_parabola_shrinks_by_the_known_factor():
    params, history = run({"x": np.array([1.0, -2.0])}, rounds=7)
    assert params["x"] == pytest.approx(np.array([1.0, -2.0]) * 0.8**7, rel=1e-13)
    assert [record["loss"] for record in history] == pytest.approx([5 * 0.64**k for k in range(7)], rel=1e-12)


def test_there_is_one_step_for_each_batch_and_one_record_for_each_round():
    params, history = run({"x": np.array([1.0])}, rounds=2, collect=once(1.0, 0.5, 0.5))
    assert params["x"] == pytest.approx([(0.8 * 0.9 * 0.9) ** 2], rel=1e-13)
    assert len(history) == 2
    assert history[0]["loss"] == pytest.approx(0.5 * (0.8 * 0.9) ** 2, rel=1e-13)


def test_the_data_of_a_round_is_collected_with_the_parameters_of_its_start():
    seen = []

    def collect(params, rng):
        for _ in range(3):
            seen.append(params["x"].item())
            yield 1.0

    run({"x": np.array([1.0])}, rounds=2, collect=collect)
    assert seen == pytest.approx([1.0] * 3 + [0.8**3] * 3, rel=1e-13)


@pytest.mark.parametrize("variable", [None, "1"])
def test_a_bar_is_drawn_unless_the_environment_of_the_moment_says_no(monkeypatch, capsys, variable):
    monkeypatch.setattr(optim, "tqdm", lambda *given, **settings: tqdm(*given, **settings | {"delay": 0}))
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    if variable:
        monkeypatch.setenv("TQDM_DISABLE", variable)
    run({"x": np.ones(1)})
    assert ("fit: " in capsys.readouterr().err) == (variable is None)


def test_seeds_on_a_leading_axis_train_as_if_alone():
    starts = np.random.default_rng(0).normal(size=(3, 4))
    scale = np.array([1.0, 0.1, 3.0])
    together, history = run({"x": starts}, optimizer=optim.adam(0.1), collect=once(scale))
    for k in range(3):
        alone, own = run({"x": starts[k]}, optimizer=optim.adam(0.1), collect=once(scale[k]))
        assert together["x"][k] == pytest.approx(alone["x"], rel=1e-13)
        assert [r["loss"][k] for r in history] == pytest.approx([r["loss"] for r in own], rel=1e-13)


def with_stops(optimizer, *stops, loss=quadratic):
    """Train two seeds for a round of a batch for each of `stops`, which says who stops on it."""
    start = {"x": np.array([[1.0, -2.0], [3.0, 0.5]])}

    def watched(params, stop):
        return optim.Outcome(loss(params, 1.0), {}, np.array(stop))

    return run(start, rounds=1, optimizer=optimizer, loss=watched, collect=once(*stops))[0]["x"]


def alone(optimizer, start, steps):
    return run({"x": np.array(start)}, rounds=steps, optimizer=optimizer)[0]["x"]


@pytest.mark.parametrize("optimizer", [optim.adam(0.1), optim.sgd(0.1)])
def test_a_seed_that_stops_stays_where_it_is_to_the_end_of_the_round(optimizer):
    found = with_stops(optimizer, [False, False], [True, False], [False, False])
    assert found[0] == pytest.approx(alone(optimizer, [1.0, -2.0], 1), rel=1e-14)
    assert found[1] == pytest.approx(alone(optimizer, [3.0, 0.5], 3), rel=1e-14)
    at_once = with_stops(optimizer, [True, False], [False, False])
    assert at_once[0].tolist() == [1.0, -2.0]
    assert at_once[1] == pytest.approx(alone(optimizer, [3.0, 0.5], 2), rel=1e-14)


def test_without_a_gradient_adam_walks_on_and_only_rest_holds_it():
    optimizer, start = optim.adam(0.1), {"x": np.array([1.0, -2.0])}
    once_moved, state = optimizer.update(start, {"x": np.array([3.0, 1.0])}, optimizer.init(start))
    nothing = {"x": np.zeros(2)}
    walked, _ = optimizer.update(once_moved, nothing, state)
    assert (np.abs(walked["x"] - once_moved["x"]) > 0.01).all()
    rested, _ = optimizer.update(once_moved, nothing, state, np.array([False, True]))
    assert rested["x"].tolist() == [once_moved["x"][0], walked["x"][1]]


def test_a_seed_that_rests_keeps_its_momentum_and_its_count_of_steps():
    adam = optim.adam(0.1)
    params = {"x": np.array([[1.0, -2.0], [3.0, 0.5]]), "y": np.array([0.5, 0.7])}
    slopes = [{name: (k + 1.0) * np.ones_like(value) - value for name, value in params.items()} for k in range(3)]
    both, state = params, adam.init(params)
    for slope, moving in zip(slopes, ([True, True], [False, True], [True, True]), strict=True):
        both, state = adam.update(both, slope, state, np.array(moving))
    for k, taken in enumerate(([0, 2], [0, 1, 2])):
        one = {name: value[k] for name, value in params.items()}
        own = adam.init(one)
        for i in taken:
            one, own = adam.update(one, {name: value[k] for name, value in slopes[i].items()}, own)
        for name, value in one.items():
            assert both[name][k] == pytest.approx(value, rel=1e-14)


def test_a_round_ends_when_all_seeds_have_stopped():
    drawn = []

    def collect(params, rng):
        for stop in ([False, True], [True, False], [False, False]):
            drawn.append(stop)
            yield stop

    start = {"x": np.array([[1.0], [2.0]])}
    watched = lambda params, stop: optim.Outcome(quadratic(params, 1.0), {}, np.array(stop))  # noqa: E731
    found, _ = run(start, rounds=2, loss=watched, collect=collect)
    assert drawn == [[False, True], [True, False]] * 2
    assert found["x"] == pytest.approx(np.array([[0.64], [2.0]]), rel=1e-14)


def test_a_run_without_seeds_stops_alike():
    watched = lambda params, stop: optim.Outcome(quadratic(params, 1.0), {}, stop)  # noqa: E731
    found, _ = run({"x": np.array([1.0])}, rounds=2, loss=watched, collect=once(False, True, False))
    assert found["x"] == pytest.approx([0.64], rel=1e-14)


def test_diagnostics_of_the_last_batch_stand_in_the_history():
    watched = lambda params, batch: optim.Outcome(quadratic(params, batch), {"seen": 2 * batch})  # noqa: E731
    _, history = run({"x": np.ones(1)}, rounds=2, loss=watched, collect=once(1.0, 3.0), record=lambda p: {"more": 1})
    assert [(record["seen"], record["more"], type(record["loss"])) for record in history] == [(6.0, 1, np.float64)] * 2
    assert optim.outcome(1.5) == (1.5, {}, False)
    assert optim.outcome(optim.Outcome(1.5, {"a": 1}, True)) == (1.5, {"a": 1}, True)


@pytest.mark.parametrize("lead", [(2, 3), (3, 3)])
@pytest.mark.parametrize("optimizer", [optim.adam(0.1), optim.sgd(0.1)])
def test_seeds_on_two_axes_stop_each_alone(lead, optimizer):
    start = {"x": RNG.normal(size=(*lead, 3, 3)), "y": RNG.normal(size=lead)}
    stops = [RNG.random(lead) < share for share in (0.2, 0.5, 0.5)]

    def loss(params, stop):
        value = anp.sum(params["x"] ** 2, axis=(-1, -2)) + params["y"] ** 4
        return optim.Outcome(value, {"twice": 2 * getval(value)}, stop)

    found, (told,) = run(start, rounds=1, optimizer=optimizer, loss=loss, collect=once(*stops))
    for seed in np.ndindex(lead):
        own = {name: value[seed] for name, value in start.items()}
        alone, (own_told,) = run(own, rounds=1, optimizer=optimizer, loss=loss, collect=once(*(s[seed] for s in stops)))
        for name, value in alone.items():
            assert found[name][seed] == pytest.approx(value, rel=1e-13)
        assert told["loss"][seed] == pytest.approx(own_told["loss"], rel=1e-13)
        assert told["twice"][seed] == pytest.approx(own_told["twice"], rel=1e-13)


def test_a_seed_that_has_stopped_cannot_fail_the_others():
    def loss(params, batch):
        stop, worth = batch
        return optim.Outcome(anp.sum(params["x"] ** 2, axis=-1) * worth, {}, np.array(stop))

    batches = [([True, False], np.array([1.0, 1.0])), ([False, False], np.array([np.inf, 1.0]))]
    start = {"x": np.array([[1.0], [2.0]])}
    found, (told,) = run(start, rounds=1, loss=loss, collect=once(*batches))
    assert found["x"].tolist() == [[1.0], [pytest.approx(1.28)]]
    assert told["loss"] == pytest.approx([1.0, 1.6**2])
    with pytest.raises(FloatingPointError, match="the loss became inf in round 0 of 1"):
        run(start, rounds=1, loss=loss, collect=once(*batches[1:]))


def test_parameters_that_seeds_share_cannot_stop_for_some():
    def loss(params, batch):
        return optim.Outcome(anp.sum(params["x"], axis=-1) + anp.sum(params["shared"]), {}, np.array([True, False]))

    told = r"params\['shared'\] has shape \(4,\); some of the seeds \(2,\) have stopped, and it must begin with these"
    with pytest.raises(ValueError, match=told):
        run({"x": np.ones((2, 3)), "shared": np.ones(4)}, loss=loss)


def test_records_are_of_the_parameters_after_the_round():
    _, history = run({"x": np.array([1.0])}, rounds=2, record=lambda p: {"x": p["x"].item()})
    assert [sorted(r) for r in history] == [["loss", "x"]] * 2
    assert [r["x"] for r in history] == pytest.approx([0.8, 0.64], rel=1e-13)


def test_no_rounds_change_nothing_and_the_callers_parameters_are_never_changed():
    given = {"x": np.array([1.0])}
    params, history = run(given, rounds=0)
    assert (params["x"].tolist(), history) == ([1.0], [])
    run(given)
    assert given["x"].tolist() == [1.0]


def test_the_generator_reaches_collect():
    drawn = []

    def collect(params, rng):
        drawn.append(rng.random())
        return [1.0]

    run({"x": np.array([1.0])}, rounds=3, collect=collect, rng=np.random.default_rng(7))
    assert drawn == np.random.default_rng(7).random(3).tolist()


def test_a_round_without_data_is_recorded_as_such():
    _, history = run({"x": np.array([1.0])}, rounds=1, collect=once())
    assert np.isnan(history[0]["loss"])


def test_a_diverging_run_stops_and_names_its_round():
    with pytest.raises(FloatingPointError, match="the loss became inf in round 1 of 5: try a smaller step_size"):
        run({"x": np.array([1e100])}, optimizer=optim.sgd(1e60), loss=lambda p, b: anp.sum(p["x"] ** 2))


def test_bad_input_is_told():
    with pytest.raises(ValueError, match=r"params\['x'\] has 1 entries that are NaN or infinite"):
        run({"x": np.array([1.0, np.nan])})
    with pytest.raises(ValueError, match="rounds is how often to collect data, 0 or more; got -1"):
        run({"x": np.ones(1)}, rounds=-1)
    for optimizer in (optim.sgd, optim.adam):
        with pytest.raises(ValueError, match="step_size must be finite and above 0; got 0"):
            optimizer(0)
    with pytest.raises(ValueError, match=r"same number of rows, at least one; got \[2, 3\]"):
        optim.minibatches((np.ones(2), np.ones(3)), 1)
    with pytest.raises(ValueError, match=r"same number of rows, at least one; got \[0\]"):
        optim.minibatches((np.ones(0),), 1)
    with pytest.raises(ValueError, match="size is the number of rows in a batch, at least 1; got 0"):
        optim.minibatches((np.ones(2),), 0)


@pytest.mark.parametrize("size", [1, 3, 4, 10, 50])
def test_minibatches_show_every_row_once_and_keep_rows_together(size):
    a = np.arange(10)
    batches = list(optim.minibatches((a, 2 * a[:, None]), size)({}, np.random.default_rng(0)))
    assert [len(batch[0]) for batch in batches] == [size] * (10 // size) + [10 % size] * (10 % size > 0)
    assert all((batch[1] == 2 * batch[0][:, None]).all() for batch in batches)
    seen = np.concatenate([batch[0] for batch in batches])
    assert sorted(seen) == list(range(10))
    assert seen.tolist() != list(range(10))


@pytest.mark.parametrize(
    "loss", [lambda p, b: anp.sum(anp.log(p["x"] - 9)), lambda p, b: anp.sum(1 / (p["x"] - p["x"]))]
)
def test_undefined_losses_are_told_by_round_too(loss):
    with pytest.raises(
        FloatingPointError, match=r"in round 0 of 5: .* check that rewards and log-probabilities are finite$"
    ):
        run({"x": np.array([1.0])}, loss=loss)


def test_the_loss_of_a_round_may_not_depend_on_the_parameters_at_all():
    starts = {"x": np.ones(2)}
    _, history = run(starts, loss=lambda p, b: anp.sum(p["x"]) * 0.0 + 3.0)
    assert [record["loss"] for record in history] == [3.0] * 5


def test_the_state_of_adam_has_the_shapes_of_the_parameters():
    t, m, v = optim.adam(0.1).init(START)
    assert t == 0
    for moments in (m, v):
        assert {k: (x.shape, x.sum()) for k, x in moments.items()} == {"w": ((2, 3), 0), "b": ((), 0)}


def hidden_slope(params, batch):
    return np.sum((params["b"] - 1) ** 2) + anp.sum(anp.where(params["a"] > 0, anp.sqrt(params["a"]), 0.0))


def whole(loss, params, rounds, optimizer):
    return optim.fit(loss, params, lambda p, r: [None], rounds=rounds, optimizer=optimizer, rng=RNG)


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_gradient_that_is_not_finite_is_told_with_its_array_in_the_last_round_too(rounds):
    params = {"b": np.zeros(2), "a": np.array([1.0, 0.0, 0.0])}
    wanted = (
        rf"^the gradient in params\['a'\] has 2 entries that are NaN or infinite in round 0 of {rounds}, though the"
    )
    with pytest.raises(FloatingPointError, match=wanted):
        whole(hidden_slope, params, rounds, optim.adam(0.1))


def test_the_gradient_of_a_seed_that_has_stopped_does_not_count():
    def loss(params, batch):
        each = anp.where(params["a"] > 0, anp.sqrt(params["a"]), 0.0)
        return optim.Outcome(each, {}, stop=np.array([False, True]))

    found, _ = whole(loss, {"a": np.array([4.0, 0.0])}, 1, optim.sgd(1.0))
    assert found["a"].tolist() == [3.75, 0.0]
    with pytest.raises(FloatingPointError, match=r"params\['a'\] has 1 entries"):
        whole(loss, {"a": np.array([0.0, 0.0])}, 1, optim.sgd(1.0))


def test_a_last_step_that_goes_too_far_is_told():
    def loss(params, batch):
        return anp.sum(params["a"] ** 2)

    with pytest.raises(FloatingPointError, match=r"the last step went too far, try a smaller step_size: params\['a'\]"):
        whole(loss, {"a": np.array([1e150])}, 1, optim.sgd(1e300))


def test_a_forbidden_token_stays_forbidden():
    def loss(params, batch):
        return -anp.sum(log_softmax(params["logits"])[..., 0])

    found, _ = whole(loss, {"logits": np.array([[0.0, 1.0, -np.inf]])}, 50, optim.adam(0.1))
    assert found["logits"][0, 2] == -np.inf
    assert found["logits"][0, 0] > 2
