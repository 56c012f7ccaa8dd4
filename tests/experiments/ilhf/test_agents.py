"""The vectorised agents of the token process against readable versions with one world, one member, one step."""

from dataclasses import replace

import numpy as np
import pytest
from autograd import grad
from autograd import numpy as anp
from scipy.special import expit

from rlhf_lab.experiments.ilhf import agents as ilhf_agents
from rlhf_lab.experiments.ilhf import worlds as ilhf_worlds
from rlhf_lab.experiments.ilhf.agents import Agent
from rlhf_lab.experiments.ilhf.worlds import Apart, Setting
from rlhf_lab.methods import ilhf
from rlhf_lab.models import lm
from rlhf_lab.numerics import optim

SETTING = Setting(
    length=5, scale=1.5, hidden=3, documents=200, epochs=20, batch=50, evaluation=500, pairs=40, episodes=6, every=2
)
SEEDS = [3, 8]
ENSEMBLE = Agent(members=3, prior=0.3, eta=0.7, perturb=True)


@pytest.fixture(scope="module")
def worlds():
    return ilhf_worlds.prepare(SETTING, SEEDS)


def luck():
    return [[np.random.default_rng([seed, stream]) for seed in SEEDS] for stream in (1, 2)]


def one(params, s, m=0):
    torso = {name: params[name][s, min(m, params[name].shape[1] - 1)] for name in ilhf_agents.TORSO}
    return torso | {"readout": params["readout"][s, m]}


@pytest.mark.equation("eq-ensemble-start")
def test_members_start_around_the_pretrained_readout(worlds):
    many = ilhf_agents.start(replace(ENSEMBLE, members=4000), worlds, SEEDS)
    away = many["readout"] - worlds.pretrained["readout"][:, None]
    assert abs(away.mean((0, 1))).max() < 4 * (0.3 / 8000) ** 0.5
    assert away.var() == pytest.approx(0.3, rel=0.05)
    assert many["recurrent"].shape == (2, 1, 3, 3)
    assert (many["recurrent"][:, 0] == worlds.pretrained["recurrent"]).all()
    assert ilhf_agents.start(replace(ENSEMBLE, tuned="all"), worlds, SEEDS)["embed"].shape == (2, 3, 3)
    assert ilhf_agents.start(replace(ENSEMBLE, tuned="all", torso="shared"), worlds, SEEDS)["start"].shape == (2, 1, 3)
    same = ilhf_agents.start(Agent(members=2), worlds, SEEDS)["readout"]
    assert (same == worlds.pretrained["readout"][:, None]).all()
    assert ilhf_agents.start(Agent(), worlds, SEEDS)["readout"].shape == (2, 1, 3)  # ILHF has no ensemble


@pytest.mark.parametrize("tuned", ["readout", "all"])
def test_answers_come_from_the_drawn_member(worlds, tuned):
    params = ilhf_agents.start(replace(ENSEMBLE, tuned=tuned, members=2), worlds, SEEDS)
    if tuned == "all":
        params["recurrent"] = params["recurrent"] * np.array([1.0, -1.0])[:, None, None]
    count = 20_000
    prompt = np.repeat(np.array([[0.0, 1.0, 1.0]]), 2, axis=0)[..., None] * np.ones(count)
    member = np.tile(np.array([[1], [0]]), count)
    chance = np.random.default_rng(0).random((2, 2, count))
    answer, states = ilhf_agents.respond(params, 1.5, prompt, member, chance)
    assert states.shape == (2, 3, 2, count)
    for s in range(2):
        model = worlds.process(3)
        exact = np.exp(lm.answer_log_probs(model, one(params, s, 1 - s), np.array([[0, 1, 1]]), 2))[0]
        seen = np.bincount((2 * answer[s, 0] + answer[s, 1]).astype(int), minlength=4) / count
        assert (abs(seen - exact) < 4 * np.sqrt(exact * (1 - exact) / count)).all()


@pytest.mark.parametrize("tuned", ["readout", "all"])
@pytest.mark.parametrize("members", [1, 2, 3])
def test_all_answers_to_a_prompt_come_from_one_member(worlds, tuned, members):
    params = ilhf_agents.start(replace(ENSEMBLE, tuned=tuned, members=members, prior=1.0), worlds, SEEDS)
    rng = np.random.default_rng(1)
    prompt = rng.integers(0, 2, size=(2, 3, 50)).astype(float)
    member, chance = rng.integers(members, size=(2, 50)), rng.random((2, 4, 50))
    once, _ = ilhf_agents.respond(params, 1.5, prompt, member, chance)
    twice, states = ilhf_agents.respond(params, 1.5, prompt, member, np.concatenate([chance, chance], axis=-1))
    assert (twice == np.concatenate([once, once], axis=-1)).all()
    assert states.shape == (2, 3, 4, 100)


def test_an_episode_is_two_answers_and_what_people_say(worlds):
    params = ilhf_agents.start(ENSEMBLE, worlds, SEEDS)
    big = replace(worlds, setting=replace(SETTING, pairs=5000))
    episode = ilhf_agents.interact(ENSEMBLE, params, big, luck())
    assert episode.answer.shape == (2, 5, 10_000)
    assert episode.weight.shape == (2, 3, 5000)
    assert set(episode.weight.ravel()) == {0, 2}
    exact = lm.log_prob(
        worlds.process(2),
        {name: value[1] for name, value in worlds.ideal.items()},
        np.tile(episode.prompt[1].T.astype(int), (2, 1)),
        episode.answer[1].T.astype(int),
    )
    assert episode.reward[1] == pytest.approx(exact, abs=1e-12)
    share = expit(episode.reward[:, :5000] - episode.reward[:, 5000:])
    assert abs((episode.label - share).sum() / np.sqrt((share * (1 - share)).sum())) < 4
    decided = abs(share - 0.5) > 0.3
    assert np.corrcoef(episode.label[decided], share[decided])[0, 1] > 0.5
    assert ilhf_agents.interact(Agent(), params, worlds, luck()).weight == 1


def readable_slope(agent, worlds, params, first, episode, s, m):
    """The gradient for one world and one member, as the paper writes the loss."""
    model = worlds.process(3)
    prompt, answer = episode.prompt[s].T.astype(int), episode.answer[s].T.astype(int)
    pairs = len(prompt)
    pretrained = {name: value[s] for name, value in worlds.pretrained.items()}

    def value(params):
        log_pi = [lm.log_prob(model, params, prompt, part) for part in (answer[:pairs], answer[pairs:])]
        pulled = params if agent.anchored == "all" else ("readout",)
        centre = first | ({"readout": pretrained["readout"]} if agent.centre == "pretrained" else {})
        anchored = sum(anp.sum((params[name] - centre[name]) ** 2) for name in pulled)
        if agent.beta is None:
            weight = episode.weight[s, m] if agent.perturb else 1.0
            return ilhf.loss(*log_pi, episode.label[s], weight) + agent.eta * anchored
        total = 0.0
        for k, part in enumerate((answer[:pairs], answer[pairs:])):
            now = lm.log_prob(model, held, prompt, part)
            reward = episode.reward[s, k * pairs : (k + 1) * pairs]
            paid = reward - agent.beta * (now - lm.log_prob(model, pretrained, prompt, part))
            total = total - anp.mean(log_pi[k] * paid)
        return total

    held = params
    return grad(value)(params)


def test_the_loss_of_reinforce_by_hand():
    """One world, one member, two pairs: rewards are paid less what leaving the start costs."""
    log_pi, log_pi_0 = np.array([[[-1.0, -2.0, -3.0, -4.0]]]), np.array([[-1.5, -2.0, -1.0, -4.5]])
    reward = np.array([[-2.0, -1.0, -3.0, -0.5]])
    episode = ilhf_agents.Episode(None, None, None, None, reward, None)
    paid = [-2 - 0.5 * 0.5, -1, -3 + 0.5 * 2, -0.5 - 0.5 * 0.5]
    by_hand = -(-1 * paid[0] - 2 * paid[1] - 3 * paid[2] - 4 * paid[3]) / 2
    assert ilhf_agents.objective(Agent(beta=0.5), log_pi, log_pi_0, episode, np.ones(1)) == pytest.approx(by_hand)


@pytest.mark.parametrize("beta", [None, 0.0, 2.0])
@pytest.mark.parametrize(
    ("tuned", "anchored", "centre"),
    [
        ("readout", "readout", "own"),
        ("readout", "readout", "pretrained"),
        ("all", "readout", "own"),
        ("all", "all", "own"),
        ("all", "all", "pretrained"),
    ],
)
def test_a_step_follows_the_gradient_of_the_printed_loss(worlds, beta, tuned, anchored, centre):
    eta = 0.7 if beta is None else 0.0
    agent = replace(ENSEMBLE, beta=beta, tuned=tuned, anchored=anchored, centre=centre, eta=eta)
    learner = ilhf_agents.Learner(agent, worlds, ilhf_agents.start(agent, worlds, SEEDS))
    adam = optim.adam(agent.step_size)
    expected = {(s, m): (one(learner.params, s, m), None) for s in range(2) for m in range(3)}
    first = {key: params for key, (params, _) in expected.items()}
    chance = luck()
    for _ in range(3):
        episode = ilhf_agents.interact(agent, learner.params, worlds, chance)
        learner.learn(episode)
        for (s, m), (params, state) in expected.items():
            slope = readable_slope(agent, worlds, params, first[s, m], episode, s, m)
            names = ("readout",) if tuned == "readout" else tuple(params)
            moving = {name: params[name] for name in names}
            state = adam.init(moving) if state is None else state
            moving, state = adam.update(moving, slope, state)
            expected[s, m] = params | moving, state
    for (s, m), (params, _) in expected.items():
        for name, value in params.items():
            assert one(learner.params, s, m)[name] == pytest.approx(value, abs=1e-8), name


def test_members_that_pass_moments_along_take_turns_with_them(worlds):
    agent = replace(ENSEMBLE, optimizer="passed", eta=0.0)
    learner = ilhf_agents.Learner(agent, worlds, ilhf_agents.start(agent, worlds, SEEDS))
    adam, chance = optim.adam(0.001), luck()
    readout, state = learner.params["readout"][0], adam.init({"readout": np.zeros(3)})
    for _ in range(2):
        episode = ilhf_agents.interact(agent, learner.params, worlds, chance)
        moved = []
        for m in range(3):
            params = one(learner.params, 0, m)
            slope = readable_slope(agent, worlds, params, params, episode, 0, m)
            found, state = adam.update({"readout": readout[m]}, {"readout": slope["readout"]}, state)
            moved.append(found["readout"])
        readout = np.stack(moved)
        learner.learn(episode)
    assert learner.params["readout"][0] == pytest.approx(readout, abs=1e-8)


@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_one_adam_for_all_members_steps_all_of_them_at_the_turn_of_each(worlds, eta):
    """As a training loop does it: at each turn the gradient of one member, and zeros for the others."""
    agent = replace(ENSEMBLE, optimizer="joint", eta=eta)
    learner = ilhf_agents.Learner(agent, worlds, ilhf_agents.start(agent, worlds, SEEDS))
    adam, chance, first = optim.adam(0.001), luck(), learner.params
    now = {"readout": first["readout"][0]}
    state = adam.init(now)
    for _ in range(2):
        episode = ilhf_agents.interact(agent, learner.params, worlds, chance)
        for m in range(3):
            params = one(first, 0, m) | {"readout": now["readout"][m]}
            slope = np.zeros((3, 3))
            slope[m] = readable_slope(agent, worlds, params, one(first, 0, m), episode, 0, m)["readout"]
            now, state = adam.update(now, {"readout": slope}, state)
        learner.learn(episode)
    assert learner.params["readout"][0] == pytest.approx(now["readout"], abs=1e-8)


@pytest.mark.parametrize("members", [1, 10, 50])
def test_one_adam_for_all_moves_a_member_by_the_root_of_their_number(members):
    """A constant gradient once in M steps: an episode moves by sqrt(M) steps, as v is g^2 / M and m adds up to g."""
    adam, place = optim.adam(0.001), {"x": np.zeros(1)}
    state, ends = adam.init(place), []
    for _ in range(400):
        for turn in range(members):
            place, state = adam.update(place, {"x": np.array([0.3 * (turn == 0)])}, state)
        ends.append(place["x"][0])
    assert -(ends[-1] - ends[-101]) / 100 == pytest.approx(0.001 * members**0.5, rel=0.03)


@pytest.mark.parametrize("perturb", [True, False])
def test_a_shared_torso_takes_a_step_after_each_member(worlds, perturb):
    agent = replace(ENSEMBLE, tuned="all", torso="shared", eta=0.0, perturb=perturb)
    learner = ilhf_agents.Learner(agent, worlds, ilhf_agents.start(agent, worlds, SEEDS))
    episode = ilhf_agents.interact(agent, learner.params, worlds, luck())
    adam = optim.adam(0.001)
    now = [one(learner.params, 0, m) for m in range(3)]
    torso = {name: now[0][name] for name in ilhf_agents.TORSO}
    state = adam.init(torso)
    for m in range(3):
        slope = readable_slope(agent, worlds, torso | {"readout": now[m]["readout"]}, now[m], episode, 0, m)
        torso, state = adam.update(torso, slope, state)
        own = {"readout": now[m]["readout"]}
        now[m]["readout"] = adam.update(own, slope, adam.init(own))[0]["readout"]
    learner.learn(episode)
    for m in range(3):
        for name, value in (torso | {"readout": now[m]["readout"]}).items():
            assert one(learner.params, 0, m)[name] == pytest.approx(value, abs=1e-8), name


def test_passes_are_steps_on_the_same_episode(worlds):
    agent = Agent(passes=3)
    learner = ilhf_agents.Learner(agent, worlds, ilhf_agents.start(agent, worlds, SEEDS))
    single = ilhf_agents.Learner(Agent(), worlds, ilhf_agents.start(agent, worlds, SEEDS))
    episode = ilhf_agents.interact(agent, learner.params, worlds, luck())
    learner.learn(episode)
    for _ in range(3):
        single.learn(episode)
    assert (learner.params["readout"] == single.params["readout"]).all()
    moved = learner.params["readout"] - worlds.pretrained["readout"][:, None]
    assert 0.002 < abs(moved).max() < 0.0031


@pytest.mark.parametrize("agent", [ENSEMBLE, Agent(), replace(ENSEMBLE, tuned="all"), Agent(beta=1.0)])
def test_a_minibatch_is_a_step_on_the_loss_of_its_pairs(worlds, agent):
    """Forty pairs, fifteen a step: the last ten are a step of their own, and no pair meets the answers of another."""
    learner = ilhf_agents.Learner(replace(agent, minibatch=15), worlds, ilhf_agents.start(agent, worlds, SEEDS))
    params, adam, state = one(learner.params, 1), optim.adam(0.001), None
    first, names = params, ("readout",) if agent.tuned == "readout" else tuple(params)
    episode = ilhf_agents.interact(agent, learner.params, worlds, luck())
    learner.learn(episode)
    for pairs in (slice(0, 15), slice(15, 30), slice(30, 40)):
        halves = [(part[..., :40][..., pairs], part[..., 40:][..., pairs]) for part in (episode.answer, episode.reward)]
        answer, reward = (np.concatenate(half, axis=-1) for half in halves)
        weight = episode.weight[..., pairs] if agent.perturb else episode.weight
        part = ilhf_agents.Episode(episode.prompt[..., pairs], answer, None, episode.label[:, pairs], reward, weight)
        slope = readable_slope(agent, worlds, params, first, part, 1, 0)
        moving = {name: params[name] for name in names}
        moving, state = adam.update(moving, slope, adam.init(moving) if state is None else state)
        params = params | moving
    for name, value in params.items():
        assert one(learner.params, 1)[name] == pytest.approx(value, abs=1e-8), name


@pytest.mark.parametrize("tuned", ["readout", "all"])
def test_agents_of_a_world_do_not_depend_on_the_worlds_beside_it(worlds, tuned):
    agent = replace(ENSEMBLE, tuned=tuned)
    params, curve = ilhf_agents.finetune(agent, worlds, SEEDS)
    assert curve.shape == (2, 4)
    assert curve[:, -1] == pytest.approx(worlds.kl(params), abs=1e-10)
    assert curve[:, 0] == pytest.approx(worlds.kl(ilhf_agents.start(agent, worlds, SEEDS)), abs=1e-10)
    alone, again = ilhf_agents.finetune(agent, ilhf_worlds.prepare(SETTING, [8]), [8])
    assert again[0] == pytest.approx(curve[1], abs=1e-9)
    assert alone["readout"][0] == pytest.approx(params["readout"][1], abs=1e-9)


def test_ilhf_goes_to_the_ideal_and_reinforce_leaves_it():
    setting = replace(SETTING, hidden=6, documents=1000, epochs=60, pairs=256, episodes=200, every=200)
    seeds = range(8)
    worlds = ilhf_worlds.prepare(setting, seeds)
    curves = {}
    for name, agent in {"ilhf": Agent(step_size=0.01), "reinforce": Agent(beta=0.0, step_size=0.01)}.items():
        curves[name] = ilhf_agents.finetune(agent, worlds, seeds)[1]
    assert curves["ilhf"][:, -1].mean() < 0.1 * curves["ilhf"][:, 0].mean()
    assert (curves["reinforce"][:, -1] > curves["reinforce"][:, 0]).all()


def test_a_duel_is_even_between_equals_and_lost_by_the_worse(worlds):
    wide = replace(worlds, setting=replace(SETTING, length=5))
    pretrained = {name: value[:, None] for name, value in worlds.pretrained.items()}
    ideal = {name: value[:, None] for name, value in worlds.ideal.items()}
    same = ilhf_agents.duel(pretrained, pretrained, wide, SEEDS, 4000)
    assert same["geometric"] == pytest.approx(np.ones(2), abs=1e-12)
    assert abs(same["wins"] - 0.5).max() < 4 * 0.5 / 4000**0.5
    better = ilhf_agents.duel(ideal, pretrained, wide, SEEDS, 4000)
    assert (better["geometric"] > 1).all()
    assert (better["losses"] > 1).all()
    assert (better["inclusive score"] > better["reference score"]).all()
    worse = ilhf_agents.duel(pretrained, ideal, wide, SEEDS, 4000)
    assert (worse["geometric"] < 1).all()
    assert worse["geometric"] == pytest.approx(np.exp(worse["inclusive score"] - worse["reference score"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tuned": "torso"}, "tuned is one of readout, all; got 'torso'"),
        ({"optimizer": "shared"}, "optimizer is one of own, passed, joint; got 'shared'"),
        ({"torso": "shared"}, 'have a meaning with tuned="all" only'),
        ({"anchored": "all"}, 'have a meaning with tuned="all" only'),
        ({"tuned": "all", "optimizer": "joint"}, "with all tuned, members have an optimizer of their own; got 'joint'"),
        ({"members": 0}, "members, passes and minibatch are at least 1; got 0, 1 and None"),
        ({"passes": 0}, "members, passes and minibatch are at least 1"),
        ({"minibatch": -1}, "members, passes and minibatch are at least 1; got 1, 1 and -1"),
        ({"minibatch": 0}, "members, passes and minibatch are at least 1; got 1, 1 and 0"),
        ({"prior": -0.1}, "prior, eta and beta are finite and at least 0; got -0.1, 0.0 and None"),
        ({"prior": np.inf}, "prior, eta and beta are finite and at least 0"),
        ({"prior": np.nan}, "prior, eta and beta are finite and at least 0"),
        ({"eta": -0.1}, "prior, eta and beta are finite and at least 0"),
        ({"eta": np.nan}, "prior, eta and beta are finite and at least 0"),
        ({"beta": -1.0}, "prior, eta and beta are finite and at least 0; got 0.0, 0.0 and -1.0"),
        ({"beta": np.inf}, "prior, eta and beta are finite and at least 0"),
        ({"step_size": 0.0}, "step_size must be finite and above 0"),
    ],
)
def test_bad_settings_are_told(settings, message):
    with pytest.raises(ValueError, match=message):
        Agent(**settings)


def test_agents_write_and_learn_by_their_own_temperature_and_are_judged_by_that_of_people():
    """With logits a tenth as large, a table of weights ten times as large is the same agent."""
    apart = Apart(**{**vars(SETTING), "agents": 0.15, "people": 1.5})
    worlds, cold = ilhf_worlds.prepare(SETTING, SEEDS), ilhf_worlds.prepare(apart, SEEDS)
    params = ilhf_agents.start(Agent(), worlds, SEEDS)
    tenfold = params | {"readout": 10 * params["readout"]}
    asked = ilhf_agents.interact(Agent(), params, worlds, luck())
    again = ilhf_agents.interact(Agent(), tenfold, cold, luck())
    for name in ("prompt", "answer", "states", "label", "reward"):
        assert getattr(again, name) == pytest.approx(getattr(asked, name)), name
    assert cold.frozen_kl(tenfold["readout"]).shape == (2,)
    assert cold.kl(tenfold) == pytest.approx(worlds.kl(params))
    for name, found in ilhf_agents.duel(params, params, worlds, SEEDS, 20).items():
        assert ilhf_agents.duel(tenfold, tenfold, cold, SEEDS, 20)[name] == pytest.approx(found), name
    slopes = []
    for world, start, episode in ((worlds, params, asked), (cold, tenfold, again)):
        learner = ilhf_agents.Learner(Agent(), world, start)
        learner.learn(episode)
        slopes.append(learner.params["readout"] - start["readout"])
    assert slopes[1] == pytest.approx(slopes[0], abs=1e-6)  # Adam's first step is the sign of the gradient
