"""Cases of the exercises of the chapter on a tiny GPT, and what careless solutions are told."""

import answers_gpt
import numpy as np
import pytest
from autograd import elementwise_grad, grad
from autograd import numpy as anp

from rlhf_lab.check import diagnosis, gpt
from rlhf_lab.models import lm
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics.autodiff import log_softmax


def cases(exercise):
    return diagnosis.draw_cases(exercise)


def test_cases_come_in_all_sizes_that_the_docstrings_promise():
    sizes = [(*x.shape, eps) for x, _, _, eps in cases(gpt.LAYER_NORM_GRADIENT)]
    assert [set(each) for each in zip(*sizes, strict=True)] == [{2, 3}, {3, 4, 5}, {0.1, 0.2, 0.5}]
    sizes = [log_pi.shape for log_pi, *_ in cases(gpt.PER_TOKEN_KL)]
    assert [set(each) for each in zip(*sizes, strict=True)] == [{2, 3, 4}, {2, 3, 4}, {3, 4, 5}]
    sizes = [(*embed.shape, len(tokens)) for embed, tokens in cases(gpt.WEIGHT_TYING_GRADIENT)]
    assert [set(each) for each in zip(*sizes, strict=True)] == [{3, 4, 5}, {2, 3}, {3, 4, 5, 6, 7}]


def test_inputs_are_of_the_kinds_that_tell_mistakes_apart():
    for x, gain, *_ in cases(gpt.LAYER_NORM_GRADIENT):
        assert sorted(2 * gain) == list(range(1, x.shape[1] + 1)), "no two gains are equal"
    drawn = [(response, eos, log_pi.shape[2]) for log_pi, _, response, eos in cases(gpt.PER_TOKEN_KL)]
    assert sum(eos == vocab - 1 for _, eos, vocab in drawn) > 25
    assert sum(response[0, 0] == eos for response, eos, _ in drawn) > 20, "half of them with a text of its end alone"
    for other in ((1, 0), (0, 1)):
        assert any(response[0, 0] not in (eos, response[other]) for response, eos, _ in drawn)
    entries = np.concatenate([embed.ravel() for embed, _ in cases(gpt.WEIGHT_TYING_GRADIENT)])
    assert 1.4 < np.abs(entries).max() <= 1.5
    texts = [tokens for _, tokens in cases(gpt.WEIGHT_TYING_GRADIENT)]
    assert any(len(tokens) == 4 > len(set(tokens)) for tokens in texts)


def test_whole_sentences():
    told = gpt.PER_TOKEN_KL.mistakes(*cases(gpt.PER_TOKEN_KL)[0])
    assert sum(sentence.endswith("all tokens that could have been said.") for sentence in told) == 3
    told = gpt.WEIGHT_TYING_GRADIENT.mistakes(*cases(gpt.WEIGHT_TYING_GRADIENT)[0])
    assert sum(sentence.endswith("adds to each once; `np.add.at` adds each time.") for sentence in told) == 1


def test_the_gradient_is_that_of_the_layer():
    for x, gain, gradient, eps in cases(gpt.LAYER_NORM_GRADIENT):

        def loss(x, gain=gain, gradient=gradient, eps=eps):
            centred = x - anp.mean(x, axis=1, keepdims=True)
            deviation = anp.sqrt(anp.mean(centred**2, axis=1, keepdims=True) + eps)
            return gradient * (gain * centred / deviation + 0.3)

        expected = elementwise_grad(loss)(x)
        assert gpt.LAYER_NORM_GRADIENT.key(x, gain, gradient, eps) == pytest.approx(expected, abs=1e-12)


def test_the_gradient_of_tied_weights_is_that_of_the_loss():
    for embed, tokens in cases(gpt.WEIGHT_TYING_GRADIENT):
        pairs = np.arange(len(tokens) - 1), tokens[1:]

        def loss(embed, tokens=tokens, pairs=pairs):
            score = embed[tokens[:-1]] @ embed.T
            return -anp.mean((score - anp.log(anp.sum(anp.exp(score), axis=1, keepdims=True)))[pairs])

        assert gpt.WEIGHT_TYING_GRADIENT.key(embed, tokens) == pytest.approx(grad(loss)(embed), abs=1e-12)


def test_the_mean_over_all_texts_of_what_each_adds_up_is_the_divergence():
    model, rng, prompt = Tabular(3, 3, ((0,),), 2), np.random.default_rng(0), np.zeros((1, 1), dtype=int)
    policies = [{"logits": rng.normal(size=(1, model.states, 3))} for _ in range(2)]
    log_pi, log_ref = (lm.answer_log_probs(model, params, prompt, 3)[0] for params in policies)
    texts = lm.enumerate_responses(3, 3, 2)
    steps = [log_softmax(model.logits(params, np.zeros((len(texts), 1), dtype=int), texts)) for params in policies]
    each = [gpt.PER_TOKEN_KL.key(p[None], q[None], text[None], 2) for p, q, text in zip(*steps, texts, strict=True)]
    assert np.exp(log_pi) @ each == pytest.approx(lm.kl(log_pi, log_ref), abs=1e-12)


def test_texts_of_divergences_are_padded_with_their_end():
    for log_pi, log_ref, response, eos in cases(gpt.PER_TOKEN_KL):
        assert np.exp(log_pi).sum(-1) == pytest.approx(1)
        assert np.exp(log_ref).sum(-1) == pytest.approx(1)
        assert (response < log_pi.shape[2]).all()
        assert (response[lm.response_mask(response, eos) == 0] == eos).all()
    (_, (log_pi, log_ref, response, eos)), *_ = gpt.PER_TOKEN_KL.hard
    assert np.exp(log_pi).sum(-1) == pytest.approx(1)
    assert np.exp(log_ref).sum(-1) == pytest.approx(1)
    assert response.tolist() == [[eos]] == [[2]]


def test_what_is_right_for_small_scores_and_for_possible_tokens_alone_is_told_so():
    def naive_gradient(embed, tokens):
        weight = np.exp(embed[tokens[:-1]] @ embed.T)
        slope = weight / weight.sum(1, keepdims=True) - np.eye(len(embed))[tokens[1:]]
        found = slope.T @ embed[tokens[:-1]]
        np.add.at(found, tokens[:-1], slope @ embed)
        return found / len(slope)

    def naive_divergence(log_pi, log_ref, response, eos):
        each = (np.exp(log_pi) * (log_pi - log_ref)).sum(2) * lm.response_mask(response, eos)
        return each.sum(1).mean()

    told = diagnosis.diagnose(gpt.WEIGHT_TYING_GRADIENT, naive_gradient)
    assert (
        told == "It is right for small scores, but large ones overflow: subtract the largest before you exponentiate."
    )
    told = diagnosis.diagnose(gpt.PER_TOKEN_KL, naive_divergence)
    assert told.startswith("It is right where pi may say every token; what it never says adds nothing")


def test_where_it_is_right_is_told():
    def wrong_where_padded(log_pi, log_ref, response, eos):
        found = answers_gpt.per_token_kl(log_pi, log_ref, response, eos)
        return found if lm.response_mask(response, eos).all() else found + log_pi[0, 0, 0] ** 2

    def wrong_where_read_twice(embed, tokens):
        found = answers_gpt.weight_tying_gradient(embed, tokens)
        return found if len(set(tokens[:-1])) == len(tokens) - 1 else found + embed**2 + 1

    def wrong_unless_last(log_pi, log_ref, response, eos):
        found = answers_gpt.per_token_kl(log_pi, log_ref, response, eos)
        return found if eos == log_pi.shape[2] - 1 else found + log_pi[0, 0, 0] ** 2

    told = diagnosis.diagnose(gpt.PER_TOKEN_KL, wrong_unless_last)
    assert told.startswith("It is right except where eos is not the last token of the vocabulary.")
    told = diagnosis.diagnose(gpt.PER_TOKEN_KL, wrong_where_padded)
    assert told.startswith("It is right only where no text is padded.")
    told = diagnosis.diagnose(gpt.WEIGHT_TYING_GRADIENT, wrong_where_read_twice)
    assert told.startswith("It is right only where no token is read twice.")
