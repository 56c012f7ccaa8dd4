"""When people differ: what an ordinary reward model learns from a mixed crowd, and models that see the mixture.

    P[a, b] share that prefers a to b    u utility    mu, sigma mean and standard deviation of a utility

After Siththaranjan et al. 2024. Everything is about A answers to one prompt, compared in all pairs equally often
unless another frequency n[a, b] is given.
"""

import autograd.numpy as np
from autograd.extend import defvjp, primitive
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, log_ndtr

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax

STEPS = 200  # of Newton's method
SURE = 30.0  # nats; a share cannot be told from certainty much beyond

# autograd has its own, in a module that takes a second to import: it loads scipy's statistics.
log_normal_cdf = primitive(log_ndtr)
defvjp(log_normal_cdf, lambda ans, z: lambda g: g * np.exp(-0.5 * z**2 - ans) / np.sqrt(2 * np.pi))


def borda(matrix: Array) -> Array:
    """(1/A) sum_b P[a, b], the chance of a against an answer drawn at random, itself included: (..., A) (eq-borda).

    Siththaranjan et al. 2024.
    """
    return np.mean(matrix, axis=-1)


def fit_utility(matrix: Array, frequency: Array | None = None) -> Array:
    """Return the utilities (A,), with mean 0, of the Bradley-Terry model closest to P in cross-entropy.

    At the optimum, sum_b n[a, b] sigmoid(u_a - u_b) is sum_b n[a, b] P[a, b] (eq-utility-borda). `frequency` (A, A) is
    n, symmetric: how often each pair is compared. Where all are compared equally often, as without it, this reproduces
    the Borda counts, and orders answers as they do. Siththaranjan et al. 2024. Raises `ValueError` if there is no
    finite optimum: an answer wins or loses for certain, or the comparisons do not connect all answers.
    """
    matrix = checks.preference_matrix(matrix)
    often = np.ones(matrix.shape) if frequency is None else _frequency(frequency, matrix.shape)
    utility = np.zeros(len(matrix))
    for _ in range(STEPS):
        p = expit(utility[:, None] - utility)
        weight = often * p * (1 - p)
        information = np.diag(weight.sum(1)) - weight + 1  # the last term keeps the mean at 0
        step = np.linalg.solve(information, (often * (matrix - p)).sum(1))
        utility = utility + step
        if np.abs(step).max() < 1e-10:
            return utility
        if np.ptp(utility) > SURE:
            break
    raise ValueError("no finite utilities fit: some answers always win or always lose against the others")


def _frequency(frequency: Array, shape: tuple[int, ...]) -> Array:
    often = np.asarray(frequency, dtype=float)
    if often.shape != shape or (often < 0).any() or (often != often.T).any():
        raise ValueError(f"frequency must be symmetric, at least 0 and of shape {shape}; got shape {often.shape}")
    if connected_components(often > 0)[0] > 1:
        raise ValueError("no chain of comparisons connects all answers: each part has a constant of its own")
    return often / np.max(often)


def normal_choice(mean: Array, log_std: Array) -> Array:
    """log Phi((mu_a - mu_b) / sqrt(sigma_a^2 + sigma_b^2)), (..., A, A): utilities are normal (eq-dpl-normal).

    Siththaranjan et al. 2024.
    """
    variance = np.exp(2 * log_std)
    spread = np.sqrt(variance[..., :, None] + variance[..., None, :])
    return log_normal_cdf((mean[..., :, None] - mean[..., None, :]) / spread)


def categorical_choice(logits: Array) -> Array:
    """log of P(u_a > u_b) + P(u_a = u_b) / 2, (..., A, A): utilities lie on K rising atoms (eq-dpl-categorical).

    `logits` (..., A, K) give each answer a distribution over the atoms. Siththaranjan et al. 2024.
    """
    mass = np.exp(log_softmax(logits))
    below = np.cumsum(mass, axis=-1) - mass / 2
    return np.log(np.matmul(mass, np.swapaxes(below, -1, -2)))


def choice_loss(log_choice: Array, matrix: Array) -> Array:
    """Mean cross-entropy of the shares P and a model's log-probabilities of choice, both (..., A, A): (...)."""
    return -np.mean(matrix * log_choice + (1 - matrix) * np.swapaxes(log_choice, -1, -2), axis=(-1, -2))


def explained(mean: Array, variance: Array) -> Array:
    """r^2 = Var_a(mu_a) / (Var_a(mu_a) + mean_a sigma_a^2), the share that the answers explain (eq-explained).

    `mean` and `variance` (..., A) of the utilities. Near 1, people agree; near 0, it depends on whom you ask.
    Siththaranjan et al. 2024.
    """
    between = np.var(mean, axis=-1)
    return between / (between + np.mean(variance, axis=-1))


def moments(logits: Array) -> tuple[Array, Array]:
    """Return mean and variance (..., A) of categorical utilities whose K atoms lie evenly between 0 and 1."""
    mass, atoms = np.exp(log_softmax(logits)), np.linspace(0, 1, logits.shape[-1])
    mean = np.matmul(mass, atoms)
    return mean, np.matmul(mass, atoms**2) - mean**2
