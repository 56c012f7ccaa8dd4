"""The exercises of the chapter "The bug zoo", solved and got wrong by a reader who likes loops."""

import math

import numpy as np


def minus_log_sigmoid(z):
    return math.log1p(math.exp(-z)) if z > 0 else math.log1p(math.exp(z)) - z


def of_rewards(margin):
    """The loss of each pair, from a function of the two log-ratios and beta."""
    return lambda a, b, c, d, beta: np.array(
        [minus_log_sigmoid(margin(w - x, v - y, beta)) for w, v, x, y in zip(a, b, c, d, strict=True)]
    )


mended_margin = of_rewards(lambda up, down, beta: beta * up - beta * down)


def margin_loss(chosen, rejected, chosen_0, rejected_0, beta):
    """As the chapter gives it."""
    reward = beta * (chosen - chosen_0)
    other = beta * (rejected - rejected_0)
    return np.logaddexp(0, -beta * (reward - other))


def of_places(counts, place=lambda t: t, divide=False):
    """A sum over the places t of a text, if the text's mask counts them."""

    def scored(log_pi, tokens, mask):
        found = []
        for rows, text, marks in zip(log_pi, tokens, mask, strict=True):
            counted = [t for t in range(1, len(text)) if counts(list(marks), t)]
            total = sum(rows[t - 1][text[place(t)]] for t in counted)
            found.append(total / sum(marks) if divide else total)
        return found

    return scored


mended_mask = of_places(lambda marks, t: marks[t])


def scored(log_pi, tokens, mask):
    """As the chapter gives it."""
    each = np.take_along_axis(log_pi, tokens[:, 1:, None], axis=-1)[..., 0]
    return np.sum(each * mask[:, :-1], axis=-1)


def mean(function):
    return lambda p, q, advantage, e: (
        sum(-function(math.exp(x - y), a, e) for x, y, a in zip(p, q, advantage, strict=True)) / len(p)
    )


def clip(x, low, high):
    return max(low, min(high, x))


def stops(ratio, a, e):
    return ratio > 1 + e if a > 0 else ratio < 1 - e


mended_clip = mean(lambda ratio, a, e: (1 + e if a > 0 else 1 - e) * a if stops(ratio, a, e) else ratio * a)


def clipped(log_pi, log_old, advantage, epsilon):
    """As the chapter gives it."""
    ratio = np.exp(log_pi - log_old)
    return -np.mean(np.clip(ratio, 1 - epsilon, 1 + epsilon) * advantage)


def swept(rewards, values, mask, gamma, lam, *, follows=None, beyond=0.0, carries=None, counts=None):
    """The sums, answer by answer; the keywords break one thing each."""
    found = np.zeros(np.shape(rewards))
    for i, (r, v, m) in enumerate(zip(rewards, values, mask, strict=True)):
        carried, length, width = 0.0, int(sum(m)), len(r)
        for t in reversed(range(width)):
            last = t + 1 >= (length if follows is None else follows(length, width))
            error = r[t] + (0.0 if last or t + 1 == width else gamma * v[t + 1]) - v[t]
            if t >= (length if counts is None else counts(length, width)):
                error = 0.0
            carried = error + (gamma * lam if carries is None else carries) * carried
            found[i, t] = carried if t < length else 0.0
    return found


mended_sweep = swept


def sweep(rewards, values, mask, gamma, lam):
    """As the chapter gives it."""
    after = np.concatenate([values[:, 1:], np.zeros((len(values), 1))], axis=1)
    delta = (rewards + gamma * after - values) * mask
    advantage, carried = np.zeros(delta.shape), 0.0
    for t in range(delta.shape[1] - 1, -1, -1):
        carried = delta[:, t] + gamma * lam * carried
        advantage[:, t] = carried
    return advantage


def padding_errors(rewards, values, mask, gamma, lam):
    return swept(rewards, values * mask, mask, gamma, lam, counts=lambda length, width: width) - flown(
        values * (1 - mask), mask, gamma * lam
    )


def flown(extra, mask, decay):
    """What is carried into an answer from numbers behind it."""
    return np.array(
        [
            [marks[t] * sum(decay ** (k - t) * row[k] for k in range(t, len(row))) for t in range(len(row))]
            for row, marks in zip(extra, mask, strict=True)
        ]
    )


def of_groups(baseline):
    return lambda rewards: [[r - baseline(list(row), j) for j, r in enumerate(row)] for row in rewards]


def but(row, j):
    return row[:j] + row[j + 1 :]


mended_baseline = of_groups(lambda row, j: sum(but(row, j)) / len(but(row, j)))


def left_out(rewards):
    """As the chapter gives it."""
    k = rewards.shape[1]
    others = np.sum(rewards, axis=1, keepdims=True) / (k - 1)
    return rewards - others


def of_answers(function):
    return lambda log_pi, log_ref: [function(math.exp(q - p), p - q) for p, q in zip(log_pi, log_ref, strict=True)]


mended_divergence = of_answers(lambda ratio, u: ratio - 1 + u)


def divergence(log_pi, log_ref):
    """As the chapter gives it."""
    return np.exp(log_pi - log_ref) - 1 - (log_pi - log_ref)


WRONG = {
    "mended_margin": [
        (margin_loss, "Its numbers are those of the function as it was given: halve all"),
        (of_rewards(lambda up, down, beta: up - down), "Now beta is nowhere: with"),
        (of_rewards(lambda up, down, beta: beta * (up - beta * down)), "You mended the reward of the chosen answer"),
        (of_rewards(lambda up, down, beta: beta * (beta * up - down)), "You mended the reward of the rejected answer"),
        (of_rewards(lambda up, down, beta: beta * (down - up)), "The sign of the margin is flipped"),
        (lambda a, b, c, d, beta: mended_margin(a, b, 0 * c, 0 * d, beta), "Now the reference is gone:"),
    ],
    "mended_mask": [
        (scored, "Its numbers are those of the function as it was given: change the padding"),
        (of_places(lambda marks, t: True), "Now nothing is masked:"),
        (of_places(lambda marks, t: marks[t] and marks[t - 1]), "You count what both masks mark: the first"),
        (of_places(lambda marks, t: marks[t] or marks[t - 1]), "You count what one of the masks marks:"),
        (of_places(lambda marks, t: marks[t - 1], place=lambda t: t - 1), "You moved the tokens to the mask;"),
        (of_places(lambda marks, t: marks[t] and sum(marks[t:]) > 1), "Now the <eos> of an answer is lost:"),
        (of_places(lambda marks, t: marks[t], divide=True), "You take the mean over the tokens;"),
    ],
    "mended_clip": [
        (clipped, "Its numbers are those of the function as it was given: see what the gradient"),
        (mean(lambda ratio, a, e: ratio * a), "Now nothing is clipped:"),
        (
            mean(lambda ratio, a, e: max(ratio * a, clip(ratio, 1 - e, 1 + e) * a)),
            "You take the larger of the two:",
        ),
        (mean(lambda ratio, a, e: min(ratio, 1 + e) * a), "You clip above 1 + epsilon only:"),
        (mean(lambda ratio, a, e: max(ratio, 1 - e) * a), "You clip below 1 - epsilon only:"),
    ],
    "mended_sweep": [
        (sweep, "Its numbers are those of the function as it was given: change the values"),
        (lambda *case: swept(*case, follows=lambda length, width: 0), "Now no error holds the value of the next"),
        (padding_errors, "The errors behind the end flow into the answer:"),
        (
            lambda *case: swept(*case, follows=lambda length, width: width, counts=lambda length, width: width),
            "You mask the advantages only:",
        ),
        (lambda *case: swept(*case, counts=lambda length, width: length - 1), "Now the last token has no error;"),
        (lambda *case: swept(*case, carries=0.0), "You return the TD errors:"),
    ],
    "mended_baseline": [
        (left_out, "Its numbers are those of the function as it was given: add 1"),
        (of_groups(lambda row, j: sum(row) / len(row)), "A constant cancels now, but the baseline"),
        (of_groups(lambda row, j: sum(but(row, j)) / len(row)), "The sum is right, and the number of its terms"),
        (of_groups(lambda row, j: sum(but(row, j))), "You subtract the sum of the others;"),
        (lambda f: np.transpose(mended_baseline(f.T)), "You compare across the groups;"),
        (lambda f: f - mended_baseline(f), "You return the baseline; subtract it"),
    ],
    "mended_divergence": [
        (divergence, "Its numbers are those of the function as it was given: see what the means"),
        (of_answers(lambda ratio, u: ratio - 1 - u), "You turned the ratio and not the log-ratio:"),
        (of_answers(lambda ratio, u: 1 / ratio - 1 + u), "You turned the log-ratio and not the ratio:"),
        (of_answers(lambda ratio, u: ratio + u), "The 1 is lost:"),
        (of_answers(lambda ratio, u: u), "That is k1, which has"),
        (of_answers(lambda ratio, u: u * u / 2), "That is k2, whose mean"),
    ],
}
