"""The exercises of the chapter "Asking while learning", solved and got wrong by a reader who likes loops."""

import itertools
import math

import numpy as np

# Right solutions, as a reader who likes loops would write them.


def moved(policy, main, features):
    return sum((q - p) * row for q, p, row in zip(policy, main, features, strict=True))


def bonus(policy, main, features, covariance):
    away = moved(policy, main, features)
    return math.sqrt(away @ np.linalg.solve(covariance, away))


def divergence(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def member(
    width=bonus, price=divergence, inside=lambda u, kl, r, beta: r * u >= beta * kl, best=max, none=lambda u: -1
):
    def solve(main, others, features, covariance, radius, beta):
        u = [width(policy, main, features, covariance) for policy in others]
        asked = [m for m, p in enumerate(others) if inside(u[m], price(p, main), radius, beta)]
        return best(asked, key=lambda m: u[m]) if asked else none(u)

    return solve


uncertain_member = member()


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


def by(of):
    return lambda policy, main, features, covariance: of(moved(policy, main, features), covariance)


def mean_of_bonuses(policy, main, features, covariance):
    centre = sum(p * row for p, row in zip(main, features, strict=True))
    norms = [math.sqrt((row - centre) @ np.linalg.solve(covariance, row - centre)) for row in features]
    return sum(p * u for p, u in zip(policy, norms, strict=True))


def how_uncertain(main, others, features, covariance, radius, beta):
    m = uncertain_member(main, others, features, covariance, radius, beta)
    return bonus(others[m], main, features, covariance) if m >= 0 else -1


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
    "uncertain_member": [
        (member(inside=lambda *given: True), "You forgot the set: the most uncertain"),
        (member(none=np.argmax), "If no policy is in the set, return"),
        (member(best=min), "You return the most certain member"),
        (member(best=lambda asked, key: asked[0]), "You return the first member of the set;"),
        (how_uncertain, "You return how uncertain it is; return"),
        (member(inside=lambda u, kl, r, beta: r * u >= kl), "You forgot beta: a nat"),
        (member(inside=lambda u, kl, r, beta: u >= beta * kl), "You forgot the radius: multiply"),
        (member(price=lambda p, q: divergence(q, p)), "You computed KL(pi || pi'), the other direction:"),
        (member(width=by(lambda a, s: a @ np.linalg.solve(s, a))), "You forgot the root: the uncertainty"),
        (member(width=by(lambda a, s: math.sqrt(a @ s @ a))), "You forgot to invert Sigma: what was compared"),
        (member(width=by(lambda a, s: math.sqrt(a @ a))), "You took the plain length: use the norm"),
        (member(width=mean_of_bonuses), "You took the mean of the bonuses of answers; average"),
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
