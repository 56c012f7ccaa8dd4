"""The exercises of the chapter "Direct preference optimisation", solved and got wrong by a reader who likes loops."""

import math

import numpy as np


def normalised(rows):
    return np.array([[x - math.log(sum(math.exp(z) for z in row)) for x in row] for row in rows])


def lost_reference(log_pi, reward, beta):
    return normalised([[a - r / beta for a, r in zip(*rows, strict=True)] for rows in zip(log_pi, reward, strict=True)])


def sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z > 0 else math.exp(z) / (1 + math.exp(z))


def minus_log_sigmoid(z):
    return math.log1p(math.exp(-z)) if z > 0 else math.log1p(math.exp(z)) - z


def of_margins(function):
    """A function of four arrays and beta, from one of a margin and beta."""
    return lambda *given: np.array([function(a - b - c + d, given[4]) for a, b, c, d in zip(*given[:4], strict=True)])


def without_reference(function):
    return lambda a, b, c, d, beta: of_margins(function)(a, b, 0 * c, 0 * d, beta)


def with_added_reference(function):
    return lambda a, b, c, d, beta: of_margins(function)(a, b, -c, -d, beta)


def on_average(function):
    return lambda *given: float(np.mean(function(*given)))


def loss_of(h, beta):
    return minus_log_sigmoid(beta * h)


def weight_of(h, beta):
    return beta * sigmoid(-beta * h)


dpo_loss = of_margins(loss_of)


dpo_weight = of_margins(weight_of)


def stepped(weight, up=1.0, down=1.0):
    """One step in which the weight is a function of a margin and beta, and how far each of the two logits goes."""

    def step(logits, log_pi_0, chosen, rejected, beta, step_size):
        ratio = [a - b for a, b in zip(logits, log_pi_0, strict=True)]
        far = step_size * weight(ratio[chosen] - ratio[rejected], beta)
        return [x + far * (up * (k == chosen) - down * (k == rejected)) for k, x in enumerate(logits)]

    return step


dpo_step = stepped(weight_of)


WRONG = {
    "lost_reference": [
        (lambda a, r, beta: lost_reference(a, r, 1.0), "You forgot beta: divide the reward"),
        (lambda a, r, beta: lost_reference(a, r, 1 / beta), "You multiply the reward by beta;"),
        (lambda a, r, beta: lost_reference(a, -r, beta), "The sign is flipped: the policy has"),
        (lambda a, r, beta: a - np.divide(r, beta), "It is not normalised: the probabilities"),
        (lambda a, r, beta: normalised((a - r / beta).T).T, "You normalise over the batch axis;"),
        (
            lambda a, r, beta: [row - sum(row) / len(row) for row in a - r / beta],
            "You subtract from each row its mean;",
        ),
        (lambda a, r, beta: np.exp(lost_reference(a, r, beta)), "You return probabilities; return"),
        (lambda a, r, beta: normalised(-r / beta), "You forgot the policy: subtract"),
    ],
    "dpo_loss": [
        (on_average(dpo_loss), "You averaged over the batch; return the loss"),
        (lambda *given: sum(dpo_loss(*given)), "You summed over the batch; return the loss"),
        (of_margins(lambda h, beta: math.log(sigmoid(beta * h))), "The sign is flipped: a loss is minus"),
        (lambda a, b, c, d, beta: dpo_loss(b, a, d, c, beta), "Chosen and rejected are swapped: the loss"),
        (without_reference(loss_of), "You forgot the reference: compare log-ratios"),
        (with_added_reference(loss_of), "You add the reference's part; subtract it."),
        (of_margins(lambda h, beta: minus_log_sigmoid(h)), "You forgot beta: the margin is multiplied"),
        (of_margins(lambda h, beta: minus_log_sigmoid(h / beta)), "You divide the margin by beta; multiply"),
        (of_margins(lambda h, beta: beta * minus_log_sigmoid(h)), "You multiply the loss by beta; multiply the"),
        (of_margins(lambda h, beta: beta * h), "That is the margin of the rewards: go on"),
        (of_margins(lambda h, beta: sigmoid(beta * h)), "That is the probability of the label: return"),
        (of_margins(lambda h, beta: -math.log2(sigmoid(beta * h))), "You use logarithms to base 2; the book"),
    ],
    "dpo_weight": [
        (of_margins(lambda h, beta: sigmoid(-beta * h)), "You forgot the factor beta in front"),
        (of_margins(lambda h, beta: -weight_of(h, beta)), "That is the derivative, which is negative;"),
        (of_margins(lambda h, beta: beta * sigmoid(beta * h)), "The sign inside is flipped: the weight"),
        (of_margins(lambda h, beta: beta * sigmoid(-h)), "You forgot beta inside the sigmoid."),
        (of_margins(lambda h, beta: sigmoid(-h)), "You forgot beta, inside the sigmoid and in front"),
        (
            of_margins(lambda h, beta: beta * sigmoid(beta * h) * (1 - sigmoid(beta * h))),
            "You differentiated the sigmoid; differentiate",
        ),
        (without_reference(weight_of), "You forgot the reference: compare log-ratios"),
        (with_added_reference(weight_of), "You add the reference's part; subtract it."),
        (dpo_loss, "That is the loss; return how fast"),
        (on_average(dpo_weight), "You averaged over the batch; return the weight"),
    ],
    "dpo_step": [
        (stepped(weight_of, -1.0, -1.0), "The sign is flipped: the chosen answer gains"),
        (stepped(weight_of, 1.0, 0.0), "You forgot the rejected answer: its logit"),
        (lambda z, z_0, *rest: dpo_step(z, 0 * z_0, *rest), "You forgot the reference: the weight"),
        (stepped(lambda h, beta: sigmoid(-beta * h)), "You forgot the factor beta in front"),
        (stepped(lambda h, beta: 1.0), "You forgot the weight: wrong comparisons"),
        (stepped(lambda h, beta: beta * sigmoid(beta * h)), "The sign inside the sigmoid is flipped:"),
        (lambda *given: np.subtract(dpo_step(*given), given[0]), "That is the step alone; return"),
        (
            lambda *given: np.log(np.exp(dpo_step(*given)) / sum(np.exp(dpo_step(*given)))),
            "You return log-probabilities; return logits",
        ),
    ],
}
