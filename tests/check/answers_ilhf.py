"""The exercises of the chapter "Inclusive models", solved and got wrong by a reader who likes loops."""

import math

import numpy as np

# Right solutions, as a reader who likes loops would write them.


def surprise(m):
    return max(0.0, -m) + math.log(1 + math.exp(-abs(m)))


def margins(first, second, label):
    return [a - b if vote else b - a for a, b, vote in zip(first, second, label, strict=True)]


def ilhf_loss(first, second, label):
    return sum(map(surprise, margins(first, second, label))) / len(label)


def ilhf_coin_slope(p, p_people):
    total = []
    for q in p:
        different = [q * (1 - q), (1 - q) * q]  # (1, 0) and (0, 1); the derivative of each is q - p_people
        total.append(sum(chance * (q - p_people) for chance in different))
    return total


def odds(p):
    return math.log(p) - math.log(1 - p)


def matching_beta(p_pre, p_people):
    return [1 / (1 - odds(p) / odds(p_people)) for p in p_pre]


def square(row, other):
    return sum((a - b) ** 2 for a, b in zip(row, other, strict=True))


def fits(losses, double, weight=2.0):
    return [sum(weight * x for x, coin in zip(losses, row, strict=True) if coin) / len(losses) for row in double]


def member_losses(losses, double, phi, start, eta):
    far = [square(row, own) for row, own in zip(phi, start, strict=True)]
    return [f + eta * d for f, d in zip(fits(losses, double), far, strict=True)]


def score(chosen, rejected):
    return -sum(surprise(a - b) for a, b in zip(chosen, rejected, strict=True)) / len(chosen)


def inclusive_ratio(chosen, rejected, chosen_ref, rejected_ref):
    return math.exp(score(chosen, rejected)) / math.exp(score(chosen_ref, rejected_ref))


# Wrong solutions, written apart from those of the checkers, and how the sentence that names them begins.


def votes(first, second, label):
    return [a if vote else b for a, b, vote in zip(first, second, label, strict=True)]


def raw_shares(first, second, label):
    return [c / (a + b) for a, b, c in zip(first, second, votes(first, second, label), strict=True)]


def members(change_fit=lambda f: f, change_far=lambda d: d):
    def wrong(losses, double, phi, start, eta):
        far = [square(row, own) for row, own in zip(phi, start, strict=True)]
        rows = zip(fits(losses, double), far, strict=True)
        return [change_fit(f) + eta * change_far(d) for f, d in rows]

    return wrong


def prob(chosen, rejected):
    return [math.exp(-surprise(a - b)) for a, b in zip(chosen, rejected, strict=True)]


WRONG = {
    "ilhf_loss": [
        (lambda a, b, k: len(k) * ilhf_loss(a, b, k), "You sum over the pairs; the loss"),
        (lambda a, b, k: list(map(surprise, margins(a, b, k))), "You return one loss for each pair; the"),
        (lambda a, b, k: -ilhf_loss(a, b, k), "The sign is flipped: the loss falls"),
        (lambda a, b, k: ilhf_loss(b, a, k), "Label 1 means that the first was chosen"),
        (lambda a, b, k: -sum(votes(a, b, k)) / len(k), "You maximise the probability of the chosen"),
        (lambda a, b, k: np.mean([1 - 1 / (1 + math.exp(-m)) for m in margins(a, b, k)]), "You forgot the logarithm"),
        (lambda a, b, k: -np.mean(np.log(np.array(raw_shares(a, b, k)) + 1e-300)), "You use log-probabilities as if"),
        (lambda a, b, k: ilhf_loss(a, b, k) * math.log2(math.e), "You use logarithms to base 2"),
    ],
    "ilhf_coin_slope": [
        (lambda p, q: [-x for x in ilhf_coin_slope(p, q)], "The sign is flipped: above"),
        (lambda p, q: [x / 2 for x in ilhf_coin_slope(p, q)], "The two answers can differ in two ways"),
        (lambda p, q: [x - q for x in p], "You forgot that equal answers tell nothing"),
        (lambda p, q: [2 * (x - q) for x in p], "That is the derivative by p; by"),
        (lambda p, q: [-x * (1 - x) * odds(q) for x in p], "You return the expected gradient for a single"),
        (lambda p, q: [2 * x * (1 - x) * abs(x - q) ** 2 for x in p], "You square the gap: the gradient"),
        (lambda p, q: [2 * q * (1 - q) * (x - q) for x in p], "You weigh with the chance that people's"),
    ],
    "matching_beta": [
        (lambda a, b: [-x for x in matching_beta(a, b)], "The sign is flipped: a KL weight"),
        (lambda a, b: [1 / x for x in matching_beta(a, b)], "That is 1 / beta."),
        (lambda a, b: b / (b - a), "You use probabilities in place of log-odds."),
        (lambda a, b: [math.log(b) / math.log(b / x) for x in a], "You use log-probabilities in place of"),
        (lambda a, b: [odds(x) / (odds(b) - odds(x)) for x in a], "You put the pretrained log-odds on top"),
        (lambda a, b: [odds(b) / (odds(x) + odds(b)) for x in a], "You add the log-odds; their difference"),
    ],
    "member_losses": [
        (members(lambda f: f / 2), "You weigh with 1 or 0; double"),
        (lambda x, w, p, s, eta: member_losses(x, ~w, p, s, eta), "True means double and False nothing"),
        (
            lambda x, w, p, s, eta: [sum(x) / len(x) + eta * square(a, b) for a, b in zip(p, s, strict=True)],
            "You ignore the coins: a pair counts",
        ),
        (lambda x, w, p, s, eta: members(lambda f: f * len(x))(x, w, p, s, eta), "You sum over the pairs; the loss"),
        (lambda x, w, p, s, eta: fits(x, w), "You forgot the anchor."),
        (lambda x, w, p, s, eta: member_losses(x, w, p, s, 1), "You forgot eta."),
        (lambda x, w, p, s, eta: member_losses(x, w, p, s, eta / len(p[0])), "You take the mean of the squares; a"),
        (members(change_far=math.sqrt), "The anchor is a squared distance; you"),
        (lambda x, w, p, s, eta: member_losses(x, w, p, 0 * s, eta), "You pull towards 0; a member"),
        (lambda x, w, p, s, eta: sum(member_losses(x, w, p, s, eta)), "You return the sum over the members; each"),
    ],
    "inclusive_ratio": [
        (lambda a, b, c, d: inclusive_ratio(c, d, a, b), "You have it the other way around: above 1"),
        (lambda a, b, c, d: score(a, b) - score(c, d), "That is the difference of the scores"),
        (lambda a, b, c, d: score(a, b) / score(c, d), "That is the ratio of the scores; we"),
        (lambda a, b, c, d: sum(prob(a, b)) / sum(prob(c, d)), "That is the ratio of mean probabilities"),
        (lambda a, b, c, d: inclusive_ratio(a, b, c, d) ** len(a), "You sum the logarithms; the score"),
        (lambda a, b, c, d: math.exp(np.mean(a) - np.mean(c)), "You compare the probabilities of the chosen"),
        (lambda a, b, c, d: inclusive_ratio(b, a, d, c), "You score the rejected answers; people"),
        (lambda a, b, c, d: np.array(prob(a, b)) / prob(c, d), "You return one ratio for each pair; take"),
    ],
}
