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


def test_cases_come_in_all_sizes_and_with_what_is_easily_got_wrong():
    policies, losses, thumbs = map(
        diagnosis.draw_cases, (unpaired.SIMPO_POLICY, unpaired.KTO_LOSS, unpaired.KTO_POLICY)
    )
    assert {len(reward) for reward, *_ in policies} == {2, 3, 4, 5, 6}
    assert all(len(set(length)) == min(len(length), 5) for _, length, _ in policies)
    assert {tokens for _, length, _ in policies for tokens in length} == {1, 2, 3, 4, 5}
    assert {beta for *_, beta in policies} == {0.5, 2.0, 5.0}
    assert {len(u) for u, *_ in losses} == {2, 3, 4, 5, 6}
    assert all(set(desirable) == {0, 1} for _, desirable, *_ in losses)
    points = {round(10 * z_ref, 9) for _, _, z_ref, _ in losses}
    assert points <= set(range(1, 20))
    assert {1, 19} <= points
    assert {len(up) for up, *_ in thumbs} == {3, 4, 5, 6, 7}
    assert all(good != bad for _, _, good, bad in thumbs)
    assert {weight for _, _, *weights in thumbs for weight in weights} == {0.5, 1.0, 2.0}
    for up, down, *_ in thumbs:
        assert ((up * 0.5 > down * 2.0).any(), (up * 2.0 < down * 0.5).any()) == (True, True)
    counts = np.concatenate([n for up, down, *_ in thumbs for n in (up, down)])
    assert set(counts) - {40} == set(range(1, 20))
