"""The optimisers against the textbook, and what the loop promises."""

import autograd.numpy as anp
import numpy as np
import pytest
from tqdm import tqdm

from rlhf_lab.numerics import optim

GRADS = [{"w": np.random.default_rng(k).normal(size=(2, 3)), "b": np.array(0.1 * k - 0.2)} for k in range(6)]
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


def with_a_pause(optimizer, seeds):
    """Train on gradients that are zero in the second of three rounds, for all seeds or for the first."""
    scale = iter([1.0, 0.0, 1.0] if seeds is None else [np.ones(2), np.array([0.0, 1.0]), np.ones(2)])
    start = {"x": np.array([1.0, -2.0]) if seeds is None else np.array([[1.0, -2.0], [3.0, 0.5]])}
    params, _ = run(start, rounds=3, optimizer=optimizer, collect=lambda params, rng: [next(scale)])
    return params["x"]


def test_a_seed_whose_gradient_is_zero_rests_and_its_momentum_with_it():
    adam = optim.adam(0.1)
    twice, _ = run({"x": np.array([1.0, -2.0])}, rounds=2, optimizer=adam)
    assert with_a_pause(optim.resting(adam), None).tolist() == twice["x"].tolist()
    assert np.abs(with_a_pause(adam, None) - twice["x"]).min() > 1e-3
    resting, going = with_a_pause(optim.resting(adam, seeds=2), 2)
    assert resting == pytest.approx(twice["x"], rel=1e-14)
    assert going == pytest.approx(run({"x": np.array([3.0, 0.5])}, rounds=3, optimizer=adam)[0]["x"], rel=1e-14)


def test_one_number_that_has_a_gradient_is_enough_to_move():
    start = {"x": np.array([1.0, 2.0]), "y": np.array([3.0])}
    found, _ = run(
        start, rounds=1, optimizer=optim.resting(optim.sgd(0.1)), loss=lambda p, b: p["x"][1] + 0 * p["y"][0]
    )
    assert [found["x"].tolist(), found["y"].tolist()] == [[1.0, 1.9], [3.0]]


def test_resting_seeds_have_an_axis_of_their_own():
    told = r"params\['x'\] has shape \(3, 2\); its first axis must be 2 seeds"
    with pytest.raises(ValueError, match=told):
        run({"x": np.ones((3, 2))}, optimizer=optim.resting(optim.adam(0.1), seeds=2))


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
