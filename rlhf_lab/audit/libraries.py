"""Arrays of NumPy, PyTorch or JAX: made, read, and differentiated. Only what somebody imported already is used."""

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from autograd import elementwise_grad


class Library(NamedTuple):
    """Arrays of NumPy, PyTorch or JAX."""

    name: str
    array: Callable[[Any], Any]
    holds: Callable[[Any], bool]
    numbers: Callable[[Any], Any]
    gradient: Callable[[Callable[..., Any], list[Any]], list[Any]]  # of the sum of what comes out, in each of a list


def libraries(function: Callable[..., Any]) -> list[Library]:
    """Return the libraries whose arrays the function may take; those that nobody imported are not imported here."""
    found = [NUMPY]
    found += [make(sys.modules[name]) for name, make in (("torch", _torch), ("jax", _jax)) if name in sys.modules]
    return sorted(found, key=lambda library: library.name not in _named(function))


def _named(function: Callable[..., Any]) -> set[str]:
    """The libraries that are named where the function was written."""
    inner = inspect.unwrap(getattr(function, "func", function))
    scope = getattr(inner, "__globals__", {})
    modules = {value.__name__.partition(".")[0] for value in scope.values() if isinstance(value, ModuleType)}
    return {{"torch": "PyTorch", "jax": "JAX"}[name] for name in modules & {"torch", "jax"}}


def _autograd(function: Callable[..., Any], inputs: list[Any]) -> list[Any]:
    return [
        elementwise_grad(lambda x, k=k: function(*inputs[:k], x, *inputs[k + 1 :]))(value)
        for k, value in enumerate(inputs)
    ]


NUMPY = Library("NumPy", np.array, lambda x: type(x).__module__ in ("numpy", "builtins"), np.asarray, _autograd)


def _torch(torch: Any) -> Library:
    def gradient(function: Callable[..., Any], inputs: list[Any]) -> list[Any]:
        leaves = [value.clone().requires_grad_(True) for value in inputs]
        result = function(*leaves)
        if not result.requires_grad:
            return [np.zeros(np.shape(value)) for value in inputs]
        found = torch.autograd.grad(result.sum(), leaves, allow_unused=True)
        return [np.zeros(np.shape(x)) if g is None else g.numpy() for x, g in zip(inputs, found, strict=True)]

    def numbers(value: Any) -> Any:
        value = value.detach().cpu()
        return value.float().numpy() if value.dtype in (torch.bfloat16, torch.float16) else value.numpy()

    return Library("PyTorch", torch.tensor, lambda x: isinstance(x, torch.Tensor), numbers, gradient)


def _jax(jax: Any) -> Library:
    def gradient(function: Callable[..., Any], inputs: list[Any]) -> list[Any]:
        found = jax.grad(lambda values: function(*values).sum())(inputs)
        return [np.asarray(g) for g in found]

    return Library("JAX", jax.numpy.asarray, lambda x: isinstance(x, jax.Array), np.asarray, gradient)
