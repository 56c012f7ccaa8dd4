"""Texts that are read once say the same as texts that are read one by one."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_lab.models import lm
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.numerics import repeats

MODEL = Recurrent(vocab=4, hidden=3, eos=3)


def texts(rng, lead, count):
    return rng.integers(4, size=(*lead, count, 1)), rng.integers(4, size=(*lead, count, 2))


@given(seed=st.integers(0, 10_000), lead=st.sampled_from([(), (2,), (2, 3)]), count=st.integers(150, 400))
@settings(max_examples=30)
def test_spread_undoes_once(seed, lead, count):
    prompt, response = texts(np.random.default_rng(seed), lead, count)
    few_prompts, few_responses, place = repeats.once(prompt, response, 4)
    size = np.prod(lead, dtype=int) * count
    assert (place is None) == (size < repeats.FEW)
    for few, every in ((few_prompts, prompt), (few_responses, response)):
        assert (repeats.spread(few, place) == every).all()
    if place is not None:
        rows = np.concatenate([prompt, response], axis=-1).reshape(-1, count, 3)
        assert few_prompts.shape[-2] == max(len(np.unique(each, axis=0)) for each in rows)


@pytest.mark.parametrize("shared", [True, False])
def test_log_probabilities_and_their_gradients_do_not_change(shared, monkeypatch):
    rng = np.random.default_rng(0)
    seeds = [MODEL.init(rng) for _ in range(3)]
    params = {name: np.stack([each[name] for each in seeds]) for name in seeds[0]}
    prompt, response = texts(rng, () if shared else (3,), 600)
    weight = rng.normal(size=(3, 600, 2))

    def found():
        value = lambda p: anp.sum(weight * lm.token_log_prob(MODEL, p, prompt, response))  # noqa: E731
        return lm.token_log_prob(MODEL, params, prompt, response), grad(value)(params)

    assert repeats.once(prompt, response, 4)[0].shape[-2] == 64, "all texts of three tokens, once"
    (fast, slopes), _ = found(), monkeypatch.setattr(repeats, "FEW", 10_000)
    slow, expected = found()
    assert fast == pytest.approx(slow, abs=1e-13)
    for name in params:
        assert slopes[name] == pytest.approx(expected[name], abs=1e-11)


def test_texts_that_hardly_repeat_or_are_too_long_to_number_are_left_alone():
    rng = np.random.default_rng(1)
    prompt, response = rng.integers(4, size=(600, 1)), rng.integers(4, size=(600, 5))
    assert repeats.once(prompt, response, 4)[2] is None
    longer = np.zeros((600, 40), dtype=int)
    assert repeats.once(prompt, longer, 4)[2] is None
    assert repeats.once(prompt, longer[:, :29], 4)[0].shape == (4, 1)
    assert repeats.once(prompt[:499], longer[:499, :5], 4)[2] is None


def test_bad_texts_are_refused_before_they_are_numbered():
    good = np.zeros((600, 2), dtype=int)
    with pytest.raises(ValueError, match="outside the vocabulary"):
        repeats.once(good, good + 4, 4)
    with pytest.raises(ValueError, match="600 prompts, but 599 responses"):
        repeats.once(good, good[1:], 4)
