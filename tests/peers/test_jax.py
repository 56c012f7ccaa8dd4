"""JAX finds the same gradient through a whole tree of answers."""

import autograd.numpy as anp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from autograd import grad

from rlhf_lab.models import lm
from rlhf_lab.models.recurrent import Recurrent

pytestmark = pytest.mark.peer
jax.config.update("jax_enable_x64", True)


def test_the_gradient_of_an_expectation_over_all_answers(agree):
    rng = np.random.default_rng(0)
    model = Recurrent(4, 5, eos=3)
    params, reward = model.init(rng), rng.normal(size=lm.count_responses(4, 3, 3))
    found = grad(lambda p: anp.sum(anp.exp(lm.answer_log_probs(model, p, np.array([[1]]), 3)) * reward))(params)

    def expectation(p):
        total = 0.0
        for answer, points in zip(lm.enumerate_responses(4, 3, 3), reward, strict=True):
            h = jnp.tanh(p["recurrent"] @ p["start"] + p["embed"][1])
            log_pi = 0.0
            for token in answer:
                log_pi += jax.nn.log_softmax(h @ p["readout"])[token]
                if token == 3:
                    break
                h = jnp.tanh(p["recurrent"] @ h + p["embed"][token])
            total += jnp.exp(log_pi) * points
        return total

    expected = jax.grad(expectation)({name: jnp.asarray(value) for name, value in params.items()})
    for name in params:
        agree("tree", found[name], expected[name])
