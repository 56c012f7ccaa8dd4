"""Large inputs are told apart from wrong answers in the chapter on losses without a reference."""

import numpy as np

from rlhf_lab.check import diagnosis, unpaired


def naive_policy(reward, length, beta):
    low, high = np.min(reward) - 100, np.max(reward) + 100
    for _ in range(100):
        c = (low + high) / 2
        low, high = (c, high) if np.sum(np.exp(length * (reward - c) / beta)) > 1 else (low, c)
    return np.log(np.exp(length * reward / beta) / np.exp(length * c / beta))


def naive_loss(u, desirable, z_ref, beta):
    weight = np.exp(beta * (2 * desirable - 1) * (z_ref - u))
    return weight / (1 + weight)


def test_overflow_is_named_apart_from_being_wrong():
    for exercise, function, what in (
        (unpaired.SIMPO_POLICY, naive_policy, "rewards"),
        (unpaired.KTO_LOSS, naive_loss, "log-ratios"),
    ):
        told = diagnosis.diagnose(exercise, function)
        assert told.startswith(f"It is right for small {what}, but large ones overflow:")


def by_share(up, down, desirable_weight, undesirable_weight):
    total = up + down
    pull = total * np.maximum(up / total * desirable_weight - down / total * undesirable_weight, 0)
    return pull / pull.sum()


def test_an_answer_without_a_thumb_is_told_apart_from_being_wrong():
    told = diagnosis.diagnose(unpaired.KTO_POLICY, by_share)
    assert told.startswith("It is right where each answer has been judged; one without any thumb")
