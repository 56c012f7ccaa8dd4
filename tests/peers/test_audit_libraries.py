"""Functions of PyTorch and JAX as an audit calls them: their gradients, and what is compiled of a function of JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from rlhf_lab import audit
from rlhf_lab.audit import libraries

pytestmark = pytest.mark.peer
JAX = next(library for library in libraries.libraries(lambda x: x) if library.name == "JAX")
TORCH = next(library for library in libraries.libraries(lambda x: x) if library.name == "PyTorch")
LEFT, RIGHT = np.array([1.0, 2.0]), np.array([3.0, 5.0])


@pytest.mark.parametrize("library", [TORCH, JAX], ids=lambda library: library.name)
def test_gradients_in_some_of_the_inputs(library):
    values = [library.array(LEFT), 2.0, library.array(RIGHT)]
    both = library.gradient(lambda a, k, b: k * a**2 * b, (0, 2))
    for _ in range(2):
        np.testing.assert_allclose(both(values), [4 * LEFT * RIGHT, 2 * LEFT**2], rtol=1e-6)
    (slope,) = library.gradient(lambda a, k, b: k * a**2 * b, (2,))(values)
    np.testing.assert_allclose(slope, 2 * LEFT**2, rtol=1e-6)


def test_a_function_of_jax_runs_once_for_each_shape():
    shapes = []

    def doubled(x, k):
        shapes.append(x.shape)
        return k * x

    quick = JAX.compiled(doubled)
    for size, k in ((2, 1.0), (2, 3.0), (3, 1.0), (2, 1.0)):
        assert quick(jnp.ones(size), k).tolist() == [k] * size
    assert shapes == [(2,), (3,)]
    assert TORCH.compiled is None
    assert TORCH.holds(torch.ones(1))


def test_a_function_of_jax_may_look_at_its_numbers():
    def halved(x, k):
        return x / 2 if k > 1 else x

    quick = JAX.compiled(halved)
    assert [quick(jnp.ones(1), k).tolist() for k in (0.5, 2.0, 0.5)] == [[1.0], [0.5], [1.0]]
    (slope,) = JAX.gradient(halved, (0,))([jnp.ones(2), 2.0])
    np.testing.assert_allclose(slope, 0.5)


def test_a_function_of_jax_may_look_at_its_arrays():
    def positive(x):
        return jnp.sum(x[x > 0]) if float(x[0]) > 0 else jnp.zeros(())

    quick = JAX.compiled(positive)
    assert [float(quick(jnp.array(x))) for x in ([1.0, -2.0], [-1.0, 2.0], [1.0, 2.0])] == [1.0, 0.0, 3.0]
    (slope,) = JAX.gradient(lambda x: jnp.sum(x[x > 0] ** 2), (0,))([jnp.array([1.0, -2.0, 3.0])])
    np.testing.assert_allclose(slope, [2.0, 0.0, 6.0])


def dpo(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    return -jax.nn.log_sigmoid(beta * (policy_chosen - policy_rejected - reference_chosen + reference_rejected)).mean()


def test_an_audit_calls_a_function_of_jax_by_a_few_shapes():
    calls = []

    def counted(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
        calls.extend([policy_chosen.shape] * isinstance(policy_chosen, jax.Array))
        return dpo(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta)

    assert audit.dpo_loss(counted)
    assert len(calls) <= 3 + 2 * len(set(calls))  # as it is, twice; and compiled, with its gradient, for each shape


def test_what_a_function_of_jax_does_besides_is_seen_although_it_is_compiled():
    calls = []

    def remembers(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
        calls.append(1)
        return dpo(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta) * len(calls)

    def prints(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
        print("loss", policy_chosen.shape)
        return dpo(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta)

    report = audit.dpo_loss(remembers)
    assert report.verdict == "not audited"
    assert "keeps something from an earlier call" in report.told
    assert any("prints while it runs ('loss (1,)')" in told for told in audit.dpo_loss(prints).conventions)


def test_a_function_that_is_another_when_compiled_is_called_as_it_is():
    def of_the_tracer(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
        factor = 2.0 if isinstance(policy_chosen, jax.core.Tracer) else 1.0
        return factor * dpo(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta)

    report = audit.dpo_loss(of_the_tracer)
    assert not any("times the loss" in told for told in report.conventions)
