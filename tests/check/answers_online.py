"""The exercises of the chapter "Asking while learning", solved and got wrong by a reader who likes loops."""

import itertools
import math

import numpy as np

# Right solutions, as a reader who likes loops would write them.


def moved(policy, main, features):
    return sum((q - p) * row for q, p, row in zip(policy, main, features, strict=True))


def optimistic_bonus(main, others, features, covariance):
    away = [moved(policy, main, features) for policy in others]
    return [math.sqrt(a @ np.linalg.solve(covariance, a)) for a in away]


def best_worst_law(policy, reward, n):
    law = np.zeros((len(policy), len(policy)))
    for drawn in itertools.product(range(len(policy)), repeat=n):
        best, worst = max(drawn, key=lambda a: reward[a]), min(drawn, key=lambda a: reward[a])
        law[best, worst] += math.prod(policy[a] for a in drawn)
    return law


def predicted_loss(covariance, information, beta, n):
    product = np.linalg.solve(information, covariance)
    return sum(product[k, k] for k in range(len(product))) / (2 * beta) / n


def price_paid(log_pi, log_pi_0, reward):
    a, b = np.argsort(reward)[[0, -1]]
    return (reward[b] - reward[a]) / ((log_pi[b] - log_pi[a]) - (log_pi_0[b] - log_pi_0[a]))


# Wrong solutions, written apart from those of the checkers, and how the sentence that names them begins.


def law(on, diagonal=True, turn=False):
    """For R(a) > R(b) `on` of (F, pi_a, pi_b, n); pi_a^n on the diagonal."""

    def solve(policy, reward, n):
        size = len(policy)
        found = np.zeros((size, size))
        for a, b in itertools.product(range(size), repeat=2):
            if reward[a] > reward[b]:
                inside = [p for p, r in zip(policy, reward, strict=True) if reward[b] <= r <= reward[a]]
                found[a, b] = on(sum(inside), policy[a], policy[b], n)
            elif a == b and diagonal:
                found[a, a] = policy[a] ** n
        return found.T if turn else found

    return solve


def right(f, a, b, n):
    return f**n - (f - a) ** n - (f - b) ** n + (f - a - b) ** n


def with_formula_on_the_diagonal(policy, reward, n):
    return law(right, diagonal=False)(policy, reward, n) + np.diag([right(p, p, p, n) for p in policy])


def both_orders(policy, reward, n):
    """The formula above and below the diagonal, where the mass between is what is left when the order is turned."""
    found = np.diag(policy**n)
    for a, b in itertools.permutations(range(len(policy)), 2):
        inside = [p for p, r in zip(policy, reward, strict=True) if reward[b] <= r <= reward[a]]
        found[a, b] = right(sum(inside), policy[a], policy[b], n)
    return found


def of_two_margins(policy, reward, n):
    both = best_worst_law(policy, reward, n)
    return np.outer(both.sum(1), both.sum(0))


def apart(policy, reward, n):
    both = law(right, diagonal=False)(policy, reward, n)
    return both / both.sum()


def bonus(of):
    def solve(main, others, features, covariance):
        return [of(moved(policy, main, features), covariance) for policy in others]

    return solve


def mean_of_bonuses(main, others, features, covariance):
    centre = sum(p * row for p, row in zip(main, features, strict=True))
    norms = [math.sqrt((row - centre) @ np.linalg.solve(covariance, row - centre)) for row in features]
    return [sum(p * u for p, u in zip(policy, norms, strict=True)) for policy in others]


def loss(power=1, half=2, price=1, invert=True):
    def solve(covariance, information, beta, n):
        middle = np.linalg.inv(information) if invert else information
        return np.trace(covariance @ middle) / (half * beta**price * n**power)

    return solve


def scaled(of):
    def solve(covariance, information, beta, n):
        return of(covariance, np.linalg.inv(information)) / (2 * beta * n)

    return solve


def by_one_answer(log_pi, log_pi_0, reward):
    a = reward.argmax()
    return reward[a] / (log_pi[a] - log_pi_0[a])


def by_expectation(log_pi, log_pi_0, reward):
    pi = np.exp(log_pi)
    return sum(pi * reward) / sum(pi * (log_pi - log_pi_0))


def by_probabilities(log_pi, log_pi_0, reward):
    ratio = np.exp(log_pi) / np.exp(log_pi_0)
    a, b = reward.argmin(), reward.argmax()
    return (reward[b] - reward[a]) / (ratio[b] - ratio[a])


WRONG = {
    "optimistic_bonus": [
        (bonus(lambda a, s: a @ np.linalg.solve(s, a)), "You forgot the root: the bonus is a norm"),
        (bonus(lambda a, s: math.sqrt(a @ s @ a)), "You forgot to invert Sigma: what was compared"),
        (bonus(lambda a, s: math.sqrt(a @ a)), "That is the plain length: use the norm"),
        (mean_of_bonuses, "You took the mean of the bonuses of answers; average"),
        (lambda m, o, f, s: optimistic_bonus(0 * m, o, f, s), "You forgot the main policy: subtract"),
        (
            lambda m, o, f, s: math.sqrt(sum(np.square(optimistic_bonus(m, o, f, s)))),
            "You return one number for all policies: sum over",
        ),
    ],
    "best_worst_law": [
        (with_formula_on_the_diagonal, "On the diagonal all n draws are the same answer: pi_a^n."),
        (law(right, diagonal=False), "You forgot the diagonal: all n draws may be"),
        (lambda p, r, n: best_worst_law(p, r, 2), "That is the law for two draws, whatever n is."),
        (law(right, turn=True), "The axes are the wrong way round: best first."),
        (of_two_margins, "You multiply two margins, but best and worst"),
        (both_orders, "You count both orders: the best cannot"),
        (law(lambda f, a, b, n: f**n), "You forgot to subtract the draws that miss one"),
        (law(lambda f, a, b, n: f**n - (f - a) ** n - (f - b) ** n), "You forgot what was subtracted twice: add"),
        (apart, "You condition on two different answers; the law"),
    ],
    "predicted_loss": [
        (loss(half=1), "You forgot 1/2: that is the regret"),
        (loss(invert=False), "You forgot to invert I: more information"),
        (loss(price=0), "You forgot beta: divide by it."),
        (loss(price=-1), "You multiply by beta; divide by it."),
        (loss(power=0.5), "You divide by the square root of n; near its top"),
        (loss(power=0), "You forgot n."),
        (scaled(lambda c, i: np.trace(c) * np.trace(i)), "You multiply the two traces; take"),
        (scaled(lambda c, i: np.sum(c @ i)), "You sum all entries of the product; only"),
        (scaled(lambda c, i: sum(np.diag(c) * np.diag(i))), "You multiply entry by entry with I^-1 on the diagonal"),
    ],
    "price_paid": [
        (lambda *case: 1 / price_paid(*case), "That is one over the price: rewards over"),
        (lambda p, q, r: price_paid(p, 0 * q, r), "You forgot the reference: compare log pi"),
        (by_one_answer, "You use one answer; log Z spoils that."),
        (lambda *case: -price_paid(*case), "You took the wrong sign: a better answer"),
        (by_expectation, "You divide the expected reward by the divergence;"),
        (by_probabilities, "You use probabilities; take logarithms."),
    ],
}
