"""One factor where another belongs: in margins, and in advantages."""

import numpy as np
import pytest

from rlhf_lab import audit
from rlhf_lab.audit import discounts, weights
from rlhf_lab.audit.zoo import pairs, returns

FACTORS = {
    "1": 1.0,
    "beta": 0.3,
    "0": 0.0,
    "the square of beta": 0.09,
    "1 / beta": 10 / 3,
    "twice beta": 0.6,
    "half of beta": 0.15,
    "the root of beta": 0.3**0.5,
    "1 less beta": 0.7,
    "minus 1": -1.0,
    "minus beta": -0.3,
}
PLACES = {
    "the policy": "ab",
    "the reference": "cd",
    "the chosen answer": "ac",
    "the rejected answer": "bd",
    "the policy's chosen answer": "a",
    "the policy's rejected answer": "b",
    "the reference's chosen answer": "c",
    "the reference's rejected answer": "d",
    "both answers": "abcd",
}
FOUR = dict(zip("abcd", np.random.default_rng(0).uniform(-2, 0, (4, 3)), strict=True))


@pytest.mark.parametrize(("right", "weight", "usual"), [(pairs.dpo_loss, "beta", "beta"), (pairs.ipo_loss, "tau", "1")])
def test_a_margin_is_weighed_as_the_name_says(right, weight, usual):
    bugs = {bug.name: bug for bug in weights.weighed(right)}
    others = [name for name in FACTORS if name != usual]
    assert len(bugs) == len(others) * len(PLACES)
    for name in others:
        for where, spots in PLACES.items():
            got = name.replace("beta", weight)
            bug = bugs[f"{got} in place of {usual.replace('beta', weight)} before {where}"]
            by = {x: FACTORS[name] if x in spots else FACTORS[usual] for x in "abcd"}
            h = sum(sign * by[x] * FOUR[x] for x, sign in zip("abcd", (1, -1, -1, 1), strict=True))
            wanted = np.logaddexp(0, -h) if weight == "beta" else (h - 1 / 0.6) ** 2
            four = dict(
                zip(
                    ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected"),
                    FOUR.values(),
                    strict=True,
                )
            )
            np.testing.assert_allclose(bug.function(**four, **{weight: 0.3}), wanted, rtol=1e-9)
            assert bug.told.startswith(f"You multiply what {where} gives to the margin by {got}. ")
            assert (bug.right, bug.audit, bug.seen, bug.where) == (right, "", "", "")


@pytest.mark.parametrize(
    ("name", "loss", "verdict"),
    [
        (
            "dpo_loss",
            lambda a, b, c, d, beta: np.logaddexp(0, beta**2 * (b - a) + beta * (c - d)).mean(),
            "the square of beta in place of beta before the policy",
        ),
        (
            "dpo_loss",
            lambda a, b, c, d, beta: np.logaddexp(0, beta * (b - a + c) - d),
            "1 in place of beta before the reference's rejected answer",
        ),
        (
            "ipo_loss",
            lambda a, b, c, d, tau: ((a - b - tau * (c - d) - 1 / (2 * tau)) ** 2).mean(),
            "tau in place of 1 before the reference",
        ),
        ("ipo_loss", lambda a, b, c, d, tau: (tau * (a - b - c + d)) ** 2, "target missing"),
        ("dpo_loss", lambda a, b, c, d, beta: np.logaddexp(0, b - a + beta * (c - d)), "beta on the reference only"),
    ],
)
def test_a_loss_with_a_factor_in_the_wrong_place_is_told_where(name, loss, verdict):
    found = audit.AUDITS[name](loss)
    assert (found.ok, found.verdict) == (False, verdict), str(found)


G, L = 0.9, 0.7
NUMBERS = {
    "gamma": G,
    "lambda": L,
    "gamma lambda": G * L,
    "1": 1.0,
    "0": 0.0,
    "gamma squared": 0.81,
    "lambda squared": 0.49,
    "gamma squared times lambda": 0.81 * 0.7,
    "gamma times lambda squared": 0.9 * 0.49,
    "1 - gamma": 0.1,
    "1 - lambda": 0.3,
    "gamma (1 - lambda)": 0.27,
    "gamma + lambda": 1.6,
}


def estimates(rewards, values, mask, following, decay):
    found = np.zeros(rewards.shape)
    for row in range(len(rewards)):
        carried = 0.0
        for t in range(int(mask[row].sum()) - 1, -1, -1):
            after = values[row, t + 1] if t + 1 < mask[row].sum() else 0.0
            carried = rewards[row, t] + following * after - values[row, t] + decay * carried
            found[row, t] = carried
    return found


def test_advantages_are_discounted_as_the_name_says():
    bugs = {bug.name: bug for bug in discounts.discounted() if not bug.where}
    assert len(bugs) == len(NUMBERS) ** 2 - 1
    assert ["; " in name for name in bugs] == sorted("; " in name for name in bugs)  # one wrong number before two
    rng = np.random.default_rng(0)
    rewards, values = rng.normal(size=(2, 2, 4))
    mask = np.array([[1.0, 1, 1, 0], [1, 1, 1, 1]])
    for first, following in NUMBERS.items():
        for second, decay in NUMBERS.items():
            name = [f"{first} in place of gamma before the next value"] * (first != "gamma")
            name += [f"{second} in place of gamma lambda in the trace"] * (second != "gamma lambda")
            if name:
                bug = bugs["; ".join(name)]
                assert (bug.right, bug.audit, bug.seen, bug.where) == (returns.gae, "gae", "", "")
                found = bug.function(rewards=rewards, values=values, mask=mask, gamma=G, lam=L)
                np.testing.assert_allclose(found, estimates(rewards, values, mask, following, decay), err_msg=bug.name)
                assert bug.told.startswith(
                    f"You discount the next value by {first}, and let the trace decay by {second}."
                )


@pytest.mark.parametrize(
    ("following", "decay", "verdict"),
    [
        (lambda g, lam: g**2, lambda g, lam: g * lam, "gamma squared in place of gamma before the next value"),
        (lambda g, lam: g, lambda g, lam: g * (1 - lam), "gamma (1 - lambda) in place of gamma lambda in the trace"),
        (lambda g, lam: 1.0, lambda g, lam: g * lam, "next value not discounted"),
        (lambda g, lam: g, lambda g, lam: g * lam, "right"),
    ],
)
def test_an_advantage_with_a_number_in_the_wrong_place_is_told_where(following, decay, verdict):
    def own(rewards, values, mask, gamma, lam):
        return estimates(rewards, values, mask, following(gamma, lam), decay(gamma, lam))

    assert audit.gae(own).verdict == verdict


def test_numbers_in_the_wrong_place_are_told_of_trajectories_with_ends_too():
    def own(rewards, values, dones, last_value, gamma, lam):
        found, carried = np.zeros(len(rewards)), 0.0
        for t in range(len(rewards) - 1, -1, -1):
            after = (values[t + 1] if t + 1 < len(rewards) else last_value) * (1 - dones[t])
            carried = rewards[t] + gamma**2 * after - values[t] + gamma * lam * (1 - dones[t]) * carried
            found[t] = carried
        return found

    assert audit.gae(own).verdict == "gamma squared in place of gamma before the next value"
    assert returns.gae is next(discounts.discounted()).right


def test_own_values_in_place_of_the_next_also_where_nothing_comes_next():
    rewards, values = np.random.default_rng(0).normal(size=(2, 2, 4))
    mask = np.array([[1.0, 1, 1, 0], [1, 1, 1, 1]])
    found = [bug for bug in discounts.discounted() if bug.where]
    names = ["own value in place of the next", "own value in place of the next", "last value behind itself"]
    assert [bug.name for bug in found] == names
    nothing, behind = np.zeros((2, 1)), np.append((values * mask)[:, 1:], np.zeros((2, 1)), axis=1)
    following = [
        np.append(values[:, :-1], nothing, axis=1),
        values,
        behind + np.append(np.zeros((2, 3)), values[:, -1:], axis=1),
    ]
    for bug, after in zip(found, following, strict=True):
        wanted = returns.gae(rewards + G * (after - behind), values, mask, G, L)
        np.testing.assert_allclose(bug.function(rewards, values, mask, G, L), wanted, err_msg=bug.name)
