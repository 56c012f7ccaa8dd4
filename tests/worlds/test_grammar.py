"""A grammar as an automaton against the same grammar read phrase by phrase."""

import itertools

import numpy as np
import pytest

from rlhf_lab.worlds import grammar

WORDS = ("a", "b", "c", "<eos>")
ROOMS = {
    "start": [
        ("", "middle", np.array([1.0, 3.0])),
        ("a b", "start", 1),
        ("a b", "middle", 0.5),
        ("a c", "end", np.array([2.0, 1.0])),
    ],
    "middle": [("a", "end", 2), ("b b", "start", 1), ("a a", "middle", np.array([0.5, 1.5]))],
    "end": [("<eos>", "", 3), ("c", "end", 1), ("", "middle", 0.5), ("b <eos>", "", 0.5), ("a", "end", 0.5)],
}


def by_phrases(rooms, room, text, k):
    """P(text) as the sum over all ways in which phrases make it."""
    weights = [np.broadcast_to(weight, (2,))[k] for _, _, weight in rooms[room]]
    total = 0.0
    for (phrase, behind, _), weight in zip(rooms[room], weights, strict=True):
        said = phrase.split()
        if list(text[: len(said)]) == said:
            rest = text[len(said) :]
            total += weight / sum(weights) * (by_phrases(rooms, behind, rest, k) if rest else 1.0)
    return total


def by_states(found, text, k):
    state, p = 0, 1.0
    for word in text:
        token = WORDS.index(word)
        p *= found.p[k, state, token]
        state = found.following[state, token]
    return p


def written():
    return grammar.compile_phrases(ROOMS, WORDS, 2)


def test_texts_have_the_probability_that_their_phrases_give_them():
    found, seen = written(), 0
    for length in range(6):
        for said in itertools.product("abc", repeat=length):
            for k in range(2):
                expected = by_phrases(ROOMS, "start", [*said, "<eos>"], k)
                assert by_states(found, [*said, "<eos>"], k) == pytest.approx(expected, rel=1e-12, abs=1e-15)
                seen += expected > 0
    assert seen > 100


def test_each_state_chooses_with_probabilities_and_what_is_not_said_stays():
    assert written().p.sum(-1) == pytest.approx(1, abs=1e-14)
    states = np.arange(len(written().following))[:, None]
    unsaid = (written().p == 0).all(0)
    assert (np.where(unsaid, written().following, states) == states).all()
    assert (written().following[:, -1] == states[:, 0]).all()


def test_beliefs_that_are_equal_are_one_state():
    rooms = {"start": [("a c", "end", 1), ("b c", "end", 1)], "end": [("<eos>", "", 1)]}
    found = grammar.compile_phrases(rooms, WORDS, 1)
    assert len(found.following) == 3, "the start, before c, before the end"
    assert found.following[0, 0] == found.following[0, 1]


def test_beliefs_are_equal_to_9_digits():
    def states(more):
        rooms = {
            "start": [("a", "left", 1), ("b", "right", 1)],
            "left": [("a", "end", 1), ("b", "end", 1)],
            "right": [("a", "end", 1 + more), ("b", "end", 1)],
            "end": [("<eos>", "", 1)],
        }
        return len(grammar.compile_phrases(rooms, WORDS, 1).following)

    assert (states(1e-9), states(1e-8)) == (3, 4), "a change of the weight changes the belief by a quarter of it"


def test_prompts_change_weights_alone():
    alone = grammar.compile_phrases(ROOMS, WORDS, 2).p
    assert (alone[0, 0] != alone[1, 0]).any()
    assert ((alone[0] > 0) == (alone[1] > 0)).all()


@pytest.mark.equation("eq-slip")
def test_noise_makes_every_word_possible_at_a_price_that_is_known():
    log_p = grammar.smoothed(written().p, 1 / 8)
    assert np.exp(log_p).sum(-1) == pytest.approx(1, abs=1e-14)
    slips = log_p[written().p == 0]
    assert slips == pytest.approx(-np.log(4 / (1 / 8)), rel=1e-14), "log(V / noise)"
    assert (log_p[written().p > 0] > slips.max()).all()


class TestBadInput:
    @pytest.mark.parametrize("noise", [0, 1, -0.1, np.nan])
    def test_noise(self, noise):
        with pytest.raises(ValueError, match=r"noise is the share of words drawn at random, inside \(0, 1\); got"):
            grammar.smoothed(written().p, noise)

    @pytest.mark.parametrize(
        ("phrase", "told"),
        [
            (("a d", "end", 1), "'d' in 'a d' is not one of the words"),
            (("a", "garden", 1), "'a' leads to 'garden', which is not one of the rooms: start, middle, end"),
            (("a", "end", 0), "the weight of 'a' must be above 0; got 0"),
            (("a", "end", np.array([1, -1])), "the weight of 'a' must be above 0"),
            (("", "start", 1), r"^start lead to each other without a word"),
            (("a <eos> b", "end", 1), "'a <eos> b' goes on behind the end of the text"),
        ],
    )
    def test_phrases(self, phrase, told):
        with pytest.raises(ValueError, match=told):
            grammar.compile_phrases(ROOMS | {"start": [*ROOMS["start"], phrase]}, WORDS, 2)

    def test_rooms_that_lead_to_each_other(self):
        rooms = {"start": [("", "middle", 1)], "middle": [("a", "middle", 1), ("", "start", 1)]}
        with pytest.raises(ValueError, match=r"^start and middle lead to each other without a word$"):
            grammar.compile_phrases(rooms, WORDS, 1)

    def test_probabilities(self):
        with pytest.raises(ValueError, match=r"^p must sum to 1; the sum is 2"):
            grammar.smoothed(2 * written().p, 0.5)

    def test_as_many_states_as_are_allowed(self, monkeypatch):
        monkeypatch.setattr(grammar, "STATES", len(written().following))
        grammar.compile_phrases(ROOMS, WORDS, 2)
        monkeypatch.setattr(grammar, "STATES", len(written().following) - 1)
        with pytest.raises(ValueError, match="the grammar has more than"):
            grammar.compile_phrases(ROOMS, WORDS, 2)

    def test_states_without_end(self, monkeypatch):
        monkeypatch.setattr(grammar, "STATES", 5)
        rooms = {  # how often each word was said never fades
            "start": [("", "mostly a", 1), ("", "mostly b", 1)],
            "mostly a": [("a", "mostly a", 2), ("b", "mostly a", 1), ("<eos>", "", 1)],
            "mostly b": [("a", "mostly b", 1), ("b", "mostly b", 2), ("<eos>", "", 1)],
        }
        with pytest.raises(ValueError, match="more than 5 states: phrases that say the same must meet again"):
            grammar.compile_phrases(rooms, WORDS, 1)
