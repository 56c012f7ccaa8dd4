"""Adam and gradient descent as pure functions, and the only training loop of the book."""

import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import autograd.numpy as np
from autograd import value_and_grad
from numpy.random import Generator
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from rlhf_lab.numerics import checks

Params = dict[str, Any]
State = Any


class Optimizer(NamedTuple):
    """A pair of pure functions: `init(params) -> state`, `update(params, grads, state) -> (params, state)`."""

    init: Callable[[Params], State]
    update: Callable[[Params, Params, State], tuple[Params, State]]


def sgd(step_size: float) -> Optimizer:
    """Gradient descent: params - step_size * gradient."""
    checks.positive("step_size", step_size)

    def update(params: Params, grads: Params, state: State) -> tuple[Params, State]:
        return {name: params[name] - step_size * grads[name] for name in params}, state

    return Optimizer(lambda params: (), update)


def adam(step_size: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """Adam: steps along the running mean m of the gradient, scaled by the root of the running mean v of its square.

    Kingma and Ba 2015, algorithm 1. Every number has its own m and v, so seeds that lie along a leading axis
    train as if each were alone.
    """
    checks.positive("step_size", step_size)

    def init(params: Params) -> State:
        return 0, {k: np.zeros_like(p) for k, p in params.items()}, {k: np.zeros_like(p) for k, p in params.items()}

    def update(params: Params, grads: Params, state: State) -> tuple[Params, State]:
        t, m, v = state
        t += 1
        m = {k: b1 * m[k] + (1 - b1) * grads[k] for k in params}
        v = {k: b2 * v[k] + (1 - b2) * grads[k] ** 2 for k in params}
        rate = step_size / (1 - b1**t)
        return {k: params[k] - rate * m[k] / (np.sqrt(v[k] / (1 - b2**t)) + eps) for k in params}, (t, m, v)

    return Optimizer(init, update)


def resting(optimizer: Optimizer, seeds: int | None = None) -> Optimizer:
    """Return an optimiser under which a seed whose gradient is zero rests: its parameters and its state stay.

    Without it the momentum of Adam moves on where the gradient is zero. Each of the `seeds` along the leading axis of
    the parameters has a state of its own; None stands for parameters without such an axis. Raises `ValueError` if an
    array has another leading axis.
    """

    def parts(params: Params) -> list[Params]:
        if seeds is None:
            return [params]
        for name, value in params.items():
            if np.shape(value)[:1] != (seeds,):
                raise ValueError(f"params[{name!r}] has shape {np.shape(value)}; its first axis must be {seeds} seeds")
        return [{name: value[k] for name, value in params.items()} for k in range(seeds)]

    def update(params: Params, grads: Params, state: State) -> tuple[Params, State]:
        moved = [
            optimizer.update(p, g, s) if any(np.any(value) for value in g.values()) else (p, s)
            for p, g, s in zip(parts(params), parts(grads), state, strict=True)
        ]
        states = [s for _, s in moved]
        if seeds is None:
            return moved[0][0], states
        return {name: np.stack([p[name] for p, _ in moved]) for name in params}, states

    return Optimizer(lambda params: [optimizer.init(p) for p in parts(params)], update)


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
    `loss(params, batch)` is a number, or one number for each seed if the parameters have a leading axis; seeds
    do not touch each other. Returns the parameters and, for each round, the loss of its last batch and whatever
    `record(params)` adds. Raises `FloatingPointError`, naming the round, as soon as a loss is not finite.
    """
    if rounds < 0:
        raise ValueError(f"rounds is how often to collect data, 0 or more; got {rounds}")
    checks.finite(params)

    def total(params: Params, batch: Any) -> Any:
        values = loss(params, batch)
        losses.append(values)
        return np.sum(values)

    losses: list[Any] = []
    step = value_and_grad(total)
    state, history = optimizer.init(params), []
    # The matrices are small: a second thread costs more than it brings. What overflows is told below, by its round.
    with threadpool_limits(limits=1), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for index in _with_progress(rounds):
            values: Any = np.nan
            for batch in collect(params, rng):
                losses.clear()
                value, grads = step(params, batch)
                values = getattr(losses[-1], "_value", losses[-1])
                if not np.isfinite(value):
                    raise FloatingPointError(
                        f"the loss became {value} in round {index} of {rounds}: try a smaller step_size, and check "
                        "that rewards and log-probabilities are finite"
                    )
                params, state = optimizer.update(params, grads, state)
            history.append({"loss": values} | (record(params) if record else {}))
    return params, history
