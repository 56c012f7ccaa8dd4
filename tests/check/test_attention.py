"""Cases of the exercises on attention, and what careless solutions are told."""

import answers_attention
import numpy as np

from rlhf_lab.check import attention, diagnosis


def cases(exercise):
    return diagnosis.draw_cases(exercise)


def test_cases_come_in_all_sizes_that_the_docstrings_promise():
    sizes = [(*query.shape, value.shape[1]) for query, _, value, _ in cases(attention.CAUSAL_ATTENTION)]
    assert [set(each) for each in zip(*sizes, strict=True)] == [{3, 4, 5}, {2, 3, 4}, {1, 2, 3}]
    sizes = [(*keys.shape, len(value)) for _, _, value, keys, _ in cases(attention.CACHED_ATTENTION)]
    assert [set(each) for each in zip(*sizes, strict=True)] == [{1, 2, 3, 4}, {2, 3, 4}, {1, 2, 3, 4}]


def test_the_first_token_is_read():
    for *_, mask in cases(attention.CAUSAL_ATTENTION):
        assert mask[0] == 1
        assert set(mask) <= {0.0, 1.0}


def naive_softmax(scores, axis=None):
    weight = np.exp(scores)
    return weight / weight.sum(axis=axis, keepdims=True)


def test_large_scores_are_named_apart():
    def naive_attention(query, key, value, mask):
        score = np.where(np.tri(len(mask)) * mask > 0, query @ key.T / np.sqrt(query.shape[1]), -np.inf)
        return naive_softmax(score, 1) @ value

    def naive_cache(query, key, value, keys, values):
        return naive_softmax(np.vstack([keys, key]) @ query / np.sqrt(len(query))) @ np.vstack([values, value])

    told = diagnosis.diagnose(attention.CAUSAL_ATTENTION, naive_attention)
    assert told.startswith("It is right for small scores, but large ones overflow: subtract the largest of each row")
    told = diagnosis.diagnose(attention.CACHED_ATTENTION, naive_cache)
    assert told.startswith("It is right for small scores, but large ones overflow: subtract the largest before you")


def test_the_largest_score_alone_is_heard_where_scores_are_large():
    (_, whole), (_, cached) = *attention.CAUSAL_ATTENTION.hard, *attention.CACHED_ATTENTION.hard
    np.testing.assert_allclose(attention.CAUSAL_ATTENTION.key(*whole), [[1, 0], [1, 0]], atol=1e-15)
    np.testing.assert_allclose(attention.CACHED_ATTENTION.key(*cached), [1], atol=1e-15)


def test_a_cache_reads_what_the_last_token_of_a_whole_text_reads():
    for query, key, value, keys, values in cases(attention.CACHED_ATTENTION):
        texts = np.vstack([keys, query]), np.vstack([keys, key]), np.vstack([values, value])
        whole = attention.CAUSAL_ATTENTION.key(*texts, np.ones(len(keys) + 1))
        found = attention.CACHED_ATTENTION.key(query, key, value, keys, values)
        np.testing.assert_allclose(found, whole[-1], atol=1e-13)


def test_what_is_right_only_where_nothing_is_padded_is_told_so():
    def wrong_where_padded(query, key, value, mask):
        found = answers_attention.causal_attention(query, key, value, mask)
        return found if mask.all() else found * np.arange(1, len(mask) + 1)[:, None]

    told = diagnosis.diagnose(attention.CAUSAL_ATTENTION, wrong_where_padded)
    assert told.startswith("It is right only where nothing is padded.")
