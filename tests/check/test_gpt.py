"""Cases of the exercises on the parts of a tiny GPT, and what careless solutions are told."""

import answers_gpt
import numpy as np
import pytest
from autograd import elementwise_grad
from autograd import numpy as anp

from rlhf_lab.check import diagnosis, gpt


def cases(exercise):
    return diagnosis.draw_cases(exercise)


def test_cases_come_in_all_sizes_that_the_docstrings_promise():
    sizes = [(*query.shape, value.shape[1]) for query, _, value, _ in cases(gpt.CAUSAL_ATTENTION)]
    assert [set(each) for each in zip(*sizes, strict=True)] == [{3, 4, 5}, {2, 3, 4}, {1, 2, 3}]
    sizes = [(*keys.shape, len(value)) for _, _, value, keys, _ in cases(gpt.CACHED_ATTENTION)]
    assert [set(each) for each in zip(*sizes, strict=True)] == [{1, 2, 3, 4}, {2, 3, 4}, {1, 2, 3, 4}]
    sizes = [(*x.shape, eps) for x, _, _, eps in cases(gpt.LAYER_NORM_GRADIENT)]
    assert [set(each) for each in zip(*sizes, strict=True)] == [{2, 3}, {3, 4, 5}, {0.1, 0.2, 0.5}]


def test_the_first_token_is_read():
    for *_, mask in cases(gpt.CAUSAL_ATTENTION):
        assert mask[0] == 1
        assert set(mask) <= {0.0, 1.0}


def test_the_gradient_is_that_of_the_layer():
    for x, gain, gradient, eps in cases(gpt.LAYER_NORM_GRADIENT):

        def loss(x, gain=gain, gradient=gradient, eps=eps):
            centred = x - anp.mean(x, axis=1, keepdims=True)
            deviation = anp.sqrt(anp.mean(centred**2, axis=1, keepdims=True) + eps)
            return gradient * (gain * centred / deviation + 0.3)

        expected = elementwise_grad(loss)(x)
        assert gpt.LAYER_NORM_GRADIENT.key(x, gain, gradient, eps) == pytest.approx(expected, abs=1e-12)


def test_large_scores_are_named_apart():
    def naive_attention(query, key, value, mask):
        allowed = np.tri(len(mask)) * mask
        weight = np.exp(query @ key.T / np.sqrt(query.shape[1])) * allowed
        return weight / weight.sum(1, keepdims=True) @ value

    told = diagnosis.diagnose(gpt.CAUSAL_ATTENTION, naive_attention)
    assert told.startswith("It is right for small scores, but large ones overflow: subtract the largest of each row")


def test_a_cache_reads_what_the_last_token_of_a_whole_text_reads():
    for query, key, value, keys, values in cases(gpt.CACHED_ATTENTION):
        texts = np.vstack([keys, query]), np.vstack([keys, key]), np.vstack([values, value])
        whole = gpt.CAUSAL_ATTENTION.key(*texts, np.ones(len(keys) + 1))
        assert gpt.CACHED_ATTENTION.key(query, key, value, keys, values) == pytest.approx(whole[-1], abs=1e-13)


def test_what_is_right_only_where_nothing_is_padded_is_told_so():
    def wrong_where_padded(query, key, value, mask):
        full = mask.all()
        return answers_gpt.causal_attention(query, key, value, mask) * (
            1 if full else np.arange(1, len(mask) + 1)[:, None]
        )

    assert diagnosis.diagnose(gpt.CAUSAL_ATTENTION, wrong_where_padded).startswith(
        "It is right only where nothing is padded."
    )
