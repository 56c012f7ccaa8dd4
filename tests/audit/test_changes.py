"""What is tried in place of an input, beside loops over its numbers."""

import numpy as np
import pytest

from rlhf_lab.audit import changes

X = np.array([[-1.0, 2.0, 0.5], [3.0, -0.4, 1.2]])
MASK = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
FORMULAS = {
    "0": lambda x: [0.0, 0.0, 0.0],
    "minus {}": lambda x: [-a for a in x],
    "the size of {}": lambda x: [max(a, -a) for a in x],
    "the sign of {}": lambda x: [a / max(a, -a) for a in x],
    "the square of {}": lambda x: [a * a for a in x],
    "twice {}": lambda x: [a + a for a in x],
    "half of {}": lambda x: [a * 0.5 for a in x],
    "the exponential of {}": lambda x: [np.e**a for a in x],
    "the sigmoid of {}": lambda x: [np.e**a / (np.e**a + 1) for a in x],
    "the hyperbolic tangent of {}": lambda x: [(np.e ** (2 * a) - 1) / (np.e ** (2 * a) + 1) for a in x],
    "{} without what is negative": lambda x: [a if a > 0 else 0 for a in x],
    "{} one place late": lambda x: [0, x[0], x[1]],
    "{} one place early": lambda x: [x[1], x[2], 0],
    "{} from the end to the beginning": lambda x: [x[2], x[1], x[0]],
    "sums of {} up to each place": lambda x: [x[0], x[0] + x[1], x[0] + x[1] + x[2]],
    "ranks of {}": lambda x: [sum(b < a for b in x) for a in x],
    "{} rounded to 8 bits": lambda x: [round(a * 128) / 128 if 1 <= abs(a) < 2 else EIGHT_BITS[a] for a in x],
} | {f"{{}} clipped to {c:g}": lambda x, c=c: [min(max(a, -c), c) for a in x] for c in (0.1, 0.2, 0.5, 1, 2, 3, 5, 10)}
EIGHT_BITS = {2.0: 2.0, 0.5: 0.5, 3.0: 3.0, -0.4: -205 / 512}
ROWS = {"{} of the row before": X[[1, 0]], "{} of the row behind": X[[1, 0]]}


def test_each_change_is_what_its_name_says():
    assert set(changes.CHANGES) == {*FORMULAS, *ROWS}
    for name, change in changes.CHANGES.items():
        wanted = [FORMULAS[name](row) for row in X] if name in FORMULAS else ROWS[name]
        np.testing.assert_allclose(change(X), wanted, rtol=1e-12, err_msg=name)
    three = np.arange(3.0)
    assert changes.CHANGES["{} of the row before"](three).tolist() == [2, 0, 1]
    assert changes.CHANGES["{} of the row behind"](three).tolist() == [1, 2, 0]
    assert changes.CHANGES["{} one place late"](three).tolist() == [0, 0, 1]
    assert changes.CHANGES["{} one place early"](three).tolist() == [1, 2, 0]
    assert changes.CHANGES["sums of {} up to each place"](three).tolist() == [0, 1, 3]
    assert changes.CHANGES["0"](three).tolist() == [0, 0, 0]
    assert changes.CHANGES["ranks of {}"](np.array([5.0, -1.0, 2.0])).tolist() == [2, 0, 1]


def test_flags_of_other_steps_are_what_their_names_say():
    ends = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    by_hand = {
        "flags one place late": [[0, 0, 1], [0, 1, 0]],
        "flags one place early": [[1, 0, 0], [0, 1, 0]],
        "1 less the flags": [[1, 0, 1], [0, 1, 0]],
    }
    assert {name: turn(ends).tolist() for name, turn in changes.ENDS.items()} == by_hand


def test_the_range_of_a_set_is_that_of_what_counts():
    for padding in (-7.0, 7.0):
        low, high = changes._range(np.array([[1.0, 2.0, padding]]), (1,), np.array([[1.0, 1.0, 0.0]]))
        assert (low.tolist(), high.tolist()) == ([[1.0]], [[2.0]])


def test_each_number_is_what_its_name_says():
    wanted = {"1": 1, "0": 0, "minus {}": -0.3, "1 / {}": 10 / 3, "1 less {}": 0.7, "the square of {}": 0.09}
    wanted |= {"the root of {}": 0.3**0.5, "twice {}": 0.6, "half of {}": 0.15, "the cube of {}": 0.027}
    times = ("0.1", "0.25", "0.333333", "0.75", "1.5", "3", "4", "5", "10", "100")
    assert set(changes.NUMBERS) == {*wanted, *(f"{factor} times {{}}" for factor in times)}
    for name, turn in changes.NUMBERS.items():
        factor = name.partition(" times")[0]
        assert turn(0.3) == pytest.approx(wanted.get(name) if name in wanted else 0.3 * float(factor), 1e-5), name
    with np.errstate(divide="ignore"):
        assert 1 / changes.NUMBERS["0"](0.3) == np.inf  # and no error


def test_each_mask_is_what_its_name_says():
    wanted = {
        "the mask one place early": [[1, 0, 0], [1, 1, 0]],
        "the mask one place late": [[0, 1, 1], [0, 1, 1]],
        "a mask without the first token": [[0, 1, 0], [0, 1, 1]],
        "a mask with one place more": [[1, 1, 1], [1, 1, 1]],
        "1 less the mask": [[0, 0, 1], [0, 0, 0]],
    }
    assert {name: turn(MASK).tolist() for name, turn in changes.MASKS.items()} == wanted
    left = np.array([[0.0, 1.0, 1.0]])  # padded on the left
    assert {name: turn(left).tolist() for name, turn in changes.MASKS.items()} == {
        "the mask one place early": [[1, 1, 0]],
        "the mask one place late": [[0, 0, 1]],
        "a mask without the first token": [[0, 0, 1]],
        "a mask with one place more": [[0, 1, 1]],
        "1 less the mask": [[1, 0, 0]],
    }


SETS = {
    "the batch": lambda i, j: [X[a, b] for a, b in np.argwhere(MASK)],
    "the batch, padding with it": lambda i, j: X.ravel(),
    "each answer by itself": lambda i, j: X[i][MASK[i] > 0],
    "each answer by itself, padding with it": lambda i, j: X[i],
    "each place by itself": lambda i, j: X[:, j][MASK[:, j] > 0],
    "each place by itself, padding with it": lambda i, j: X[:, j],
    "the batch with 0 for padding": lambda i, j: (X * MASK).ravel(),
}
OF_A_SET = {
    "the mean of {}": lambda x, s: np.mean(s),
    "{} less its mean": lambda x, s: x - np.mean(s),
    "{} less its largest": lambda x, s: x - max(s),
    "{} whitened": lambda x, s: (x - np.mean(s)) / (np.std(s) + 1e-8),
    "{} whitened by the count less 1": lambda x, s: (x - np.mean(s)) / (np.std(s, ddof=1) + 1e-8),
    "{} over its deviation": lambda x, s: x / (np.std(s) + 1e-8),
    "{} over its deviation by the count less 1": lambda x, s: x / (np.std(s, ddof=1) + 1e-8),
    "{} scaled to its range": lambda x, s: (x - min(s)) / (max(s) - min(s) + 1e-8),
    "the sum of {}": lambda x, s: sum(s),
}


@pytest.mark.filterwarnings("ignore:Degrees of freedom", "ignore:invalid value")
def test_each_statistic_is_that_of_its_numbers():
    tried = dict(changes.changed(X, MASK))
    for where, numbers in SETS.items():
        zeroed = X * MASK if "0 for padding" in where else X
        for what, formula in OF_A_SET.items():
            usual = (where, what) == ("the batch", "the mean of {}")
            with np.errstate(invalid="ignore", divide="ignore"):
                found = tried.pop(what if usual else f"{what}, over {where}")(X, MASK)
                wanted = [[formula(zeroed[i, j], numbers(i, j)) for j in range(3)] for i in range(2)]
            np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-12, err_msg=f"{what}, {where}")
    np.testing.assert_allclose(tried.pop("{} over the length")(X, MASK), X / [[2], [3]])
    assert set(tried) == set(changes.CHANGES)
    of_zeros = dict(changes.changed(0 * X, MASK))
    for name in ("the mean of {}", "the sum of {}, over the batch"):
        assert of_zeros[name](0 * X, MASK).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert not any("0 for padding" in name for name, _ in changes.changed(X, np.ones(X.shape)))


def test_a_hundred_millionth_is_added_to_what_divides():
    """To numbers of that size: 1 and -1 have deviation 1, or the root of 2 by the count less 1, and range 2."""
    tried = dict(changes.changed(np.array([[1e-8, -1e-8]]), np.ones((1, 2))))
    wanted = {
        "{} whitened": 1 / 2,
        "{} whitened by the count less 1": 1 / (1 + 2**0.5),
        "{} over its deviation": 1 / 2,
        "{} over its deviation by the count less 1": 1 / (1 + 2**0.5),
        "{} scaled to its range": 2 / 3,
    }
    for name, first in wanted.items():
        found = tried[f"{name}, over the batch"](np.array([[1e-8, -1e-8]]), np.ones((1, 2)))
        assert found[0, 0] == pytest.approx(first), name


def test_one_number_an_answer_has_statistics_over_the_batch_alone():
    x = np.array([1.0, 4.0])
    tried = dict(changes.changed(x, MASK))
    assert {name.partition(", over ")[2] for name in tried} == {"", "the batch"}
    np.testing.assert_allclose(tried["{} over the length"](x, MASK), [0.5, 4 / 3])
    np.testing.assert_allclose(tried["{} less its mean, over the batch"](x, MASK), [-1.5, 1.5])
    assert "{} over the length" not in dict(changes.changed(x, np.ones(2)))
    assert set(dict(changes.changed(np.ones((2, 3, 4)), MASK))) == set(changes.CHANGES)


def test_the_mask_of_an_input_is_that_of_the_case_or_everything():
    assert changes.mask_of(X, {"mask": MASK}) is MASK
    assert changes.mask_of(X, {}).tolist() == np.ones((2, 3)).tolist()
    assert changes.mask_of(np.ones((2, 4)), {"mask": MASK}).tolist() == np.ones((2, 4)).tolist()
    assert changes.mask_of(np.ones(2), {"mask": MASK}) is MASK


@pytest.mark.parametrize("difference", changes.DIFFERENCES, ids=lambda difference: difference.name)
def test_a_difference_is_another_after_it_is_written(difference):
    names = [*difference.plus, *difference.minus]
    case = {name: np.random.default_rng(i).normal(size=3) for i, name in enumerate(names)}
    read = sum(case[name] for name in difference.plus) - sum(case[name] for name in difference.minus)
    np.testing.assert_allclose(difference.read(case), read)
    other = difference.write(case, np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(difference.read(other), [1, 2, 3])
    assert [name for name in names if other[name] is not case[name]] == [difference.minus[0]]
    assert difference.within(case)
    assert not difference.within({name: case[name] for name in names[:-1]})
