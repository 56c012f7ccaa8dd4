"""Which of several results is read, and what is told of a case and of a result."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest

from rlhf_lab.audit import words
from rlhf_lab.audit.libraries import NUMPY
from rlhf_lab.audit.results import first


@dataclass
class Output:
    logits: float
    loss: float


@dataclass
class Bare:
    margin: float


@dataclass(slots=True)
class Slim:
    loss: float


class Plain:
    """No record of results, though it has a loss."""

    loss = 1.0

    def __init__(self):
        self.losses = 2.0


class Pair(NamedTuple):
    advantages: float
    losses: float


class Both(NamedTuple):
    left: float
    right: float


BARE, SLIM, PLAIN = Bare(3.0), Slim(3.0), Plain()


@pytest.mark.parametrize(
    ("result", "value", "note"),
    [
        (3.0, 3.0, ""),
        ((3.0, 4.0, 5.0), 3.0, "returns 3 results, of which the first is read"),
        ([np.zeros(2), 1.0], [0.0, 0.0], "returns 2 results, of which the first is read"),
        ([1, 2, 3], [1, 2, 3], ""),
        ([], [], ""),
        ((), (), ""),
        ({"kl": 1.0, "advantages": 2.0, "loss": 3.0}, 3.0, "returns a dictionary, of which 'loss' is read"),
        ({"kl": 1.0, "total": 2.0}, 1.0, "returns a dictionary, of which 'kl' is read"),
        ({}, None, "returns a dictionary, of which None is read"),
        (Output(1.0, 2.0), 2.0, "returns Output, of which 'loss' is read"),
        (Pair(1.0, 2.0), 2.0, "returns Pair, of which 'losses' is read"),
        (Both(1.0, 2.0), 1.0, "returns 2 results, of which the first is read"),
        (BARE, BARE, ""),
        (SLIM, SLIM, ""),
        (PLAIN, PLAIN, ""),
        ([[1, 2], [3]], [[1, 2], [3]], ""),
    ],
)
def test_the_loss_is_read_or_else_the_first_result(result, value, note):
    found, told = first(result, NUMPY)
    assert told == note
    assert found is value or np.array_equal(found, value) or found == value


def test_lists_are_arrays_of_numbers():
    square, told = first([[1, 2], [3, 4]], NUMPY)
    assert (square.tolist(), square.dtype, told) == ([[1.0, 2.0], [3.0, 4.0]], float, "")
    row, _ = first([1.0, 2.0], NUMPY)
    assert isinstance(row, np.ndarray)


def test_the_beginning_of_a_result_is_shown():
    assert words.shown("x" * 100) == "'" + "x" * 59
    assert words.shown(np.zeros((2, 2))) == "array([[0., 0.],"
    assert words.shown(type("Silent", (), {"__repr__": lambda self: ""})()) == "nothing"


@pytest.mark.parametrize("error", ["no kernel image for CUDA", "Invalid HIP device", "use the GPUs", "on mps:0"])
def test_an_error_of_a_device_is_told_as_that(error):
    told = words.raised(RuntimeError(f"{error}\nand more"), "left = 1")
    assert told == f"It wants a GPU (RuntimeError: {error}): leave tensors on the device on which they come."


def test_an_error_is_told_by_its_first_line():
    assert words.raised(ValueError("ships sail\nand more"), "left = 1") == (
        "It raises ValueError: ships sail, with left = 1."
    )
    assert words.raised(KeyError(), "left = 1") == "It raises KeyError, with left = 1."


def test_inputs_are_told_in_one_line_as_far_as_they_are_short():
    long = np.arange(24) + 0.25
    row = [f"{value:5.2f}".strip() for value in long]
    told = words.told({"a": long, "b": long.reshape(2, 12), "c": np.zeros(25), "d": np.zeros((5, 0))})
    told = told.replace("[ ", "[")
    assert told == (
        f"a = [{', '.join(row)}], b = [[{', '.join(row[:12])}], [{', '.join(row[12:])}]], c of shape (25,), d = []"
    )
    assert words.told({"a": 1.0, "b": 2.0}, {"b", "c"}) == "b = 2."
