"""PhraseWorld is what its page says."""

from collections import Counter

import numpy as np
import pytest

from rlhf_lab.models import lm
from rlhf_lab.worlds import phrase_world as world

QUESTION = {question: k for k, question in enumerate(world.QUESTIONS)}
# question, answer: correct, on topic, polite, brief, fresh
BY_HAND = [
    ("is tea hot", "yes", 2, 0, 0, 0, 0),
    ("is tea hot", "yes it is hot", 2, 0, 0, -0.25, 0),
    ("is tea hot", "hot", 2, 0, 0, 0, 0),
    ("is tea hot", "no", -2, 0, 0, 0, 0),
    ("is tea hot", "yes it is cold", -2, 0, 0, -0.25, 0),
    ("is tea hot", "yes no", -2, 0, 0, 0, 0),
    ("is tea hot", "", 0, 0, 0, 0, 0),
    ("is tea hot", "ice is cold", -2, -1, 0, 0, 0),
    ("is tea hot", "tea is hot fool", 2, 0, -2, -0.25, 0),
    ("is tea hot", "thanks fool", 0, 0, -1, 0, 0),
    ("is tea hot", "it is it is it", 0, 0, 0, -1.5, -3),
    ("is tea hot", "yes yes yes", 2, 0, 0, 0, -2),
    ("is tea cold", "no thanks", 2, 0, 1, 0, 0),
    ("is tea cold", "yes", -2, 0, 0, 0, 0),
    ("is tea cold", "tea is hot", 2, 0, 0, 0, 0),
    ("is ice hot", "no ice is cold thanks", 2, 0, 1, -1.5, 0),
    ("is ice hot", "tea is hot", -2, -1, 0, 0, 0),
    ("is ice hot", "yes", -2, 0, 0, 0, 0),
    ("is ice cold", "yes thanks", 2, 0, 1, 0, 0),
    ("is ice cold", "no", -2, 0, 0, 0, 0),
    ("is ice cold", "it is cold", 2, 0, 0, 0, 0),
]


@pytest.mark.parametrize(("question", "answer", "correct", "topic", "polite", "brief", "fresh"), BY_HAND)
def test_the_parts_of_the_reward_by_hand(question, answer, correct, topic, polite, brief, fresh):
    prompt, response = world.PROMPTS[[QUESTION[question]]], world.encode(answer, world.HORIZON)[None]
    parts = {name: float(part[0]) for name, part in world.reward_parts(prompt, response).items()}
    assert parts == {"correct": correct, "on topic": topic, "polite": polite, "brief": brief, "fresh": fresh}
    assert world.reward(prompt, response) == pytest.approx([correct + topic + polite + brief + fresh])


def test_words_behind_the_end_are_not_judged():
    silent = np.array([[0, world.EOS, 9, 9, 9]])
    assert world.reward(world.PROMPTS[:1], silent) == pytest.approx([2.0])


def test_there_are_four_questions_and_111111_answers():
    assert [world.decode(row) for row in world.PROMPTS] == [f"{question} …" for question in world.QUESTIONS]
    assert lm.count_responses(world.VOCAB, world.HORIZON, world.EOS) == 111_111
    assert world.START.sum() == 1
    assert world.WORDS[world.EOS] == "<eos>"


def test_the_best_reward_is_three_and_word_order_is_not_judged():
    answers = lm.enumerate_responses(world.VOCAB, world.HORIZON, world.EOS)
    for k in range(4):
        rewards = world.reward(np.repeat(world.PROMPTS[k : k + 1], len(answers), axis=0), answers)
        assert rewards.max() == 3
        best = {world.decode(answer) for answer in answers[rewards == 3]}
        assert (("yes thanks" in best) and ("thanks hot yes" in best)) == (k == 0)


def test_text_and_tokens_go_back_and_forth():
    assert world.decode(world.encode("yes it is hot", 5)) == "yes it is hot"
    assert world.encode("no", 3).tolist() == [1, world.EOS, world.EOS]
    assert world.encode("no thanks").tolist() == [1, 8]
    assert world.decode(np.array([0, 0])) == "yes yes …"
    assert world.decode(world.encode("", 2)) == ""
    with pytest.raises(ValueError, match="'maybe' is not one of the words: yes no it is"):
        world.encode("yes maybe")
    with pytest.raises(ValueError, match="'yes no' has 2 words; at most 1 fit"):
        world.encode("yes no", 1)


def test_the_corpus_has_flaws():
    prompts, answers = world.corpus()
    said = Counter((world.decode(x)[:-2], world.decode(y)) for x, y in zip(prompts, answers, strict=True))
    assert said["is tea hot", "yes it is hot"] == 24
    assert said["is tea cold", "no it is hot"] == 18
    assert said["is ice hot", "yes it is hot"] == 20
    assert said["is ice cold", "tea is hot"] == 6
    assert said["is tea hot", "tea is hot fool"] == 6
    assert said["is ice hot", "cold cold cold cold cold …"] == 3
    assert sum(said.values()) == len(prompts) == len(answers)
    assert np.mean(world.reward(prompts, answers) < 0) > 0.25


@pytest.mark.parametrize("pseudo_count", [0.1, 2.0])
def test_the_pretrained_model_counts(pseudo_count):
    prompts, answers = world.corpus()
    pi = np.exp(
        np.concatenate(lm.policy_levels(world.model(), world.pretrained(pseudo_count), world.PROMPTS, 5), axis=1)
    )
    levels = np.split(pi, np.cumsum([10**t for t in range(4)]), axis=1)
    for k in range(4):
        texts = [tuple(y) for x, y in zip(prompts, answers, strict=True) if (x == world.PROMPTS[k]).all()]
        for prefix in ((), (0,), (2, 3), (0, 2, 3, 6), (9, 9)):
            following = Counter(t[len(prefix)] for t in texts if t[: len(prefix)] == prefix)
            total = sum(following.values())
            state = sum(w * 10 ** (len(prefix) - 1 - i) for i, w in enumerate(prefix))
            for token in range(world.VOCAB):
                expected = (following[token] + pseudo_count) / (total + world.VOCAB * pseudo_count)
                assert levels[len(prefix)][k, state, token] == pytest.approx(expected, rel=1e-12)


def test_with_hardly_any_pseudo_counts_the_model_is_the_corpus():
    prompts, answers = world.corpus()
    log_pi = lm.answer_log_probs(world.model(), world.pretrained(1e-9), world.PROMPTS, 5)
    every = {tuple(a): k for k, a in enumerate(lm.enumerate_responses(world.VOCAB, 5, world.EOS).tolist())}
    for k in range(4):
        rows = (prompts == world.PROMPTS[k]).all(-1)
        texts, counts = np.unique(answers[rows], axis=0, return_counts=True)
        found = np.exp(log_pi[k, [every[tuple(t)] for t in texts.tolist()]])
        assert found == pytest.approx(counts / rows.sum(), abs=1e-6)


def test_bad_input_is_told():
    with pytest.raises(ValueError, match="pseudo_count must be finite and above 0; got 0"):
        world.pretrained(0)
    with pytest.raises(ValueError, match="response: token 11 is outside the vocabulary of 11 tokens"):
        world.reward(world.PROMPTS[:1], np.full((1, 5), 11))
    with pytest.raises(ValueError, match="4 prompts, but 1 responses"):
        world.reward(world.PROMPTS, np.zeros((1, 5), dtype=int))


def test_seeds_may_have_answers_of_their_own():
    rng = np.random.default_rng(0)
    responses = rng.integers(world.VOCAB, size=(3, 2, 4, 4))
    together = world.reward(world.PROMPTS, responses)
    assert together.shape == (3, 2, 4)
    for k in np.ndindex(3, 2):
        assert together[k].tolist() == world.reward(world.PROMPTS, responses[k]).tolist()
    yes = np.tile(world.encode("yes", 2), (4, 1))
    assert world.reward(world.PROMPTS, yes).tolist() == [2, -2, -2, 2]
    rows = np.stack([world.PROMPTS, world.PROMPTS[::-1]])
    assert world.reward(rows[:, [0, 0, 1, 2]], yes).tolist() == [[2, 2, -2, -2], [2, 2, -2, -2]]
    both = world.reward(rows, responses[0])
    assert both[1].tolist() == world.reward(world.PROMPTS[::-1], responses[0, 1]).tolist()


def test_details_of_the_pretrained_model_and_of_encoding():
    assert world.pretrained()["logits"].tolist() == world.pretrained(0.1)["logits"].tolist()
    assert np.exp(world.pretrained()["logits"]).sum(-1) == pytest.approx(1, abs=1e-12)
    assert world.encode("").dtype == np.intp
    assert world.encode("").tolist() == []
    for name, prompt, response in (("prompt", [[11, 0, 0]], [[0]]), ("response", [[0, 0, 0]], [[11]])):
        with pytest.raises(ValueError, match=f"^{name}: token 11"):
            world.reward(np.array(prompt), np.array(response))


def reward_in_words(question, answer):
    """The parts of the reward, from the words of the answer and nothing else."""
    _, thing, asked = question.split()
    cut_off, said = answer.endswith("…"), answer.removesuffix("…").split()
    temperature = {"tea": "hot", "ice": "cold"}
    verdict = "yes" if temperature[thing] == asked else "no"
    right = {verdict, temperature[thing]}
    wrong = {"yes", "no", "hot", "cold"} - right
    return {
        "correct": -2 if wrong & set(said) else 2 if right & set(said) else 0,
        "on topic": -1 if {"tea": "ice", "ice": "tea"}[thing] in said else 0,
        "polite": ("thanks" in said) - 2 * ("fool" in said),
        "brief": -max(len(said) - 3, 0) / 4 - cut_off,
        "fresh": -(len(said) - len(set(said))),
    }


def test_the_reward_is_what_the_words_say():
    answers = lm.enumerate_responses(world.VOCAB, world.HORIZON, world.EOS)
    some = np.r_[0:1200, np.random.default_rng(0).choice(len(answers), 1500, replace=False)]
    for k, question in enumerate(world.QUESTIONS):
        prompts = np.repeat(world.PROMPTS[k : k + 1], len(some), axis=0)
        parts, total = world.reward_parts(prompts, answers[some]), world.reward(prompts, answers[some])
        assert tuple(parts) == world.PARTS
        for row, text in enumerate(map(world.decode, answers[some])):
            expected = reward_in_words(question, text)
            assert {name: float(part[row]) for name, part in parts.items()} == expected
            assert total[row] == sum(expected.values())


@pytest.mark.equation("eq-chain-rule")
def test_the_answers_to_each_question_are_a_distribution():
    log_pi = lm.answer_log_probs(world.model(), world.pretrained(), world.PROMPTS, world.HORIZON)
    assert log_pi.shape == (4, 111_111)
    assert np.exp(log_pi).sum(-1) == pytest.approx(np.ones(4), abs=1e-12)


SAID_OF_TEA_HOT = {
    "yes": 20, "yes it is hot": 24, "yes thanks": 12, "tea is hot": 10, "it is hot thanks": 8, "no": 10,
    "no it is cold": 12, "it is cold": 6, "yes fool": 9, "tea is hot fool": 6, "fool": 4, "it is it is it …": 5,
    "yes yes yes": 4, "hot hot hot hot hot …": 3, "ice is cold": 6, "thanks thanks": 3,
}  # fmt: skip
SAID_OF_TEA_COLD = {
    "no": 16, "no it is hot": 18, "no thanks": 10, "tea is hot": 10, "it is hot thanks": 8, "yes": 18,
    "yes it is cold": 20, "it is cold": 6, "no fool": 13, "tea is hot fool": 9, "fool": 7, "it is it is it …": 5,
    "no no no": 4, "hot hot hot hot hot …": 3, "ice is cold": 6, "thanks thanks": 3,
}  # fmt: skip


@pytest.mark.parametrize(("tea", "ice", "said"), [(0, 3, SAID_OF_TEA_HOT), (1, 2, SAID_OF_TEA_COLD)])
def test_every_text_of_the_corpus_and_the_same_with_ice_for_tea(tea, ice, said):
    prompts, answers = world.corpus()
    about = [Counter(map(world.decode, answers[(prompts == world.PROMPTS[k]).all(-1)])) for k in (tea, ice)]
    assert about[0] == said
    swap = {"tea": "ice", "ice": "tea", "hot": "cold", "cold": "hot"}
    assert about[1] == {" ".join(swap.get(word, word) for word in text.split()): n for text, n in said.items()}
    assert [world.decode(world.encode(text.removesuffix("…"), 5)) for text in said] == list(said)


def test_a_text_that_was_cut_off_is_read_again():
    answers = np.array([[0, 1, 2, 3, 4], [0, 0, 0, 0, 10]])
    for answer in answers:
        assert world.encode(world.decode(answer), 5).tolist() == answer.tolist()
    assert world.encode("yes no …").tolist() == [0, 1]
    with pytest.raises(ValueError, match="'yes …' was cut off after 1 words; here answers are cut off after 5"):
        world.encode("yes …", 5)
    with pytest.raises(ValueError, match="'…' is not one of the words"):
        world.encode("… yes", 5)


def test_words_are_counted_in_columns_of_their_question():
    counts = world.word_counts(world.PROMPTS[[1, 3]], np.array([[0, 8, 8, 10, 0], [9, 9, 9, 9, 9]]))
    expected = np.zeros((2, 4, 10))
    expected[0, 1, 0], expected[0, 1, 8], expected[1, 3, 9] = 1, 2, 5
    assert counts.tolist() == expected.reshape(2, 40).tolist()
    seeds = world.word_counts(world.PROMPTS[:2], np.zeros((3, 2, 5), dtype=int))
    assert seeds.shape == (3, 2, 40)
