"""Preferences that run in a circle, random ones, and policies to try in their games."""

import numpy as np

from rlhf_lab.feedback import annotators
from rlhf_lab.numerics.autodiff import log_softmax

CIRCLE = annotators.circle([0.9, 0.6, 0.7])
LOG_PI_0 = np.log([0.2, 0.3, 0.5])


def random_matrix(seed, answers=5, scale=0.7):
    """Preferences (A, A) whose log-odds are normal numbers, and a reference (A,)."""
    rng = np.random.default_rng(seed)
    noise = scale * rng.normal(size=(answers, answers))
    return annotators.bradley_terry(noise - noise.T), np.asarray(log_softmax(rng.normal(size=answers)))


def random_policies(seed, answers=5, count=30):
    """Policies (count, A)."""
    return np.asarray(log_softmax(2 * np.random.default_rng([seed, 1]).normal(size=(count, answers))))
