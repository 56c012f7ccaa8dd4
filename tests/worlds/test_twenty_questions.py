"""Twenty questions: the best asker needs log2 N turns to know, and half a turn more to have named it."""

import time

import numpy as np
import pytest

from rlhf_lab.worlds import dialogues, twenty_questions


def turns(things, **settings):
    game = twenty_questions.game(things, **settings)
    nodes = dialogues.tree(game)
    return -(nodes.start @ dialogues.solve(nodes, game.reward).v[0])


@pytest.mark.equation("eq-twenty-questions")
@pytest.mark.parametrize(("things", "expected"), [(2, 1.5), (4, 2.5), (8, 3.5), (16, 4.5)])
def test_powers_of_two_take_half_a_turn_more_than_the_bound(things, expected):
    assert turns(things) == pytest.approx(expected, abs=1e-12)
    assert twenty_questions.fewest_turns(things) == pytest.approx(np.log2(things) + 0.5, abs=1e-12)


def test_eight_things_are_the_usual_game():
    assert twenty_questions.game().lines[-8:] == tuple(f"is it the {thing}" for thing in twenty_questions.LIVING)
    assert len(twenty_questions.game().lines) == 3 + 8


@pytest.mark.equation("eq-twenty-questions")
def test_these_properties_are_as_good_as_any_halves_between():
    for things in range(2, 12):
        fewest = twenty_questions.fewest_turns(things)
        assert turns(things) >= fewest - 1e-12
        assert turns(things) == pytest.approx(fewest, abs=0.1)
        assert fewest >= np.log2(things)
    assert twenty_questions.fewest_turns(1) == 1
    assert [twenty_questions.fewest_turns(n) for n in (3, 5)] == pytest.approx([2.0, 2.8])


def test_a_thing_answers_as_its_number_does():
    game = twenty_questions.game(16)
    for number in range(16):
        for bit in range(4):
            said = game.turn[bit, number].sum(-1)
            assert said.tolist() == ([0, 1, 0, 0] if format(number, "04b")[bit] == "1" else [0, 0, 1, 0])
        for named in range(16):
            said = game.turn[4 + named, number].sum(-1)
            assert game.replies[said.argmax()] == ("yes, that is it" if named == number else "no")
    assert dict(zip(twenty_questions.THINGS, range(16), strict=True))["whale"] == 0b0111
    assert game.lines[:2] == ("is it made by people", "is it found in water")
    assert twenty_questions.game(8).lines[:4] == (*twenty_questions.PROPERTIES[1:], "is it the moss")
    assert (twenty_questions.game(8).horizon, twenty_questions.game(5).horizon) == (5, 5)
    assert twenty_questions.game(8, 2).horizon == 2
    assert (game.reward == -1).all()
    assert (game.ends == game.good).all()


def test_the_largest_game_is_solved_in_about_a_second():
    began = time.process_time()
    turns(16)
    assert time.process_time() - began < 3  # half a second on a machine that nobody else uses


@pytest.mark.parametrize("things", [1, 17])
def test_the_number_of_things_is_told(things):
    with pytest.raises(ValueError, match=f"^there are words for 2 to 16 things; got {things}$"):
        twenty_questions.game(things)


def test_a_number_of_things_that_is_none_is_told():
    with pytest.raises(ValueError, match=r"^things is what could be meant, a whole number from 1 on; got 2\.5$"):
        twenty_questions.game(2.5)
    with pytest.raises(ValueError, match=r"^things is what could be meant, a whole number from 1 on; got 0$"):
        twenty_questions.fewest_turns(0)
