"""Two automata of four states, and the list of their 31 texts: log-probability, reward and length, word by word."""

import numpy as np

from rlhf_lab.models import lm

HORIZON, COST = 4, 0.25
RNG = np.random.default_rng(0)
PROMPTS = np.array([[0, 1], [2, 2]])
FOLLOWING = RNG.integers(4, size=(2, 4, 3))
LOG_P = np.log(RNG.dirichlet(np.ones(3), size=(2, 4)))
FINAL = RNG.integers(-4, 5, size=(2, 4)) / 2  # of which some are equal
ANSWERS = lm.enumerate_responses(3, HORIZON, 2)


def walk(k, answer):
    """log p, reward and length of one text, word by word."""
    state, log_p, length = 0, 0.0, 0
    for token in answer:
        log_p, length = log_p + LOG_P[k, state, token], length + 1
        if token == 2:
            break
        state = FOLLOWING[k, state, token]
    return log_p, FINAL[k, state] - COST * length, length


LISTED = np.array([[walk(k, answer) for answer in ANSWERS] for k in range(2)])
LOG_REFERENCE, REWARD, LENGTH = np.moveaxis(LISTED, -1, 0)
