"""Over-optimisation: a learned reward as a target, over kinds of answers, and what an ensemble of rewards makes of it.

    R* reward that people have in mind    r_hat learned reward    pi_0 reference    pi policy
    k kind of an answer; also a member    M members of an ensemble    lambda weight of the variance    n comparisons

Rewards are arrays over enumerated answers, (..., A). Ensembles have their members first, (M, ..., A).
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params

FAINT = 1e-290  # a probability below which a sum of exponentials may have lost digits


def merge(log_pi: Array, kind: Array) -> Array:
    """log pi(k) = log sum of pi(y) over the answers y of kind k, (..., A) to (..., G) (eq-kinds).

    `kind` (A,) holds each integer from 0 to G - 1 at least once. If rewards depend on the kind alone, so do Gibbs
    policies and best-of-n relative to pi_0, and their expectations and divergences from pi_0 are those over answers. Of
    a policy that also prefers some answers of a kind to others, the divergence over kinds is smaller.
    """
    kind, log_pi = np.asarray(kind), np.asarray(log_pi)
    if kind.ndim != 1 or not kind.size or kind.shape != log_pi.shape[-1:]:
        raise ValueError(
            f"kind (A,) must name the kind of each answer of log_pi (..., A), at least one; got {kind.shape} and "
            f"{log_pi.shape}"
        )
    numbered = np.issubdtype(kind.dtype, np.integer) and 0 <= kind.min() <= kind.max() < kind.size
    if not (numbered and checks.tally(kind).all()):
        names = np.unique(kind)
        raise ValueError(
            f"kind must hold integers, each from 0 to G - 1 at least once; got {len(names)} different ones of type "
            f"{kind.dtype}, {names[0]} to {names[-1]}. Number them with np.unique(..., return_inverse=True)"
        )
    checks.log_probs("log_pi", log_pi)
    total = np.stack([_log_mass(row, kind) for row in log_pi.reshape(-1, len(kind))])
    return total.reshape(*log_pi.shape[:-1], -1)


def _log_mass(log_pi: Array, kind: Array) -> Array:
    mass = checks.tally(kind, np.exp(log_pi))
    faint = mass < FAINT
    total = np.log(np.maximum(mass, FAINT))
    total[faint] = -np.inf
    again = faint[kind]  # exact for any numbers, and thirty times slower
    np.logaddexp.at(total, kind[again], log_pi[again])
    return total


def draw(log_pi: Array, row: Array, rng: Generator) -> Array:
    """Draw an answer (or kind) to the prompt `row` (...) from a policy over enumerated ones (K, A): integers (...).

    `log_pi` need not be normalised. Raises `ValueError` if `row` is none of the K prompts, or if some prompt has NaN in
    `log_pi` or no answer of any probability.
    """
    (prompts, answers), row = log_pi.shape, np.asarray(row)
    if row.size and not np.issubdtype(row.dtype, np.integer):
        raise ValueError(f"row must be integers, the numbers of prompts; got {row.dtype}")
    if row.size and (row.min() < 0 or row.max() >= prompts):
        wrong = row.max() if row.min() >= 0 else row.min()
        raise ValueError(f"row: there are {prompts} prompts, counted from 0; got {wrong}")
    likeliest = np.max(log_pi, axis=-1, keepdims=True)
    if not np.isfinite(likeliest).all():
        raise ValueError("log_pi: each prompt needs an answer with some probability, and none that is NaN or infinite")
    top = np.cumsum(np.exp(log_pi - likeliest), axis=-1)
    stairs = (top / top[:, -1:] + np.arange(prompts)[:, None]).ravel()
    place = np.searchsorted(stairs, row + rng.random(row.shape), side="right")
    return place - row.astype(np.intp) * answers


def centred(reward: Array, log_pi_0: Array) -> Array:
    """r(x, y) - sum_y' pi_0(y' | x) r(x, y'): measured from what the reference earns (eq-centred).

    Comparisons tell a reward only up to a constant for each prompt. Center before you compare reward models.
    """
    return reward - np.sum(np.exp(log_pi_0) * reward, axis=-1, keepdims=True)


def ensemble(init: Callable[[Generator], Params], shape: tuple[int, ...], rng: Generator) -> Params:
    """Draw independent parameters with `init` and stack them: members (and seeds) are the leading axes `shape`."""
    _axes("(M,) or (M, seeds)", shape)
    drawn = [init(one) for one in rng.spawn(int(np.prod(shape)))]
    sizes = [{name: np.shape(value) for name, value in params.items()} for params in drawn]
    odd = next((each for each in sizes if each != sizes[0]), None)
    if odd is not None:
        raise ValueError(f"init: all members need the same shapes to be stacked; got {sizes[0]} and {odd}")
    return {name: np.stack([p[name] for p in drawn]).reshape(*shape, *np.shape(drawn[0][name])) for name in drawn[0]}


def bootstrap(shape: tuple[int, ...], rng: Generator) -> Array:
    """Draw n of n comparisons with replacement: indices (..., n) of `shape`, another draw for each member."""
    _axes("(M, ..., n)", shape)
    return rng.integers(shape[-1], size=shape)


def minimum(rewards: Array) -> Array:
    """min_k r_k(x, y) over the members of an ensemble, (M, ..., A) to (..., A) (eq-ensemble-minimum).

    Coste et al. 2024.
    """
    return np.min(_members(rewards), axis=0)


def uncertainty_weighted(rewards: Array, weight: float) -> Array:
    """mean_k r_k - lambda var_k r_k, (M, ..., A) to (..., A); `weight` is lambda >= 0 (eq-uncertainty-weighted).

    Coste et al. 2024; the variance is that of the members, divided by M.
    """
    checks.not_negative("weight", weight, "lambda, how much variance costs")
    rewards = _members(rewards)
    return np.mean(rewards, axis=0) - weight * np.var(rewards, axis=0)


def disagreement(rewards: Array, log_pi: Array) -> Array:
    """sum_y pi(y | x) times the standard deviation of r_k(x, y) over k, (M, ..., A) to (...) (eq-disagreement)."""
    return np.sum(np.exp(log_pi) * np.std(_members(rewards), axis=0), axis=-1)


def _axes(meaning: str, shape: tuple[int, ...]) -> None:
    sizes = np.asarray(shape)
    if sizes.ndim != 1 or not np.issubdtype(sizes.dtype, np.integer) or sizes.min() < 1:
        raise ValueError(f"shape is {meaning}, whole numbers, at least one of each; got {shape}")


def _members(rewards: Array) -> Array:
    try:
        array = np.asarray(rewards)
    except ValueError:
        raise ValueError("rewards: the members have different shapes; judge the same answers with each") from None
    if array.ndim < 2 or not len(array):
        raise ValueError(f"rewards must have shape (M, ..., A), members first, at least one; got {array.shape}")
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise ValueError(f"rewards must be finite numbers, without NaN or infinity; got an array of {array.dtype}")
    return array.astype(float, copy=False)
