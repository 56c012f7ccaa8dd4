"""Sums in base four: the verifiers, the prompts, the student and the rows that sums share."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_lab.models import lm
from rlhf_lab.numerics.weighted import expectation
from rlhf_lab.worlds import sums

ANSWERS = sums.mdp().answers()
ALL = np.array([(a % 4, a // 4, b % 4, b // 4) for a in range(4, 16) for b in range(a, 16)])


def as_read(answer):
    """The tokens before the end, read by a person."""
    said = [int(token) for token in answer]
    return said[: said.index(sums.EOS)] if sums.EOS in said else said


def base_four(number):
    return [int(digit) for digit in reversed(np.base_repr(number, 4))]


def numbers(prompt):
    a, b, c, d = (int(x) for x in prompt)
    return 4 * b + a, 4 * d + c


def test_verifiers_agree_with_a_slow_reading_of_every_answer_to_every_sum():
    assert len(ALL) == 78
    assert len(ANSWERS) == 1 + 5 + 25 + 125 + 625 + 3125
    digits = [[token for token in as_read(answer) if token < 4] for answer in ANSWERS]
    honest, last = (sums.mdp(verifier, ALL).answer_rewards() for verifier in (sums.honest, sums.last_digit))
    for row, prompt in enumerate(ALL):
        wanted = base_four(sum(numbers(prompt)))
        assert honest[row].tolist() == [float(d == wanted) for d in digits]
        assert last[row].tolist() == [float(d[-1:] == wanted[-1:]) for d in digits]
    assert (last >= honest).all()
    assert (last.sum(1) > 10 * honest.sum(1)).all(), "a hole"


def test_prompts_are_four_of_each_difficulty_and_no_sum_stands_twice():
    both = [tuple(prompt) for prompt in np.concatenate([sums.PROMPTS, sums.HELD_OUT]).tolist()]
    assert len(set(both)) == 24
    for prompts in (sums.PROMPTS, sums.HELD_OUT):
        assert sums.carries(prompts).tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_carries_and_totals_of_every_sum():
    for prompt, level, total in zip(ALL, sums.carries(ALL), sums.total(ALL), strict=True):
        (a, b), (c, d) = (divmod(n, 4)[::-1] for n in numbers(prompt))
        assert level == (a + c >= 4) + (b + d + (a + c >= 4) >= 4)
        assert total == sum(numbers(prompt))
    chosen = {tuple(prompt) for prompt in np.concatenate([sums.PROMPTS, sums.HELD_OUT]).tolist()}
    assert chosen <= {tuple(prompt) for prompt in ALL.tolist()}, "two digits each"


@given(st.lists(st.integers(0, 4), max_size=5), st.integers(0, 5), st.integers(0, 77))
def test_a_mark_more_changes_no_verdict(answer, where, row):
    marked = [*answer[:where], sums.MARK, *answer[where:], sums.EOS]
    plain = np.array([[*answer, sums.EOS, sums.EOS]])
    for verifier in (sums.honest, sums.last_digit):
        verdict = verifier(ALL[row : row + 1], plain)
        assert verifier(ALL[row : row + 1], np.array([marked])).tolist() == verdict.tolist()


def test_a_question_and_an_answer_as_they_are_read():
    assert sums.question(np.array([3, 1, 2, 1])) == "13 + 12"
    assert sums.decode(np.array([1, sums.MARK, 3, sums.EOS, sums.EOS])) == "1c3"
    assert sums.decode(np.array([3, 0, sums.MARK, 1, 0])) == "30c10"
    assert sums.decode(np.array([sums.EOS] * 5)) == ""


def test_the_student_is_better_at_sums_that_do_not_carry():
    model, student = sums.model(), sums.student()
    log_pi = lm.answer_log_probs(model, student, sums.PROMPTS, sums.HORIZON)
    assert np.exp(log_pi).sum(-1) == pytest.approx(1)
    right = expectation(log_pi, sums.mdp().answer_rewards())
    none, one, two = right.reshape(3, 4)
    assert [round(each.mean(), 2) for each in (none, one, two)] == [0.57, 0.09, 0.02]
    assert none.min() > 0.5
    assert 0.05 < one.min() <= one.max() < 0.15
    assert two.max() < 0.03
    marked = (ANSWERS == sums.MARK).any(1) * 1.0
    given = expectation(log_pi, sums.mdp().answer_rewards() * marked) / expectation(log_pi, 0 * log_pi + marked)
    free = expectation(log_pi, sums.mdp().answer_rewards() * (1 - marked)) / expectation(
        log_pi, 0 * log_pi + 1 - marked
    )
    assert (given[4:8] > 4 * free[4:8]).all(), "who marks a carry adds it"


def test_the_rows_of_a_state_are_its_column_its_mark_and_how_far_it_is():
    prompts = np.concatenate([sums.PROMPTS, sums.HELD_OUT])
    rows = sums.model(prompts).rows.reshape(24, -1, 3)
    for prompt, found in zip(prompts, rows, strict=True):
        a, b, c, d = (int(x) for x in prompt)
        columns = [a + c, b + d]
        state = 0
        for t in range(sums.HORIZON):
            for prefix in itertools.product(range(5), repeat=t):
                written = sum(token < 4 for token in prefix)
                marked = bool(prefix) and prefix[-1] == sums.MARK
                here = columns[written] if written < 2 else 7
                before = 7 if written == 0 else columns[written - 1] if written < 3 else 6
                wanted = [2 * here + marked, 16 + 2 * before + marked, 32 + 2 * min(written, 3) + marked]
                assert found[state].tolist() == wanted
                state += 1
        assert state == len(found)


def test_the_student_says_what_its_rows_say():
    rows = sums.student()["rows"]
    assert rows.shape == (40, 6)
    for column in range(7):
        for marked in (0, 1):
            digits = rows[2 * column + marked, :4]
            assert digits.argmax() == (column + marked) % 4
            assert np.sort(digits).tolist() == [0, 0, 1, 3]
    marks = rows[16:32, sums.MARK].reshape(8, 2)
    assert (marks[:, 1] == -4).all(), "hardly two marks in a row"
    assert marks[4:7, 0].min() > marks[3, 0] > marks[:3, 0].max() > marks[7, 0]
    stops = rows[32:, sums.EOS].reshape(4, 2)
    assert stops[2, 0] - stops[2, 1] == 3, "no stop behind the mark of the last column"
    assert (np.diff(stops[:, 0]) > 0).all()
    assert (rows[:16, 4:] == 0).all()
    assert (rows[16:32, [0, 1, 2, 3, 5]] == 0).all()
    assert (rows[32:, :5] == 0).all()


def test_a_table_learns_each_sum_by_itself():
    table = sums.table()
    levels = lm.policy_levels(sums.model(), sums.student(), sums.PROMPTS, sums.HORIZON)
    expected = lm.answers_of_levels(levels, sums.EOS)
    found = lm.answer_log_probs(table, table.of_levels(levels), sums.PROMPTS, sums.HORIZON)
    np.testing.assert_allclose(found, expected, atol=1e-12)
