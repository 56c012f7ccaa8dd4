"""How a stranger's function is called: what it takes, what it returns, and what it does besides."""

import functools
import typing
import warnings
from dataclasses import dataclass

import autograd.numpy as anp
import numpy as np
import pytest

from rlhf_lab.audit import binding, functions
from rlhf_lab.audit.binding import Input, Misbehaved, Trouble, bound, meant
from rlhf_lab.audit.functions import Layout, Subject
from rlhf_lab.audit.libraries import NUMPY
from rlhf_lab.audit.words import told

INPUTS = (
    Input("left", "l|first"),
    Input("right", "r|second"),
    Input("mask", "m", lambda subject, case: case["mask"]),
    Input("beta", "weight", lambda subject, case: 0.5),
)
CASES = [
    {"left": np.array([1.0]), "right": np.array([2.0]), "mask": np.array([1.0]), "beta": 0.5},
    {"left": np.array([1.0, 4.0]), "right": np.array([2.0, -3.0]), "mask": np.array([1.0, 0.0]), "beta": 2.0},
]


def subject(function, **options):
    return Subject(function, INPUTS, CASES, **options)


def value(function, case=CASES[1]):
    return subject(function)(case).tolist()


def places(function):
    return bound(function, INPUTS)


def by_keyword(*names):
    return [(name, name) for name in names]


def test_parameters_are_read_by_their_names():
    assert places(lambda right, left: 0) == by_keyword("right", "left")
    assert places(lambda Second, FIRST: 0) == [("Second", "right"), ("FIRST", "left")]
    assert places(lambda beta, mask, r, l: 0) == [("beta", "beta"), ("mask", "mask"), ("r", "right"), ("l", "left")]  # noqa: E741
    assert meant("Left", INPUTS) == "left"
    assert meant("elsewhere", INPUTS) == ""


def test_names_that_are_not_understood_take_what_is_left_in_order():
    assert places(lambda a, b: 0) == [("a", "left"), ("b", "right")]
    assert places(lambda a, b, c, d: 0) == [("a", "left"), ("b", "right"), ("c", "mask"), ("d", "beta")]
    assert places(lambda right, a: 0) == [("right", "right"), ("a", "left")]
    assert places(lambda beta, a, b: 0) == [("beta", "beta"), ("a", "left"), ("b", "right")]
    assert places(lambda left, first, second: 0) == [("left", "left"), ("first", "right"), ("second", "mask")]


def test_defaults_stay_where_they_are_not_understood():
    assert places(lambda left, right, reduction="mean": 0) == by_keyword("left", "right")
    assert places(lambda left, right, beta=0.1: 0) == by_keyword("left", "right", "beta")
    assert places(lambda a=1, b=2, c=3: 0) == [("a", "left"), ("b", "right")]


def test_keywords_and_places_are_used_as_they_must_be():
    def keywords(*, left, right):
        return left - right

    def in_order(left, right, /, beta):
        return beta * (left - right)

    assert places(keywords) == by_keyword("left", "right")
    assert places(in_order) == [(None, "left"), (None, "right"), ("beta", "beta")]
    assert value(in_order) == [-2.0, 14.0]
    assert value(keywords) == [-1.0, 7.0]
    assert value(lambda *all_of_them: all_of_them[3] * all_of_them[0]) == [2.0, 8.0]
    assert value(functools.partial(in_order, beta=10)) == [-2.0, 14.0]
    assert value(np.subtract) == [-1.0, 7.0]


def test_objects_that_can_be_called_are_functions_too():
    class Difference:
        def __call__(self, left, right):
            return left - right

        def method(self, right, left):
            return left - right

    class Module:
        def forward(self, right, left):
            return left - right

        def __call__(self, *args, **kwargs):
            return self.forward(*args, **kwargs)

    for function in (Difference(), Difference().method, Module()):
        assert value(function) == [-1.0, 7.0]


@pytest.mark.parametrize(
    ("function", "takes"),
    [
        (lambda left: 0, "left"),
        (lambda: 0, "nothing"),
        (lambda batch: 0, "batch"),
        (lambda **batch: 0, "nothing"),
        (lambda a, b, c, d, e: 0, "a, b, c, d, e"),
        (lambda left, right, mask, beta, model: 0, "left, right, mask, beta, model"),
    ],
)
def test_too_few_and_too_many_parameters_are_told(function, takes):
    with pytest.raises(Trouble) as trouble:
        places(function)
    words = f"It takes ({takes}); it is called with (left, right, mask?, beta?), by name or in this order. Wrap it"
    assert str(trouble.value).startswith(words)


def test_what_is_no_function_is_told():
    with pytest.raises(Trouble, match="pass the function itself, not what it returns; this is a float"):
        subject(0.3)


class Two(typing.NamedTuple):
    accuracy: float
    loss: typing.Any


@dataclass
class Output:
    logits: float
    loss: typing.Any


@pytest.mark.parametrize(
    ("result", "note"),
    [
        (lambda x: (x, 3), "returns 2 results, of which the first is read"),
        (lambda x: [x, x, x], "returns 3 results, of which the first is read"),
        (lambda x: {"accuracy": 1.0, "loss": x}, "returns a dictionary, of which 'loss' is read"),
        (lambda x: {"mine": x}, "returns a dictionary, of which 'mine' is read"),
        (lambda x: Two(1.0, x), "returns Two, of which 'loss' is read"),
        (lambda x: Output(1.0, x), "returns Output, of which 'loss' is read"),
        (lambda x: list(x), None),
        (lambda x: x.astype(np.float32), None),
    ],
)
def test_one_of_several_results_is_read_and_told(result, note):
    one = subject(lambda left, right: result(left - right))
    assert one(CASES[1]).tolist() == [-1.0, 7.0]
    assert one.notes == ([note] if note else [])
    assert one.several == bool(note)


def test_numbers_of_any_kind_become_floats():
    assert value(lambda left, right: 3) == 3.0
    assert value(lambda left, right: True) == 1.0
    assert value(lambda left, right: np.float32(0.5)) == 0.5
    assert value(lambda left, right: [1, 2]) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("result", "told_"),
    [
        (None, "It returns NoneType, not numbers in an array: None."),
        ("loss", "It returns str, not numbers in an array: 'loss'."),
        (1j, "It returns complex, not numbers in an array: 1j."),
        (object, "It returns type, not numbers in an array: <class 'object'>."),
        ([[1], [1, 2]], "It returns list, not numbers in an array: [[1], [1, 2]]."),
        ({}, "It returns"),
    ],
)
def test_what_is_no_number_is_told(result, told_):
    with pytest.raises(Trouble) as trouble:
        subject(lambda left, right: result)
    assert str(trouble.value).startswith(told_)


def raising(error):
    def function(left, right):
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "told_"),
    [
        (ValueError("bad\nmore"), r"It raises ValueError: bad, with arrays of NumPy\."),
        (KeyError(), r"It raises KeyError, with arrays of NumPy\."),
        (SystemExit(3), r"It raises SystemExit: 3, with arrays of NumPy\."),
        (
            AssertionError("Torch not compiled with CUDA enabled"),
            r"It wants a GPU \(AssertionError: Torch not .*device",
        ),
        (RuntimeError("expected device cuda:0 but got cpu"), r"It wants a GPU \("),
        (RuntimeError("no relationship between clamps and shape"), "It raises RuntimeError"),
    ],
)
def test_an_error_is_told_in_one_sentence(error, told_):
    with pytest.raises(Trouble, match=told_) as trouble:
        subject(raising(error))
    assert "\n" not in str(trouble.value)


def test_an_error_with_larger_inputs_is_told_with_them():
    with pytest.raises(Trouble, match=r"It raises TypeError: .*, with left = \[1\., 4\.\], right = \[ ?2\., -3\.\]\.$"):
        subject(lambda left, right: float(left[:, None].squeeze(1).squeeze()) - right if left.size > 1 else left)


def test_a_function_that_changes_its_inputs_is_told():
    def in_place(left, right):
        right -= left
        return -right

    with pytest.raises(Misbehaved, match="It changes its input right: work on a copy"):
        subject(in_place)
    assert CASES[1]["right"].tolist() == [2.0, -3.0]


def test_a_function_that_draws_at_random_or_remembers_is_told():
    rng, calls = np.random.default_rng(0), []
    with pytest.raises(
        Misbehaved, match=r"^Called again with the same inputs, it returns something else: it draws at "
    ):
        subject(lambda left, right: left + rng.random())
    with pytest.raises(Misbehaved, match=r", or keeps something from an earlier call\.$"):
        subject(lambda left, right: calls.append(1) or left * len(calls))
    with pytest.raises(Misbehaved):
        subject(lambda left, right: np.full(left.shape, np.nan) if rng.random() < 0.5 else left + rng.random())


def test_side_effects_that_change_no_number_are_noted():
    def noisy(left, right):
        print("loss", float(left[0]))
        np.random.rand()  # noqa: NPY002
        warnings.warn("old", DeprecationWarning, stacklevel=2)
        return left - right

    state = np.random.get_state()  # noqa: NPY002
    one = subject(noisy)
    np.random.set_state(state)  # noqa: NPY002
    assert one.notes == [
        "draws from NumPy's global generator, though the result does not depend on it",
        "prints while it runs ('loss 1.0')",
    ]


def test_forty_letters_of_what_is_printed_are_told():
    one = subject(lambda left, right: print("\n" + 41 * "a" + "\nmore") or left)
    assert one.notes == [f"prints while it runs ({40 * 'a'!r})"]


def test_what_is_printed_stays_off_the_page(capsys):
    subject(lambda left, right: print("noise") or left)
    assert capsys.readouterr().out == ""


def test_nan_in_both_calls_is_the_same():
    assert np.isnan(value(lambda left, right: left * np.nan)).all()


def test_a_mask_is_numbers_and_becomes_true_and_false_where_a_function_needs_these():
    assert value(lambda left, right, mask: left * mask) == [1.0, 0.0]
    one = subject(lambda left, right, mask: left[mask])
    assert one(CASES[1]).tolist() == [1.0]
    assert one.notes == ["takes a mask of True and False"]
    assert subject(lambda left, right, mask: left * (1.0 - mask)).notes == []


def test_arrays_become_single_precision_where_a_function_needs_it():
    def single(left, right):
        if left.dtype != np.float32:
            raise TypeError("expected float32")
        return left - right

    one = subject(single)
    assert one.digits == 32
    assert one(CASES[1]).tolist() == [-1.0, 7.0]


@pytest.mark.parametrize("kind", [float, bool])
def test_single_precision_comes_with_either_kind_of_mask(kind):
    def single(left, right, mask):
        if (left.dtype, mask.dtype) not in ((np.float32, bool), (np.float32, np.float32)) or (mask.dtype == bool) != (
            kind is bool
        ):
            raise TypeError("expected float32")
        return (left - right) * mask

    one = subject(single)
    assert one(CASES[1]).tolist() == [-1.0, 0.0]
    assert one.notes == ["takes a mask of True and False"] * (kind is bool)


def test_the_digits_are_those_of_the_least_exact_result():
    assert subject(lambda left, right: (left - right).astype(np.longdouble)).digits == 64
    assert subject(lambda left, right: left - right).digits == 64
    assert subject(lambda left, right: (left - right).astype(np.float32)).digits == 32
    assert subject(lambda left, right: (left - right).astype(np.float16)).digits == 16
    for whole in (bool, np.int8, np.uint16):  # these are exact
        assert subject(lambda left, right, whole=whole: (left > right).astype(whole)).digits == 64


def test_gradients_are_those_of_the_sum_and_those_of_finite_differences():
    one = subject(lambda left, right, beta: beta * anp.sin(left) * right)
    found, differences = one.gradient(CASES[1], ["left", "right"]), one.differences(CASES[1], ["left", "right"])
    np.testing.assert_allclose(found["left"], 2 * np.cos(CASES[1]["left"]) * CASES[1]["right"])
    for name in ("left", "right"):
        np.testing.assert_allclose(found[name], differences[name], atol=1e-8)
    assert set(one.gradient(CASES[1], ["left", "mask"])) == {"left"}


def test_finite_differences_of_whole_numbers_are_steps_of_fractions():
    one = subject(lambda left, right: left**2 * right)
    whole = {"left": np.array([3, 1]), "right": np.array([2.0, 1.0])}
    np.testing.assert_allclose(one.differences(whole, ["left"])["left"], [12.0, 2.0])


def test_a_function_that_autograd_cannot_follow_has_no_gradient():
    one = subject(lambda left, right: [float(x) for x in left])
    with pytest.raises(Trouble, match="NumPy cannot differentiate it: TypeError"):
        one.gradient(CASES[0], ["left"])


def test_a_layout_changes_what_goes_in_and_what_comes_out():
    reverse = Layout("reversed", lambda case: case | {"left": case["left"][::-1]}, lambda values, case: values[::-1])
    one = subject(lambda left, right: left, layout=reverse)
    assert one(CASES[1]).tolist() == [1.0, 4.0]
    assert subject(lambda left, right: left - 1 * right, layout=reverse)(CASES[1]).tolist() == [4.0, 2.0]


def test_a_case_is_told_with_its_numbers_or_its_shape():
    case = {"left": np.array([1.0, -2.5]), "right": np.zeros((5, 5)), "beta": 0.5}
    assert told(case) == "left = [ 1. , -2.5], right of shape (5, 5), beta = 0.5"
    assert told(case, {"beta"}) == "beta = 0.5"


def test_strange_names_take_what_is_needed_before_what_a_function_may_do_without():
    inputs = (binding.Input("a"), binding.Input("mask", absent=lambda subject, case: 1.0), binding.Input("b"))
    assert binding.bound(lambda x, y: x, inputs) == [("x", "a"), ("y", "b")]
    assert binding.bound(lambda x, y, z: x, inputs) == [("x", "a"), ("y", "b"), ("z", "mask")]


def test_a_function_that_uses_numpy_itself_has_no_gradient():
    one = subject(lambda left, right: np.sin(left) * right)
    with pytest.raises(Trouble, match=r"^it is written for NumPy without autograd$"):
        one.gradient(CASES[0], ["left"])


def test_a_result_that_a_layout_cannot_turn_back_is_told():
    narrow = Layout("in pairs", back=lambda values, case: values.reshape(-1, 2))
    with pytest.raises(Trouble, match=r"^It returns shape \(1,\), with left = \[1\.\], right = \[2\.\]\.$"):
        subject(lambda left, right: left, layout=narrow)


@pytest.fixture
def compiling(monkeypatch):
    """A library that compiles: what was compiled, and with which numbers it was called; `off` is added to these."""
    seen = {"compiled": 0, "called": [], "off": 0.0}

    def compiled(function):
        seen["compiled"] += 1
        return lambda *values: seen["called"].append(values[0].tolist()) or function(*values) + seen["off"]

    monkeypatch.setattr(functions, "libraries", lambda function: [NUMPY._replace(compiled=compiled)])
    return seen


def test_a_function_is_compiled_once_and_called_as_that(compiling):
    made = {}
    one = subject(lambda left, right: left - right, made=made)
    assert one.quick is not None
    assert compiling["compiled"] == 1
    assert compiling["called"][0] == [1.0]  # compared for the first case
    compiling["called"].clear()
    assert one(CASES[1]).tolist() == [-1.0, 7.0]
    assert compiling["called"] == [[1.0, 4.0]]
    compiling["called"].clear()
    again = subject(lambda left, right: left - right, made=made)
    assert (again.quick, compiling["compiled"]) == (one.quick, 1)
    assert len(compiling["called"]) >= 2 * len(CASES)  # from the first call on
    other = Subject(lambda left, right: left - right, INPUTS[::-1], CASES, Layout(""), {})
    assert other.quick is not one.quick


@pytest.mark.parametrize(("off", "kept"), [(1e-5, True), (3e-4, False), (1.0, False), (np.nan, False)])
def test_a_function_that_is_another_when_it_is_compiled_is_called_as_it_is(compiling, off, kept):
    compiling["off"], made = off, {}
    one = subject(lambda left, right: left - right, made=made)
    assert (one.quick is not None) == kept
    assert one(CASES[1]) == pytest.approx([-1.0 + off, 7.0 + off] if kept else [-1.0, 7.0])
    again = subject(lambda left, right: left - right, made=made)
    assert (again.quick is not None) == kept
    assert compiling["compiled"] == 1


def test_a_number_near_0_may_be_another_when_it_is_compiled(compiling):
    compiling["off"] = 1e-5
    assert subject(lambda left, right: 0 * left).quick is not None


def test_ends_become_true_and_false_where_a_function_needs_these():
    cases = [{"ends": np.array([1.0, 0.0])}]
    assert Subject(lambda ends: 1.0 * ~ends, (Input("ends"),), cases)(cases[0]).tolist() == [0, 1]


def test_nan_that_stays_nan_when_it_is_compiled_is_the_same(compiling):
    assert subject(lambda left, right: left * np.nan).quick is not None


@pytest.mark.parametrize(
    ("result", "told_"),
    [
        (
            0.5,
            "It returns float, not numbers in an array: 0.5."
            " A number of Python carries no gradient: return the tensor.",
        ),
        (None, "It returns NoneType, not numbers in an array: None."),
        ("loss", "It returns str, not numbers in an array: 'loss'."),
    ],
)
def test_a_result_that_is_no_array_of_its_library_is_told(monkeypatch, result, told_):
    held = NUMPY._replace(name="PyTorch", holds=lambda value: isinstance(value, np.ndarray))
    monkeypatch.setattr(functions, "libraries", lambda function: [held])
    with pytest.raises(Trouble) as trouble:
        subject(lambda left, right: result)
    assert str(trouble.value) == told_
    monkeypatch.setattr(functions, "libraries", lambda function: [held._replace(name="NumPy")])
    with pytest.raises(Trouble) as trouble:
        subject(lambda left, right: result)
    assert str(trouble.value) == told_.partition(" A number of Python")[0]


def test_nothing_that_is_returned_for_a_mask_of_true_and_false_is_told_not_the_error_before(monkeypatch):
    held = NUMPY._replace(name="PyTorch", holds=lambda value: isinstance(value, np.ndarray))
    monkeypatch.setattr(functions, "libraries", lambda function: [held])

    def selected(left, right, mask):
        if mask.dtype != bool:
            raise IndexError("booleans")

    with pytest.raises(Trouble, match=r"^It returns NoneType, not numbers in an array: None\.$"):
        subject(selected)


def test_whole_numbers_stay_whole_and_fractions_are_as_elements_of_arrays_are(monkeypatch):
    seen = []

    def function(left, k, beta):
        seen.append((type(k), type(beta)))
        return left.reshape(-1, k)

    cases = [{"left": np.ones(4), "k": 2, "beta": 0.5}]
    inputs = (Input("left"), Input("k"), Input("beta"))
    assert Subject(function, inputs, cases)(cases[0]).shape == (2, 2)
    assert set(seen) == {(int, np.float64)}
    seen.clear()
    monkeypatch.setattr(functions, "libraries", lambda function: [NUMPY._replace(name="PyTorch")])
    Subject(function, inputs, cases)
    assert set(seen) == {(int, float)}


def test_whole_numbers_in_an_array_stay_whole():
    cases = [{"ids": np.array([3, 4])}]
    assert Subject(lambda ids: 1.0 * np.arange(5)[ids], (Input("ids"),), cases)(cases[0]).tolist() == [3, 4]


def test_the_library_is_that_of_the_function(monkeypatch):
    seen = []
    monkeypatch.setattr(functions, "libraries", lambda function: seen.append(function) or [NUMPY])
    function = lambda left, right: left - right  # noqa: E731
    subject(function)
    assert all(each is function for each in seen)
    assert seen


def test_digits_are_those_of_the_result_before_it_was_read(monkeypatch):
    wider = NUMPY._replace(numbers=lambda value: np.asarray(value, dtype=np.float32))
    monkeypatch.setattr(functions, "libraries", lambda function: [wider])
    assert subject(lambda left, right: left.astype(np.float16)).digits == 16
    assert subject(lambda left, right: 3.0).digits == 32


def test_of_two_libraries_that_both_raise_the_first_is_told(monkeypatch):
    two = [NUMPY, NUMPY._replace(name="PyTorch")]
    monkeypatch.setattr(functions, "libraries", lambda function: two)
    with pytest.raises(Trouble, match=r"^It raises ValueError: bad, with arrays of NumPy\.$"):
        subject(raising(ValueError("bad")))


def test_the_second_library_is_used_where_the_first_raises(monkeypatch):
    two = [NUMPY, NUMPY._replace(name="Lists", array=list, stack=list, holds=lambda x: isinstance(x, list))]
    monkeypatch.setattr(functions, "libraries", lambda function: two)

    def of_lists(left, right):
        if not isinstance(left, list):
            raise TypeError("lists")
        return [a - b for a, b in zip(left, right, strict=True)]

    one = subject(of_lists)
    assert one.library.name == "Lists"
    assert one(CASES[1]).tolist() == [-1.0, 7.0]
