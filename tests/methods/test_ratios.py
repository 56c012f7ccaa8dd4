"""Density ratios: means by enumeration, the law by counting."""

import itertools

import numpy as np
import pytest

from rlhf_lab.methods import ratios

P, Q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])


@pytest.mark.equation("eq-mean-ratio", "eq-support")
def test_the_mean_ratio_is_enumeration_over_all_texts():
    for length in (1, 2, 5):
        texts = np.array(list(itertools.product(range(3), repeat=length)))
        p, q = P[texts].prod(-1), Q[texts].prod(-1)
        assert np.exp(ratios.log_mean_ratio(P, Q, length)) == pytest.approx((p * p / q).sum(), rel=1e-12)
        assert (q * p / q).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.equation("eq-support", "eq-mean-ratio")
def test_the_mean_under_q_is_the_mass_of_its_support():
    q = np.array([0.0, 0.4, 0.6])
    seen = q > 0
    assert (q[seen] * P[seen] / q[seen]).sum() == pytest.approx(P[seen].sum(), abs=1e-15)
    assert ratios.log_mean_ratio(P, q, 3) == np.inf
    assert ratios.log_mean_ratio(q, q, 3) == pytest.approx(0, abs=1e-12)  # what neither says does not count
    assert ratios.log_mean_ratio(q, P, 2) == pytest.approx(2 * np.log(0.16 / 0.3 + 0.36 / 0.2), rel=1e-12)


@pytest.mark.equation("eq-ratio-law")
def test_the_law_of_the_ratio_is_enumeration_over_coins():
    law = ratios.ratio_law(0.6, 0.3, 4)
    assert law.value.shape == law.under_p.shape == law.under_q.shape == (5,)
    for k in range(5):
        texts = [t for t in itertools.product((0, 1), repeat=4) if sum(t) == k]
        assert law.under_p[k] == pytest.approx(len(texts) * 0.6**k * 0.4 ** (4 - k), rel=1e-12)
        assert law.under_q[k] == pytest.approx(len(texts) * 0.3**k * 0.7 ** (4 - k), rel=1e-12)
        assert law.value[k] == pytest.approx(k * np.log(2) + (4 - k) * np.log(4 / 7), rel=1e-12)
    assert law.under_q @ np.exp(law.value) == pytest.approx(1, rel=1e-12)
    coin = [np.array([x, 1 - x]) for x in (0.6, 0.3)]
    assert np.log(law.under_p @ np.exp(law.value)) == pytest.approx(ratios.log_mean_ratio(*coin, 4), rel=1e-12)


def test_what_is_no_distribution_or_no_length_is_an_error():
    with pytest.raises(ValueError, match="p must sum to 1"):
        ratios.log_mean_ratio(P[:2], Q[:2] / 0.4, 3)
    with pytest.raises(ValueError, match="q must sum to 1"):
        ratios.log_mean_ratio(P, Q / 2, 3)
    for call in (lambda t: ratios.log_mean_ratio(P, Q, t), lambda t: ratios.ratio_law(0.5, 0.4, t)):
        with pytest.raises(ValueError, match="length is the number of tokens in a text, a whole number from 1"):
            call(0)
    for p, q, name in ((0.0, 0.5, "p"), (0.5, 1.0, "q"), (0.5, np.nan, "q")):
        with pytest.raises(ValueError, match=f"{name} is the probability of a one, inside"):
            ratios.ratio_law(p, q, 3)
