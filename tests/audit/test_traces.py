"""The audit of generalised advantage estimates: bugs by name, what is right in many layouts."""

import numpy as np
import pytest
from audited import breaks

from rlhf_lab import audit
from rlhf_lab.audit import traces, trajectories
from rlhf_lab.audit.zoo import ZOO, returns
from rlhf_lab.methods import actor_critic

BUGS = [bug for bug in ZOO if bug.audit == "gae"]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bugs_have_names(bug):
    report = audit.gae(bug.function)
    assert (report.ok, report.verdict, report.told, report.where) == (False, bug.name, bug.told, bug.where)


def cleanrl(rewards, values, dones, next_value, next_done, gamma=0.99, gae_lambda=0.95):
    advantages, last = np.zeros_like(rewards), 0
    for t in reversed(range(len(rewards))):
        live = 1.0 - (next_done if t == len(rewards) - 1 else dones[t + 1])
        after = next_value if t == len(rewards) - 1 else values[t + 1]
        last = rewards[t] + gamma * after * live - values[t] + gamma * gae_lambda * live * last
        advantages[t] = last
    return advantages, advantages + values


def spinning_up(rews, vals, gamma, lam):
    deltas, found, last = rews + gamma * vals[1:] - vals[:-1], np.zeros_like(rews), 0
    for t in reversed(range(len(rews))):
        found[t] = last = deltas[t] + gamma * lam * last
    return found


def lists(rewards, values, gamma=0.99, lam=0.95):
    advantages, last = [], 0.0
    for t in reversed(range(len(rewards))):
        after = values[t + 1] if t + 1 < len(values) else 0.0
        last = rewards[t] + gamma * after - values[t] + gamma * lam * last
        advantages.insert(0, last)
    return advantages


def with_dones(rewards, values, dones, last_value, gamma, lam, cut=True, bootstrap=True, live_value=False):
    advantages, last = np.zeros(len(rewards)), 0
    for t in reversed(range(len(rewards))):
        after = bootstrap * last_value if t == len(rewards) - 1 else values[t + 1]
        live = 1 - dones[t]
        last = rewards[t] + gamma * after * (1 if live_value else live) - values[t] + gamma * lam * live**cut * last
        advantages[t] = last
    return advantages


def returns_by_masks(next_value, rewards, masks, values, gamma=0.99, tau=0.95):
    values, last, found = np.concatenate([values, [next_value]]), 0, []
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + gamma * values[t + 1] * masks[t] - values[t]
        last = delta + gamma * tau * masks[t] * last
        found.insert(0, last + values[t])
    return found


def whitened(values, rewards, response_mask):
    values, rewards, found = values * response_mask, rewards * response_mask, []
    last, length = 0, rewards.shape[1]
    for t in reversed(range(length)):
        after = values[:, t + 1] if t < length - 1 else 0.0
        last = rewards[:, t] + after - values[:, t] + 0.95 * last
        found.append(last)
    advantages = np.stack(found[::-1], axis=1)
    mean = (advantages * response_mask).sum() / response_mask.sum()
    variance = ((advantages - mean) ** 2 * response_mask).sum() / (response_mask.sum() - 1)
    return (advantages - mean) / np.sqrt(variance + 1e-8) * response_mask, advantages + values


def skipping(token_level_rewards, values, response_mask, gamma, lam):
    """Padding is skipped, and its own numbers stand on it."""
    last, after, found = 0, 0, []
    for t in reversed(range(values.shape[1])):
        delta = token_level_rewards[:, t] + gamma * after - values[:, t]
        new, mask = delta + gamma * lam * last, response_mask[:, t]
        after = values[:, t] * mask + (1 - mask) * after
        last = new * mask + (1 - mask) * last
        found.append(last)
    return np.stack(found[::-1], axis=1)


def next_values(rewards, values, next_values, terminated, gamma, lam):
    delta, last = rewards + gamma * next_values * (1 - terminated) - values, 0
    found = np.zeros_like(rewards)
    for t in reversed(range(rewards.shape[1])):
        found[:, t] = last = delta[:, t] + gamma * lam * (1 - terminated[:, t]) * last
    return found


def longer_with_flags(rewards, values, dones, gamma, lam):
    found, last = np.zeros(rewards.shape), 0
    for t in reversed(range(rewards.shape[1])):
        live = ~dones[:, t]
        delta = rewards[:, t] + gamma * values[:, t + 1] * live - values[:, t]
        found[:, t] = last = delta + gamma * lam * live * last
    return found


def powers(r, v, mask, gamma, lam):
    """A matrix of powers in place of a sweep."""
    after = np.concatenate([(v * mask)[:, 1:], 0 * v[:, :1]], axis=1)
    steps = np.arange(r.shape[1])
    apart = steps[None] - steps[:, None]
    weights = np.where(apart >= 0, (gamma * lam) ** np.maximum(apart, 0), 0.0)
    return ((r + gamma * after - v) * mask) @ weights.T * mask


RIGHT = {
    returns.gae: "",
    actor_critic.gae: "",
    cleanrl: "time comes first, (T, N); flags mark the first step of an episode, and what comes after the last one",
    spinning_up: "values hold one more, behind the last step, (N, T + 1); time comes first, (T, N)",
    lists: "one trajectory at a time, (T,)",
    with_dones: "one trajectory at a time, (T,); flags mark the last step of an episode",
    returns_by_masks: "advantages plus values: these are the returns",
    whitened: "no parameter lambda: 0.95, worked out from its values, is fixed inside it",
    skipping: "",
    next_values: "the next value of every step is handed over; flags mark the last step of an episode",
    longer_with_flags: "values hold one more, behind the last step, (N, T + 1); flags mark the last step of an episode",
    powers: "",
}


@pytest.mark.parametrize("function", RIGHT, ids=lambda function: function.__name__)
def test_right_estimates_pass_with_their_layout(function):
    report = audit.gae(function)
    assert report.ok, str(report)
    assert not RIGHT[function] or RIGHT[function] in report.conventions
    assert set(report.identities.values()) <= {"holds"}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"cut": False}, "errors of padding"),
        ({"bootstrap": False}, "bootstrap forgotten"),
        ({"live_value": True}, "value behind the end"),
        ({"live_value": True, "cut": False}, "ends ignored"),
    ],
)
def test_bugs_at_the_ends_of_episodes(change, name):
    def wrong(rewards, values, dones, last_value, gamma, lam):
        return with_dones(rewards, values, dones, last_value, gamma, lam, **change)

    report = audit.gae(wrong)
    assert report.verdict == name
    assert (report.identities["no value flows over an end"] != "holds") == change.get("live_value", False)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (lambda r, v, after, g: r + after - v, "next value not discounted"),
        (lambda r, v, after, g: r + g * (after - v), "both values discounted"),
        (lambda r, v, after, g: r - g * after - v, "next value subtracted"),
        (lambda r, v, after, g: r + g * after + v, "value added"),
        (lambda r, v, after, g: r - g * after + v, "values the wrong way round"),
        (lambda r, v, after, g: r + g * after, "value not subtracted"),
        (lambda r, v, after, g: r - v, "next value missing"),
    ],
)
@pytest.mark.parametrize("cut", [True, False])
def test_bugs_of_td_errors_have_names_where_trajectories_hold_episodes(error, name, cut):
    def wrong(rewards, values, dones, last_value, gamma, lam):
        advantages, last = np.zeros(len(rewards)), 0.0
        for t in reversed(range(len(rewards))):
            after = last_value if t == len(rewards) - 1 else values[t + 1]
            last = error(rewards[t], values[t], after * (1 - dones[t]), gamma) + gamma * lam * (1 - dones[t]) * last
            advantages[t] = last
        return advantages

    def without_ends(rewards, values, last_value, gamma, lam):
        return wrong(rewards, values, 0 * rewards, last_value, gamma, lam)

    assert audit.gae(wrong if cut else without_ends).verdict == name


@pytest.mark.parametrize(("change", "verdict"), [(np.negative, "minus the right numbers"), (np.abs, "sign lost")])
def test_signs_that_are_turned_or_lost_where_trajectories_hold_episodes(change, verdict):
    found = audit.gae(lambda rewards, values, dones, last_value, gamma, lam: change(with_dones(
        rewards, values, dones, last_value, gamma, lam
    )))  # fmt: skip
    assert found.verdict == verdict


def test_bugs_in_other_layouts():
    def forward(rewards, values, dones, next_value, next_done, gamma, gae_lambda):
        found, last = np.zeros_like(rewards), 0
        for t in range(len(rewards)):
            live = 1.0 - (next_done if t == len(rewards) - 1 else dones[t + 1])
            after = next_value if t == len(rewards) - 1 else values[t + 1]
            found[t] = last = rewards[t] + gamma * after * live - values[t] + gamma * gae_lambda * live * last
        return found

    def monte_carlo(rews, vals, gamma, lam):
        return spinning_up(rews, vals, gamma, 1.0)

    assert audit.gae(forward).verdict == "swept forward"
    assert audit.gae(monte_carlo).verdict == "lambda missing"


def test_every_identity_is_broken_by_something():
    def mixed(rewards, values, mask, gamma, lam):
        return returns.gae(rewards, values, mask, gamma, lam).mean(0) * mask

    of_answers = trajectories._contracts(mixed)[0]
    broken = set().union(*(breaks(of_answers, f) for f in [*(bug.function for bug in BUGS), mixed]))
    assert broken == {identity.name for identity in traces.ANSWERS}
    (of_episodes,) = trajectories._contracts(with_dones)
    row = next(one for one in of_episodes.layouts if one.name.startswith("one trajectory at a time"))
    broken = set()
    for change in ({"cut": False}, {"bootstrap": False}, {"live_value": True}):

        def changed(rewards, values, dones, last_value, gamma, lam, change=change):
            return with_dones(rewards, values, dones, last_value, gamma, lam, **change)

        broken |= breaks(of_episodes, changed, row)
    assert broken >= {identity.name for identity in traces.EPISODES} - {
        "a reward is not heard of by what comes after it",
        "rows have nothing to do with each other",
    }


def test_a_function_that_takes_something_else_is_told():
    report = audit.gae(lambda rewards: rewards)
    assert report.verdict == "not audited"
    assert "It takes (rewards)" in report.told


@pytest.mark.parametrize("late", [True, False])
def test_dones_beside_starts_are_those_after_the_last_step(late):
    def advantages(rewards, values, episode_starts, last_values, dones, gamma=0.99, gae_lambda=0.95):
        found, last = np.zeros_like(rewards), 0
        for t in reversed(range(len(rewards))):
            final = t == len(rewards) - 1
            live = 1.0 - (dones.astype(float) if final else episode_starts[t + late])
            after = last_values if final else values[t + 1]
            last = rewards[t] + gamma * after * live - values[t] + gamma * gae_lambda * live * last
            found[t] = last
        return found

    assert audit.gae(advantages).ok == late


@pytest.mark.parametrize("function", [lambda rewards, values: rewards, lambda rewards, values: rewards - values])
def test_a_discount_of_0_is_not_worked_out_but_wrong(function):
    report = audit.gae(function)
    assert not report.ok
    assert not any("gamma" in told for told in report.conventions)


@pytest.mark.parametrize(("gamma", "lam"), [(0.9, 0.7), (0.8, 1.0), (1.0, 0.5)])
@pytest.mark.parametrize("change", ["advantages", "returns", "the count", "the count less 1"])
def test_discounts_and_traces_inside_are_worked_out(gamma, lam, change):
    """Both, or one of them; from advantages, from returns, and from advantages of unit variance."""

    def both(rewards, values, mask):
        found = returns.gae(rewards, values, mask, gamma, lam)
        return {
            "advantages": found,
            "returns": (found + values) * mask,
            "the count": traces._whitened(found, {"mask": mask}, 0),
            "the count less 1": traces._whitened(found, {"mask": mask}, 1),
        }[change]

    def discount(rewards, values, mask, lam):
        return returns.gae(rewards, values, mask, gamma, lam)

    def trace(rewards, values, mask, gamma):
        return returns.gae(rewards, values, mask, gamma, lam)

    told = [
        f"no parameter {name}: {number:.4g}, worked out from its values, is fixed inside it"
        for name, number in (("gamma", gamma), ("lambda", lam))
    ]
    for function, wanted in ((both, told), (discount, told[:1]), (trace, told[1:])):
        report = audit.gae(function)
        assert report.ok, str(report)
        assert [text for text in report.conventions if text.startswith("no parameter")] == wanted
        white = [
            text.rpartition(" by ")[2] for text in report.conventions if text.startswith("whitened over the batch, ")
        ]
        assert white == [change] * (function is both and change.startswith("the count"))
