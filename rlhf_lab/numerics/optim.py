"""Adam and gradient descent as pure functions, and the only training loop of the book."""

import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import autograd.numpy as np
from autograd import value_and_grad
from autograd.tracer import getval
from numpy.random import Generator
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from rlhf_lab.numerics import checks

Params = dict[str, Any]
State = Any


class Optimizer(NamedTuple):
    """Two pure functions: `init(params) -> state`, `update(params, grads, state, moving=True) -> (params, state)`.

    `moving` is True, or it has the leading axes of the parameters and says of each seed whether it takes the step. One
    that does not keeps its parameters and its state: without a gradient, the momentum of Adam would carry it on.
    """

    init: Callable[[Params], State]
    update: Callable[..., tuple[Params, State]]


def sgd(step_size: float) -> Optimizer:
    """Gradient descent: params - step_size * gradient."""
    checks.positive("step_size", step_size)

    def update(params: Params, grads: Params, state: State, moving: Any = True) -> tuple[Params, State]:
        return _moved(params, {k: params[k] - step_size * grads[k] for k in params}, moving), state

    return Optimizer(lambda params: (), update)


def adam(step_size: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """Adam: steps along the running mean m of the gradient, scaled by the root of the running mean v of its square.

    Kingma and Ba 2015, algorithm 1. Every number has its own m and v, so seeds that lie along a leading axis
    train as if each were alone.
    """
    checks.positive("step_size", step_size)

    def init(params: Params) -> State:
        return 0, {k: np.zeros_like(p) for k, p in params.items()}, {k: np.zeros_like(p) for k, p in params.items()}

    def update(params: Params, grads: Params, state: State, moving: Any = True) -> tuple[Params, State]:
        t, m, v = state
        m_new = {k: _drawn(m[k], grads[k], b1) for k in params}
        v_new = {k: _drawn(v[k], grads[k] ** 2, b2) for k in params}
        t = t + moving
        steps = t if moving is True and isinstance(t, int) else np.maximum(t, 1)  # who never moved must not divide by 0
        rate, share = step_size / (1 - b1**steps), 1 - b2**steps
        fresh = {}
        for k, p in params.items():
            step, size = _along(rate, p) * m_new[k], np.sqrt(v_new[k] / _along(share, p))
            size += eps
            step /= size
            fresh[k] = p - step
        return _moved(params, fresh, moving), (t, _moved(m, m_new, moving), _moved(v, v_new, moving))

    return Optimizer(init, update)


def _drawn(mean: Any, value: Any, keep: float) -> Any:
    # As keep * mean + (1 - keep) * value, and in place: large tables are slow to write.
    found, value = keep * mean, (1 - keep) * value
    found += value
    return found


def _along(values: Any, array: Any) -> Any:
    if not np.ndim(values):
        return values
    return np.reshape(values, np.shape(values) + (1,) * (np.ndim(array) - np.ndim(values)))


def _moved(before: Params, after: Params, moving: Any) -> Params:
    if moving is True:
        return after
    return {name: np.where(_along(moving, value), value, before[name]) for name, value in after.items()}


class Outcome(NamedTuple):
    """What a loss may return in place of its numbers: these, and what else it knows of the batch.

    `loss` is a number or one for each seed, (...). `diagnostics` are constants of the same shape for the history of
    `fit`. A seed whose `stop` is true takes no step on this batch, and none until the next round.
    """

    loss: Any
    diagnostics: dict[str, Any]
    stop: Any = False


def outcome(found: Any) -> Outcome:
    """Return what a loss returned as an `Outcome`."""
    return found if isinstance(found, Outcome) else Outcome(found, {})


def minibatches(arrays: tuple[Any, ...], size: int) -> Callable[[Params, Generator], Iterable[tuple[Any, ...]]]:
    """Return a `collect` for `fit` that goes once through the rows of `arrays`, shuffled, `size` rows at a time."""
    rows = {len(array) for array in arrays}
    if len(rows) != 1 or not min(rows):
        raise ValueError(f"minibatches needs arrays with the same number of rows, at least one; got {sorted(rows)}")
    if size < 1:
        raise ValueError(f"size is the number of rows in a batch, at least 1; got {size}")

    def collect(params: Params, rng: Generator) -> Iterable[tuple[Any, ...]]:
        order = rng.permutation(min(rows))
        for first in range(0, len(order), size):
            yield tuple(array[order[first : first + size]] for array in arrays)

    return collect


def _with_progress(rounds: int) -> Iterable[int]:
    # tqdm reads this variable once, when it is imported; studies set it later, for their own bar to stand alone.
    quiet = bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(range(rounds), delay=2, leave=False, desc="fit", unit="round", disable=quiet)


def _seen(before: Outcome, stopped: Any, now: Outcome) -> Outcome:
    """Return what is to be told of a batch: of seeds that have stopped, what was told when they did."""
    loss, diagnostics = getval(now.loss), {name: getval(value) for name, value in now.diagnostics.items()}
    if stopped.any():
        loss = np.where(stopped, before.loss, loss)
        diagnostics = {name: np.where(stopped, before.diagnostics[name], value) for name, value in diagnostics.items()}
    return Outcome(loss, diagnostics, now.stop)


def _check_seeds(params: Params, seeds: tuple[int, ...]) -> None:
    for name, value in params.items():
        if np.shape(value)[: len(seeds)] != seeds:
            raise ValueError(
                f"params[{name!r}] has shape {np.shape(value)}; some of the seeds {seeds} have stopped, and it must "
                "begin with these axes"
            )


def _check_gradients(grads: Params, stopped: Any, where: str) -> None:
    for name, value in grads.items():
        if not np.isfinite(value).all():
            bad = ~np.isfinite(value) & ~_along(stopped, value)
            if bad.any():
                raise FloatingPointError(
                    f"the gradient in params[{name!r}] has {np.sum(bad)} entries that are NaN or infinite in {where}, "
                    "though the loss is finite: look in the loss for a function without a slope where it is used, such "
                    "as sqrt or log at 0; np.where hides its value, not its gradient, so replace its input there"
                )


def _check_last(params: Params) -> None:
    try:
        checks.finite(params)
    except ValueError as error:
        raise FloatingPointError(f"the last step went too far, try a smaller step_size: {error}") from None


def fit(
    loss: Callable[[Params, Any], Any],
    params: Params,
    collect: Callable[[Params, Generator], Iterable[Any]],
    *,
    rounds: int,
    optimizer: Optimizer,
    rng: Generator,
    record: Callable[[Params], dict[str, Any]] | None = None,
) -> tuple[Params, list[dict[str, Any]]]:
    """Train: each round collects data with the current parameters, then takes one step for each batch of it.

    `collect(params, rng)` yields batches: minibatches of a dataset (offline), fresh samples (on-policy), several
    passes over the same samples (PPO). The parameters that it receives stay what they are for the whole round.
    `loss(params, batch)` is a number, or one number for each seed if the parameters have a leading axis, or an
    `Outcome`; seeds do not touch each other. A round ends early when all seeds have stopped. Returns the parameters
    and, for each round, loss and diagnostics of its last batch, or of that on which a seed stopped, and whatever
    `record(params)` adds. Raises `FloatingPointError`, naming the round, as soon as a loss is not finite, and naming
    the array, too, if a gradient or the last parameters are not.
    """
    if rounds < 0:
        raise ValueError(f"rounds is how often to collect data, 0 or more; got {rounds}")
    checks.finite(params)

    def total(params: Params, batch: Any) -> Any:
        found = outcome(loss(params, batch))
        outcomes.append(found)
        return np.sum(found.loss)

    outcomes: list[Outcome] = []
    step = value_and_grad(total)
    state, history = optimizer.init(params), []
    # The matrices are small: a second thread costs more than it brings. What overflows is told below, by its round.
    with threadpool_limits(limits=1), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for index in _with_progress(rounds):
            seen, stopped = Outcome(np.nan, {}), np.array(False)
            for batch in collect(params, rng):
                outcomes.clear()
                _, grads = step(params, batch)
                seen = _seen(seen, stopped, outcomes[-1])
                value = np.sum(seen.loss)
                if not np.isfinite(value):
                    raise FloatingPointError(
                        f"the loss became {value} in round {index} of {rounds}: try a smaller step_size, and check "
                        "that rewards and log-probabilities are finite"
                    )
                stopped = stopped | seen.stop
                if stopped.all():
                    break
                _check_gradients(grads, stopped, f"round {index} of {rounds}")
                if stopped.any():
                    _check_seeds(params, stopped.shape)
                    params, state = optimizer.update(params, grads, state, ~stopped)
                else:
                    params, state = optimizer.update(params, grads, state)
            history.append({"loss": seen.loss} | seen.diagnostics | (record(params) if record else {}))
    _check_last(params)
    return params, history
