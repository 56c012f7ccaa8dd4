"""The check of the first step, and the cases of the functions to be mended."""

import math

import numpy as np
import pytest
from answers_bug_hunt import margin_loss

from rlhf_lab import check
from rlhf_lab.check import bug_hunt, diagnosis


def told(name, function, capsys):
    assert getattr(check, name)(function) is None
    return capsys.readouterr().out.removesuffix("\n")


@pytest.mark.parametrize("name", ["zoo_dpo_runs", "zoo_ppo_runs", "first_step"])
def test_the_function_itself_is_wanted(name):
    wanted = rf"^pass the function itself, check\.{name}\(your_function\), not what it returns; got dict$"
    with pytest.raises(TypeError, match=wanted):
        getattr(check, name)({"A": "beta twice"})


def stepped(chosen=-3.0, rejected=-2.0, betas=(0.3,), *, looks=("loss", "slope"), factor=-0.5, near=1e-4):
    """A check of the first step; the arguments break one thing each."""

    def first(loss):
        found = []
        for beta in betas:
            chosen_, rejected_ = np.array([chosen]), np.array([rejected])
            start = float(loss(chosen_, rejected_, chosen_, rejected_, beta)[0])
            up = float(loss(chosen_ + 1e-5, rejected_, chosen_, rejected_, beta)[0])
            down = float(loss(chosen_ - 1e-5, rejected_, chosen_, rejected_, beta)[0])
            slope = (up - down) / 2e-5
            if "loss" in looks:
                found.append(abs(start - math.log(2)) < 1e-9)
            if "slope" in looks:
                found.append(abs(slope - factor * beta) <= near)
        return all(found)

    return first


def of_the_chapter(loss):
    chosen, rejected, beta, step = np.array([-3.0]), np.array([-2.0]), 0.3, 1e-5
    start = loss(chosen, rejected, chosen, rejected, beta)
    up = loss(chosen + step, rejected, chosen, rejected, beta)
    slope = (up - start) / step
    return bool(abs(start - np.log(2)) < 1e-9 and abs(slope + beta / 2) < 1e-4)


def by_name(loss):
    given = {"chosen_0": np.array([-1.0, -4.0]), "rejected_0": np.array([-2.0, -0.5]), "beta": 2.0}
    start = loss(chosen=given["chosen_0"], rejected=given["rejected_0"], **given)
    up = loss(chosen=given["chosen_0"] + 1e-5, rejected=given["rejected_0"], **given)
    return np.allclose(start, np.log(2)) and np.allclose((up - start) / 1e-5, -1.0, atol=1e-3)


def of_numbers(loss):
    """With numbers in place of arrays, and numpy's own True."""
    start = loss(-1.0, -2.0, -1.0, -2.0, 0.5)
    return np.isclose(start, np.log(2)) & np.isclose((loss(-1 + 1e-5, -2.0, -1.0, -2.0, 0.5) - start) / 1e-5, -0.25)


@pytest.mark.parametrize("right", [of_the_chapter, by_name, of_numbers, stepped(), stepped(betas=(0.1, 1.0, 5.0))])
def test_a_right_check_of_the_first_step_passes(right, capsys):
    assert told("first_step", right, capsys) == "first_step: right on all 11 cases."


def test_the_loss_of_the_exercise_has_beta_twice():
    assert not stepped()(margin_loss)
    assert stepped(betas=(1.0,))(margin_loss)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda loss: None, "It returns None: your code goes where the starter returns None."),
        (
            lambda loss: {}["x"],
            "It raises KeyError: 'x'. It is called with a loss of the five arguments of margin_loss.",
        ),
        (lambda loss: loss(1.0), "It raises TypeError: "),
        (lambda loss: np.array([stepped()(loss)]), "It returns ndarray, not True or False: bool(...) makes one of"),
        (lambda loss: float(stepped()(loss)), "It returns float, not True or False: bool(...) makes one of a single"),
        (lambda loss: loss(*np.full((4, 1), -2.0), 3.0) if stepped()(loss) else 1.0, "It returns ndarray, not True or"),
        (lambda loss: 1.0 if stepped()(loss) else False, "It returns float, not True or False: bool(...) makes one of"),
        (lambda loss: stepped()(loss) or None, "It returns NoneType, not True or False: bool(...) makes one of a"),
        (lambda loss: True, "It returns True for every loss, right or wrong."),
        (lambda loss: False, "It returns False for every loss, right or wrong."),
        (stepped(near=0.0), "It returns False for every loss, right or wrong."),
        (lambda loss: not stepped()(loss), "It returns False for the right loss. Is -beta / 2 the slope that you ask"),
        (stepped(factor=0.5), "It returns False for the right loss. Is -beta / 2 the slope that you ask for, and do"),
        (stepped(looks=("loss",)), "It returns True for a loss that is log 2 whatever the policy is. Look at the grad"),
        (stepped(looks=("slope",)), "It returns True for a loss that begins at 2 log 2, with the right gradient. Look"),
        (stepped(betas=(1.0,)), "It returns True for a loss whose gradient is -beta^2 / 2. Which beta tells that"),
        (stepped(rejected=-3.0), "It returns True for a loss without a reference. Where two answers are equally like"),
        (
            lambda loss: stepped()(loss) or loss(*np.full((4, 1), -2.0), 3.0)[0] == 0.5,
            "It returns True for a loss that begins at 1/2.",
        ),
    ],
)
def test_what_a_check_of_the_first_step_does_not_see_is_told(wrong, message, capsys):
    found = told("first_step", wrong, capsys)
    assert found.startswith(f"first_step: not yet. {message}")
    assert found.endswith(".") or found.endswith("?")


@pytest.mark.parametrize("loss", bug_hunt.LOSSES.values(), ids=[loss.__name__ for loss in bug_hunt.LOSSES.values()])
def test_each_loss_alone_is_told_if_it_is_judged_wrongly(loss):
    sentence = next(words for words, one in bug_hunt.LOSSES.items() if one is loss)
    point = *np.array([[-3.0], [-1.5], [-2.0], [-2.5]]), 0.7
    value = loss(*point)
    wrong = lambda given: stepped()(given) ^ bool(np.array_equal(given(*point), value))  # noqa: E731
    assert bug_hunt.first_step(wrong) == f"It returns {sentence}"


def test_the_loss_of_each_answer_by_itself_begins_at_2_log_2_and_has_the_right_gradient():
    begins = "True for a loss that begins at 2 log 2, with the right gradient. Look at the loss, too."
    loss, beta, step = bug_hunt.LOSSES[begins], 0.3, 1e-6
    chosen, rejected = np.array([-3.0, -1.0]), np.array([-2.0, -4.0])
    assert loss(chosen, rejected, chosen, rejected, beta) == pytest.approx(2 * math.log(2))
    for place, slope in ((0, -beta / 2), (1, beta / 2)):
        moved = [chosen, rejected]
        moved[place] = moved[place] + step
        found = (loss(*moved, chosen, rejected, beta) - 2 * math.log(2)) / step
        assert found == pytest.approx(slope, abs=1e-5)


def test_a_text_with_padding_and_an_answer_that_is_shorter_are_no_special_cases():
    log_pi, tokens, full = np.zeros((1, 2, 2)), np.zeros((1, 3), dtype=int), np.array([[0.0, 1.0, 1.0]])
    padded = np.array([[0.0, 1.0, 0.0]])
    traits = bug_hunt.MENDED_MASK.traits
    assert traits(log_pi, tokens, full) == {"no text has padding": True}
    assert traits(log_pi, tokens, padded) == {"no text has padding": False}
    assert traits(log_pi, tokens, np.array([[1.0, 0.0, 1.0]])) == {"no text has padding": True}
    traits = bug_hunt.MENDED_SWEEP.traits
    assert traits(full, full, np.ones((1, 3)), 1.0, 1.0) == {"all answers are equally long": True}
    assert traits(full, full, padded[:, 1:], 1.0, 1.0) == {"all answers are equally long": False}


def test_cases_of_mended_functions_come_in_all_sizes_too():
    cases = {
        name: diagnosis.draw_cases(getattr(bug_hunt, name.upper()))
        for name in ("mended_mask", "mended_sweep", "mended_divergence")
    }
    shapes = [log_pi.shape for log_pi, _, _ in cases["mended_mask"]]
    assert [set(each) for each in zip(*shapes, strict=True)] == [{1, 2, 3}, {3, 4, 5}, {2, 3, 4}]
    for log_pi, tokens, mask in cases["mended_mask"]:
        assert tokens.shape == mask.shape == (len(log_pi), log_pi.shape[1] + 1)
        assert 0 <= tokens.min() <= tokens.max() < log_pi.shape[2]
    rows = [row for _, _, mask in cases["mended_mask"] for row in mask]
    asked = [int(row.argmax()) for row in rows]
    assert set(asked) == {1, 2}
    assert all(row[begin : begin + int(row.sum())].all() for row, begin in zip(rows, asked, strict=True))
    assert {int(row.sum()) for row in rows} == {1, 2, 3, 4, 5}
    assert {len(row) - begin - int(row.sum()) for row, begin in zip(rows, asked, strict=True)} == {0, 1, 2, 3, 4}
    assert set(np.concatenate(rows)) == {0.0, 1.0}
    sizes = [rewards.shape for rewards, *_ in cases["mended_sweep"]]
    assert [set(each) for each in zip(*sizes, strict=True)] == [{1, 2, 3}, {2, 3, 4, 5}]
    for rewards, values, mask, _, _ in cases["mended_sweep"]:
        assert rewards.shape == values.shape == mask.shape
        assert (np.diff(mask, axis=1) <= 0).all()
    lengths = {(int(row.sum()), len(row)) for _, _, mask, _, _ in cases["mended_sweep"] for row in mask}
    assert lengths == {(ends, width) for width in (2, 3, 4, 5) for ends in range(1, width + 1)}
    assert {case[3] for case in cases["mended_sweep"]} == {0.5, 0.8, 0.9}
    assert {case[4] for case in cases["mended_sweep"]} == {0.3, 0.6, 0.95}
    assert {len(log_pi) for log_pi, _ in cases["mended_divergence"]} == {1, 2, 3, 4, 5}
    drawn = np.concatenate([np.ravel(case) for case in cases["mended_divergence"]])
    assert set(np.round(10 * drawn, 9)) == set(range(-40, 0))
