"""A weight of 0 leaves nothing, of infinity and NaN too, and the gradient knows it."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, jacobian
from autograd.test_util import check_grads
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rlhf_lab.numerics.weighted import expectation, masked, standardised, weighted

RNG = np.random.default_rng(0)
LOG_P, VALUE = RNG.normal(size=(2, 3, 4))
NEVER = -np.inf
NUMBERS = st.floats(-1e3, 1e3)


def test_finite_products_are_products_to_the_bit_and_broadcast():
    assert (weighted(LOG_P, VALUE) == np.exp(LOG_P) * VALUE).all()
    assert (weighted(LOG_P, VALUE[0]) == np.exp(LOG_P) * VALUE[0]).all()
    assert (masked(VALUE, VALUE > 0) == VALUE * (VALUE > 0)).all()
    assert (expectation(LOG_P, VALUE) == (np.exp(LOG_P) * VALUE).sum(-1)).all()
    assert (expectation(LOG_P, VALUE, LOG_P[0]) == (np.exp(LOG_P) * (VALUE - LOG_P[0])).sum(-1)).all()
    assert weighted(LOG_P.astype(np.float32), VALUE.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e300])
def test_what_has_no_weight_leaves_nothing_whatever_it_is(value):
    assert weighted([0.0, NEVER], [2.0, value]).tolist() == [2.0, 0.0]
    assert expectation([0.0, NEVER], [2.0, value]) == 2.0
    assert expectation([0.0, NEVER], [2.0, 5.0], [1.0, value]) == 1.0
    for mask in ([1, 0], [True, False], np.array([1.0, 0.0])):
        assert masked([2.0, value], mask).tolist() == [2.0, 0.0]


@pytest.mark.parametrize("log_p", [-1.0, -800.0, -1e5])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_what_is_possible_keeps_an_infinite_value_though_its_probability_underflows(log_p, value):
    assert weighted([log_p, NEVER], [value, 1.0]).tolist() == [value, 0.0]
    assert expectation([log_p, 0.0], [value, 1.0]) == value


def test_a_value_that_counts_and_is_not_a_number_is_not_hidden():
    assert np.isnan(weighted([0.0, -1.0], [np.nan, 1.0])).tolist() == [True, False]
    assert np.isnan(masked([np.nan, np.nan], [1, 0])).tolist() == [True, False]
    assert np.isnan(expectation([np.nan, 0.0], [1.0, np.inf]))


def test_a_share_weighs_as_a_share_beside_something_infinite():
    assert masked([4.0, np.inf, 2.0], [0.5, 0.0, 1.0]).tolist() == [2.0, 0.0, 2.0]


def test_gradients_are_those_of_the_product_in_both_directions():
    check_grads(weighted, modes=["rev", "fwd"], order=2)(LOG_P, VALUE)
    check_grads(weighted, modes=["rev"], order=2)(LOG_P[0], VALUE)
    check_grads(weighted, modes=["rev"], order=2)(LOG_P, VALUE[0])
    check_grads(masked, modes=["rev", "fwd"], order=2)(VALUE, LOG_P)
    check_grads(masked, modes=["rev"], order=2)(VALUE, LOG_P[0])
    check_grads(expectation, modes=["rev"], order=2)(LOG_P, VALUE)
    check_grads(expectation, modes=["rev"], order=2)(LOG_P, VALUE, LOG_P[1])


def test_gradients_are_finite_and_zero_where_there_is_no_weight():
    log_p, value = np.array([np.log(0.25), NEVER, np.log(0.75)]), np.array([2.0, -np.inf, 1.0])
    assert grad(expectation)(log_p, value) == pytest.approx([0.5, 0.0, 0.75], abs=1e-15)
    assert grad(expectation, 1)(log_p, value) == pytest.approx([0.25, 0.0, 0.75], abs=1e-15)
    inner = lambda x: anp.sum(masked(anp.array([1.0, 3.0]) * x, [1, 0]))  # noqa: E731
    assert grad(inner)(np.array([1.0, np.inf])).tolist() == [1.0, 0.0]
    assert jacobian(masked)(np.array([np.nan, 2.0]), np.array([0.0, 1.0])).tolist() == [[0.0, 0.0], [0.0, 1.0]]


@given(arrays(float, (2, 3), elements=NUMBERS), arrays(bool, (2, 3)), st.sampled_from([np.nan, np.inf, -np.inf, 1e10]))
def test_padding_may_hold_anything(value, mask, anything):
    assert (masked(np.where(mask, value, anything), mask) == np.where(mask, value, 0.0)).all()


@pytest.mark.parametrize("eps", [0.0, 1e-8, 1e-4])
def test_equal_numbers_have_no_deviation_and_others_are_divided_by_theirs(eps):
    equal = np.full(3, 0.1)
    assert standardised(equal, equal.mean(), equal.std(ddof=1), eps).tolist() == [0, 0, 0]
    assert standardised(np.zeros(2), np.zeros(1), np.zeros(1), eps).tolist() == [0, 0]
    for near in (np.array([1.0, 1.0 + 1e-10]), np.array([-1e-9, 1e-9]), np.array([-5.0, -5.0 - 1e-9])):
        found = standardised(near, near.mean(), near.std(), eps)
        assert found == pytest.approx((near - near.mean()) / (near.std() + eps), rel=1e-12)
    assert standardised(-equal, -equal.mean(), 1e-16, eps).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match=r"^eps is what keeps a small deviation from blowing up, finite"):
        standardised(equal, 0.1, 1.0, -1e-9)
