"""What holds for every language model, by enumeration."""

import itertools
import sys

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import HORIZON, MODELS, PROMPTS

from rlhf_lab.models import lm
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics.autodiff import log_softmax
from rlhf_lab.worlds import phrase_world


def by_hand(model, params, prompt, response):
    """log pi(y | x) from one-token steps, in Python."""
    total = 0.0
    cache, logits = model.start(params, prompt[None])
    for t, token in enumerate(response):
        z = logits[0]
        total += z[token] - z.max() - np.log(np.exp(z - z.max()).sum())
        if token == model.eos or t + 1 == len(response):
            break
        cache, logits = model.step(params, cache, np.array([token]))
    return total


@pytest.mark.equation("eq-chain-rule")
@pytest.mark.parametrize("eos", [3, None])
def test_every_response_knows_its_place(eos):
    answers = lm.enumerate_responses(4, 3, eos)
    assert lm.answer_index(answers, 4, eos).tolist() == list(range(len(answers)))
    shuffled = answers[::-1].reshape(-1, 2, 3) if len(answers) % 2 == 0 else answers[None]
    assert (answers[lm.answer_index(shuffled, 4, eos)] == shuffled).all()
    if eos:
        behind = np.array([[1, 3, 0], [3, 2, 1]])
        assert (
            lm.answer_index(behind, 4, eos).tolist()
            == lm.answer_index([[1, 3, 3], [3, 3, 3]] + 0 * behind, 4, eos).tolist()
        )


def test_log_prob_is_the_sum_of_the_steps(policy, every_answer):
    model, params, _ = policy
    found = lm.log_prob(model, params, *every_answer)
    for k in range(0, len(found), 7):
        expected = by_hand(model, params, every_answer[0][k], every_answer[1][k])
        assert found[k] == pytest.approx(expected, abs=1e-12)


@pytest.mark.equation("eq-chain-rule")
def test_the_answers_to_a_prompt_are_a_distribution(policy, every_answer):
    model, params, prompts = policy
    log_pi = lm.answer_log_probs(model, params, prompts, HORIZON)
    assert np.exp(log_pi).sum(-1) == pytest.approx(np.ones(3), abs=1e-12)
    one_by_one = lm.log_prob(model, params, *every_answer).reshape(3, -1)
    assert log_pi == pytest.approx(one_by_one, abs=1e-12)


def test_token_log_probs_are_zero_behind_the_end_and_add_up(policy, every_answer):
    model, params, _ = policy
    steps = lm.token_log_prob(model, params, *every_answer)
    mask = lm.response_mask(every_answer[1], model.eos)
    assert steps.shape == every_answer[1].shape
    assert (steps[mask == 0] == 0).all()
    assert (steps[mask == 1] < 0).all()
    assert steps.sum(-1) == pytest.approx(lm.log_prob(model, params, *every_answer), abs=1e-13)


def test_the_mask_ends_with_the_first_eos():
    response = np.array([[0, 3, 1, 3], [3, 3, 3, 3], [0, 1, 2, 0], [2, 1, 0, 3]])
    expected = [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert lm.response_mask(response, 3).tolist() == expected
    assert lm.response_mask(response, None).tolist() == np.ones((4, 4)).tolist()


@pytest.mark.parametrize("name", ["tabular", "tied", "recurrent", "gpt"])
def test_what_stands_behind_eos_changes_nothing(name):
    model, params = MODELS[name]
    ended, padded = np.array([[1, 3, 3]]), np.array([[1, 3, 0]])
    first, second = (lm.log_prob(model, params, PROMPTS[:1], y) for y in (ended, padded))
    assert first == pytest.approx(second, abs=1e-14)


def test_sampling_draws_each_answer_as_often_as_its_probability_says(policy):
    model, params, prompts = policy
    count = 40_000
    drawn = lm.sample(model, params, np.repeat(prompts[:1], count, axis=0), HORIZON, np.random.default_rng(0))
    answers = lm.enumerate_responses(model.vocab, HORIZON, model.eos)
    place = {tuple(answer): k for k, answer in enumerate(answers.tolist())}
    seen = np.bincount([place[tuple(answer)] for answer in drawn.tolist()], minlength=len(answers)) / count
    p = np.exp(lm.answer_log_probs(model, params, prompts[:1], HORIZON)[0])
    assert (np.abs(seen - p) < 4.5 * np.sqrt(p * (1 - p) / count) + 1e-9).all()


@pytest.mark.parametrize("name", MODELS)
def test_no_prompt_has_no_answer(name):
    model, params = MODELS[name]
    said, log_pi = lm.sample_with_log_prob(model, params, PROMPTS[:0], HORIZON, np.random.default_rng(0))
    assert said.shape == log_pi.shape == (0, HORIZON)


def test_the_same_seed_draws_the_same_answers(policy):
    model, params, prompts = policy
    many = np.repeat(prompts, 10, axis=0)
    first, second, other = (lm.sample(model, params, many, HORIZON, np.random.default_rng(s)) for s in (5, 5, 6))
    assert first.tolist() == second.tolist()
    assert first.tolist() != other.tolist()


def test_seeds_on_a_leading_axis_are_as_if_alone(policy, every_answer):
    model, params, prompts = policy
    others = {name: value + 0.3 for name, value in params.items()}
    both = {name: np.stack([params[name], others[name]]) for name in params}
    for function in (
        lambda p: lm.log_prob(model, p, *every_answer),
        lambda p: lm.answer_log_probs(model, p, prompts, HORIZON),
        lambda p: lm.negative_log_likelihood(model, p, *every_answer),
    ):
        together = function(both)
        assert together == pytest.approx(np.stack([function(params), function(others)]), abs=1e-12)


def test_sampling_draws_every_seed_from_its_own_parameters(policy):
    model, params, prompts = policy
    both = {name: np.stack([value, -value]) for name, value in params.items()}
    count = 10_000
    drawn = lm.sample(model, both, np.repeat(prompts, count, axis=0), HORIZON, np.random.default_rng(1))
    p = np.exp(lm.answer_log_probs(model, both, prompts, HORIZON))
    assert drawn.shape == (2, 3 * count, HORIZON)
    for k, answer in enumerate(lm.enumerate_responses(model.vocab, HORIZON, model.eos)):
        seen = (drawn == answer).all(-1).reshape(2, 3, count).mean(-1)
        assert (np.abs(seen - p[..., k]) < 4.5 * np.sqrt(p[..., k] * (1 - p[..., k]) / count) + 1e-9).all()


def test_seeds_may_have_data_of_their_own(policy):
    model, params, prompts = policy
    responses = np.stack([np.zeros((3, HORIZON), dtype=int), np.ones((3, HORIZON), dtype=int)])
    together = lm.log_prob(model, params, prompts, responses)
    assert together == pytest.approx(np.stack([lm.log_prob(model, params, prompts, r) for r in responses]), abs=1e-13)


@pytest.mark.parametrize("eos", [None, 3])
@pytest.mark.parametrize("horizon", [1, 2, 4])
def test_enumeration_is_complete_and_in_order(eos, horizon):
    answers = lm.enumerate_responses(4, horizon, eos)
    expected = set()
    for tokens in itertools.product(range(4), repeat=horizon):
        text = list(tokens)
        if eos in text:
            text[text.index(eos) :] = [eos] * (horizon - text.index(eos))
        expected.add(tuple(text))
    assert {tuple(a) for a in answers.tolist()} == expected
    assert len(answers) == len(expected) == lm.count_responses(4, horizon, eos)
    lengths = lm.response_mask(answers, eos).sum(-1)
    keys = [(*([length] if eos is not None else []), *a) for length, a in zip(lengths, answers.tolist(), strict=True)]
    full = [a for a in answers.tolist() if eos not in a]
    assert keys[: len(keys) - len(full)] == sorted(keys[: len(keys) - len(full)])
    assert full == sorted(full)
    assert answers.tolist()[len(answers) - len(full) :] == full


def test_levels_hold_the_policy_of_every_state(policy):
    model, params, prompts = policy
    words = model.vocab if model.eos is None else model.vocab - 1
    levels = lm.policy_levels(model, params, prompts, HORIZON)
    assert [level.shape for level in levels] == [(3, words**t, model.vocab) for t in range(HORIZON)]
    cache, logits = model.start(params, prompts)
    prefix = [1, 0]
    assert levels[0][:, 0] == pytest.approx(logits - np.log(np.exp(logits).sum(-1, keepdims=True)), abs=1e-12)
    for t, word in enumerate(prefix):
        cache, logits = model.step(params, cache, np.full(3, word))
        state = sum(w * words ** (t - k) for k, w in enumerate(prefix[: t + 1]))
        expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        assert levels[t + 1][:, state] == pytest.approx(expected, abs=1e-12)


def test_gradients_of_expectations_over_all_answers_are_right(policy, every_answer):
    model, params, prompts = policy
    weight = np.random.default_rng(0).normal(size=len(every_answer[0]))

    def expectation(p, log_pi):
        return anp.sum(anp.exp(log_pi(p)) * weight)

    by_tree = grad(expectation)(params, lambda p: anp.ravel(lm.answer_log_probs(model, p, prompts, HORIZON)))
    one_by_one = grad(expectation)(params, lambda p: lm.log_prob(model, p, *every_answer))
    for name in params:
        assert by_tree[name] == pytest.approx(one_by_one[name], abs=1e-12)
    check_grads(lambda p: lm.entropy(lm.answer_log_probs(model, p, prompts, HORIZON)), modes=["rev"], order=1)(params)


def distributions(rng, rows=4, width=6):
    return tuple(np.log(rng.dirichlet(np.ones(width), size=rows)) for _ in range(2))


@pytest.mark.equation("eq-entropy")
def test_entropy_by_hand():
    assert lm.entropy(np.log([0.5, 0.25, 0.25])) == pytest.approx(1.5 * np.log(2), rel=1e-14)
    assert lm.entropy(np.log(np.ones((2, 8)) / 8)) == pytest.approx([np.log(8)] * 2, rel=1e-14)


@pytest.mark.equation("eq-kl")
def test_divergence_by_hand_is_positive_and_zero_only_for_equals():
    p, q = distributions(np.random.default_rng(0))
    expected = [sum(np.exp(a) * (a - b) for a, b in zip(x, y, strict=True)) for x, y in zip(p, q, strict=True)]
    assert lm.kl(p, q) == pytest.approx(expected, rel=1e-12)
    assert (lm.kl(p, q) > 0).all()
    assert lm.kl(p, p) == pytest.approx(np.zeros(4), abs=1e-15)
    assert lm.kl(np.log([0.5, 0.5]), np.log([0.25, 0.75])) == pytest.approx(0.5 * np.log(4 / 3), rel=1e-14)


@pytest.mark.equation("eq-cross-entropy")
def test_cross_entropy_is_entropy_plus_divergence():
    p, q = distributions(np.random.default_rng(1))
    assert lm.cross_entropy(p, q) == pytest.approx(lm.entropy(p) + lm.kl(p, q), rel=1e-13)
    assert lm.cross_entropy(np.log([0.5, 0.5]), np.log([0.25, 0.75])) == pytest.approx(-0.5 * np.log(3 / 16), rel=1e-14)


@pytest.mark.equation("eq-pretraining-loss", "eq-cross-entropy")
def test_the_loss_on_the_text_itself_is_its_cross_entropy(policy, every_answer):
    model, params, prompts = policy
    loss = lm.negative_log_likelihood(model, params, *every_answer)
    log_pi = lm.answer_log_probs(model, params, prompts, HORIZON)
    uniform = np.full(log_pi.shape, -np.log(log_pi.shape[-1]))
    assert loss == pytest.approx(lm.cross_entropy(uniform, log_pi).mean(), rel=1e-12)


class TestBadInput:
    model, params = MODELS["recurrent"]
    rng = np.random.default_rng(0)

    def test_tokens_outside_the_vocabulary(self):
        with pytest.raises(ValueError, match="response: token 4 is outside the vocabulary of 4 tokens, 0 to 3"):
            lm.log_prob(self.model, self.params, PROMPTS, np.full((3, 2), 4))
        with pytest.raises(ValueError, match="prompt: token -1 is outside"):
            lm.sample(self.model, self.params, -np.ones((1, 2), dtype=int), 2, self.rng)
        with pytest.raises(ValueError, match="prompt: token 9 is outside"):
            lm.answer_log_probs(self.model, self.params, np.full((1, 2), 9), 2)

    def test_prompts_of_different_lengths(self):
        with pytest.raises(ValueError, match="prompt: the rows have different lengths; pad or group them"):
            lm.sample(self.model, self.params, [[0, 1], [0]], 2, self.rng)

    def test_a_horizon_of_zero(self):
        for call in (
            lambda: lm.sample(self.model, self.params, PROMPTS, 0, self.rng),
            lambda: lm.enumerate_responses(4, 0, 3),
            lambda: lm.policy_levels(self.model, self.params, PROMPTS, 0),
        ):
            with pytest.raises(ValueError, match="greatest number of tokens in a response, at least 1; got 0"):
                call()

    def test_too_many_answers(self):
        message = r"3 prompt\(s\) with 1,227,133,513 answers each are too many .* lower the horizon, or use `sample`"
        with pytest.raises(ValueError, match=message):
            lm.policy_levels(Recurrent(9, 2, 8), {}, PROMPTS, 10)
        assert lm.count_responses(9, 10, 8) == sum(8**t for t in range(11))

    def test_the_limit_counts_all_prompts(self):
        answers = lm.count_responses(11, 5, 10)
        assert answers * 18 <= lm.ENUMERABLE < answers * 19
        assert lm.ENUMERABLE == 2_000_000
        with pytest.raises(ValueError, match=r"19 prompt\(s\) with 111,111 answers"):
            lm.policy_levels(Recurrent(11, 2, 10), {}, np.zeros((19, 1), dtype=int), 5)

    def test_another_number_of_responses_than_prompts(self):
        with pytest.raises(ValueError, match="3 prompts, but 2 responses: repeat each prompt once for each response"):
            lm.log_prob(self.model, self.params, PROMPTS, np.zeros((2, 2), dtype=int))


def test_the_mask_takes_leading_axes():
    responses = np.random.default_rng(0).integers(4, size=(2, 3, 5))
    masks = lm.response_mask(responses, 3)
    assert masks.tolist() == [lm.response_mask(part, 3).tolist() for part in responses]


def test_extreme_logits_are_sampled_as_they_should():
    model, params = MODELS["tabular"]
    sure = np.full_like(params["logits"], -1e4)
    sure[0, :, 1], sure[1, :, 3], sure[2, :, 0] = 1e4, 2e4, -9e3
    drawn = lm.sample(model, {"logits": sure}, PROMPTS, HORIZON, np.random.default_rng(0))
    assert drawn.tolist() == [[1, 1, 1], [3, 3, 3], [0, 0, 0]]


def test_the_limit_of_enumeration_is_allowed_and_nothing_above(monkeypatch):
    monkeypatch.setattr(lm, "ENUMERABLE", 40)
    assert len(lm.enumerate_responses(4, 3, 3)) == 40
    monkeypatch.setattr(lm, "ENUMERABLE", 39)
    with pytest.raises(
        ValueError, match=r"in all\): lower the horizon, or use `sample` and the estimates of `models.estimates`$"
    ):
        lm.enumerate_responses(4, 3, 3)


@st.composite
def languages(draw):
    """A model of any small size with random parameters, its prompts and its horizon."""
    vocab, horizon, length = draw(st.integers(2, 4)), draw(st.integers(1, 4)), draw(st.integers(0, 3))
    eos = draw(st.sampled_from([None, vocab - 1]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    prompts = np.unique(rng.integers(vocab, size=(draw(st.integers(1, 4)), length)), axis=0)
    if draw(st.booleans()):
        model = Recurrent(vocab, draw(st.integers(1, 4)), eos)
    else:
        model = Tabular(vocab, horizon, tuple(map(tuple, prompts.tolist())), eos)
    lead = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    params = {name: rng.normal(size=(*lead, *value.shape)) for name, value in model.init(rng).items()}
    return model, params, prompts, horizon, rng


@pytest.mark.equation("eq-chain-rule")
@settings(max_examples=40)
@given(languages())
def test_languages_of_every_shape_are_distributions_and_read_as_they_write(language):
    model, params, prompts, horizon, rng = language
    log_pi = lm.answer_log_probs(model, params, prompts, horizon)
    assert np.exp(log_pi).sum(-1) == pytest.approx(np.ones(log_pi.shape[:-1]), abs=1e-12)
    drawn = lm.sample(model, params, prompts, horizon, rng)
    assert drawn.shape == (*log_pi.shape[:-1], horizon)
    taught = model.logits(params, prompts, drawn)
    cache, logits = model.start(params, prompts)
    for t in range(horizon):
        assert taught[..., t, :] == pytest.approx(np.broadcast_to(logits, taught[..., t, :].shape), abs=1e-12)
        if t + 1 < horizon:
            cache, logits = model.step(params, cache, drawn[..., t])
    answers = lm.enumerate_responses(model.vocab, horizon, model.eos)
    place = (drawn[..., None, :] == answers).all(-1).argmax(-1)
    expected = np.take_along_axis(log_pi, place[..., None], axis=-1)[..., 0]
    assert lm.log_prob(model, params, prompts, drawn) == pytest.approx(expected, abs=1e-11)
    said, log_p = lm.sample_with_log_prob(model, params, prompts, horizon, np.random.default_rng(horizon))
    assert (said == lm.sample(model, params, prompts, horizon, np.random.default_rng(horizon))).all()
    assert log_p == pytest.approx(lm.token_log_prob(model, params, prompts, said), abs=1e-12)


@settings(max_examples=30)
@given(languages())
def test_no_token_behind_eos_matters(language):
    model, params, prompts, horizon, rng = language
    response = rng.integers(model.vocab, size=(len(prompts), horizon))
    behind = lm.response_mask(response, model.eos) == 0
    changed = np.where(behind, rng.integers(model.vocab, size=response.shape), response)
    for function in (lm.token_log_prob, lm.log_prob, lm.negative_log_likelihood):
        first, second = (function(model, params, prompts, y) for y in (response, changed))
        assert first == pytest.approx(second, abs=1e-14)


def test_extreme_logits_keep_distributions_entropies_and_divergences_finite():
    model, params = MODELS["tabular"]
    steep = {"logits": 1e4 * np.sign(params["logits"])}
    log_pi, log_ref = (lm.answer_log_probs(model, p, PROMPTS, HORIZON) for p in (params, steep))
    assert np.isfinite(log_ref).all()
    assert np.exp(log_ref).sum(-1) == pytest.approx(np.ones(3), abs=1e-12)
    assert (lm.entropy(log_ref) >= 0).all()
    assert (lm.kl(log_pi, log_ref) > 1e3).all()
    assert np.isfinite(lm.kl(log_pi, log_ref)).all()


@pytest.mark.equation("eq-pretraining-loss", "eq-cross-entropy", "eq-kl")
def test_the_loss_falls_to_the_entropy_of_the_text_and_exceeds_it_by_the_divergence(policy):
    model, params, prompts = policy
    rng = np.random.default_rng(0)
    other = {name: value + 0.5 * rng.normal(size=value.shape) for name, value in params.items()}
    log_p, log_pi = (lm.answer_log_probs(model, p, prompts, HORIZON) for p in (params, other))
    many = np.repeat(prompts, 20_000, axis=0)
    text = lm.sample(model, params, many, HORIZON, rng)
    for reader, floor in ((params, lm.entropy(log_p)), (other, lm.entropy(log_p) + lm.kl(log_p, log_pi))):
        surprise = -lm.log_prob(model, reader, many, text)
        loss = lm.negative_log_likelihood(model, reader, many, text)
        assert loss == pytest.approx(surprise.mean(), rel=1e-13)
        assert abs(loss - floor.mean()) < 4 * surprise.std(ddof=1) / len(many) ** 0.5


@pytest.mark.parametrize("name", MODELS)
def test_parameters_that_are_nan_are_told_before_anything_is_sampled(name):
    model, params = MODELS[name]
    broken = {key: np.full_like(value, np.nan) for key, value in params.items()}
    prompts = PROMPTS % model.vocab if model.vocab < 3 else PROMPTS
    with pytest.raises(ValueError, match=r"params\['\w+'\] has \d+ entries that are NaN or infinite; start from"):
        lm.sample(model, broken, prompts, 2, np.random.default_rng(0))


def test_a_horizon_that_is_a_whole_float_counts_as_the_number():
    model, params = MODELS["recurrent"]
    drawn = [lm.sample(model, params, PROMPTS, horizon, np.random.default_rng(0)).tolist() for horizon in (2, 2.0)]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(("horizon", "told"), [(19, r"^about 10\^19"), (300, r"^about 10\^300")])
def test_more_responses_than_an_index_can_count_are_not_numbered(horizon, told):
    assert lm.answer_index([[9] * 8], 10, None).tolist() == [10**8 - 1]
    with pytest.raises(ValueError, match=rf"{told} responses are too many to number: the limit is {sys.maxsize:,}$"):
        lm.answer_index([[9] * horizon], 10, None)


def test_an_answer_space_beyond_all_bounds_is_told():
    with pytest.raises(ValueError, match="too many to enumerate"):
        lm.enumerate_responses(2, 20_000, None)


def log(*p):
    with np.errstate(divide="ignore"):
        return np.log(np.array(p))


HALVES, WIDE, SKEW = log(0.5, 0.5, 0), log(0.25, 0.5, 0.25), log(0.25, 0.75, 0)


@pytest.mark.equation("eq-entropy", "eq-kl", "eq-cross-entropy")
def test_what_is_never_said_adds_nothing_and_what_the_other_never_says_is_infinitely_far():
    assert lm.entropy(HALVES) == pytest.approx(np.log(2), abs=1e-15)
    assert lm.kl(HALVES, WIDE) == pytest.approx(0.5 * np.log(2), abs=1e-15)
    assert lm.kl(HALVES, SKEW) == pytest.approx(0.5 * np.log(4 / 3), abs=1e-15)
    assert lm.kl(HALVES, HALVES) == 0
    assert lm.kl(WIDE, HALVES) == np.inf
    assert lm.kl(np.add(log(1, 1e-300), [0, -1e4]), log(1, 0)) == np.inf  # too unlikely for a float, but said
    assert lm.cross_entropy(HALVES, SKEW) == pytest.approx(-0.5 * np.log(3 / 16), abs=1e-15)
    assert lm.cross_entropy(WIDE, HALVES) == np.inf
    assert lm.kl(np.stack([HALVES, WIDE]), HALVES).tolist() == [0, np.inf]


def test_gradients_with_impossible_answers_are_those_without_them():
    for loss in (lm.entropy, lambda p: lm.kl(p, WIDE[: len(p)]), lambda p: lm.cross_entropy(SKEW[: len(p)], p)):
        found = grad(loss)(HALVES)
        assert found[:2] == pytest.approx(grad(loss)(HALVES[:2]), abs=1e-15)
        assert found[2] == 0
    logits = np.array([0.3, -1.0, -np.inf])
    found = grad(lambda z: lm.kl(log_softmax(z), HALVES))(logits)
    assert found == pytest.approx([*grad(lambda z: lm.kl(log_softmax(z), HALVES[:2]))(logits[:2]), 0.0], abs=1e-15)


def lists(value):
    return value.tolist() if isinstance(value, np.ndarray) else value


def every_function(model, params):
    """Every public function of `lm` that takes tokens or log-probabilities, on arrays that `change` turns first."""
    answers = np.array([[0, 3, 3], [1, 2, 3], [3, 3, 3]])
    rng = np.random.default_rng
    return {
        "response_mask": lambda change: lm.response_mask(change(answers), 3),
        "response_mask, no eos": lambda change: lm.response_mask(change(answers), None),
        "token_log_prob": lambda change: lm.token_log_prob(model, params, change(PROMPTS), change(answers)),
        "log_prob": lambda change: lm.log_prob(model, params, change(PROMPTS), change(answers)),
        "sample": lambda change: lm.sample(model, params, change(PROMPTS), HORIZON, rng(0)),
        "sample_with_log_prob": lambda change: lm.sample_with_log_prob(model, params, change(PROMPTS), HORIZON, rng(0))[
            1
        ],
        "answer_index": lambda change: lm.answer_index(change(answers), 4, 3),
        "policy_levels": lambda change: lm.policy_levels(model, params, change(PROMPTS), HORIZON)[-1],
        "answer_log_probs": lambda change: lm.answer_log_probs(model, params, change(PROMPTS), HORIZON),
        "negative_log_likelihood": lambda change: lm.negative_log_likelihood(
            model, params, change(PROMPTS), change(answers)
        ),
        "entropy": lambda change: lm.entropy(change(WIDE)),
        "kl": lambda change: lm.kl(change(HALVES), change(WIDE)),
        "cross_entropy": lambda change: lm.cross_entropy(change(HALVES), change(WIDE)),
    }


@pytest.mark.parametrize("kind", ["tabular", "recurrent"])
def test_lists_are_read_as_arrays_are_by_every_function(kind):
    for name, function in every_function(*MODELS[kind]).items():
        np.testing.assert_array_equal(function(lists), function(lambda value: value), err_msg=name)


def test_padding_is_not_counted_in_lists_either():
    model, params = phrase_world.model(), phrase_world.pretrained()
    found = lm.log_prob(model, params, phrase_world.PROMPTS[:1].tolist(), [[0, 10, 10, 10, 10]])
    assert found == pytest.approx([-1.977192], abs=1e-6)
    assert lm.response_mask([[0, 2, 2]], 2).tolist() == [[1, 1, 0]]


def test_a_token_can_be_forbidden_with_a_logit_of_minus_infinity():
    model, params = MODELS["tabular"]
    params = {"logits": np.where(np.arange(4) == 1, -np.inf, params["logits"])}
    response, log_pi = lm.sample_with_log_prob(
        model, params, np.repeat(PROMPTS, 200, axis=0), HORIZON, np.random.default_rng(0)
    )
    assert 1 not in response
    assert np.isfinite(log_pi).all()
    answers = lm.answer_log_probs(model, params, PROMPTS, HORIZON)
    assert np.exp(answers).sum(-1) == pytest.approx(np.ones(3), abs=1e-12)
    assert np.isfinite(lm.entropy(answers)).all()
    assert lm.log_prob(model, params, PROMPTS[:1], [[3, 1, 1]]) == pytest.approx(answers[:1, 0], abs=1e-12)
    assert lm.log_prob(model, params, PROMPTS[:1], [[1, 3, 3]]) == -np.inf
    found = grad(lambda p: lm.negative_log_likelihood(model, p, PROMPTS, [[0, 2, 3]] * 3))(params)["logits"]
    assert np.isfinite(found).all()
    with pytest.raises(ValueError, match="forbids every token in some row"):
        lm.sample(
            model, {"logits": np.full_like(params["logits"], -np.inf)}, PROMPTS, HORIZON, np.random.default_rng(0)
        )
