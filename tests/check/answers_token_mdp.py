"""Exercises on language models as MDPs and on pretraining, solved and got wrong by a reader who likes loops."""

import math

import numpy as np

# Right solutions, as a reader who likes loops would write them.


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


def kl(log_p, log_q):
    return np.array([sum(math.exp(a) * (a - b) for a, b in zip(*rows, strict=True)) for rows in zip(log_p, log_q)])  # noqa: B905


def policy_gradient(policy, reward):
    return (np.diag(policy) - np.outer(policy, policy)) @ reward


def gibbs(log_pi_0, reward, beta):
    rows = log_pi_0 + reward / beta
    return np.array([[z - top - np.log(sum(np.exp(row - top))) for z in row] for row in rows for top in [max(row)]])


def entropy(row):
    return -sum(n / sum(row) * math.log(n / sum(row)) for n in row if n)


def loss_floor(counts):
    return sum(sum(row) * entropy(row) for row in counts) / np.sum(counts)


def temperature_of(log_pi, cooled):
    return [(p[0] - p[1]) / (q[0] - q[1]) for p, q in zip(log_pi, cooled, strict=True)]


# Wrong solutions, written apart from those of the checkers, and how the sentence that names them begins.


def each(function):
    """A function of rows, from one of a single row."""
    return lambda *arrays: np.array([function(*row) for row in zip(*arrays, strict=True)])


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
    "kl": [
        (each(lambda p, q: np.exp(q) @ (q - p)), "You computed KL(q || p), the other direction: weigh with p"),
        (each(lambda p, q: np.exp(q) @ (p - q)), "You weigh with q; KL(p || q) is a mean under p."),
        (each(lambda p, q: sum(p - q)), "You forgot the weights: multiply each log-ratio by p."),
        (each(lambda p, q: np.mean(p - q)), "You forgot the weights: the mean of the log-ratios"),
        (each(lambda p, q: np.exp(p) @ (q - p)), "The sign is flipped: it is log p minus log q."),
        (lambda p, q: sum(np.exp(p) * (p - q)), "You summed over the batch axis; sum over the answers"),
        (lambda p, q: float(np.sum(np.exp(p) * (p - q))), "You summed over the batch too; sum over the answers"),
        (lambda p, q: np.mean(kl(p, q)), "You averaged over the batch; return the divergence"),
        (each(lambda p, q: np.exp(p) @ np.square(p - q)), "You square the log-ratios; take them"),
        (each(lambda p, q: np.exp(p) @ np.abs(q - p)), "You take absolute values; negative"),
        (each(lambda p, q: np.exp(p) @ np.log2(np.exp(p - q))), "You use logarithms to base 2; the book"),
        (each(lambda p, q: -np.exp(p) @ q), "That is the cross-entropy: subtract the entropy"),
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
    "policy_gradient": [
        (lambda p, r: [x * y for x, y in zip(p, r, strict=True)], "You forgot the baseline: subtract the expected"),
        (lambda p, r: [x - sum(p * r) for x in r], "You forgot the weight: multiply by the policy's"),
        (lambda p, r: -policy_gradient(p, r), "The sign is flipped: this is the way down."),
        (lambda p, r: p * (r - sum(r) / len(r)), "The baseline is the mean under the policy, not"),
        (
            lambda p, r: [(k == list(r).index(max(r))) - x for k, x in enumerate(p)],
            "That imitates the best answer: it is",
        ),
        (lambda p, r: r.copy(), "That is the gradient in the probabilities; go on"),
        (lambda p, r: sum(p * r), "That is the expected reward itself; return"),
    ],
    "loss_floor": [
        (lambda n: np.mean([entropy(row) for row in n]), "You weigh all prompts alike; every text"),
        (lambda n: [entropy(row) for row in n], "You return one number for each prompt; average"),
        (lambda n: entropy(sum(n)), "You forgot that the model sees the prompt"),
        (lambda n: entropy(n.ravel()), "That is the entropy of prompts and answers together"),
        (lambda n: sum(sum(row) * entropy(row) for row in n), "That is the sum over the texts; divide"),
        (lambda n: -loss_floor(n), "The sign is flipped: an entropy"),
        (lambda n: loss_floor(n) / math.log(2), "You use logarithms to base 2; the book"),
        (
            lambda n: np.mean([np.mean([-math.log(x / sum(row)) for x in row if x]) for row in n]),
            "You weigh each log-share alike; weigh",
        ),
    ],
    "temperature_of": [
        (lambda p, q: 1 / np.array(temperature_of(p, q)), "That is 1/T: a sharper"),
        (each(lambda p, q: np.mean(p / q)), "You divide log-probabilities: the normaliser"),
        (each(lambda p, q: np.var(p) / np.var(q)), "You divide variances: take the root"),
        (each(lambda p, q: np.ptp(np.exp(p)) / np.ptp(np.exp(q))), "You compare probabilities; T divides"),
        (each(lambda p, q: (np.exp(q) @ q) / (np.exp(p) @ p)), "You compare entropies; they do not grow"),
        (lambda p, q: np.mean(temperature_of(p, q)), "You return one number; each row"),
    ],
}
