"""The exercises of the chapter "Dense rewards", solved and got wrong by a reader who likes loops."""

import numpy as np

# Right solutions, as a reader who likes loops would write them.


def shaped_rewards(rewards, potential, mask, discount):
    found = np.zeros(rewards.shape)
    for i, row in enumerate(mask):
        length = int(sum(row))
        for t in range(length):
            ahead = potential[i, t + 1] if t + 1 < length else 0.0
            found[i, t] = rewards[i, t] + discount * ahead - potential[i, t]
    return found


def harmless(bonus, mask, discount):
    found = []
    for terms in bonus:
        sums = []
        for row, live in zip(terms, mask, strict=True):
            total = 0.0
            for r, m in reversed(list(zip(row, live, strict=True))):
                total = (r if m else 0.0) + discount * total
            sums.append(total)
        found.append(max(sums) - min(sums) < 1e-8)
    return found


def step_scores(written, mask, label, start, weight):
    texts, found = written.tolist(), np.zeros(mask.shape)
    for i, text in enumerate(texts):
        for t in range(int(sum(mask[i]))):
            heard = [label[j] for j, other in enumerate(texts) if other[:t] == text[:t]]
            found[i, t] = (sum(heard) + weight * start) / (len(heard) + weight)
    return found


def effective_price(reward, bonus, mask, beta):
    prices = []
    for terms in bonus:
        whole = reward + [sum(row[live > 0]) for row, live in zip(terms, mask, strict=True)]
        far = np.argmax(abs(reward - reward[0]))
        times = (whole[far] - whole[0]) / (reward[far] - reward[0])
        apart = [w - times * r for w, r in zip(whole, reward, strict=True)]
        prices.append(beta / times if max(apart) - min(apart) < 1e-8 else 0.0)
    return prices


# Wrong ones.


def shifted(value):
    return np.concatenate([value[:, 1:], np.zeros((len(value), 1))], axis=1)


def ends(mask):
    return mask - shifted(mask)


def ahead(phi, mask):
    return shifted(phi * mask)


def back(phi):
    return np.concatenate([np.zeros((len(phi), 1)), phi[:, :-1]], axis=1)


def flat(sums):
    return sums.max(1) - sums.min(1) < 1e-8


def weighted(bonus, mask, discount):
    return bonus * mask * discount ** np.arange(mask.shape[-1])


def heard(written, label, through=lambda same: np.cumprod(same, axis=0)):
    same = np.array([[1.0 * (a == b) for b in written] for a in written])  # (N, N, T)
    same = np.concatenate([np.ones(same.shape[:2])[..., None], same], axis=-1)[..., :-1]
    same = np.moveaxis(through(np.moveaxis(same, -1, 0)), 0, -1)
    return np.einsum("ijt,j->it", same, label), same.sum(1)


def mixed(counts, start, weight):
    return (counts[0] + weight * start) / (counts[1] + weight)


def upto(written, label):
    follow = np.concatenate([written, written[:, :1]], axis=1)
    return [part[:, 1:] for part in heard(follow, label)]


def line(reward, total):
    slope = np.array([np.polyfit(reward, each, 1)[0] for each in total])
    rest = total - slope[:, None] * reward
    return slope, np.ptp(rest, axis=1) < 1e-8


def sums(bonus, mask):
    return (bonus * mask).sum(-1)


def priced(reward, bonus, mask, price):
    slope, good = line(reward, sums(bonus, mask))
    with np.errstate(divide="ignore"):
        return np.where(good, price(np.where(abs(slope) < 1e-8, 0.0, slope)), 0.0)


def through_zero(r, b, m, beta):
    total = sums(b, m)
    slope = total @ r / sum(r**2)
    return np.where(abs(total - slope[:, None] * r).max(1) < 1e-8, beta / (1 + slope), 0.0)


WRONG = {
    "shaped_rewards": [
        (lambda r, f, m, g: m * (r + g * shifted(f) - f), "Behind <eos> yours still has a potential"),
        (
            lambda r, f, m, g: m * (r + g * ahead(f, m) + g * f * m * np.eye(m.shape[1])[-1] - f),
            "An answer that reaches the horizon has ended",
        ),
        (lambda r, f, m, g: m * (r + g * ahead(f, m) + g * ends(m) * f - f), "Your finished answers keep"),
        (lambda r, f, m, g: r + g * ahead(f, m) - f, "Behind the end there are no rewards"),
        (lambda r, f, m, g: m * (r - g * ahead(f, m) + f), "The sign of the shaping term"),
        (lambda r, f, m, g: m * (r + ahead(f, m) - f), "You forgot the discount"),
        (lambda r, f, m, g: m * (r + g * ahead(f, m) - g * f), "The discount multiplies the next"),
        (lambda r, f, m, g: m * (r + ahead(f, m) - g * f), "The discount stands at the wrong"),
        (lambda r, f, m, g: m * (g * ahead(f, m) - f), "You return the shaping term"),
        (lambda r, f, m, g: m * (r + g * f - back(f)), "You compare with the state before"),
    ],
    "harmless": [
        (lambda b, m, g: abs(weighted(b, m, g).sum(-1)).max(1) < 1e-8, "The sums need not be 0"),
        (lambda b, m, g: flat(weighted(b, m, 1.0).sum(-1)), "You forgot the discount"),
        (lambda b, m, g: flat(weighted(b, np.ones(m.shape), g).sum(-1)), "Padding counts in yours"),
        (lambda b, m, g: flat(weighted(b, m, g)).all(-1), "You ask each step to be paid the same"),
        (lambda b, m, g: flat((ends(m) * weighted(b, m, g)).sum(-1)), "You look at the last token only"),
        (lambda b, m, g: flat(weighted(b, m, g).sum(-1) / m.sum(-1)), "You divide by the length"),
        (lambda b, m, g: ~flat(weighted(b, m, g).sum(-1)), "It is the other way round"),
    ],
    "step_scores": [
        (lambda y, m, z, h, w: m * mixed(heard(y, z, lambda same: same), h, w), "You compare the token before only"),
        (lambda y, m, z, h, w: m * mixed(upto(y, z), h, w), "Your beginning includes the token itself"),
        (lambda y, m, z, h, w: m * mixed([z @ m, m.sum(0)], h, w), "You pool all answers"),
        (
            lambda y, m, z, h, w: (
                m * mixed([part - one for part, one in zip(heard(y, z), (z[:, None], 1), strict=True)], h, w)
            ),
            "You leave the answer itself out",
        ),
        (lambda y, m, z, h, w: m * mixed(heard(y, z), h, 0), "You take the mean of the labels only"),
        (lambda y, m, z, h, w: m * mixed(heard(y, z), 0, w), "You forgot h_0"),
        (lambda y, m, z, h, w: m * mixed(heard(y, z), h / w, w), "h_0 counts as w labels"),
        (lambda y, m, z, h, w: mixed(heard(y, z), h, w), "Behind the end there are no states"),
    ],
    "effective_price": [
        (lambda r, b, m, c: priced(r, b, m, lambda k: c * (1 + k)), "A reward that counts more"),
        (lambda r, b, m, c: priced(r, b, m, lambda k: c / k), "You forgot the reward itself"),
        (lambda r, b, m, c: priced(r, b, np.ones(m.shape), lambda k: c / (1 + k)), "Padding counts in yours"),
        (through_zero, "A constant moves no optimum"),
        (lambda r, b, m, c: c / (1 + line(r, sums(b, m))[0]), "You fit a line"),
        (lambda r, b, m, c: priced(r, b, m, lambda k: 1 + k), "You return how often the reward counts"),
        (lambda r, b, m, c: priced(r, b, m, lambda k: np.where(k, c / 2, c)), "You halve the price"),
        (lambda r, b, m, c: priced(r, b, m, lambda k: np.where(k, c / (1 + k), 0)), "A bonus with the same sum"),
    ],
}
