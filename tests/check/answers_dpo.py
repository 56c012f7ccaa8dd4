"""The exercises of the chapter "Direct preference optimisation", solved and got wrong by a reader who likes loops."""

import math

import autograd.numpy as anp
import numpy as np

# Right solutions, as a reader who likes loops would write them.


def log_ratios(log_pi, log_pi_0):
    return [[a - b for a, b in zip(*rows, strict=True)] for rows in zip(log_pi, log_pi_0, strict=True)]


def less_mean(rows):
    return np.array([[x - sum(row) / len(row) for x in row] for row in rows])


def implicit_reward(log_pi, log_pi_0, beta):
    return less_mean([[beta * u for u in row] for row in log_ratios(log_pi, log_pi_0)])


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


def ipo_target(p, tau):
    return [(2 * share - 1) / (2 * tau) for share in p]


def gpo_loss(f, h, p, beta):
    return [share * f(beta * m) + (1 - share) * f(-beta * m) for m, share in zip(h, p, strict=True)]


def stepped(weight, up=1.0, down=1.0):
    """One step in which the weight is a function of a margin and beta, and how far each of the two logits goes."""

    def step(logits, log_pi_0, chosen, rejected, beta, step_size):
        ratio = [a - b for a, b in zip(logits, log_pi_0, strict=True)]
        far = step_size * weight(ratio[chosen] - ratio[rejected], beta)
        return [x + far * (up * (k == chosen) - down * (k == rejected)) for k, x in enumerate(logits)]

    return step


dpo_step = stepped(weight_of)


def robust_loss(h, beta, flip):
    return [((1 - flip) * loss_of(m, beta) - flip * loss_of(-m, beta)) / (1 - 2 * flip) for m in h]


# Wrong solutions, written apart from those of the checkers, and how the sentence that names them begins.


def rewards(log_pi, log_pi_0, beta):
    return beta * np.array(log_ratios(log_pi, log_pi_0))


def as_advantage(log_pi, log_pi_0, beta):
    reward = rewards(log_pi, log_pi_0, beta)
    return np.array([r - np.exp(row) @ r for r, row in zip(reward, log_pi, strict=True)])


def mixed(term):
    return lambda f, h, p, beta: np.array([term(f, m, share, beta) for m, share in zip(h, p, strict=True)])


WRONG = {
    "implicit_reward": [
        (lambda a, b, beta: implicit_reward(a, b, 1.0), "You forgot beta: multiply the log-ratio"),
        (lambda a, b, beta: implicit_reward(a, b, 1 / beta), "You divide by beta; multiply by it."),
        (lambda a, b, beta: implicit_reward(b, a, beta), "The sign is flipped: it is log pi"),
        (rewards, "It is not centred: subtract from each row"),
        (lambda a, b, beta: less_mean(rewards(a, b, beta).T).T, "You subtract the mean over the batch axis;"),
        (lambda a, b, beta: rewards(a, b, beta) - np.mean(rewards(a, b, beta)), "You subtract one mean from all"),
        (lambda a, b, beta: less_mean(beta * a), "You forgot the reference: subtract"),
        (lambda a, b, beta: less_mean(np.divide(a, b) * beta), "You divide logarithms; the logarithm"),
        (lambda a, b, beta: less_mean(beta * np.exp(a) / np.exp(b)), "You take the ratio of probabilities;"),
        (as_advantage, "You centre under the policy, as an advantage is;"),
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
    "ipo_target": [
        (lambda p, tau: [tau * (share - 0.5) for share in p], "You multiply by tau; divide by it:"),
        (lambda p, tau: [(share - (1 - share)) / tau for share in p], "You are off by a factor: of p (h - a)^2"),
        (lambda p, tau: [0.5 / tau for _ in p], "You forgot the rejected side: with probability"),
        (lambda p, tau: [share / tau for share in p], "You subtract nothing: people who see no difference"),
        (lambda p, tau: [(share - 0.5) / tau / 2 for share in p], "That is half of it: divide p - 1/2"),
        (lambda p, tau: [(math.log(s) - math.log(1 - s)) / tau for s in p], "That is the target of DPO: a logit."),
        (lambda p, tau: [(0.5 - share) / tau for share in p], "The sign is flipped: the preferred answer"),
        (lambda p, tau: list(p), "You return p itself; return the margin"),
    ],
    "gpo_loss": [
        (mixed(lambda f, m, s, beta: s * f(beta * m)), "You forgot those who prefer the other answer:"),
        (mixed(lambda f, m, s, beta: f(beta * m)), "You take all labels for certain: weigh"),
        (mixed(lambda f, m, s, beta: (2 * s - 1) * f(beta * m)), "You turn the loss around, not the margin:"),
        (mixed(lambda f, m, s, beta: s * f(-beta * m) + (1 - s) * f(beta * m)), "The shares are swapped: p belongs"),
        (lambda f, h, p, beta: np.array(gpo_loss(f, h, p, 1.0)), "You forgot beta: f takes beta h."),
        (lambda f, h, p, beta: np.array(gpo_loss(f, h, p, 1 / beta)), "You divide the margin by beta; multiply"),
        (
            mixed(lambda f, m, s, beta: f(s * beta * m - (1 - s) * beta * m)),
            "You average the margins and apply f once;",
        ),
        (on_average(gpo_loss), "You averaged over the batch; return the loss"),
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
    "robust_loss": [
        (
            lambda h, beta, flip: [(1 - flip) * loss_of(m, beta) + flip * loss_of(-m, beta) for m in h],
            "That is label smoothing: subtract",
        ),
        (lambda h, beta, flip: np.multiply(robust_loss(h, beta, flip), 1 - 2 * flip), "You forgot to divide by 1"),
        (
            lambda h, beta, flip: np.multiply(robust_loss(h, beta, flip), (1 - 2 * flip) / (1 - flip)),
            "You divide by 1 - s; the two",
        ),
        (
            lambda h, beta, flip: [
                (flip * loss_of(m, beta) - (1 - flip) * loss_of(-m, beta)) / (1 - 2 * flip) for m in h
            ],
            "The shares are swapped: 1 - s",
        ),
        (lambda h, beta, flip: [loss_of(m, beta) / (1 - 2 * flip) for m in h], "You turn the loss around, not the"),
        (lambda h, beta, flip: [loss_of(m, beta) for m in h], "That is DPO, which takes every"),
        (lambda h, beta, flip: robust_loss(h, 1.0, flip), "You forgot beta: the margin"),
        (on_average(robust_loss), "You averaged over the batch; return the loss"),
    ],
}


# Losses of the reader's own, which have no key: right ones, and wrong ones with what is said of them.

OWN_LOSSES = [
    lambda z: anp.exp(-z),
    lambda z: 3 * anp.exp(-z / 2) - 1,
    lambda z: anp.exp(-z) + anp.logaddexp(0.0, -2 * z),
    lambda z: anp.logaddexp(0.0, -z) + 0.2 / (1 + anp.exp(z)) ** 2,  # its slope is within a tenth of the logistic one
]
WRONG_OWN_LOSSES = [
    (lambda z: None, "It returns None: your code goes where the starter returns None."),
    (lambda z: math.exp(-z), "It raises TypeError: it must take an array of margins, (N,)."),
    (lambda z: anp.sum(anp.exp(-z)), "For z of shape (21,) it returns shape (): one number for each z."),
    (lambda z: anp.exp(-z)[1:], "For z of shape (21,) it returns shape (20,): one number for each z."),
    (
        lambda z: anp.exp(z),
        "It is no member of the family: f must fall at 0, f'(0) < 0, so that a tie is pushed apart; ",
    ),
    (lambda z: 1 / (1 + anp.exp(z)), "It is no member of the family: f must be convex; on [-20, 20] its slope falls "),
    (
        lambda z: np.array([math.exp(-x) for x in z]),
        "It cannot be differentiated: write it with anp, autograd's numpy.",
    ),
    (lambda z: -z, "It asks for infinite margins where people disagree: far to the left it must fall more steeply."),
    (lambda z: (1 - z) ** 2, "It asks for margins that are linear in the share, as those of IPO are; those of the Gi"),
    (lambda z: anp.maximum(0, 1 - z), "It asks for margins that are equal, as those of SLiC are; those of the Gibbs "),
    (
        lambda z: (1 - z) ** 4,
        "A share of 0.95 asks for 6.74 times the margin of a share of 0.6; its logit is 7.26 times as large.",
    ),
    (lambda z: 5 * anp.logaddexp(0.0, -3 * z), "It is the logistic function, which is DPO: find another."),
]
