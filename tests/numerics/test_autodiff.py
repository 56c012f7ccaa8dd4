"""The kernels against their readable twins, which autograd differentiates."""

import autograd.numpy as np
import numpy as onp
import pytest
from autograd import grad, make_vjp
from autograd.test_util import check_grads
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_lab.numerics import autodiff, twins

sizes = st.integers(1, 4)
leads = st.sampled_from([(), (1,), (3,), (2, 3)])


@st.composite
def shapes(draw):
    """Leading axes of parameters and of data that broadcast, and sizes."""
    full = draw(leads)
    lead = [tuple(1 if draw(st.booleans()) else n for n in full) if draw(st.booleans()) else full for _ in range(4)]
    lead = [part[draw(st.integers(0, len(part))) :] for part in lead]
    return (
        *lead,
        draw(st.integers(2, 4)),
        draw(sizes),
        draw(sizes),
        draw(st.integers(0, 4)),
        draw(st.integers(0, 2**32 - 1)),
    )


quick = settings(max_examples=60)


def agree(kernel, twin, arguments, differentiable):
    """Values, gradients, subsets of gradients; inputs and incoming gradients stay what they were."""
    before = [onp.array(a) for a in arguments if isinstance(a, onp.ndarray)]
    found, wanted = kernel(*arguments), twin(*arguments)
    assert found.shape == wanted.shape
    onp.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    weight = onp.random.default_rng(0).normal(size=found.shape)
    together, expected = (
        grad(lambda parts, f=function: np.sum(weight * f(*parts, *arguments[len(parts) :])))(
            tuple(arguments[k] for k in differentiable)
        )
        for function in (kernel, twin)
    )
    for k in differentiable:
        back, _ = make_vjp(kernel, k)(*arguments)
        incoming = weight.copy()
        mine = back(incoming)
        assert mine.shape == arguments[k].shape
        onp.testing.assert_allclose(mine, expected[k], rtol=1e-10, atol=1e-10)
        assert (incoming == weight).all()
        onp.testing.assert_array_equal(back(incoming), mine)
        onp.testing.assert_allclose(together[k], mine, rtol=1e-12, atol=1e-12)
    after = [a for a in arguments if isinstance(a, onp.ndarray)]
    assert all((a == b).all() for a, b in zip(after, before, strict=True))


@given(shapes())
@quick
def test_embedding(shape):
    first, second, _, _, vocab, width, batch, length, seed = shape
    rng = onp.random.default_rng(seed)
    table, tokens = rng.normal(size=(*first, vocab, width)), rng.integers(vocab, size=(*second, batch, length))
    agree(autodiff.embedding, twins.embedding, (table, tokens), [0])


def network(shape):
    first, second, third, fourth, vocab, hidden, batch, length, seed = shape
    rng = onp.random.default_rng(seed)
    return (
        rng.normal(size=(*first, hidden, hidden)),
        rng.normal(size=(*second, vocab, hidden)),
        rng.normal(size=(*third, hidden, 1 + seed % 4)),
        rng.normal(size=(*first, hidden)),
        rng.integers(vocab, size=(*fourth, batch, length)),
    )


@given(shapes(), st.sampled_from([1, 7, 20, autodiff.BLOCK]))
@quick
def test_rnn_logits(shape, block):
    arguments = network(shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autodiff, "BLOCK", block)
        agree(autodiff.rnn_logits, twins.rnn_logits, arguments, [0, 1, 2, 3])
        agree(autodiff.rnn_logits, twins.rnn_logits, (*arguments, shape[-1] % (shape[-2] + 1)), [0, 1, 2, 3])


def test_skip_may_be_named():
    arguments = network(((), (), (), (), 3, 2, 4, 5, 0))
    loss = lambda w, skip: np.sum(np.sin(autodiff.rnn_logits(w, *arguments[1:], skip=skip)))  # noqa: E731
    twin = lambda w, skip: np.sum(np.sin(twins.rnn_logits(w, *arguments[1:], skip=skip)))  # noqa: E731
    for skip in (0, 3, 5):
        onp.testing.assert_allclose(grad(loss)(arguments[0], skip), grad(twin)(arguments[0], skip), atol=1e-12)


@given(shapes())
@quick
def test_log_softmax(shape):
    first, _, _, _, vocab, _, batch, length, seed = shape
    logits = 3 * onp.random.default_rng(seed).normal(size=(*first, batch, length + 1, vocab))
    for same in (logits, features_first(logits)):
        agree(autodiff.log_softmax, twins.log_softmax, (same,), [0])


@given(shapes())
@quick
def test_log_prob_of(shape):
    first, second, _, _, vocab, _, batch, length, seed = shape
    rng = onp.random.default_rng(seed)
    lead = onp.broadcast_shapes(first, second)
    logits = 3 * rng.normal(size=(*lead, batch, length + 1, vocab))
    tokens = rng.integers(vocab, size=(*second, batch, length + 1))
    for same in (logits, features_first(logits)):
        agree(autodiff.log_prob_of, twins.log_prob_of, (same, tokens), [0])


def features_first(logits):
    """The same numbers, lying in memory as those of `rnn_logits` do."""
    order = (logits.ndim - 2, *range(logits.ndim - 3), logits.ndim - 1, logits.ndim - 3)
    return onp.ascontiguousarray(logits.transpose(order)).transpose(onp.argsort(order))


def test_precision_is_that_of_the_logits_and_whole_numbers_are_numbers():
    logits = onp.array([[[3, 1, 2]]])
    for kernel in (autodiff.log_softmax, lambda z: autodiff.log_prob_of(z, onp.array([[1]]))):
        assert kernel(logits.astype(onp.float32)).dtype == onp.float32
        assert kernel(logits).dtype == onp.float64
        onp.testing.assert_array_equal(kernel(logits), kernel(logits.astype(float)))


RNG = onp.random.default_rng(1)
TOKENS = RNG.integers(3, size=(2, 3, 5))
NETWORK = [RNG.normal(size=shape) for shape in ((2, 4, 4), (3, 4), (2, 4, 3), (4,))]


def in_argument(k):
    return lambda x: autodiff.rnn_logits(*NETWORK[:k], x, *NETWORK[k + 1 :], TOKENS, 2)


FINITE_DIFFERENCES = {
    "embedding": (lambda table: autodiff.embedding(table, TOKENS), RNG.normal(size=(2, 3, 4))),
    "rnn, weights": (in_argument(0), NETWORK[0]),
    "rnn, embeddings": (in_argument(1), NETWORK[1]),
    "rnn, readout": (in_argument(2), NETWORK[2]),
    "rnn, start": (in_argument(3), NETWORK[3]),
    "log_softmax": (autodiff.log_softmax, RNG.normal(size=(2, 3, 5))),
    "log_prob_of": (lambda z: autodiff.log_prob_of(z, TOKENS), RNG.normal(size=(2, 3, 5, 3))),
}


@pytest.mark.parametrize("name", FINITE_DIFFERENCES)
def test_gradients_agree_with_finite_differences(name):
    function, at = FINITE_DIFFERENCES[name]
    check_grads(function, modes=["rev"], order=1)(at)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_logits_stay_finite(size):
    logits = onp.array([[[size, 0.0, -size], [0.0, size, size]]])
    tokens = onp.array([[0, 1]])
    for function in (autodiff.log_softmax, lambda z: autodiff.log_prob_of(z, tokens)):
        assert onp.isfinite(function(logits)).all()
        assert onp.isfinite(grad(lambda z, f=function: np.sum(f(z)))(logits)).all()
    assert autodiff.log_prob_of(onp.array([[[size, 0.0]]]), onp.array([[0]]))[0, 0] == min(size, 0.0)


def test_the_parts_of_a_likelihood_do_not_upcast():
    single = lambda *shape: RNG.normal(size=shape).astype(onp.float32)  # noqa: E731
    params = (single(4, 4), single(3, 4), single(4, 3), single(4))

    def likelihood(params):
        return np.sum(autodiff.log_prob_of(autodiff.rnn_logits(*params, TOKENS, 1), TOKENS))

    assert likelihood(params).dtype == onp.float32
    assert [g.dtype for g in grad(likelihood)(params)] == [onp.float32] * 4
    for k in range(4):
        vjp, logits = make_vjp(autodiff.rnn_logits, k)(*params, TOKENS, 1)
        assert vjp(onp.ones_like(logits)).dtype == onp.float32
    assert grad(lambda t: np.sum(autodiff.embedding(t, TOKENS)))(single(3, 4)).dtype == onp.float32


@pytest.mark.parametrize("name", ["embedding", "rnn_logits", "log_softmax", "log_prob_of"])
def test_kernels_carry_their_names_and_docstrings(name):
    kernel = getattr(autodiff, name)
    assert (kernel.__name__, kernel.__qualname__, kernel.__module__) == (name, name, "rlhf_lab.numerics.autodiff")
    assert kernel.__doc__.startswith("Return")


@pytest.mark.parametrize("alone", range(5))
def test_a_leading_axis_of_one_argument_is_enough(alone):
    plain = list(network(((), (), (), (), 3, 2, 4, 5, alone)))
    leading = np.stack([plain[alone], plain[alone][..., ::-1]])
    arguments = [*plain[:alone], leading, *plain[alone + 1 :]]
    agree(autodiff.rnn_logits, twins.rnn_logits, tuple(arguments), [0, 1, 2, 3])


@pytest.mark.parametrize("shape", [(1,), (1, 3), (2, 1), (1, 1), (3,)])
def test_axes_of_length_one_are_summed_where_they_stand(shape):
    rng = onp.random.default_rng(0)
    for width in (1, 2):
        arguments = (rng.normal(size=(*shape, 4, width)), rng.integers(4, size=(2, 3, 2, 5)))
        agree(autodiff.embedding, twins.embedding, arguments, [0])


@pytest.mark.parametrize("alone", range(4))
def test_one_argument_in_double_precision_is_enough(alone):
    arguments = list(network(((), (), (), (), 3, 2, 4, 5, alone)))
    for k in range(4):
        if k != alone:
            arguments[k] = arguments[k].astype(onp.float32)
    found = autodiff.rnn_logits(*arguments)
    if alone != 2:  # the readout alone cannot make the states more precise
        assert found.dtype == onp.float64


def test_memory_that_nobody_wrote_never_reaches_a_result(monkeypatch):
    arguments = network(((), (2,), (), (2,), 3, 5, 4, 6, 0))
    wanted = twins.rnn_logits(*arguments, 2)
    weight = onp.random.default_rng(0).normal(size=wanted.shape)
    expected = [make_vjp(twins.rnn_logits, k)(*arguments, 2)[0](weight) for k in range(4)]
    empty, like = onp.empty, onp.empty_like
    monkeypatch.setattr(autodiff.np, "empty", lambda *a, **k: onp.full_like(empty(*a, **k), onp.nan))
    monkeypatch.setattr(autodiff.np, "empty_like", lambda *a, **k: onp.full_like(like(*a, **k), onp.nan))
    onp.testing.assert_allclose(autodiff.rnn_logits(*arguments, 2), wanted, atol=1e-12)
    for k in range(4):
        found = make_vjp(autodiff.rnn_logits, k)(*arguments, 2)[0](weight)
        onp.testing.assert_allclose(found, expected[k], atol=1e-12)


def test_an_incoming_gradient_in_double_precision_does_not_upcast():
    logits, tokens = RNG.normal(size=(2, 3, 4)).astype(onp.float32), RNG.integers(4, size=(2, 3))
    for function in (autodiff.log_softmax, lambda z: autodiff.log_prob_of(z, tokens)):
        back, found = make_vjp(function, 0)(logits)
        assert back(onp.ones(found.shape)).dtype == onp.float32
