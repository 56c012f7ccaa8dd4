"""Fixtures that many tests share. Nothing of the package runs while this file is imported: mutants would hide there."""

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import settings

mpl.use("Agg")
# The same examples in every run, and no failure because a machine is slow.
settings.register_profile("still", deadline=None, derandomize=True, database=None)
settings.load_profile("still")


NAMES = (
    "tabular",
    "tabular, no eos",
    "tied",
    "tied, no eos",
    "recurrent",
    "recurrent, no eos",
    "token process",
    "automaton",
)


@pytest.fixture(params=NAMES)
def policy(request):
    """A model, its parameters, and three prompts in its vocabulary."""
    from small_models import MODELS, PROMPTS

    model, params = MODELS[request.param]
    return model, params, PROMPTS % model.vocab if model.vocab < 3 else PROMPTS


@pytest.fixture
def every_answer(policy):
    """Every answer, once for each prompt, and the prompts repeated beside them: (K * A, P), (K * A, T)."""
    from small_models import HORIZON

    from rlhf_lab.models import lm

    model, _, prompts = policy
    answers = lm.enumerate_responses(model.vocab, HORIZON, model.eos)
    return np.repeat(prompts, len(answers), axis=0), np.tile(answers, (len(prompts), 1))
