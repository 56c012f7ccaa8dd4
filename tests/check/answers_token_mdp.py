"""The exercises of the chapter "A language model is an MDP", solved and got wrong by a reader who likes loops."""

import math

import numpy as np


def softmax(z):
    return np.exp(z - np.max(z)) / np.sum(np.exp(z - np.max(z)))


def length(tokens, eos):
    return list(tokens).index(eos) + 1 if eos in tokens else len(tokens)


def token_log_probs(z, tokens):
    return [row[token] - np.max(row) - np.log(np.sum(np.exp(row - np.max(row)))) for row, token in zip(z, tokens)]  # noqa: B905


def log_prob(logits, response, eos):
    return [sum(token_log_probs(z, y[: length(y, eos)])) for z, y in zip(logits, response, strict=True)]


def return_to_go(rewards, discount):
    return [sum(discount ** (k - t) * rewards[k] for k in range(t, len(rewards))) for t in range(len(rewards))]


def sweep(backup):
    """A recursion over the tree, with `backup(p, reward, values of the children)` for one state."""

    def solve(policy, rewards, discount, child=lambda i, a, policy, t: i * policy[t].shape[1] + a):
        def value(t, i):
            width = policy[t].shape[1]
            last = t + 1 == len(policy)
            following = [0.0 if last else value(t + 1, child(i, a, policy, t)) for a in range(width)]
            return backup(np.exp(policy[t][i]), rewards[t][i], np.array(following), discount, last)

        return [np.array([value(t, i) for i in range(len(p))]) for t, p in enumerate(policy)]

    return solve


state_values = sweep(lambda p, r, v, g, last: sum(p * (r + g * v)))


def shuffled_children(policy, rewards, discount):
    return state_values(policy, rewards, discount, child=lambda i, a, policy, t: a * len(policy[t]) + i)


def gibbs(log_pi_0, reward, beta):
    rows = log_pi_0 + reward / beta
    return np.array([[z - top - np.log(sum(np.exp(row - top))) for z in row] for row in rows for top in [max(row)]])


def rewarded(function):
    return lambda log_pi_0, reward, beta: np.array(
        [function(p, r, beta) for p, r in zip(log_pi_0, reward, strict=True)]
    )


def masked(logits, response, eos):
    out = np.zeros(response.shape)
    for n, y in enumerate(response):
        out[n, : length(y, eos)] = token_log_probs(logits[n], y)[: length(y, eos)]
    return out


def lengths(response, eos):
    return np.array([length(y, eos) for y in response])


def all_at_once(log_pi_0, reward, beta):
    return log_pi_0 + reward / beta - np.log(np.sum(np.exp(log_pi_0) * np.exp(reward / beta)))


WRONG = {
    "log_prob": [
        (lambda z, y, eos: sum(masked(z, y, eos)), "You summed over the batch axis; sum over the tokens"),
        (lambda z, y, eos: np.sum(masked(z, y, eos)), "You summed over the batch too; sum over the tokens"),
        (
            lambda z, y, eos: [sum(token_log_probs(*row)) for row in zip(z, y, strict=True)],
            "You count the padding: what ",
        ),
        (
            lambda z, y, eos: [sum(token_log_probs(a, [w for w in b if w != eos])) for a, b in zip(z, y, strict=True)],
            "You leave out the eos: stopping is an action too",
        ),
        (lambda z, y, eos: log_prob(z, y, eos) / lengths(y, eos), "You take the mean over the tokens; the log-prob"),
        (lambda z, y, eos: np.mean(masked(z, y, eos), axis=1), "You divide by T; the log-probability"),
        (
            lambda z, y, eos: [sum(z[n, t, y[n, t]] for t in range(length(y[n], eos))) for n in range(len(y))],
            "You add logits: make them log-probabilities first",
        ),
        (lambda z, y, eos: [math.exp(x) for x in log_prob(z, y, eos)], "You return the probability; return its log"),
        (
            lambda z, y, eos: [
                sum(z[n, t, y[n, t]] - math.log(sum(np.exp(z[n, :, y[n, t]]))) for t in range(length(y[n], eos)))
                for n in range(len(y))
            ],
            "Your softmax runs over the places; it runs",
        ),
        (lambda z, y, eos: [math.log2(math.exp(x)) for x in log_prob(z, y, eos)], "You use logarithms to base 2; the"),
    ],
    "return_to_go": [
        (
            lambda r, g: [sum(g**k * r[k] for k in range(t, len(r))) for t in range(len(r))],
            "You discount from the start of the episode; at step t, r_t",
        ),
        (
            lambda r, g: [sum(g ** (k - t) * r[k] for k in range(t + 1, len(r))) for t in range(len(r))],
            "You leave out the reward of step t itself: G_t",
        ),
        (lambda r, g: [*return_to_go(r, g)[1:], 0], "You return G_(t+1) at step t, one step too late: G_t"),
        (
            lambda r, g: [sum(g ** (t - k) * r[k] for k in range(t + 1)) for t in range(len(r))],
            "You sum over the past; G_t looks forward, from step t",
        ),
        (lambda r, g: [sum(r[: t + 1]) for t in range(len(r))], "You sum over the past, without discount; G_t looks"),
        (
            lambda r, g: [sum(g**k * r[k] for k in range(t + 1)) for t in range(len(r))],
            "You sum over the past, discounted from the start; G_t",
        ),
        (lambda r, g: [sum(r[t:]) for t in range(len(r))], "You forgot the discount."),
        (lambda r, g: sum(g**t * x for t, x in enumerate(r)), "You return one number, the return of the whole"),
        (lambda r, g: return_to_go(r, g)[::-1], "You return the returns in reverse order, the last step"),
    ],
    "state_values": [
        (sweep(lambda p, r, v, g, last: max(r + g * v)), "You take the best word; V is the mean"),
        (sweep(lambda p, r, v, g, last: np.log(p) @ (r + g * v)), "You weigh with log-probabilities: exponentiate"),
        (sweep(lambda p, r, v, g, last: p @ (r + v)), "You forgot the discount."),
        (sweep(lambda p, r, v, g, last: p @ (r if last else g * v)), "You count only the future: add the reward"),
        (sweep(lambda p, r, v, g, last: p @ r), "You count only the next reward: add gamma"),
        (shuffled_children, "You mixed up the children: word a of prefix i"),
        (
            sweep(lambda p, r, v, g, last: g * (p @ (r + v))),
            "You discount the reward of the word itself; discount only",
        ),
        (sweep(lambda p, r, v, g, last: np.mean(r + g * v)), "You average over the words; weigh them"),
    ],
    "gibbs": [
        (rewarded(lambda p, r, b: np.log(softmax(p + r * b))), "You multiply the reward by beta; divide by it"),
        (rewarded(lambda p, r, b: np.log(softmax(p + r))), "You forgot beta: divide the reward by it."),
        (rewarded(lambda p, r, b: np.log(softmax(p - r / b))), "The sign of the reward is flipped: good answers"),
        (rewarded(lambda p, r, b: p + r / b), "It is not normalised: subtract log Z, so that"),
        (
            lambda p, r, b: np.transpose([np.log(softmax(column)) for column in np.transpose(p + r / b)]),
            "You normalise over the batch axis; normalise over the answers",
        ),
        (all_at_once, "You normalise over all prompts at once; each has its own Z."),
        (rewarded(lambda p, r, b: softmax(p + r / b)), "You return probabilities; return their logarithms."),
        (rewarded(lambda p, r, b: np.log(softmax(r / b))), "You forgot the reference: pi* is pi_0, tilted"),
    ],
}
