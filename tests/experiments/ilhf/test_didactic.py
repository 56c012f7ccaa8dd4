"""The didactic experiment with the network of ILHF's table 1: what is pretrained, who answers, and who learns."""

from dataclasses import replace

import numpy as np
import pytest

from rlhf_lab.experiments.ilhf import didactic, study
from rlhf_lab.experiments.ilhf.agents import Agent
from rlhf_lab.models import lm
from rlhf_lab.worlds import coin
from rlhf_lab.worlds.token_process import TokenProcess

SMALL = replace(didactic.TABLE_1, documents=400, epochs=5, batch=100, episodes=4, every=2)


def rngs(seeds):
    return [np.random.default_rng([seed, 0]) for seed in seeds]


def says_one(params, s):
    """The probability of 1 after the prompt, by the model."""
    one = {name: value[s] for name, value in params.items()}
    return np.exp(lm.log_prob(TokenProcess(2), one, coin.PROMPTS, np.array([[1]])))[0]


def test_the_numbers_are_those_of_table_1():
    assert (didactic.LENGTH, didactic.TABLE_1.hidden, didactic.TABLE_1.epochs) == (10, 2, 200)
    assert (didactic.TABLE_1.documents, didactic.TABLE_1.pairs, didactic.TABLE_1.scale) == (1000, 64, 1)
    ensembles = [agent for name, agent in didactic.AGENTS.items() if "ensemble" in name]
    assert {(agent.prior, agent.eta, agent.perturb) for agent in ensembles} == {(0.01, 1.0, True)}
    assert {agent.tuned for agent in didactic.AGENTS.values()} == {"readout"}
    assert didactic.AGENTS["ilhf"] == Agent()
    assert [didactic.AGENTS[f"reinforce {beta}"].beta for beta in study.BETAS] == [*study.BETAS]


def test_a_loss_on_answers_learns_their_share_and_one_on_texts_does_not():
    """Nearly all tokens of the texts are 1, and after ten of them these networks go on saying so."""
    setting = replace(SMALL, documents=100, epochs=500)
    answers, texts = (didactic._pretrain(setting, rngs([0, 1]), loss) for loss in ("answers", "texts"))
    for s in range(2):
        shown = (rngs([0, 1])[s].random(100) < coin.PRETRAINED).mean()
        assert says_one(answers, s) == pytest.approx(shown, abs=0.05)
        assert says_one(texts, s) > 0.6


def test_two_units_can_count_to_ten():
    """One doubles at each token, the other stands still: from 6 at the tenth one, the logit falls to that of 0.23."""
    first = 2.0**-13
    params = {"recurrent": np.diag([2.0, 0.0]), "embed": np.array([0.0, 1.0]), "start": np.array([first, np.tanh(1)])}
    units = [first]
    for _ in range(10):
        units.append(np.tanh(2 * units[-1]))
    states = np.stack([units, np.full(11, np.tanh(1))], axis=1)
    params["readout"] = np.linalg.solve(states[-2:], [6.0, np.log(coin.PRETRAINED / (1 - coin.PRETRAINED))])
    one = np.ones((1, 1), dtype=int)
    said = [np.exp(lm.log_prob(TokenProcess(2), params, coin.PROMPTS[:, :t], one))[0] for t in range(11)]
    assert min(said[:10]) == pytest.approx(1 / (1 + np.exp(-6)))
    assert said[10] == pytest.approx(coin.PRETRAINED)
    assert -np.log(said[:10]).sum() < 0.03  # the least loss has 0 here


def test_curves_begin_where_the_pretrained_model_stands_and_do_not_depend_on_who_runs_beside():
    found, alone = didactic.run([3, 8], SMALL), didactic.run([8], SMALL)
    assert list(found) == ["answers", "texts"]
    for loss, agents in found.items():
        pretrained = didactic._pretrain(SMALL, rngs([3, 8]), loss)
        assert list(agents) == list(didactic.AGENTS)
        for name, curve in agents.items():
            assert curve.shape == (2, 3)
            assert alone[loss][name][0] == pytest.approx(curve[1], rel=1e-9)
            if "ensemble" not in name:
                assert curve[:, 0] == pytest.approx([says_one(pretrained, s) for s in range(2)])
        assert agents["ensemble 10"][:, 0] != pytest.approx(agents["ilhf"][:, 0])


def test_answers_are_the_members_own_and_people_prefer_by_their_shares():
    """One member always says 1 and the other 0: about half the pairs are of each, and no pair has both."""
    agent, state = Agent(members=2, perturb=True), np.ones((1, 2, 1))
    luck = [[np.random.default_rng([0, stream])] for stream in (1, 2)]
    params = {"readout": np.array([[[50.0, 50.0], [-50.0, -50.0]]])}
    asked = didactic._ask(agent, params, 4000, state, luck)
    first, second = np.split(asked.answer[0, 0], 2)
    assert (first == second).all()
    assert abs(first.mean() - 0.5) < 4 * 0.5 / 4000**0.5
    assert asked.states.shape == (1, 2, 1, 8000)
    assert asked.weight.shape == (1, 2, 4000)
    assert set(asked.weight.ravel()) == {0.0, 2.0}
    fair = didactic._ask(Agent(), {"readout": np.zeros((1, 1, 2))}, 4000, state, luck)
    first, second = np.split(fair.answer[0, 0], 2)
    assert fair.reward[0, :4000] == pytest.approx(np.log(np.where(first == 1, 1 / 3, 2 / 3)))
    apart = first != second
    wins = fair.label[0, apart] == first[apart]  # whether 1 is preferred to 0
    assert abs(wins.mean() - coin.PEOPLE) < 4 * (2 / 9 / apart.sum()) ** 0.5
    assert (fair.weight == 1).all()
