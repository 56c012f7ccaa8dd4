"""Arrays of NumPy and of autograd; those of PyTorch and JAX stand in tests/peers."""

import functools
import subprocess
import sys
from types import ModuleType

import autograd.numpy as anp
import numpy as np
import pytest

from rlhf_lab.audit import libraries
from rlhf_lab.audit.libraries import NUMPY


def scope(**names):
    """A function that was written where these names are known."""
    space = dict(names)
    exec("def function(x): return x", space)
    return space["function"]


def test_numpy_makes_reads_and_differentiates():
    assert NUMPY.name == "NumPy"
    assert all(NUMPY.holds(value) for value in (np.zeros(2), np.float32(1), 1.0, 1, True, [1.0]))
    assert not NUMPY.holds(Fake("torch"))
    assert NUMPY.numbers([1, 2]).tolist() == [1, 2]
    assert NUMPY.stack([1.0, 2.0]).tolist() == [1.0, 2.0]
    left, right = np.array([1.0, 2.0]), np.array([3.0, 5.0])
    slopes = NUMPY.gradient(lambda a, b: anp.sum(a**2 * b), (0, 1))([left, right])
    np.testing.assert_allclose(slopes, [2 * left * right, left**2])
    (slope,) = NUMPY.gradient(lambda a, b: anp.sum(a**2 * b), (1,))([left, right])
    np.testing.assert_allclose(slope, left**2)
    assert NUMPY.compiled is None


def test_a_list_of_numbers_keeps_its_gradient():
    (slope,) = NUMPY.gradient(lambda x: NUMPY.stack([x[0] ** 2, 3 * x[1]]), (0,))([np.array([2.0, 5.0])])
    np.testing.assert_allclose(slope, [4.0, 3.0])


def test_what_nobody_imported_is_not_imported():
    code = (
        "import sys; from rlhf_lab import audit; from rlhf_lab.audit.zoo import pairs; audit.dpo_loss(pairs.dpo_loss)"
    )
    code += "; print(sorted({'torch', 'jax', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Fake(ModuleType):
    """A library that has the names which are looked for."""

    Tensor = Array = type("Tensor", (), {})
    tensor = stack = staticmethod(np.array)

    @property
    def numpy(self):
        return self


@pytest.fixture
def fakes(monkeypatch):
    for name in ("torch", "jax"):
        monkeypatch.setitem(sys.modules, name, Fake(name))
    Fake.asarray = staticmethod(np.asarray)
    return sys.modules["torch"], sys.modules["jax"]


def names(function):
    return [library.name for library in libraries.libraries(function)]


def test_the_library_that_a_function_names_comes_first(fakes):
    torch, jax = fakes
    assert names(scope()) == ["NumPy", "PyTorch", "JAX"]
    assert names(scope(jnp=jax)) == ["JAX", "NumPy", "PyTorch"]
    assert names(scope(F=ModuleType("torch.nn.functional"))) == ["PyTorch", "NumPy", "JAX"]
    assert names(functools.partial(scope(torch=torch), 1)) == ["PyTorch", "NumPy", "JAX"]
    assert names(functools.wraps(scope(jax=jax))(lambda x: x)) == ["JAX", "NumPy", "PyTorch"]
    assert names(np.add) == ["NumPy", "PyTorch", "JAX"]


def test_objects_are_looked_up_where_their_call_was_written(fakes):
    space = {"torch": fakes[0]}
    exec("class Loss:\n    def __call__(self, x): return x\n    def forward(self, x): return x", space)
    assert names(space["Loss"]()) == ["PyTorch", "NumPy", "JAX"]
    del space["Loss"].forward
    assert names(space["Loss"]()) == ["PyTorch", "NumPy", "JAX"]


def test_a_module_is_called_through_its_forward():
    class Module:
        def forward(self, x):
            return x

    module = Module()
    assert libraries.written(module) == module.forward
    assert libraries.written(np.add) is np.add


def test_the_first_way_to_call_a_function_that_works_is_kept():
    called = []

    def way(name, works):
        def call(x):
            called.append(name)
            if not works(x):
                raise ArithmeticError(name)
            return name, x

        return call

    call = libraries._first_that_works(
        [way("a", lambda x: False), way("b", lambda x: x < 2), way("c", lambda x: x > 0)]
    )
    with pytest.raises(ArithmeticError, match=r"^b$"):
        libraries._first_that_works([way("a", lambda x: False), way("b", lambda x: False)])(0)
    called.clear()
    assert [call(x) for x in (1, 0, 2, 3)] == [("b", 1), ("b", 0), ("c", 2), ("c", 3)]
    assert called == ["a", "b", "b", "b", "c", "c"]
    with pytest.raises(ArithmeticError, match=r"^c$"):
        call(0)


def test_a_way_is_only_kept_once_it_has_worked():
    called = []
    first, last = (lambda x: called.append("first") or 1 / 0), (lambda x: called.append("last") or 1 / x)
    call = libraries._first_that_works([first, last])
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            call(0)
    assert call(2) == call(2) == 0.5
    assert called == ["first", "last"] * 3 + ["last"]


def written(source, **names):
    """A function of some source, where these names are known."""
    space = dict(names)
    exec(source, space)
    return space["function"]


USES = "def function(x): return np.exp(x)"
PLAIN = written(USES, np=np)
HOME = ModuleType("home")
HOME.loss = PLAIN


def behind(function, steps):
    """A function that calls another one through so many others."""
    for _ in range(steps):
        function = written("def function(x): return inner(x)", inner=function)
    return function


class Loss:
    def __call__(self, x):
        return np.exp(x)

    def method(self, x):
        return np.exp(x)


class Module:
    def __call__(self, x):
        return self.forward(x)

    def forward(self, x):
        return np.exp(x)


@pytest.mark.parametrize(
    ("function", "follows"),
    [
        (written(USES, np=anp), True),
        (written("def function(x): return x**2"), True),
        (PLAIN, False),
        (written("def function(x): return exp(x)", exp=np.exp), False),
        (written("def function(x): return mean(x)", mean=np.mean), False),
        (written("def function(x): return (lambda y: np.exp(y))(x)", np=np), False),
        (written("def function(x): return [[np.exp(z) for z in y] for y in x]", np=np), False),
        (written("def function(x): return home.loss(x)", home=HOME), False),
        (written("def function(x): return home.other(x)", home=HOME), True),
        (written("def function(x): return np.exp(inner(x))", np=anp, inner=PLAIN), True),
        (written("def outer(inner):\n  return lambda x: inner(x)\nfunction = outer(inner)", inner=PLAIN), False),
        (functools.partial(PLAIN), False),
        (functools.wraps(PLAIN)(lambda x: PLAIN(x)), False),
        (written("def function(x): return np.linalg.norm(x)", np=np), False),
        (len, True),
        (Loss(), False),
        (Loss().method, False),
        (Module(), False),
        *((behind(PLAIN, steps), steps > 3) for steps in range(6)),
    ],
)
def test_autograd_follows_what_uses_no_numpy_three_calls_deep(function, follows):
    assert libraries.writes_autograd(function) is follows
