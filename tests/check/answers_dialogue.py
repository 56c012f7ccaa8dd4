"""The exercises of the chapter "Dialogue is multi-turn", solved and got wrong by a reader who likes loops."""

import math

import numpy as np

# Right solutions, as a reader who likes loops would write them.


def next_belief(belief, turn, reply):
    found = [sum(belief[s] * turn[s][reply][p] for s in range(len(belief))) for p in range(len(belief))]
    return [x / sum(found) for x in found]


def two_proposals(mu, q, tau):
    law = np.zeros(mu.shape)
    for row in range(len(mu)):
        for a in range(mu.shape[1]):
            for b in range(mu.shape[1]):
                first = 1 / (1 + math.exp((q[row, b] - q[row, a]) / tau))
                law[row, a] += mu[row, a] * mu[row, b] * first
                law[row, b] += mu[row, a] * mu[row, b] * (1 - first)
    return law


def manager_and_joint(log_plan, log_text, reward, price):
    manager = joint = 0.0
    for z, lp in enumerate(log_plan):
        mean = sum(math.exp(t) * r for t, r in zip(log_text[z], reward[z], strict=True))
        manager += math.exp(lp + mean / price)
        joint += sum(math.exp(lp + t + r / price) for t, r in zip(log_text[z], reward[z], strict=True))
    return price * math.log(manager), price * math.log(joint)


def level_gap(log_plan, log_text, reward, price):
    manager, joint = manager_and_joint(log_plan, log_text, reward, price)
    return joint - manager


def dialogue_loss(log_p, speaker, weight):
    total = 0.0
    for row, who, w in zip(log_p, speaker, weight, strict=True):
        total -= w * sum(p for p, s in zip(row, who, strict=True) if s == 1)
    return total / len(log_p)


# Wrong ones.


def normalised(x):
    return x / x.sum(-1, keepdims=True)


def plans(log_plan, log_text, reward, price):
    mean = (np.exp(log_text) * reward).sum(-1)
    return normalised(np.exp(log_plan + mean / price))


def best_plans(log_plan, log_text, reward, price):
    return normalised(np.exp(log_plan[:, None] + log_text + reward / price).sum(-1))


def without_itself(mu, q, tau):
    law = two_proposals(mu, q, tau)
    return law - mu**2


def better(mu, q):
    law = np.zeros(mu.shape)
    for a in range(mu.shape[1]):
        for b in range(mu.shape[1]):
            wins = np.where(q[:, a] == q[:, b], 0.5, q[:, a] > q[:, b])
            law[:, a] += mu[:, a] * mu[:, b] * wins
            law[:, b] += mu[:, a] * mu[:, b] * (1 - wins)
    return law


def mine(log_p, speaker):
    return (log_p * (speaker == 1)).sum(-1)


WRONG = {
    "next_belief": [
        (lambda b, turn, o: b @ turn[:, o], "You forgot to divide by the probability of the reply"),
        (lambda b, turn, o: normalised(b * turn[:, o].sum(-1)), "You weigh the secrets by the reply"),
        (lambda b, turn, o: normalised(turn[:, o].sum(0)), "You forgot the belief of before"),
        (lambda b, turn, o: b @ turn.sum(1), "You forgot the reply"),
        (lambda b, turn, o: normalised(turn[:, o] @ b), "You sum over the next secret"),
    ],
    "two_proposals": [
        (lambda mu, q, tau: normalised(mu * np.exp(q / tau)), "That is the limit of many proposals"),
        (lambda mu, q, tau: normalised(np.exp(q / tau)), "That is softmax(Q / tau) over all lines"),
        (lambda mu, q, tau: mu, "That is mu"),
        (lambda mu, q, tau: better(mu, q), "You take the better of the two"),
        (lambda mu, q, tau: two_proposals(mu, q, tau) / 2, "You forgot that either of the two"),
        (without_itself, "You let a line meet every other, but never itself"),
        (lambda mu, q, tau: two_proposals(mu, q, 1 / tau), "You multiply Q by tau"),
        (lambda mu, q, tau: two_proposals(mu, q, 1.0), "You forgot tau"),
    ],
    "level_gap": [
        (lambda *case: manager_and_joint(*case)[1], "That is what the joint optimum is worth"),
        (lambda *case: manager_and_joint(*case)[0], "That is what the manager's optimum is worth"),
        (lambda *case: level_gap(*case) / case[-1], "That is the divergence in nats"),
        (
            lambda *case: case[-1] * (plans(*case) * np.log(plans(*case) / best_plans(*case))).sum(),
            "You take the divergence over plans",
        ),
        (
            lambda lp, lt, r, c: manager_and_joint(lp, lt, r, c)[1] - np.exp(lp) @ (np.exp(lt) * r).sum(-1),
            "You compare with a manager who does not choose",
        ),
        (lambda *case: -level_gap(*case), "The sign is flipped"),
        (
            lambda lp, lt, r, c: manager_and_joint(lp, lt, r, c)[1] - c * np.log(sum(np.exp(lp + r.max(-1) / c))),
            "Your manager expects the best text",
        ),
    ],
    "dialogue_loss": [
        (lambda p, s, w: -(w * (p * (s >= 0)).sum(-1)).mean(), "The other side's words are in your loss"),
        (lambda p, s, w: -(w * p.sum(-1)).mean(), "There is no mask"),
        (lambda p, s, w: -(w * (p * (s == 0)).sum(-1)).mean(), "You learn to be the other side"),
        (lambda p, s, w: -(w * (p * (s != 0)).sum(-1)).mean(), "You count padding as your own words"),
        (lambda p, s, w: -(w * mine(p, s) / (s == 1).sum(-1)).mean(), "You divide by the number of words"),
        (lambda p, s, w: -(w * mine(p, s)).sum() / (s == 1).sum(), "You divide by the number of all words"),
        (lambda p, s, w: -mine(p, s).mean(), "You forgot the weights"),
        (lambda p, s, w: -(w * mine(p, s)).sum(), "You return the sum"),
        (lambda p, s, w: -w * mine(p, s), "You return one loss for each dialogue"),
        (lambda p, s, w: -(w * mine(p, s)).sum() / w.sum(), "You divide by the sum of the weights"),
        (lambda p, s, w: -w.mean() * mine(p, s).mean(), "You average weights and losses apart"),
    ],
}
