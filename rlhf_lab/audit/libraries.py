"""Arrays of NumPy, PyTorch or JAX: made, read, and differentiated. Only what somebody imported already is used."""

import inspect
import sys
from collections.abc import Callable
from types import CodeType, ModuleType
from typing import Any, NamedTuple

import numpy as np
from autograd import elementwise_grad
from autograd.numpy import array as stacked

Spots = tuple[int, ...]
Slope = Callable[[list[Any]], list[Any]]


class Library(NamedTuple):
    """Arrays of NumPy, PyTorch or JAX."""

    name: str
    array: Callable[[Any], Any]
    holds: Callable[[Any], bool]
    numbers: Callable[[Any], Any]
    stack: Callable[[list[Any]], Any]  # of numbers
    gradient: Callable[[Callable[..., Any], Spots], Slope]  # of the sum of what comes out, in some of what goes in
    compiled: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None  # the same function, where it is quicker


def libraries(function: Callable[..., Any]) -> list[Library]:
    """Return the libraries whose arrays the function may take; those that nobody imported are not imported here."""
    found = [NUMPY]
    found += [make(sys.modules[name]) for name, make in (("torch", _torch), ("jax", _jax)) if name in sys.modules]
    return sorted(found, key=lambda library: library.name not in _named(function))


def written(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that somebody wrote: a module of PyTorch is called through its `forward`."""
    forward = getattr(function, "forward", None)
    return forward if callable(forward) else function


def _named(function: Callable[..., Any]) -> set[str]:
    """The libraries that are named where the function was written."""
    inner = inspect.unwrap(written(getattr(function, "func", function)))
    called = inner if inspect.isroutine(inner) else type(inner).__call__
    scope = getattr(called, "__globals__", {})
    modules = {value.__name__.partition(".")[0] for value in scope.values() if isinstance(value, ModuleType)}
    return {{"torch": "PyTorch", "jax": "JAX"}[name] for name in modules & {"torch", "jax"}}


def writes_autograd(function: Callable[..., Any]) -> bool:
    """Whether autograd can follow a function for NumPy: not where it uses NumPy itself, which loses the gradient."""
    homes = {home.partition(".")[0] for home in _homes(function, 3)}
    return "autograd" in homes or "numpy" not in homes


def _homes(function: Callable[..., Any], depth: int) -> set[str]:
    """Names of the modules whose functions a function uses, by itself or by those that it calls."""
    inner = inspect.unwrap(written(getattr(function, "func", function)))
    called = inner if inspect.isroutine(inner) else type(inner).__call__
    codes, scope = [getattr(called, "__code__", None)], getattr(called, "__globals__", {})
    used = [cell.cell_contents for cell in getattr(called, "__closure__", None) or ()]
    for code in codes:
        if code is not None:
            used += [scope[name] for name in code.co_names if name in scope]
            codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
            used += [
                v for name in code.co_names for m in used if isinstance(m, ModuleType) and (v := vars(m).get(name))
            ]
    found = {
        value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", "")) for value in used
    }
    found |= {"numpy" for value in used if isinstance(value, np.ufunc)}
    deeper = [value for value in used if inspect.isfunction(value)] if depth else []
    return found.union(*(_homes(value, depth - 1) for value in deeper))


def _autograd(function: Callable[..., Any], spots: Spots) -> Slope:
    def slope(values: list[Any]) -> list[Any]:
        return [elementwise_grad(lambda x, k=k: function(*values[:k], x, *values[k + 1 :]))(values[k]) for k in spots]

    return slope


def _plain(value: Any) -> bool:
    return type(value).__module__ in ("numpy", "builtins")


NUMPY = Library("NumPy", np.array, _plain, np.asarray, stacked, _autograd)


def _torch(torch: Any) -> Library:
    def gradient(function: Callable[..., Any], spots: Spots) -> Slope:
        def slope(values: list[Any]) -> list[Any]:
            values = [v.clone().requires_grad_(True) if k in spots else v for k, v in enumerate(values)]
            leaves, result = [values[k] for k in spots], function(*values)
            if not result.requires_grad:
                return [np.zeros(np.shape(value)) for value in leaves]
            found = torch.autograd.grad(result.sum(), leaves, allow_unused=True)
            return [np.zeros(np.shape(x)) if g is None else g.numpy() for x, g in zip(leaves, found, strict=True)]

        return slope

    def numbers(value: Any) -> Any:
        value = value.detach().cpu()
        return value.float().numpy() if value.dtype in (torch.bfloat16, torch.float16) else value.numpy()

    return Library("PyTorch", torch.tensor, lambda x: isinstance(x, torch.Tensor), numbers, torch.stack, gradient)


def _first_that_works(ways: list[Callable[..., Any]]) -> Callable[..., Any]:
    """Return a function that stays with the first of several ways to call one that raises nothing."""
    left = list(ways)

    def call(*values: Any) -> Any:
        for i, way in enumerate(left[:-1]):
            try:
                found = way(*values)
            except Exception:  # it looks at numbers that are not there yet while it is compiled
                continue
            del left[:i]
            return found
        found = left[-1](*values)  # raises if the function cannot take these values at all
        del left[:-1]
        return found

    return call


def _jax(jax: Any) -> Library:
    """As a whole a function is compiled once for each shape; by itself, each of its steps is."""

    exact = {"xla_allow_excess_precision": False, "xla_backend_optimization_level": 0}  # rounding is to be seen

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        def for_numbers(*values: Any) -> Any:  # a function may ask whether beta is 0
            numbers = tuple(k for k, value in enumerate(values) if not np.ndim(value))
            return jax.jit(function, static_argnums=numbers, compiler_options=exact)(*values)

        return _first_that_works([jax.jit(function, compiler_options=exact), for_numbers, function])

    def gradient(function: Callable[..., Any], spots: Spots) -> Slope:
        slope = compiled(jax.grad(lambda *values: function(*values).sum(), spots))
        return lambda values: [np.asarray(g) for g in slope(*values)]

    return Library(
        "JAX", jax.numpy.asarray, lambda x: isinstance(x, jax.Array), np.asarray, jax.numpy.stack, gradient, compiled
    )
