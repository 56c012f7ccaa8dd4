"""Three kinds of people and sixteen answers."""

import numpy as np
import pytest

from rlhf_lab.models import lm
from rlhf_lab.worlds import crowd as crowds
from rlhf_lab.worlds import phrase_world as phrases


def test_answers_are_those_of_the_corpus_with_the_probabilities_of_the_pretrained_policy():
    world = crowds.crowd()
    assert world.texts[:3] == ("yes", "yes it is hot", "yes thanks")
    assert len(set(world.texts)) == len(world.texts) == 16
    answers = np.stack([phrases.encode(text, phrases.HORIZON) for text in world.texts])
    asked = np.tile(phrases.encode("is tea hot"), (16, 1))
    p = np.exp(lm.log_prob(phrases.model(), phrases.pretrained(), asked, answers))
    assert p.sum() == pytest.approx(0.82, abs=0.005)
    assert np.exp(world.log_pi_0) == pytest.approx(p / p.sum())
    written = {
        phrases.decode(y) for x, y in zip(*phrases.corpus(), strict=True) if phrases.decode(x).startswith("is tea hot")
    }
    assert set(world.texts) == written


def test_rewards_by_hand():
    world = crowds.crowd()
    at = {text: world.rewards[:, k] for k, text in enumerate(world.texts)}
    assert at["yes"] == pytest.approx([2, 2, 0.6])
    assert at["yes thanks"] == pytest.approx([2 - 0.5 - 0.5, 2 + 2.5, 0.6 - 1.5])
    assert at["yes fool"] == pytest.approx([2 - 0.5 - 1, 2 - 4, 0.6 + 3])
    assert at["ice is cold"] == pytest.approx([-3 - 1, -3, -0.9])
    assert at["it is it is it …"] == pytest.approx([-4.5 - 2, -4.5, -1.35])
    assert crowds.SHARES.sum() == pytest.approx(1)
    assert len(crowds.KINDS) == len(crowds.SHARES) == len(world.rewards)


def test_each_kind_has_another_favourite():
    world = crowds.crowd()
    assert [world.texts[k] for k in world.rewards.argmax(1)] == ["yes", "yes thanks", "yes fool"]
