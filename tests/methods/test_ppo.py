"""A2C and PPO as training loops: where they end, what they tell, and when they stop."""

from functools import partial

import numpy as np
import pytest
import tasks
from autograd.tracer import getval

from rlhf_lab.methods import actor_critic, ppo
from rlhf_lab.methods.rollouts import Task, rollout, stack
from rlhf_lab.models import lm
from rlhf_lab.models.critics import ReaderCritic, TabularCritic
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.numerics import optim
from rlhf_lab.worlds import phrase_world
from rlhf_lab.worlds.phrase_world import EOS, VOCAB

TASK = tasks.task()
CRITIC = TabularCritic(tasks.MODEL)


def trained(make, params, rounds, step_size, seed=0, **settings):
    loss, collect = make(TASK, settings.pop("critic", CRITIC), **settings)
    rng = np.random.default_rng(seed)
    return optim.fit(loss, params, collect, rounds=rounds, optimizer=optim.adam(step_size), rng=rng)


def gap(params):
    return TASK.gap(TASK.log_pi(tasks.MODEL, params))


STARTS = CRITIC.head(stack([tasks.REFERENCE, tasks.POLICY, {"logits": np.zeros((2, 3, 3))}]))


@pytest.mark.parametrize("lam", [1.0, 0.95])
def test_a2c_reaches_the_gibbs_policy(lam):
    params, _ = trained(ppo.a2c, STARTS, 150, 0.1, prompts=64, lam=lam)
    params, _ = trained(ppo.a2c, params, 60, 0.02, 1, prompts=64, lam=lam)
    assert (gap(params) < 1e-3).all()


@pytest.mark.parametrize("settings", [{}, {"lam": 1.0, "value_clip": 0.5, "target_kl": 0.02}, {"normalised": True}])
def test_ppo_reaches_the_gibbs_policy(settings):
    settings |= {"prompts": 128, "minibatch": 64, "epochs": 4}
    params, _ = trained(ppo.ppo, STARTS, 60, 0.06, **settings)
    params, _ = trained(ppo.ppo, params, 40, 0.01, 1, **settings)
    assert (gap(params) < 1e-3).all()


def test_ppo_runs_unchanged_on_a_recurrent_network():
    critic = ReaderCritic(Recurrent(3, 8, 2))
    start = critic.init(np.random.default_rng(1))
    settings = {"prompts": 128, "minibatch": 64, "epochs": 4, "critic": critic}
    params, _ = trained(ppo.ppo, start, 80, 0.05, **settings)
    assert TASK.gap(TASK.log_pi(critic.language, params)) < 0.02


def test_ppo_on_phrase_world_goes_nineteen_twentieths_of_the_way_to_the_optimum():
    network, corpus = Recurrent(VOCAB, 16, EOS), phrase_world.corpus()
    pretrained, _ = optim.fit(
        lambda params, batch: lm.negative_log_likelihood(network, params, *batch),
        network.init(np.random.default_rng(4)),
        optim.minibatches(corpus, 149),
        rounds=40,
        optimizer=optim.adam(0.02),
        rng=np.random.default_rng(5),
    )
    task, critic = Task(phrase_world.mdp(), (network, pretrained), 0.5), ReaderCritic(network)
    loss, collect = ppo.ppo(task, critic, prompts=512, minibatch=256, epochs=4, value_weight=0.1)
    starts, rng = critic.head(stack([pretrained] * 3)), np.random.default_rng(1)
    params, _ = optim.fit(loss, starts, collect, rounds=30, optimizer=optim.adam(0.01), rng=rng)
    before, after = (task.each(network, p, task.gap) for p in (starts, params))
    assert (after < before / 20).all()


def test_the_learned_value_is_the_value_of_the_optimum():
    params, _ = trained(ppo.a2c, STARTS, 200, 0.08, prompts=64)
    params, _ = trained(ppo.a2c, params, 100, 0.02, 1, prompts=64)
    best = tasks.optimum()
    prompt, response, *_ = tasks.all_answers(best)
    learned = CRITIC.judge({name: p[0] for name, p in params.items()}, prompt, response)[1]
    assert learned[:, 0] == pytest.approx(tasks.exact_values(best, prompt, response)[:, 0], abs=0.02)


def batches(pair, params=STARTS, seed=0):
    return list(pair[1](params, np.random.default_rng(seed)))


def test_a_round_goes_through_all_answers_in_every_epoch():
    found = batches(ppo.ppo(TASK, CRITIC, prompts=10, minibatch=4, epochs=3))
    assert [b.response.shape for b in found] == [(3, 4, 2), (3, 4, 2), (3, 2, 2)] * 3
    epochs = [np.concatenate([b.log_old for b in found[k : k + 3]], axis=1) for k in (0, 3, 6)]
    assert all((np.sort(e, axis=1) == np.sort(epochs[0], axis=1)).all() for e in epochs)
    assert (epochs[0] != epochs[1]).any()


def test_a_batch_holds_gae_of_the_kl_rewards_and_the_returns_that_go_with_it():
    params = STARTS | {"value": np.random.default_rng(8).normal(size=(3, 2, 3))}
    (batch,) = batches(ppo.a2c(TASK, CRITIC, prompts=9, gamma=0.9, lam=0.7), params)
    seen = rollout(TASK, tasks.MODEL, params, 9, np.random.default_rng(0))
    values = CRITIC.judge(params, seen.prompt, seen.response)[1]
    rewards = actor_critic.kl_rewards(seen.reward, seen.log_pi, seen.log_pi_0, seen.mask, tasks.BETA)
    assert batch.value_old == pytest.approx(values, abs=1e-14)
    assert batch.advantage == pytest.approx(actor_critic.gae(rewards, values, seen.mask, 0.9, 0.7), abs=1e-13)
    assert batch.returns == pytest.approx((batch.advantage + values) * seen.mask, abs=1e-13)
    assert batch.log_old == pytest.approx(seen.log_pi, abs=1e-14)
    (other,) = batches(ppo.ppo(TASK, CRITIC, prompts=9, minibatch=9, epochs=1, gamma=0.9, lam=0.7), params)
    assert np.sort(other.advantage, axis=1) == pytest.approx(np.sort(batch.advantage, axis=1), abs=1e-13)


@pytest.mark.equation("eq-weighted-loss")
def test_the_loss_is_the_clipped_gain_plus_the_weighted_value_loss():
    batch = batches(ppo.ppo(TASK, CRITIC, prompts=12, minibatch=12, epochs=1))[0]
    moved = {name: p + np.random.default_rng(9).normal(size=p.shape) for name, p in STARTS.items()}
    log_pi = lm.token_log_prob(tasks.MODEL, moved, batch.prompt, batch.response)
    values = CRITIC.judge(moved, batch.prompt, batch.response)[1]
    policy_loss = actor_critic.ppo_loss(log_pi, batch.log_old, batch.advantage, batch.mask, 0.3)
    value_loss = actor_critic.value_loss(values, batch.returns, batch.mask)
    settings = {"prompts": 12, "minibatch": 12, "epochs": 1}
    found = ppo.ppo(TASK, CRITIC, clip_range=0.3, value_weight=2.0, **settings)[0](moved, batch).loss
    assert found == pytest.approx(policy_loss + 2 * value_loss, rel=1e-12)
    usual = ppo.ppo(TASK, CRITIC, **settings)[0](moved, batch).loss
    spelled = ppo.ppo(TASK, CRITIC, clip_range=0.2, value_weight=0.5, **settings)[0](moved, batch).loss
    assert usual.tolist() == spelled.tolist()
    clipped = actor_critic.clipped_value_loss(values, batch.value_old, batch.returns, batch.mask, 0.1)
    found = ppo.ppo(TASK, CRITIC, clip_range=0.3, value_clip=0.1, **settings)[0](moved, batch).loss
    assert found == pytest.approx(policy_loss + clipped / 2, rel=1e-12)
    plain = actor_critic.actor_critic_loss(log_pi, batch.advantage, batch.mask)
    assert ppo.a2c(TASK, CRITIC, prompts=12)[0](moved, batch).loss == pytest.approx(plain + value_loss / 2, rel=1e-12)


def far_and_batch():
    """Parameters of three seeds of which the second has moved since it wrote the answers of the batch."""
    batch = batches(ppo.ppo(TASK, CRITIC, prompts=30, minibatch=30, epochs=1))[0]
    far = {"logits": STARTS["logits"].copy(), "value": STARTS["value"]}
    far["logits"][1] += np.random.default_rng(2).normal(size=(2, 3, 3))
    return far, batch


def test_diagnostics_are_those_of_the_batch():
    far, batch = far_and_batch()
    log_pi = lm.token_log_prob(tasks.MODEL, far, batch.prompt, batch.response)
    reward = TASK.mdp.reward(batch.prompt, batch.response)
    settings = {"prompts": 30, "minibatch": 30, "epochs": 1, "clip_range": 0.3}
    told = ppo.ppo(TASK, CRITIC, **settings)[0](far, batch).diagnostics
    expected = {
        "entropy": -batch.log_old.sum(-1).mean(-1),
        "length": batch.mask.sum(-1).mean(-1),
        "explained_variance": actor_critic.explained_variance(batch.value_old, batch.returns, batch.mask),
        "approximate_kl": actor_critic.approximate_kl(log_pi, batch.log_old, batch.mask),
        "clip_fraction": actor_critic.clip_fraction(log_pi, batch.log_old, batch.mask, 0.3),
        "reward": reward.mean(-1),
        "reward_deviation": np.sqrt((reward**2).mean(-1) - reward.mean(-1) ** 2),
    }
    assert set(told) == set(expected)
    for name, values in expected.items():
        assert told[name] == pytest.approx(values, rel=1e-12)
    simple = ppo.a2c(TASK, CRITIC, prompts=30)[0](far, batch).diagnostics
    assert {name: values.tolist() for name, values in simple.items()} == {
        name: told[name].tolist() for name in ("entropy", "length", "explained_variance", "reward", "reward_deviation")
    }


def test_each_minibatch_tells_the_rewards_of_the_whole_round():
    loss, collect = ppo.ppo(TASK, CRITIC, prompts=10, minibatch=4, epochs=2)
    found = list(collect(STARTS, np.random.default_rng(3)))
    reward = rollout(TASK, tasks.MODEL, STARTS, 10, np.random.default_rng(3)).reward
    for batch in found:
        told = loss(STARTS, batch).diagnostics
        assert told["reward"] == pytest.approx(reward.mean(-1))
        assert told["reward_deviation"] == pytest.approx(reward.std(-1))


def test_the_entropy_is_that_of_the_policy_that_wrote_the_answers():
    many = {name: np.repeat(value[None], 2000, axis=0) for name, value in CRITIC.head(tasks.POLICY).items()}
    loss, collect = ppo.ppo(TASK, CRITIC, prompts=8, minibatch=8, epochs=2)
    _, last = collect(many, np.random.default_rng(4))
    moved = many | {"logits": many["logits"] + 0.5}
    moved["logits"][..., 0] += 2.0
    told = loss(moved, last).diagnostics["entropy"]
    exact = TASK.mean(lm.entropy(tasks.log_pi(tasks.POLICY)))
    assert abs(told.mean() - exact) < 4 * told.std(ddof=1) / 2000**0.5


def test_a_seed_that_has_strayed_is_told_to_stop_and_the_loss_knows_nothing_of_it():
    far, batch = far_and_batch()
    settings = {"prompts": 30, "minibatch": 30, "epochs": 1}
    strayed = ppo.ppo(TASK, CRITIC, **settings)[0](far, batch).diagnostics["approximate_kl"]
    assert strayed[1] > 0.01 > strayed[0] == strayed[2] == 0
    plain = ppo.ppo(TASK, CRITIC, **settings)[0](far, batch)
    assert plain.stop.tolist() == [False] * 3
    for limit, stops in ((strayed[1] * 0.99, True), (strayed[1] * 1.01, False)):
        loss, _ = ppo.ppo(TASK, CRITIC, **settings, target_kl=limit)
        assert loss(far, batch).stop.tolist() == [False, stops, False]
        assert loss(far, batch).loss.tolist() == plain.loss.tolist()
        assert loss(STARTS, batch).stop.tolist() == [False] * 3  # it remembers nothing
    loss, _ = ppo.ppo(TASK, CRITIC, **settings, target_kl=0.0)
    assert loss(STARTS, batch).stop.tolist() == [False] * 3


def test_a_seed_that_has_strayed_stays_where_it_is_to_the_end_of_the_round():
    def places(limit):
        loss, collect = ppo.ppo(TASK, CRITIC, prompts=64, minibatch=16, epochs=4, target_kl=limit)
        steps = []

        def watched(params, batch):
            found = loss(params, batch)
            steps.append((found.stop, getval(params["logits"]).copy()))
            return found

        rng = np.random.default_rng(0)
        params, history = optim.fit(watched, STARTS, collect, rounds=1, optimizer=optim.adam(0.05), rng=rng)
        stops, places = (np.array(column) for column in zip(*steps, strict=True))
        moved = np.abs(np.diff([*places, params["logits"]], axis=0)).max((2, 3, 4)) > 0
        return np.logical_or.accumulate(stops), moved, history[-1]["approximate_kl"]

    ended, moved, _ = places(np.inf)
    assert not ended.any()
    assert moved.all()
    ended, moved, kl = places(0.01)
    assert ended[-1].all()
    assert len(ended) < 16  # when the last has stopped, the round is over
    assert (moved == ~ended).all()
    assert (kl < 0.03).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_normalised_advantages_drive_a_policy_away_from_the_optimum(seed):
    best = CRITIC.head(stack([tasks.optimum()] * 3))
    settings = {"prompts": 64, "minibatch": 64, "epochs": 4, "seed": seed}
    plain, _ = trained(ppo.ppo, best, 40, 0.02, **settings)
    restless, _ = trained(ppo.ppo, best, 40, 0.02, **settings, normalised=True)
    assert gap(restless).mean() > 5 * gap(plain).mean()


def test_normalised_batches_are_normalised_before_they_are_split():
    found = batches(ppo.ppo(TASK, CRITIC, prompts=12, minibatch=12, epochs=1, normalised=True))[0]
    plain = batches(ppo.ppo(TASK, CRITIC, prompts=12, minibatch=12, epochs=1))[0]
    assert found.advantage == pytest.approx(actor_critic.normalise(plain.advantage, plain.mask), abs=1e-12)
    assert found.returns == pytest.approx(plain.returns, abs=1e-14)


def test_adaptive_control_holds_the_divergence_at_its_target():
    control = partial(actor_critic.adapt_beta, target=0.3)
    settings = {"prompts": 128, "minibatch": 64, "epochs": 2, "control": control}
    params, _ = trained(ppo.ppo, STARTS, 120, 0.03, **settings)
    found = TASK.mean(lm.kl(TASK.log_pi(tasks.MODEL, params), TASK.log_pi_0))
    assert found == pytest.approx([0.3] * 3, abs=0.05)


def test_the_price_of_the_next_round_depends_on_the_divergence_of_this_one():
    asked = []

    def control(beta, kl):
        asked.append((beta, kl))
        return beta + np.array([1.0, 2.0, 3.0])

    pair = ppo.ppo(TASK, CRITIC, prompts=9, minibatch=9, epochs=1, control=control)
    first, second = batches(pair)[0], batches(pair)[0]
    seen = rollout(TASK, tasks.MODEL, STARTS, 9, np.random.default_rng(0))
    assert asked[0][0] == tasks.BETA
    assert asked[0][1] == pytest.approx((seen.log_pi - seen.log_pi_0).sum(-1).mean(-1), abs=1e-13)
    assert asked[1][0].tolist() == [tasks.BETA + k for k in (1, 2, 3)]
    batches(ppo.ppo(TASK, CRITIC, prompts=9, minibatch=9, epochs=1, control=control), CRITIC.head(tasks.POLICY))
    assert np.shape(asked[-1][1]) == ()
    cost = [np.sort(b.returns[..., 0], axis=-1) for b in (first, second)]
    assert (np.abs(cost[0] - cost[1])[1] > 0).any()


@pytest.mark.equation("eq-ppo-ptx")
def test_ptx_adds_the_loss_of_pretraining():
    texts = np.array([[0], [1], [0]]), np.array([[0, 2], [1, 1], [2, 2]])
    pair = ppo.ppo(TASK, CRITIC, prompts=8, minibatch=4, epochs=1)
    loss, collect = ppo.with_pretraining(pair, tasks.MODEL, texts, weight=0.7, size=5)
    found = batches((loss, collect))
    assert [len(prompt) for _, prompt, _ in found] == [5, 5]
    rows = {(*p, *a) for p, a in zip(*texts, strict=True)}
    assert {(*p, *a) for _, prompt, answer in found for p, a in zip(prompt, answer, strict=True)} == rows
    own, *text = found[0]
    expected = pair[0](STARTS, own).loss + 0.7 * lm.negative_log_likelihood(tasks.MODEL, STARTS, *text)
    assert loss(STARTS, found[0]).loss == pytest.approx(expected, rel=1e-13)
    assert set(loss(STARTS, found[0]).diagnostics) == set(pair[0](STARTS, own).diagnostics)


def test_a_critic_of_another_language_is_told():
    other = ReaderCritic(Recurrent(4, 2))
    for make in (partial(ppo.a2c, prompts=2), partial(ppo.ppo, prompts=2, minibatch=2, epochs=1)):
        with pytest.raises(ValueError, match="the policy has 4 tokens"):
            make(TASK, other)


BOTH = {
    "prompts 0": ({"prompts": 0}, "prompts is a number of texts to draw, a whole number from 1 on; got 0"),
    "prompts nan": ({"prompts": np.nan}, "prompts is a number of texts to draw, a whole number from 1 on; got nan"),
    "gamma": ({"gamma": 1.1}, r"gamma must lie in \[0, 1\]; got 1.1"),
    "lambda": ({"lam": -0.1}, r"lambda must lie in \[0, 1\]; got -0.1"),
    "value_weight": (
        {"value_weight": -1},
        "value_weight is c_V, the weight of the value loss, finite and at least 0; got -1",
    ),
}


PPO_ONLY = {
    "minibatch 0": ({"minibatch": 0}, "minibatch is the number of answers in a batch, a whole number .*; got 0"),
    "minibatch 2.5": ({"minibatch": 2.5}, "minibatch is the number of answers in a batch, a whole number .*; got 2.5"),
    "epochs": ({"epochs": 1.5}, "epochs is how often to go through the answers, a whole number from 1 on; got 1.5"),
    "clip_range": ({"clip_range": 1.0}, r"clip_range is epsilon, in \(0, 1\); got 1.0"),
    "value_clip 0": ({"value_clip": 0.0}, "value_clip must be finite and above 0; got 0.0"),
    "value_clip": ({"value_clip": -0.2}, "value_clip must be finite and above 0; got -0.2"),
    "target_kl": ({"target_kl": -1.0}, "target_kl is a divergence in nats, not below 0; got -1.0"),
    "target_kl nan": ({"target_kl": np.nan}, "target_kl is a divergence in nats, not below 0; got nan"),
}


@pytest.mark.parametrize("name", BOTH | PPO_ONLY)
def test_bad_settings_are_told_before_any_work(name):
    changed, told = (BOTH | PPO_ONLY)[name]
    with pytest.raises(ValueError, match=told):
        ppo.ppo(TASK, CRITIC, **({"prompts": 4, "minibatch": 4, "epochs": 1} | changed))
    if name in BOTH:
        with pytest.raises(ValueError, match=told):
            ppo.a2c(TASK, CRITIC, **({"prompts": 4} | changed))


def test_a_whole_number_may_come_as_a_float():
    given = [
        batches(ppo.ppo(TASK, CRITIC, prompts=kind(6), minibatch=kind(4), epochs=kind(2))) for kind in (int, float)
    ]
    for whole, point in zip(*given, strict=True):
        assert all((a == b).all() for a, b in zip(whole[:-1], point[:-1], strict=True))
    texts = np.zeros((3, 1), int), np.zeros((3, 2), int)
    pair = ppo.with_pretraining(ppo.a2c(TASK, CRITIC, prompts=2.0), tasks.MODEL, texts, weight=0, size=2.0)
    assert [len(prompt) for _, prompt, _ in batches(pair)] == [2]


@pytest.mark.parametrize("answer", [-1.0, 0.0, np.nan, np.inf, np.array([1.0, -1.0, 1.0])])
def test_a_control_that_returns_no_price_is_told(answer):
    pair = ppo.ppo(TASK, CRITIC, prompts=4, minibatch=4, epochs=1, control=lambda beta, kl: answer)
    with pytest.raises(ValueError, match="control must return a beta that is finite and above 0; got "):
        batches(pair)


def test_a_price_may_be_as_low_as_one_likes():
    found = batches(ppo.ppo(TASK, CRITIC, prompts=4, minibatch=4, epochs=1, control=lambda beta, kl: 1e-9))
    assert len(found) == 1


PTX = {
    "weight": ({"weight": -1}, "weight is eta, the weight of the pretraining loss, finite and at least 0; got -1"),
    "size": ({"size": 0}, "size is the number of texts that go with a batch, a whole number from 1 on; got 0"),
    "fewer answers": ({"texts": (np.zeros((3, 1), int), np.zeros((2, 2), int))}, "3 prompts, but 2 responses"),
    "more answers": ({"texts": (np.zeros((2, 1), int), np.zeros((3, 2), int))}, "2 prompts, but 3 responses"),
    "token": ({"texts": (np.zeros((1, 1), int), np.full((1, 2), 3))}, "texts: token 3 is outside the vocabulary of 3"),
    "none": (
        {"texts": (np.zeros((0, 1), int), np.zeros((0, 2), int))},
        "^there is no text: PPO-ptx needs at least one prompt with its answer$",
    ),
}


@pytest.mark.parametrize("name", PTX)
def test_bad_texts_are_told_before_any_work(name):
    changed, told = PTX[name]
    given = {"texts": (np.zeros((3, 1), int), np.zeros((3, 2), int)), "weight": 1.0, "size": 2} | changed
    pair = ppo.ppo(TASK, CRITIC, prompts=4, minibatch=4, epochs=1)
    with pytest.raises(ValueError, match=told):
        ppo.with_pretraining(pair, tasks.MODEL, given.pop("texts"), **given)
