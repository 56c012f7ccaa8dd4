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
}
