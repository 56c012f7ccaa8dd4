"""The tiny GPT: its definition, its cache, and the algorithms of the book on it."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from small_models import MODELS, PROMPTS

from rlhf_lab.models import gpt_cache, lm
from rlhf_lab.models.gpt import GPT
from rlhf_lab.numerics import transformer_twins as twins

RESPONSE = np.array([[1, 2, 0], [3, 3, 3], [2, 2, 1]])


def with_twins(model, params, tokens):
    """The logits behind each place, the readable way."""
    x = twins.embed_text(params["embed"], params["position"], tokens)
    for k in range(model.layers):
        names = ("norm_1", "qkv", "out", "norm_2", "up", "down")
        x = twins.block(x, *(params[f"{k}.{name}"] for name in names), model.heads)
    return twins.project(x, params["norm"], params["embed"].T)


def test_the_logits_are_those_of_the_definition():
    model, params = MODELS["gpt"]
    found = model.logits(params, PROMPTS, RESPONSE)
    read = np.concatenate([PROMPTS, RESPONSE[:, :-1]], axis=1)
    np.testing.assert_allclose(found, with_twins(model, params, read)[:, 2:], atol=1e-12)


def test_one_block_of_one_head_by_hand():
    """One token behind nothing: attention over two places, in plain numbers."""
    model = GPT(2, width=2, layers=1, heads=1, context=3, dtype="float64")
    params = {name: np.random.default_rng(0).normal(size=shape) for name, shape in model.shapes().items()}
    norm = lambda v, gain: (v - v.mean()) / np.sqrt(v.var() + 1e-5) * gain  # noqa: E731
    nothing, token = params["position"][0], params["embed"][1] + params["position"][1]
    parts = [norm(v, params["0.norm_1"]) @ params["0.qkv"] for v in (nothing, token)]
    scores = np.exp([parts[1][:2] @ part[2:4] / 2**0.5 for part in parts])
    heard = sum(score * part[4:] for score, part in zip(scores / scores.sum(), parts, strict=True))
    middle = token + heard @ params["0.out"]
    up = norm(middle, params["0.norm_2"]) @ params["0.up"]
    hidden = up / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (up + 0.044715 * up**3)))
    wanted = params["embed"] @ norm(middle + hidden @ params["0.down"], params["norm"])
    _, found = model.start(params, np.array([[1]]))
    assert found[0] == pytest.approx(wanted, abs=1e-13)


def test_an_empty_prompt_starts_from_place_0():
    model, params = MODELS["gpt"]
    empty = np.zeros((2, 0), dtype=int)
    found = model.logits(params, empty, np.array([[0], [1]]))
    np.testing.assert_allclose(found[:, 0], model.start(params, empty)[1], atol=1e-13)
    np.testing.assert_allclose(found[0], found[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_cache_says_what_a_full_pass_says(dtype):
    model, rng = GPT(7, width=8, layers=3, heads=4, context=60, dtype=dtype), np.random.default_rng(0)
    params = {name: value * 2 for name, value in model.init(rng).items()}
    prompt, response = rng.integers(7, size=(4, 5)), rng.integers(7, size=(4, 50))
    whole, close = model.logits(params, prompt, response), 1e-12 if dtype == "float64" else 2e-4
    cache, logits = model.start(params, prompt)
    for t in range(50):
        np.testing.assert_allclose(logits, whole[:, t], atol=close)
        assert logits.dtype == dtype
        if t in (3, 30):  # behind a few tokens and behind many, the texts go on twice
            _, twice = model.step(params, model.repeat(cache, 2), np.repeat(response[:, t], 2))
            np.testing.assert_allclose(twice, np.repeat(whole[:, t + 1], 2, axis=0), atol=close)
        cache, logits = model.step(params, cache, response[:, t])


def test_large_scores_do_not_overflow_with_a_cache():
    model, params = MODELS["gpt"]
    large = {name: np.stack([value] * 2) for name, value in params.items()}
    for name in ("0.qkv", "1.qkv"):  # each token's score with itself is above 0, or below
        _, keys, values = np.split(params[name], 3, axis=1)
        large[name] = np.stack([np.concatenate([s * keys, 100 * keys, values], axis=1) for s in (100, -100)])
    whole = model.logits(large, PROMPTS, RESPONSE)
    cache, logits = model.start(large, PROMPTS)
    for t in range(2):
        np.testing.assert_allclose(logits, whole[..., t, :], atol=1e-9)
        cache, logits = model.step(large, cache, np.stack([RESPONSE[:, t]] * 2))
    empty = np.zeros((1, 0), dtype=int)
    for k in range(2):
        one = {name: value[k] for name, value in large.items()}
        np.testing.assert_allclose(model.start(one, empty)[1], model.logits(one, empty, [[0]])[:, 0], atol=1e-12)


def test_large_hidden_units_do_not_overflow_with_a_cache():
    model, params = MODELS["gpt"]
    large = params | {"0.up": 1e4 * params["0.up"]}
    whole = model.logits(large, PROMPTS, RESPONSE)
    _, logits = model.start(large, PROMPTS)
    np.testing.assert_allclose(logits, whole[:, 0], atol=1e-11)


@pytest.mark.parametrize("lead", [(), (2,)])
def test_texts_sampled_in_blocks_are_those_sampled_at_once(lead, monkeypatch):
    model, params = MODELS["gpt"]
    params = {name: value + np.zeros((*lead, *value.shape)) for name, value in params.items()}
    prompts, found, start, read = np.repeat(PROMPTS, 3, axis=0), [], gpt_cache.start, []
    monkeypatch.setattr(gpt_cache, "start", lambda *args: read.append(len(args[1])) or start(*args))
    for size in (100, 9, 4):
        monkeypatch.setattr(gpt_cache, "AT_ONCE", size)
        rng = np.random.default_rng(0)
        found.append((*lm.sample_with_log_prob(model, params, prompts, 3, rng), rng.random()))
    for response, log_pi, follows in found[1:]:
        assert (response == found[0][0]).all()
        np.testing.assert_allclose(log_pi, found[0][1], atol=1e-13)
        assert follows == found[0][2], "the generator has gone as far"
    assert found[0][0].shape == (*lead, 9, 3)
    assert read == [9, 9, 4, 4, 1]


@pytest.mark.parametrize("lead", [(), (2,)])
def test_texts_that_ended_are_left_out_and_change_nothing(lead, monkeypatch):
    model, rng = GPT(4, width=6, layers=2, heads=2, context=20, eos=3, dtype="float64"), np.random.default_rng(0)
    params = {name: rng.normal(size=(*lead, *shape)) / shape[0] ** 0.5 for name, shape in model.shapes().items()}
    prompts, step = np.repeat(PROMPTS, 8, axis=0), gpt_cache.step
    spoken = []

    def watched(params, cache, token):
        spoken.append(((token != model.eos).reshape(-1, token.shape[-1]).any(0).sum(), token.shape[-1]))
        return step(params, cache, token)

    with monkeypatch.context() as patch:
        patch.setattr(gpt_cache, "step", watched)
        said, log_pi = lm.sample_with_log_prob(model, params, prompts, 18, np.random.default_rng(1))
    assert all(2 * speaking > rows for speaking, rows in spoken), "half of a batch and more still speak"
    assert spoken[0][1] == 24 > spoken[-1][1]
    monkeypatch.setattr(GPT, "keep", None)
    whole, log_whole = lm.sample_with_log_prob(model, params, prompts, 18, np.random.default_rng(1))
    np.testing.assert_array_equal(said, whole)
    np.testing.assert_allclose(log_pi, log_whole, atol=1e-13)
    np.testing.assert_allclose(log_pi, lm.token_log_prob(model, params, prompts, said), atol=1e-12)


@pytest.mark.parametrize("lead", [(), (3,)])
def test_some_of_the_texts_go_on_as_they_were(lead):
    model, params = MODELS["gpt"]
    params = {name: np.stack([value, -value, 2 * value]) if lead else value for name, value in params.items()}
    cache, _ = model.start(params, PROMPTS)
    cache, _ = model.step(params, cache, np.broadcast_to([1, 2, 0], (*lead, 3)))
    kept = model.keep(cache, np.array([2, 0]))
    np.testing.assert_array_equal(kept.tokens, cache.tokens[..., [2, 0], :])
    _, other = model.step(params, cache, np.broadcast_to([0, 0, 0], (*lead, 3)))
    longer, found = model.step(params, kept, np.broadcast_to([3, 1], (*lead, 2)))
    assert longer.memory is kept.memory, "nothing is copied again"
    texts = np.array([[0, 3, 0], [1, 1, 0]])
    np.testing.assert_allclose(found, model.logits(params, PROMPTS[[2, 0]], texts)[..., 2, :], atol=1e-12)
    texts = np.array([[1, 0, 0], [2, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(other, model.logits(params, PROMPTS, texts)[..., 2, :], atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_memory_knows_its_parameters_and_has_their_precision(dtype):
    model = GPT(4, width=6, layers=2, heads=2, context=5, dtype=dtype)
    params = model.init(np.random.default_rng(0))
    cache, _ = model.start(params, PROMPTS)
    assert cache.knows(params)
    assert not cache.knows(params | {"0.up": params["0.up"].copy()})
    memory = cache.memory
    assert {a.dtype for a in (memory.values, memory.queries, memory.heard, memory.ones)} == {np.dtype(dtype)}
    assert model.repeat(cache, 2).memory.values.dtype == dtype


def test_a_copy_that_is_full_is_copied_again():
    model, rng = GPT(7, width=8, layers=1, heads=2, context=30, dtype="float64"), np.random.default_rng(0)
    params, response = model.init(rng), rng.integers(7, size=(3, 25))
    params = {name: np.stack([value, 2 * value]) for name, value in params.items()}
    cache, _ = model.start(params, PROMPTS)
    cache = model.repeat(cache, 1)
    for t in range(24):
        cache, logits = model.step(params, cache, np.stack([response[:, t]] * 2))
    np.testing.assert_allclose(logits, model.logits(params, PROMPTS, response)[..., 24, :], atol=1e-12)


def test_two_texts_may_go_on_from_one_cache():
    model, params = MODELS["gpt"]
    cache, _ = model.start(params, PROMPTS)
    first, _ = model.step(params, cache, np.array([1, 1, 1]))
    second, _ = model.step(params, cache, np.array([2, 0, 2]))
    for known, begun in ((first, [1, 1, 1]), (second, [2, 0, 2])):
        _, found = model.step(params, known, np.array([0, 1, 2]))
        text = np.stack([begun, [0, 1, 2], [0, 0, 0]], axis=1)
        np.testing.assert_allclose(found, model.logits(params, PROMPTS, text)[:, 2], atol=1e-13)


def test_repeated_texts_stand_side_by_side():
    model, params = MODELS["gpt"]
    cache, _ = model.start(params, PROMPTS)
    _, found = model.step(params, model.repeat(cache, 4), np.tile(np.arange(4), 3))
    text = np.stack([np.tile(np.arange(4), 3), np.zeros(12, dtype=int)], axis=1)
    np.testing.assert_allclose(found, model.logits(params, np.repeat(PROMPTS, 4, axis=0), text)[:, 1], atol=1e-13)


def test_a_cache_tells_what_was_read():
    model, params = MODELS["gpt"]
    cache, _ = model.start(params, PROMPTS)
    assert cache.tokens.tolist() == PROMPTS.tolist()
    cache, _ = model.step(params, model.repeat(cache, 2), np.arange(6) % 4)
    longer, _ = model.step(params, cache, np.ones(6, dtype=int))
    assert cache.tokens.tolist() == [[*x, k % 4] for k, x in enumerate(np.repeat(PROMPTS, 2, axis=0))]
    assert longer.tokens.tolist() == [[*x, 1] for x in cache.tokens]


def test_caches_of_seeds_on_a_leading_axis_are_those_of_each():
    model, params = MODELS["gpt"]
    other = {name: value[::-1].copy() for name, value in params.items()}
    both = {name: np.stack([value, other[name]]) for name, value in params.items()}
    tokens = np.random.default_rng(1).integers(4, size=(3, 2, 6))

    def logits(params, tokens):
        begun, _ = model.start(params, PROMPTS)
        cache, _ = model.step(params, model.repeat(begun, 2), tokens[0])
        first, found = model.step(params, cache, tokens[1])
        _, longest = model.step({name: value.copy() for name, value in params.items()}, first, tokens[2])
        _, again = model.step(params, cache, tokens[2])
        return np.stack([found, longest, again]), first.tokens

    (found, read), alone = logits(both, tokens), [logits(p, tokens[:, k]) for k, p in enumerate((params, other))]
    for k, (each, told) in enumerate(alone):
        np.testing.assert_allclose(found[:, k], each, atol=1e-13)
        assert (read[k] == told).all()


def test_caches_of_prompts_on_a_leading_axis_are_those_of_each():
    model, params = MODELS["gpt"]
    prompts, tokens = np.stack([PROMPTS, PROMPTS[::-1]]), np.random.default_rng(2).integers(4, size=(2, 2, 6))

    def logits(params, prompts, tokens):
        cache, _ = model.step(params, model.repeat(model.start(params, prompts)[0], 2), tokens[0])
        return model.step(params, cache, tokens[1])[1]

    found = logits(params, prompts, tokens)
    weight = np.random.default_rng(3).normal(size=found.shape)
    slope = grad(lambda p: anp.sum(weight * logits(p, prompts, tokens)))(params)
    for k in range(2):
        np.testing.assert_allclose(found[k], logits(params, prompts[k], tokens[:, k]), atol=1e-13)
    each = [grad(lambda p, k=k: anp.sum(weight[k] * logits(p, prompts[k], tokens[:, k])))(params) for k in range(2)]
    for name in params:
        np.testing.assert_allclose(slope[name], each[0][name] + each[1][name], atol=1e-11)


def test_a_step_uses_the_parameters_that_it_is_given():
    model, params = MODELS["gpt"]
    cache, _ = model.start(params, PROMPTS)
    token = np.array([0, 1, 2])
    _, logits = model.step(params, cache, token)
    _, doubled = model.step(params | {"norm": 2 * params["norm"]}, cache, token)
    np.testing.assert_allclose(doubled, 2 * logits, atol=1e-13)
    _, again = model.step(params, cache, token)
    np.testing.assert_allclose(again, logits, atol=1e-13)
    with pytest.raises(ValueError, match=r"^params has no '0.up': these parameters belong to another model$"):
        model.step({name: value for name, value in params.items() if name != "0.up"}, cache, token)


def test_texts_that_follow_change_nothing_before():
    model, params = MODELS["gpt"]
    other = RESPONSE.copy()
    other[:, 2] = (other[:, 2] + 1) % 4
    before, after = (lm.token_log_prob(model, params, PROMPTS, y) for y in (RESPONSE, other))
    np.testing.assert_array_equal(before[:, :2], after[:, :2])


def test_gradients_of_the_likelihood_are_right():
    model, params = MODELS["gpt"]
    check_grads(lambda p: lm.negative_log_likelihood(model, p, PROMPTS, RESPONSE), modes=["rev"], order=1)(params)


def test_gradients_go_through_steps_and_repeats():
    model, params = MODELS["gpt"]
    weight = np.random.default_rng(0).normal(size=lm.count_responses(4, 3, 3))
    by_steps = lambda p: anp.sum(anp.exp(lm.answer_log_probs(model, p, PROMPTS, 3)) * weight)  # noqa: E731
    answers = np.tile(lm.enumerate_responses(4, 3, 3), (3, 1))
    prompts = np.repeat(PROMPTS, len(weight), axis=0)

    def at_once(p):
        return anp.sum(anp.exp(lm.log_prob(model, p, prompts, answers)) * np.tile(weight, 3))

    assert by_steps(params) == pytest.approx(at_once(params), abs=1e-12)
    for name, found in grad(by_steps)(params).items():
        np.testing.assert_allclose(found, grad(at_once)(params)[name], atol=1e-10)


def test_gradients_go_back_to_the_beginning_of_a_text_that_was_begun_without_a_trace():
    model, params = MODELS["gpt"]
    both = {name: np.stack([value, value[::-1]]) for name, value in params.items()}
    cache, _ = model.start(both, PROMPTS)
    token = np.array([[0, 1, 2], [3, 1, 0]])
    text = np.stack([token, token], axis=-1)  # the last token is not read
    found = grad(lambda p: anp.sum(model.step(p, cache, token)[1] ** 2))(both)
    wanted = grad(lambda p: anp.sum(model.logits(p, PROMPTS, text)[..., 1, :] ** 2))(both)
    for name in params:
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-11)


@pytest.mark.parametrize("name", ["norm", "0.qkv"])
def test_one_array_alone_may_be_traced(name):
    model, params = MODELS["gpt"]
    by_start = grad(lambda array: anp.sum(model.start(params | {name: array}, PROMPTS)[1] ** 2))(params[name])
    whole = grad(lambda array: anp.sum(model.logits(params | {name: array}, PROMPTS, RESPONSE)[:, 0] ** 2))
    np.testing.assert_allclose(by_start, whole(params[name]), atol=1e-11)


def test_prompts_on_a_leading_axis_share_their_responses():
    model, params = MODELS["gpt"]
    prompts = np.stack([PROMPTS, PROMPTS[::-1]] * 3)
    for each, found in zip(prompts, model.logits(params, prompts, RESPONSE), strict=True):
        np.testing.assert_allclose(found, model.logits(params, each, RESPONSE), atol=1e-13)
    many = np.repeat(prompts, 2, axis=1)
    assert model.start(params, many)[1].shape == (6, 6, 4), "as many texts as the context is long, and more"


def test_a_cache_of_a_trace_is_not_gone_on_with():
    model, params = MODELS["gpt"]
    caches = []
    grad(lambda p: anp.sum(caches.append(model.start(p, PROMPTS)) or caches[-1][1]))(params)
    with pytest.raises(ValueError, match=r"^this cache was made while a gradient was traced: start again without one$"):
        model.step(params, caches[0][0], np.array([0, 0, 0]))


def test_single_precision_stays_single():
    model = GPT(4, width=8, layers=2, heads=2, context=8, eos=3)
    params = model.init(np.random.default_rng(0))
    loss = lambda p: lm.negative_log_likelihood(model, p, PROMPTS, RESPONSE)  # noqa: E731
    assert model.logits(params, PROMPTS, RESPONSE).dtype == np.float32
    assert loss(params).dtype == np.float32
    cache, begun = model.start(params, PROMPTS)
    assert begun.dtype == np.float32
    assert model.start(params, PROMPTS[:, :0])[1].dtype == np.float32
    assert model.step(params, model.repeat(cache, 2), np.zeros(6, dtype=int))[1].dtype == np.float32
    assert {g.dtype for g in grad(loss)(params).values()} == {np.dtype(np.float32)}


def test_fresh_parameters_have_the_stated_deviations():
    model = GPT(50, width=40, layers=3, heads=4, context=30)
    params = model.init(np.random.default_rng(0))
    assert {name: value.shape for name, value in params.items()} == model.shapes()
    assert {value.dtype for value in params.values()} == {np.dtype(np.float32)}
    for (name, shape), value in zip(model.shapes().items(), params.values(), strict=True):
        if value.ndim == 1:
            assert (value == 1).all()
        else:
            wanted = 0.1 if name in ("embed", "position") else shape[0] ** -0.5
            wanted /= 6**0.5 if name.endswith(("out", "down")) else 1
            assert value.std() == pytest.approx(wanted, abs=4 * wanted / (2 * value.size) ** 0.5)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"vocab": 1}, "a language needs at least 2 tokens"),
        ({"eos": 2}, "eos must be the last token, 3, or None; got 2"),
        ({"heads": 4}, "the 4 heads share the width, so that they must divide it; got 6"),
        ({"heads": 0}, "heads is the number of heads of attention, a whole number from 1 on; got 0"),
        ({"width": 0}, "width is the number of units"),
        ({"layers": 0}, "layers is the number of blocks"),
        ({"context": 0}, "context is the greatest number of tokens"),
        ({"dtype": "float16"}, "dtype must be 'float32' or 'float64'; got 'float16'"),
    ],
)
def test_bad_sizes_are_told(sizes, message):
    with pytest.raises(ValueError, match=message):
        GPT(**{"vocab": 4, "width": 6, "layers": 1, "heads": 2, "context": 5} | sizes)


def test_bad_texts_are_told():
    model, params = MODELS["gpt"]
    with pytest.raises(ValueError, match=r"^prompt: token 4 is outside"):
        model.logits(params, np.full((3, 2), 4), RESPONSE)
    with pytest.raises(ValueError, match=r"^response: token 4 is outside"):
        model.logits(params, PROMPTS, np.full((3, 2), 4))
    with pytest.raises(ValueError, match=r"^response: token 4 is outside"):
        model.logits(params, PROMPTS, np.array([[0, 4]] * 3))
    with pytest.raises(ValueError, match=r"^prompt: token 4 is outside"):
        model.start(params, np.full((3, 2), 4))
    with pytest.raises(ValueError, match=r"^response: token 4 is outside"):
        model.project(params, PROMPTS, np.full((3, 2), 4), model.readout(params))
    with pytest.raises(ValueError, match="3 prompts, but 2 responses"):
        model.logits(params, PROMPTS, RESPONSE[:2])


def test_a_context_that_is_too_short_is_told():
    model, params = MODELS["gpt"]
    assert model.logits(params, PROMPTS, np.zeros((3, 4), dtype=int)).shape == (3, 4, 4)  # the last one is not read
    message = "reads at most 5 tokens, its context, and was given 6: shorten prompt or response, or make a GPT"
    with pytest.raises(ValueError, match=message):
        model.logits(params, PROMPTS, np.zeros((3, 5), dtype=int))
    with pytest.raises(ValueError, match=message):
        model.start(params, np.zeros((3, 6), dtype=int))
    cache, _ = model.start(params, np.zeros((3, 5), dtype=int))
    with pytest.raises(ValueError, match=message):
        model.step(params, cache, np.array([0, 0, 0]))


def test_parameters_of_another_model_are_told():
    model, params = MODELS["gpt"]
    with pytest.raises(ValueError, match=r"^params has no '1.qkv': these parameters belong to another model$"):
        model.logits({name: value for name, value in params.items() if name != "1.qkv"}, PROMPTS, RESPONSE)
    with pytest.raises(ValueError, match=r"^params\['1.up'\] has shape \(6, 8\); .* a model of another size$"):
        model.logits(params | {"1.up": np.zeros((6, 8))}, PROMPTS, RESPONSE)


@pytest.mark.equation("eq-tied-readout")
def test_logits_are_products_of_the_last_state_with_the_embedding():
    model = GPT(vocab=5, width=4, layers=1, heads=2, context=6, eos=4, dtype="float64")
    params = model.init(np.random.default_rng(0))
    prompt, response = np.array([[0, 1]]), np.array([[2, 3, 4]])
    state = twins.embed_text(params["embed"], params["position"], np.array([[0, 1, 2, 3]]))
    state = twins.block(state, *(params[f"0.{name}"] for name in ("norm_1", "qkv", "out", "norm_2", "up", "down")), 2)
    logits = twins.layer_norm(state, params["norm"])[:, 2:] @ params["embed"].T
    np.testing.assert_allclose(model.logits(params, prompt, response), logits, rtol=1e-12)
