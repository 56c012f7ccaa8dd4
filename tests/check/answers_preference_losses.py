"""The exercises of the chapter "What a preference loss asks for", solved and got wrong by a reader who likes loops."""

import math

import autograd.numpy as anp
import numpy as np
from answers_dpo import loss_of, on_average


def ipo_share(h, tau):
    return [(1 + 2 * tau * m) / 2 for m in h]


def gpo_loss(f, h, p, beta):
    return [share * f(beta * m) + (1 - share) * f(-beta * m) for m, share in zip(h, p, strict=True)]


def robust_loss(h, beta, flip):
    return [((1 - flip) * loss_of(m, beta) - flip * loss_of(-m, beta)) / (1 - 2 * flip) for m in h]


def mixed(term):
    return lambda f, h, p, beta: np.array([term(f, m, share, beta) for m, share in zip(h, p, strict=True)])


WRONG = {
    "ipo_share": [
        (lambda h, tau: [0.5 + m / tau for m in h], "You divide by tau; multiply by it:"),
        (lambda h, tau: [0.5 + tau * (m + m) for m in h], "You are off by a factor: find the p for which"),
        (lambda h, tau: [tau * m for m in h], "You add nothing: a margin of 0"),
        (lambda h, tau: [(1 + tau * m) / 2 for m in h], "That is half of it: add tau h"),
        (lambda h, tau: [1 / (1 + math.exp(-tau * m)) for m in h], "That is the share for DPO: a sigmoid."),
        (lambda h, tau: ipo_share(-h, tau), "The sign is flipped: the share is that"),
        (lambda h, tau: list(h), "You return h itself; return the share"),
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
