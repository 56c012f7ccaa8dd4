"""What estimates tell from texts is what enumeration tells exactly, with the errors that they tell."""

import numpy as np
import pytest
from small_models import HORIZON, MODELS, PROMPTS

from rlhf_lab.models import estimates, lm
from rlhf_lab.numerics.autodiff import log_softmax


@pytest.mark.parametrize("estimate", ["kl", "entropy"])
def test_estimates_lie_within_four_standard_errors_and_their_errors_are_right(policy, estimate):
    model, params, prompts = policy
    reference = (
        model,
        {name: value + 0.2 * np.sin(np.arange(value.size)).reshape(value.shape) for name, value in params.items()},
    )
    log_pi = lm.answer_log_probs(model, params, prompts, HORIZON)
    rng = np.random.default_rng(0)
    if estimate == "kl":
        log_ref = lm.answer_log_probs(*reference, prompts, HORIZON)
        values, exact = log_pi - log_ref, lm.kl(log_pi, log_ref)
        found = estimates.kl_estimate((model, params), reference, prompts, HORIZON, 4000, rng)
    else:
        values, exact = -log_pi, lm.entropy(log_pi)
        found = estimates.entropy_estimate((model, params), prompts, HORIZON, 4000, rng)
    variance = (np.exp(log_pi) * values**2).sum(-1) - exact**2
    assert found.mean.shape == found.standard_error.shape == (3,)
    assert (np.abs(found.mean - exact) < 4 * found.standard_error).all()
    assert found.standard_error == pytest.approx(np.sqrt(variance / 4000), rel=0.15)


@pytest.mark.equation("eq-token-kl")
def test_the_divergence_of_each_choice_measures_the_same_with_the_error_that_it_tells(policy, every_answer):
    model, params, prompts = policy
    other = {name: value + 0.2 * np.sin(np.arange(value.size)).reshape(value.shape) for name, value in params.items()}
    prompt, answers = every_answer
    logits = [log_softmax(model.logits(p, prompt, answers)) for p in (params, other)]
    summed = np.zeros(len(answers))
    for n, answer in enumerate(answers):  # choices up to the end, each with its exact divergence
        for t, token in enumerate(answer):
            here, there = logits[0][n, t], logits[1][n, t]
            summed[n] += sum(np.exp(a) * (a - b) for a, b in zip(here, there, strict=True))
            if token == model.eos:
                break
    log_pi, log_ref = (lm.answer_log_probs(model, p, prompts, HORIZON) for p in (params, other))
    exact, summed = lm.kl(log_pi, log_ref), summed.reshape(log_pi.shape)
    assert (np.exp(log_pi) * summed).sum(-1) == pytest.approx(exact, rel=1e-12), "unbiased"
    variance = (np.exp(log_pi) * summed**2).sum(-1) - exact**2
    found = estimates.token_kl_estimate(
        (model, params), (model, other), prompts, HORIZON, 4000, np.random.default_rng(0)
    )
    assert (np.abs(found.mean - exact) < 4 * found.standard_error).all()
    assert found.standard_error == pytest.approx(np.sqrt(variance / 4000), rel=0.15)
    plain = (np.exp(log_pi) * (log_pi - log_ref) ** 2).sum(-1) - exact**2
    assert (variance < plain / 4).all(), "a standard error of less than half"


def test_the_standard_error_is_that_of_a_mean():
    model, params = MODELS["token process"]
    few = estimates.entropy_estimate((model, params), np.zeros((1, 0), dtype=int), 2, 2, np.random.default_rng(4))
    drawn = lm.sample(model, params, np.zeros((2, 0), dtype=int), 2, np.random.default_rng(4))
    values = -lm.log_prob(model, params, np.zeros((2, 0), dtype=int), drawn)
    assert few.mean == pytest.approx(values.mean(), rel=1e-14)
    assert few.standard_error == pytest.approx(abs(values[0] - values[1]) / 2, rel=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_that_are_nan_are_told_before_anything_is_sampled(name):
    model, params = MODELS[name]
    broken = {key: np.full_like(value, np.nan) for key, value in params.items()}
    prompts, rng = PROMPTS % model.vocab if model.vocab < 3 else PROMPTS, np.random.default_rng(0)
    for call in (
        lambda: estimates.kl_estimate((model, broken), (model, params), prompts, 2, 10, rng),
        lambda: estimates.token_kl_estimate((model, broken), (model, params), prompts, 2, 10, rng),
        lambda: estimates.entropy_estimate((model, broken), prompts, 2, 10, rng),
    ):
        with pytest.raises(ValueError, match=r"params\['\w+'\] has \d+ entries that are NaN or infinite; start from"):
            call()


def test_one_sample_has_no_standard_error():
    with pytest.raises(ValueError, match=r"^a standard error needs at least 2 samples for each prompt; got 1$"):
        estimates.entropy_estimate(MODELS["recurrent"], PROMPTS, 2, 1, np.random.default_rng(0))


def test_estimates_of_seeds_on_a_leading_axis():
    model, params = MODELS["recurrent"]
    both = {name: np.stack([value, 0.5 * value]) for name, value in params.items()}
    log_pi = lm.answer_log_probs(model, both, PROMPTS, HORIZON)
    found = estimates.entropy_estimate((model, both), PROMPTS, HORIZON, 3000, np.random.default_rng(0))
    assert found.mean.shape == found.standard_error.shape == (2, 3)
    assert (np.abs(found.mean - lm.entropy(log_pi)) < 4 * found.standard_error).all()


def test_each_seed_on_a_leading_axis_has_its_own_divergence():
    model, params = MODELS["recurrent"]
    both = {name: np.stack([value, 0.5 * value]) for name, value in params.items()}
    other = {name: 0.8 * value for name, value in both.items()}
    exact = lm.kl(*(lm.answer_log_probs(model, p, PROMPTS, HORIZON) for p in (both, other)))
    rng = np.random.default_rng(0)
    found = estimates.token_kl_estimate((model, both), (model, other), PROMPTS, HORIZON, 2000, rng)
    assert found.mean.shape == found.standard_error.shape == (2, 3)
    assert (np.abs(found.mean - exact) < 4 * found.standard_error).all()


def test_estimates_tell_of_prompts_of_different_lengths():
    policy, rng = MODELS["recurrent"], np.random.default_rng(0)
    for call in (
        lambda: estimates.kl_estimate(policy, policy, [[0, 1], [0]], 2, 10, rng),
        lambda: estimates.entropy_estimate(policy, [[0, 1], [0]], 2, 10, rng),
    ):
        with pytest.raises(ValueError, match="prompt: the rows have different lengths; pad or group them"):
            call()


@pytest.mark.parametrize("kind", ["tabular", "recurrent"])
def test_lists_are_read_as_arrays_are(kind):
    policy, rng = MODELS[kind], np.random.default_rng
    for estimate in (
        lambda prompts: estimates.kl_estimate(policy, policy, prompts, HORIZON, 4, rng(0)),
        lambda prompts: estimates.token_kl_estimate(policy, policy, prompts, HORIZON, 4, rng(0)),
        lambda prompts: estimates.entropy_estimate(policy, prompts, HORIZON, 4, rng(0)),
    ):
        np.testing.assert_array_equal(estimate(PROMPTS.tolist()), estimate(PROMPTS))
