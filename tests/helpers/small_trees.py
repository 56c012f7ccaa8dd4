"""Random trees of text: a prior over the tokens and rewards of the answers."""

import numpy as np
import pytest

from rlhf_lab.models import lm
from rlhf_lab.numerics.autodiff import log_softmax
from rlhf_lab.worlds import token_mdp

SIZES = [(3, 4, 2), (4, 3, 3), (3, 4, None), (2, 1, 1)]
every_size = pytest.mark.parametrize(("vocab", "horizon", "eos"), SIZES)


def tree(seed, vocab, horizon, eos, prompts=2):
    """A prior (levels), rewards of the answers (K, A) and of the tokens (levels), from a seed or a generator."""
    rng = np.random.default_rng(seed)
    words = vocab if eos is None else vocab - 1
    prior = [log_softmax(rng.normal(size=(prompts, words**t, vocab))) for t in range(horizon)]
    rewards = rng.normal(size=(prompts, lm.count_responses(vocab, horizon, eos)))
    return prior, rewards, token_mdp.terminal_rewards(rewards, vocab, horizon, eos)
