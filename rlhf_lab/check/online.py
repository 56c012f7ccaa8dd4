"""What the checkers of the chapter "Asking while learning" know: answer keys, cases and typical mistakes."""

from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths, wide
from rlhf_lab.methods import pessimism, questions
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array


def _member(width: Array, inside: Array) -> Array:
    return np.where(inside.any(), np.where(inside, width, -1.0).argmax(), -1)


def _uncertain_member(
    main: Array, others: Array, features: Array, covariance: Array, radius: float, beta: float
) -> Array:
    width = pessimism.uncertainty(others @ features, main @ features, covariance)
    return _member(width, radius * width >= beta * lm.kl(np.log(others), np.log(main)))


def _uncertain_member_case(rng: Generator) -> Case:
    size, answers = wide(rng)
    answers, count = answers + 1, int(rng.integers(5, 9))
    compared = tenths(rng, size + 2, size)
    main, *rest = np.exp(log_probs(rng, count + 1, answers))
    others, features = np.array(rest), tenths(rng, answers, size)
    covariance = np.round(pessimism.offline_covariance(compared, 0.5), 2)
    width = pessimism.uncertainty(others @ features, main @ features, covariance)
    beta = float(rng.choice((0.2, 0.5, 2.0)))
    least = np.sort(beta * lm.kl(np.log(others), np.log(main)) / width)  # radii from which each of them is a member
    radius = least[0] / 2 if rng.random() < 0.3 else least[:4].mean()
    return main, others, features, covariance, float(np.round(radius, 3)), beta


def _uncertain_member_mistakes(
    main: Array, others: Array, features: Array, covariance: Array, radius: float, beta: float
) -> dict[str, Any]:
    away, inverse = (others - main) @ features, np.linalg.inv(covariance)
    width = np.sqrt(np.einsum("md,de,me->m", away, inverse, away))
    turned, plain = np.sqrt(np.einsum("md,de,me->m", away, covariance, away)), np.linalg.norm(away, axis=1)
    each = others @ pessimism.uncertainty(features, main @ features, covariance)
    kl, back = lm.kl(np.log(others), np.log(main)), lm.kl(np.log(main), np.log(others))
    inside = radius * width >= beta * kl
    return {
        "You forgot the set: the most uncertain of all policies may cost more than it is worth.": width.argmax(),
        "If no policy is in the set, return -1.": np.where(inside, width, width.min() - 1).argmax()
        if inside.any()
        else width.argmax(),
        "You return the most certain member of the set; option 1 asks about the most uncertain one.": _member(
            1 / width, inside
        ),
        "You return the first member of the set; return the most uncertain one.": _member(np.ones(len(width)), inside),
        "You return how uncertain it is; return its index.": np.where(
            inside.any(), np.where(inside, width, 0.0).max(), -1
        ),
        "You forgot beta: a nat of divergence has a price.": _member(width, radius * width >= kl),
        "You forgot the radius: multiply the uncertainty by it.": _member(width, width >= beta * kl),
        "You computed KL(pi || pi'), the other direction: pi' stands first.": _member(
            width, radius * width >= beta * back
        ),
        "You forgot the root: the uncertainty is a norm, not its square.": _member(
            width, radius * width**2 >= beta * kl
        ),
        "You forgot to invert Sigma: what was compared often is certain.": _member(
            turned, radius * turned >= beta * kl
        ),
        "You took the plain length: use the norm of Sigma^-1.": _member(plain, radius * plain >= beta * kl),
        "You took the mean of the bonuses of answers; average the features first, and take one norm.": _member(
            each, radius * each >= beta * kl
        ),
    }


UNCERTAIN_MEMBER = Exercise(
    "uncertain_member",
    "one index",
    _uncertain_member,
    _uncertain_member_case,
    _uncertain_member_mistakes,
    traits=lambda main, others, features, covariance, radius, beta: {"there is one feature": features.shape[1] == 1},
)


def _best_worst_law(policy: Array, reward: Array, n: int) -> Array:
    return questions.best_and_worst(np.log(policy), reward, n)


def _best_worst_law_case(rng: Generator) -> Case:
    answers = int(rng.integers(2, 6))
    reward = rng.permutation(answers) + rng.integers(0, 5) / 10
    return np.exp(log_probs(rng, answers)), reward, int(rng.choice([2, 2, 3, 4, 6]))


def _best_worst_law_mistakes(policy: Array, reward: Array, n: int) -> dict[str, Any]:
    key, higher = _best_worst_law(policy, reward, n), reward[:, None] > reward
    two = 2 * policy[:, None] * policy * higher + np.diag(policy**2)
    total, one = key.sum(), policy**n
    mass = np.array([[policy[(reward <= a) & (reward >= b)].sum() for b in reward] for a in reward])
    formula = mass**n - (mass - policy[:, None]) ** n - (mass - policy) ** n + (mass - policy[:, None] - policy) ** n
    best, worst = key.sum(1), key.sum(0)
    return {
        "On the diagonal all n draws are the same answer: pi_a^n. The formula counts something else there.": np.where(
            higher, formula, np.diag(np.diag(formula))
        ),
        "You forgot the diagonal: all n draws may be the same answer.": key - np.diag(one),
        "That is the law for two draws, whatever n is.": two,
        "The axes are the wrong way round: best first.": key.T,
        "You multiply two margins, but best and worst come from the same draws.": best[:, None] * worst,
        "You count both orders: the best cannot be worse than the worst.": formula * (1 - np.eye(len(policy)))
        + np.diag(one),
        "You forgot to subtract the draws that miss one of the two: F^n counts them all.": np.where(higher, mass**n, 0)
        + np.diag(one),
        "You forgot what was subtracted twice: add (F - pi_a - pi_b)^n.": np.where(
            higher, formula - (mass - policy[:, None] - policy) ** n, 0
        )
        + np.diag(one),
        "You condition on two different answers; the law has a diagonal.": (key - np.diag(one))
        / max(total - one.sum(), 1e-300),
    }


BEST_WORST_LAW = Exercise(
    "best_worst_law",
    "a row for the best, a column for the worst",
    _best_worst_law,
    _best_worst_law_case,
    _best_worst_law_mistakes,
    traits=lambda policy, reward, n: {"n is 2": n == 2},
)


def _predicted_loss(covariance: Array, information: Array, beta: float, n: int) -> Any:
    return np.trace(covariance @ np.linalg.inv(information)) / (2 * beta * n)


def _predicted_loss_case(rng: Generator) -> Case:
    size, rows = wide(rng)
    covariance, information = (
        np.round(pessimism.offline_covariance(tenths(rng, rows + 1, size), 0.5), 2) for _ in range(2)
    )
    return covariance, information, float(rng.choice([0.1, 0.2, 0.5])), int(rng.choice([10, 50, 200]))


def _predicted_loss_mistakes(covariance: Array, information: Array, beta: float, n: int) -> dict[str, Any]:
    inverse = np.linalg.inv(information)
    right = np.trace(covariance @ inverse) / (2 * beta * n)
    return {
        "You forgot 1/2: that is the regret with its divergence, which counts both directions.": 2 * right,
        "You forgot to invert I: more information, less loss.": np.trace(covariance @ information) / (2 * beta * n),
        "You forgot beta: divide by it.": right * beta,
        "You multiply by beta; divide by it.": right * beta**2,
        "You divide by the square root of n; near its top the objective is flat, and the loss falls as 1/n.": right
        * n**0.5,
        "You forgot n.": right * n,
        "You multiply the two traces; take the trace of the product.": np.trace(covariance)
        * np.trace(inverse)
        / (2 * beta * n),
        "You sum all entries of the product; only its diagonal counts.": (covariance @ inverse).sum() / (2 * beta * n),
        "You multiply entry by entry with I^-1 on the diagonal only; I^-1 is a whole matrix.": (
            np.diag(covariance) * np.diag(inverse)
        ).sum()
        / (2 * beta * n),
    }


PREDICTED_LOSS = Exercise(
    "predicted_loss",
    "one number",
    _predicted_loss,
    _predicted_loss_case,
    _predicted_loss_mistakes,
    traits=lambda covariance, information, beta, n: {"there is one feature": len(covariance) == 1},
)


def _price_paid(log_pi: Array, log_pi_0: Array, reward: Array) -> Any:
    ratio, most, least = log_pi - log_pi_0, np.argmax(reward), np.argmin(reward)
    return (reward[most] - reward[least]) / (ratio[most] - ratio[least])


def _price_paid_case(rng: Generator) -> Case:
    answers = int(rng.integers(2, 6))
    reward, log_pi_0 = rng.permutation(answers) + tenths(rng, answers) / 10, log_probs(rng, answers)
    price = float(rng.choice([0.1, 0.25, 0.5, 1.0, 2.0])) / int(rng.integers(1, 5))
    return gibbs.log_policy(log_pi_0, reward, price), log_pi_0, reward


def _price_paid_mistakes(log_pi: Array, log_pi_0: Array, reward: Array) -> dict[str, Any]:
    ratio, most, least = log_pi - log_pi_0, np.argmax(reward), np.argmin(reward)
    price = _price_paid(log_pi, log_pi_0, reward)
    divergence = np.exp(log_pi) @ ratio
    return {
        "That is one over the price: rewards over log-ratios.": 1 / price,
        "You forgot the reference: compare log pi with log pi_0.": (reward[most] - reward[least])
        / (log_pi[most] - log_pi[least]),
        "You use one answer; log Z spoils that. Take the difference of two answers.": reward[most] / ratio[most],
        "You took the wrong sign: a better answer has a higher log-ratio.": -price,
        "You divide the expected reward by the divergence; that holds log Z too.": np.exp(log_pi) @ reward / divergence,
        "You use probabilities; take logarithms.": (reward[most] - reward[least])
        / (np.exp(ratio[most]) - np.exp(ratio[least])),
    }


PRICE_PAID = Exercise("price_paid", "one number", _price_paid, _price_paid_case, _price_paid_mistakes)
