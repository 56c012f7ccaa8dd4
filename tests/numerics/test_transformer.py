"""The kernels of a transformer against their readable twins, which autograd differentiates."""

import autograd.numpy as np
import numpy as onp
import pytest
from autograd import grad, make_vjp
from autograd.test_util import check_grads
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_lab.numerics import block_parts, text_ends, transformer
from rlhf_lab.numerics import transformer_twins as twins

quick = settings(max_examples=40, deadline=None)
NAMES = ("x", "gain_1", "qkv", "out", "gain_2", "up", "down")


@st.composite
def sizes(draw):
    """Leading axes that broadcast for each of eight arguments, then batch, length, width of a head, heads, seed."""
    full = draw(st.sampled_from([(), (1,), (3,), (2, 3)]))
    leads = [tuple(1 if draw(st.booleans()) else n for n in full) if draw(st.booleans()) else full for _ in range(8)]
    leads = [lead[draw(st.integers(0, len(lead))) :] for lead in leads]
    small = st.integers(1, 4)
    return leads, draw(small), draw(small), draw(small), draw(small), draw(st.integers(0, 2**32 - 1))


def block_arguments(leads, batch, length, size, heads, seed, dtype=float):
    rng, width, wide = onp.random.default_rng(seed), size * heads, 1 + seed % 5
    shapes = (
        (batch, length, width),
        (width,),
        (width, 3 * width),
        (width, width),
        (width,),
        (width, wide),
        (wide, width),
    )
    drawn = (rng.normal(size=lead + shape).astype(dtype) for lead, shape in zip(leads, shapes, strict=False))
    return (*drawn, heads)


def agree(kernel, twin, arguments, differentiable):
    """Values, gradients one by one and together; inputs and incoming gradients stay what they were."""
    before = [onp.array(a) for a in arguments]
    found, wanted = kernel(*arguments), twin(*arguments)
    assert found.shape == wanted.shape
    onp.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-10)
    weight = onp.random.default_rng(0).normal(size=found.shape)
    numbers = tuple(arguments[k] for k in differentiable)

    def total(parts, function):
        given = list(arguments)
        for k, part in zip(differentiable, parts, strict=True):
            given[k] = part
        return np.sum(weight * function(*given))

    together, expected = grad(total)(numbers, kernel), grad(total)(numbers, twin)
    for k, mine, theirs in zip(differentiable, together, expected, strict=True):
        scale = max(1.0, onp.abs(theirs).max())
        assert mine.shape == arguments[k].shape
        onp.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-10 * scale)
        back, _ = make_vjp(kernel, k)(*arguments)
        incoming = weight.copy()
        onp.testing.assert_allclose(back(incoming), mine, rtol=1e-12, atol=1e-12 * scale)
        assert (incoming == weight).all()
        onp.testing.assert_array_equal(back(incoming), back(incoming))
    assert all((a == b).all() for a, b in zip(arguments, before, strict=True))


@given(sizes(), st.sampled_from([1, 5, transformer.ROWS]))
@quick
def test_block(size, rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformer, "ROWS", rows)
        agree(transformer.block, twins.block, block_arguments(*size), range(7))


@given(sizes())
@quick
def test_embed_text(size):
    leads, batch, length, width, more, seed = size
    rng = onp.random.default_rng(seed)
    embed, position = rng.normal(size=(*leads[0], 3, width)), rng.normal(size=(*leads[1], length + more, width))
    tokens = rng.integers(3, size=(*leads[2], batch, length - 1))
    agree(text_ends.embed_text, twins.embed_text, (embed, position, tokens), [0, 1])


@given(sizes())
@quick
def test_project(size):
    leads, batch, length, width, outputs, seed = size
    rng = onp.random.default_rng(seed)
    x = rng.normal(size=(*leads[0], batch, length, width))
    gain, readout = rng.normal(size=(*leads[1], width)), rng.normal(size=(*leads[2], width, outputs))
    agree(text_ends.project, twins.project, (x, gain, readout), [0, 1, 2])
    agree(text_ends.project, twins.project, (x, gain, readout, seed % length), [0, 1, 2])


def test_skip_may_be_named():
    rng = onp.random.default_rng(0)
    x, gain, readout = rng.normal(size=(2, 4, 3)), rng.normal(size=3), rng.normal(size=(3, 5))
    loss = lambda x, module: np.sum(np.sin(module.project(x, gain, readout, skip=2)))  # noqa: E731
    onp.testing.assert_allclose(grad(loss)(x, text_ends), grad(loss)(x, twins), atol=1e-12)


PLAIN = [()] * 8


@pytest.mark.parametrize("k", range(7), ids=NAMES)
def test_gradients_of_a_block_agree_with_finite_differences(k):
    arguments = block_arguments(PLAIN, 2, 4, 3, 2, 3)
    function = lambda a: transformer.block(*arguments[:k], a, *arguments[k + 1 :])  # noqa: E731
    check_grads(function, modes=["rev"], order=1)(arguments[k])


@pytest.mark.parametrize("k", range(2))
def test_gradients_of_both_ends_agree_with_finite_differences(k):
    rng = onp.random.default_rng(1)
    ends = [rng.normal(size=(5, 3)), rng.normal(size=(6, 3))]
    tokens = rng.integers(5, size=(2, 4))
    heads = [rng.normal(size=3), rng.normal(size=(3, 2))]
    x = rng.normal(size=(2, 4, 3))
    read = lambda a: text_ends.embed_text(*ends[:k], a, *ends[k + 1 :], tokens)  # noqa: E731
    check_grads(read, modes=["rev"], order=1)(ends[k])
    check_grads(lambda a: text_ends.project(x, *heads[:k], a, *heads[k + 1 :], 1), modes=["rev"], order=1)(heads[k])
    check_grads(lambda x: text_ends.project(x, *heads, 1), modes=["rev"], order=1)(x)


def test_gelu_is_that_of_the_twin():
    u = onp.concatenate([onp.random.default_rng(0).normal(size=50) * 3, [-1e4, 0.0, 1e4]])
    gate = onp.empty_like(u)
    block_parts.gate(u, gate)
    onp.testing.assert_allclose(u * gate, twins.gelu(u), atol=1e-14)
    assert gate[-3:].tolist() == [0.0, 0.5, 1.0]


def test_the_mask_adds_nothing_to_what_is_heard():
    mask, gone = block_parts.causal(3, onp.float32), -onp.inf
    assert mask.dtype == onp.float32
    assert mask.tolist() == [[0, gone, gone], [0, 0, gone], [0, 0, 0]]


@pytest.mark.parametrize("score", [1e4, -1e4])
def test_scores_that_are_equal_and_extreme_make_a_plain_mean(score):
    qkv = onp.array([[1, score, value] for value in (1, 2, 6)], dtype=onp.float32)
    weights, total, heard = (onp.empty(shape, onp.float32) for shape in ((1, 1, 3, 3), (3, 1), (3, 1)))
    block_parts.attend(qkv, weights, total, heard, block_parts.causal(3, onp.float32))
    assert heard[:, 0].tolist() == [1, 1.5, 3]


@pytest.mark.parametrize("dtype", [onp.float32, onp.float64])
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_inputs_stay_finite(size, dtype):
    arguments = block_arguments(PLAIN, 2, 5, 3, 2, 4, dtype)
    for k in range(7):
        large = [*arguments]
        large[k] = (arguments[k] * size).astype(dtype)
        grads = grad(lambda parts: np.sum(transformer.block(*parts, 2)))(tuple(large[:7]))
        assert onp.isfinite(transformer.block(*large)).all()
        assert all(onp.isfinite(g).all() for g in grads)


def test_equal_inputs_have_no_deviation_to_divide_by():
    arguments = block_arguments(PLAIN, 1, 3, 2, 2, 5)
    flat = onp.full_like(arguments[0], 7.0)
    agree(transformer.block, twins.block, (flat, *arguments[1:]), range(1, 7))


@pytest.mark.parametrize("changed", range(1, 5))
def test_no_token_hears_what_stands_behind_it(changed):
    arguments = block_arguments(PLAIN, 3, 5, 2, 2, 6)
    other = arguments[0].copy()
    other[:, changed:] += onp.random.default_rng(0).normal(size=other[:, changed:].shape)
    before, after = transformer.block(*arguments), transformer.block(other, *arguments[1:])
    onp.testing.assert_array_equal(before[:, :changed], after[:, :changed])
    assert (before[:, changed:] != after[:, changed:]).any(axis=-1).all()
    slope = grad(lambda x: np.sum(transformer.block(x, *arguments[1:])[:, :changed]))(arguments[0])
    assert (slope[:, changed:] == 0).all()


def test_single_precision_stays_single_and_is_near_to_double():
    double = block_arguments(PLAIN, 3, 6, 4, 2, 7)
    single = (*(a.astype(onp.float32) for a in double[:7]), 2)
    loss = lambda parts: np.sum(np.sin(transformer.block(*parts, 2)))  # noqa: E731
    assert transformer.block(*single).dtype == onp.float32
    for mine, exact in zip(grad(loss)(single[:7]), grad(loss)(double[:7]), strict=True):
        assert mine.dtype == onp.float32
        onp.testing.assert_allclose(mine, exact, atol=1e-4 * onp.abs(exact).max())


@pytest.mark.parametrize("k", range(7), ids=NAMES)
def test_an_incoming_gradient_in_double_precision_does_not_upcast(k):
    single = (*(a.astype(onp.float32) for a in block_arguments(PLAIN, 2, 3, 2, 2, 8)[:7]), 2)
    back, found = make_vjp(transformer.block, k)(*single)
    assert back(onp.ones(found.shape)).dtype == onp.float32


@pytest.mark.parametrize("k", range(7), ids=NAMES)
def test_one_argument_alone_may_have_leading_axes(k):
    leads = [(2,) if j == k else () for j in range(8)]
    agree(transformer.block, twins.block, block_arguments(leads, 2, 3, 2, 2, 11), range(7))


def test_what_is_given_in_single_precision_is_worked_on_in_single_precision(monkeypatch):
    seen = []

    def watch(module, name):
        inner = getattr(module, name)

        def watched(*arguments, **named):
            seen.extend(a.dtype for a in arguments if isinstance(a, onp.ndarray))
            return inner(*arguments, **named)

        monkeypatch.setattr(module, name, watched)

    for name in ("normalise", "attend", "normalise_back", "gelu_back", "attend_back"):
        watch(block_parts, name)
    watch(text_ends, "normalise")
    watch(onp, "matmul")
    single = [a.astype(onp.float32) for a in block_arguments(PLAIN, 2, 3, 2, 2, 12)[:7]]
    back, found = make_vjp(lambda parts: transformer.block(*parts, 2))(tuple(single))
    back(onp.ones(found.shape))
    text_ends.project(*single[:3])
    assert set(seen) == {onp.dtype(onp.float32)}


def test_both_ends_do_not_upcast():
    rng = onp.random.default_rng(2)
    draw = lambda *shape: rng.normal(size=shape).astype(onp.float32)  # noqa: E731
    cases = [
        (lambda e, p: text_ends.embed_text(e, p, onp.array([[0, 2, 1]])), (draw(3, 4), draw(5, 4))),
        (text_ends.project, (draw(2, 3, 4), draw(4), draw(4, 5))),
    ]
    for function, arguments in cases:
        for k in range(len(arguments)):
            back, found = make_vjp(function, k)(*arguments)
            assert found.dtype == onp.float32
            assert back(onp.ones(found.shape)).dtype == onp.float32


@pytest.mark.parametrize("k", range(3))
def test_one_end_in_double_precision_is_enough(k):
    rng = onp.random.default_rng(3)
    shapes, tokens = ((2, 3, 4), (4,), (4, 5)), onp.array([[0, 2, 1]])
    x, gain, readout = (rng.normal(size=s).astype(float if j == k else onp.float32) for j, s in enumerate(shapes))
    found, exact = (f(x, gain, readout) for f in (text_ends.project, twins.project))
    assert found.dtype == onp.float64
    onp.testing.assert_allclose(found, exact, atol=1e-6)
    embed, position = (rng.normal(size=(4, 3)).astype(onp.float32 if j == k else float) for j in range(2))
    found, exact = (f(embed, position, tokens) for f in (text_ends.embed_text, twins.embed_text))
    assert found.dtype == onp.float64
    onp.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize("k", range(7), ids=NAMES)
def test_one_argument_in_double_precision_is_enough(k):
    arguments = [*(a.astype(onp.float32) for a in block_arguments(PLAIN, 2, 3, 2, 2, 9)[:7]), 2]
    arguments[k] = arguments[k].astype(float)
    assert transformer.block(*arguments).dtype == onp.float64


def test_memory_that_nobody_wrote_never_reaches_a_result(monkeypatch):
    arguments = block_arguments([(2,)] * 8, 3, 4, 2, 2, 10)
    loss = lambda parts: np.sum(np.sin(transformer.block(*parts, 2)))  # noqa: E731
    wanted = grad(loss)(arguments[:7])
    empty, like = onp.empty, onp.empty_like
    monkeypatch.setattr(transformer.np, "empty", lambda *a, **k: onp.full_like(empty(*a, **k), onp.nan))
    monkeypatch.setattr(transformer.np, "empty_like", lambda *a, **k: onp.full_like(like(*a, **k), onp.nan))
    for mine, expected in zip(grad(loss)(arguments[:7]), wanted, strict=True):
        onp.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize(
    ("module", "name"), [(transformer, "block"), (text_ends, "embed_text"), (text_ends, "project")]
)
def test_kernels_carry_their_names_and_docstrings(module, name):
    kernel = getattr(module, name)
    assert (kernel.__name__, kernel.__qualname__, kernel.__module__) == (name, name, module.__name__)
    assert kernel.__doc__.startswith("Return")


@pytest.mark.equation("eq-attention")
def test_attention_is_a_mean_of_values_by_loops():
    rng = onp.random.default_rng(0)
    x, qkv, size = rng.normal(size=(2, 4, 6)), rng.normal(size=(6, 18)), 3
    found = twins.attention(x, qkv, heads=2)
    for n, t, head in onp.ndindex(2, 4, 2):
        columns = onp.arange(size) + head * size
        query = x[n, t] @ qkv[:, columns]
        weights = [onp.exp(query @ (x[n, s] @ qkv[:, 6 + columns]) / size**0.5) for s in range(t + 1)]
        values = [x[n, s] @ qkv[:, 12 + columns] for s in range(t + 1)]
        mean = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
        onp.testing.assert_allclose(found[n, t, columns], mean, rtol=1e-12)


@pytest.mark.equation("eq-layer-norm")
def test_a_normalised_row_has_mean_zero_and_deviation_one_before_its_gain():
    x = onp.random.default_rng(0).normal(3, 5, size=(2, 3, 64))
    found = twins.layer_norm(x, onp.ones(64))
    onp.testing.assert_allclose(found.mean(-1), 0, atol=1e-12)
    onp.testing.assert_allclose(found.var(-1), x.var(-1) / (x.var(-1) + block_parts.EPS), rtol=1e-12)
    onp.testing.assert_allclose(twins.layer_norm(x, onp.arange(64.0)), onp.arange(64) * found, atol=1e-12)


@pytest.mark.equation("eq-gpt-block")
def test_a_block_adds_what_is_heard_and_then_what_is_thought():
    leads = [()] * 8
    x, gain_1, qkv, out, gain_2, up, down, heads = block_arguments(leads, 2, 3, 4, 2, 1)
    between = x + twins.attention(twins.layer_norm(x, gain_1), qkv, heads) @ out
    u = twins.layer_norm(between, gain_2) @ up
    hidden = 0.5 * u * (1 + onp.tanh((2 / onp.pi) ** 0.5 * (u + 0.044715 * u**3)))
    found = transformer.block(x, gain_1, qkv, out, gain_2, up, down, heads)
    onp.testing.assert_allclose(found, between + hidden @ down, rtol=1e-10)
