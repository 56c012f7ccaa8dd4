"""The token MDP against brute force over all answers."""

import itertools

import numpy as np
import pytest
from autograd import grad
from small_models import HORIZON, MODELS, PROMPTS

from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import log_softmax
from rlhf_lab.worlds import phrase_world, token_mdp

START = np.array([0.5, 0.2, 0.3])
GAMMA = 0.9


def reward(prompt, response):
    """Any function of prompt and response."""
    return np.sin(7.0 * prompt.sum(-1) + (response * [1.0, 5.0, 17.0]).sum(-1))


@pytest.fixture(params=["tabular", "tabular, no eos", "recurrent", "token process"])
def world(request):
    """An MDP, a policy as levels, and all its answers with rewards and probabilities."""
    model, params = MODELS[request.param]
    prompts = PROMPTS if model.vocab == 4 else np.array([[0, 1], [1, 1], [1, 0]])
    mdp = token_mdp.TokenMDP(prompts, START, reward, model.vocab, HORIZON, model.eos, GAMMA)
    return mdp, lm.policy_levels(model, params, prompts, HORIZON), lm.answer_log_probs(model, params, prompts, HORIZON)


def length(answer, eos):
    return answer.tolist().index(eos) + 1 if eos in answer.tolist() else len(answer)


def prefix_index(prefix, words):
    return sum(w * words ** (len(prefix) - 1 - k) for k, w in enumerate(prefix))


def states(mdp):
    return [(t, p) for t in range(HORIZON) for p in itertools.product(range(mdp.words), repeat=t)]


@pytest.mark.equation("eq-transition")
def test_a_transition_appends_the_action():
    mdp = phrase_world.mdp()
    state = mdp.transition(mdp.transition(phrase_world.PROMPTS[0], 0), 8)
    assert phrase_world.decode(state) == "is tea hot yes thanks …"
    assert state.tolist() == [*phrase_world.PROMPTS[0], 0, 8]


@pytest.mark.equation("eq-return")
@pytest.mark.parametrize("discount", [1.0, 0.9, 0.1])
def test_the_return_is_the_discounted_sum_of_what_is_still_to_come(discount):
    rewards = np.random.default_rng(0).normal(size=(2, 3, 5))
    found = token_mdp.return_to_go(rewards, discount)
    for t in range(5):
        expected = sum(discount**k * rewards[..., t + k] for k in range(5 - t))
        assert found[..., t] == pytest.approx(expected, abs=1e-14)
    assert found[..., :-1] == pytest.approx(rewards[..., :-1] + discount * found[..., 1:], abs=1e-14)


@pytest.mark.equation("eq-terminal-reward")
def test_the_reward_of_an_answer_is_paid_with_its_last_token(world):
    mdp, _, _ = world
    levels, answers, rewards = mdp.token_rewards(), mdp.answers(), mdp.answer_rewards()
    paid = np.zeros(rewards.shape)
    for k, answer in enumerate(answers):
        for t in range(length(answer, mdp.eos)):
            paid[:, k] += levels[t][:, prefix_index(answer[:t], mdp.words), answer[t]]
        assert rewards[:, k] == pytest.approx(reward(mdp.prompts, answer[None]), abs=1e-15)
    assert paid == pytest.approx(rewards, abs=1e-15)
    assert sum((level != 0).sum() for level in levels) == rewards.size


@pytest.mark.equation("eq-value", "eq-action-value", "eq-advantage")
def test_values_are_expectations_over_all_ways_to_go_on(world):
    mdp, policy, _ = world
    values = token_mdp.policy_evaluation(policy, mdp.token_rewards(), GAMMA, mdp.eos)
    answers, rewards = mdp.answers(), mdp.answer_rewards()
    for t, prefix in states(mdp):
        state = prefix_index(prefix, mdp.words)
        q = np.zeros((3, mdp.vocab))
        for k, answer in enumerate(answers):
            end = length(answer, mdp.eos)
            if tuple(answer[:t]) != prefix or end <= t:
                continue
            chance = np.ones(3)
            for u in range(t + 1, end):
                chance = chance * np.exp(policy[u][:, prefix_index(answer[:u], mdp.words), answer[u]])
            q[:, answer[t]] += chance * GAMMA ** (end - 1 - t) * rewards[:, k]
        pi = np.exp(policy[t][:, state])
        v = (pi * q).sum(-1)
        assert values.q[t][:, state] == pytest.approx(q, abs=1e-12)
        assert values.v[t][:, state] == pytest.approx(v, abs=1e-12)
        assert values.advantage[t][:, state] == pytest.approx(q - v[:, None], abs=1e-12)


@pytest.mark.equation("eq-advantage")
def test_the_policy_has_no_advantage_over_itself(world):
    mdp, policy, _ = world
    values = token_mdp.policy_evaluation(policy, mdp.token_rewards(), GAMMA, mdp.eos)
    for log_pi, advantage in zip(policy, values.advantage, strict=True):
        assert (np.exp(log_pi) * advantage).sum(-1) == pytest.approx(np.zeros(advantage.shape[:-1]), abs=1e-14)


@pytest.mark.equation("eq-optimal-value")
def test_the_optimal_value_is_the_best_answer_and_nothing_beats_it(world):
    mdp, policy, _ = world
    rewards, answers = mdp.token_rewards(), mdp.answers()
    best = token_mdp.backward_induction(rewards, GAMMA, mdp.eos)
    paid = mdp.answer_rewards() * GAMMA ** np.array([length(a, mdp.eos) - 1 for a in answers])
    assert best.v[0][:, 0] == pytest.approx(paid.max(-1), abs=1e-14)
    values = token_mdp.policy_evaluation(policy, rewards, GAMMA, mdp.eos)
    for mine, ceiling in zip(values.v, best.v, strict=True):
        assert (mine <= ceiling + 1e-14).all()
    for v, q, advantage in zip(*best, strict=True):
        assert v == pytest.approx(q.max(-1), abs=1e-15)
        assert advantage.max(-1) == pytest.approx(np.zeros(v.shape), abs=1e-15)


@pytest.mark.equation("eq-performance", "eq-performance-by-token", "eq-value")
def test_performance_is_the_same_by_answer_by_token_and_by_induction(world):
    mdp, policy, log_pi = world
    by_hand = sum(
        START[x] * np.exp(log_pi[x, k]) * r[x] for k, r in enumerate(mdp.answer_rewards().T) for x in range(3)
    )
    rewards = mdp.token_rewards()
    assert token_mdp.performance(log_pi, mdp.answer_rewards(), START) == pytest.approx(by_hand, abs=1e-13)
    assert token_mdp.performance_by_token(policy, rewards, START, mdp.eos) == pytest.approx(by_hand, abs=1e-13)
    undiscounted = token_mdp.policy_evaluation(policy, rewards, eos=mdp.eos)
    assert START @ undiscounted.v[0][:, 0] == pytest.approx(by_hand, abs=1e-13)
    assert START @ token_mdp.backward_induction(rewards, eos=mdp.eos).v[0][:, 0] == pytest.approx(
        START @ mdp.answer_rewards().max(-1), abs=1e-13
    )


@pytest.mark.equation("eq-performance")
def test_performance_is_the_mean_reward_of_samples():
    model, params, world = phrase_world.model(), phrase_world.pretrained(), phrase_world
    rng = np.random.default_rng(0)
    prompts = world.PROMPTS[rng.choice(4, 20_000, p=world.START)]
    rewards = world.reward(prompts, lm.sample(model, params, prompts, world.HORIZON, rng))
    log_pi = lm.answer_log_probs(model, params, world.PROMPTS, world.HORIZON)
    exact = token_mdp.performance(log_pi, phrase_world.mdp().answer_rewards(), world.START)
    assert abs(rewards.mean() - exact) < 4 * rewards.std(ddof=1) / len(rewards) ** 0.5


@pytest.mark.equation("eq-occupancy")
def test_occupancy_is_the_probability_of_the_prefix(world):
    mdp, policy, _ = world
    reached = token_mdp.occupancy(policy, START, mdp.eos)
    for t, prefix in states(mdp):
        chance = START
        for u in range(t):
            chance = chance * np.exp(policy[u][:, prefix_index(prefix[:u], mdp.words), prefix[u]])
        assert reached[t][:, prefix_index(prefix, mdp.words)] == pytest.approx(chance, abs=1e-15)
    assert reached[0].sum() == pytest.approx(1, abs=1e-15)
    alive = [level.sum() for level in reached]
    assert alive == (sorted(alive, reverse=True) if mdp.eos is not None else pytest.approx([1.0] * HORIZON))


def test_seeds_on_a_leading_axis_are_as_if_alone(world):
    mdp, policy, log_pi = world
    other = [np.asarray(log_softmax(level * 0.5)) for level in policy]
    both, rewards = [np.stack(pair) for pair in zip(policy, other, strict=True)], mdp.token_rewards()
    together = token_mdp.policy_evaluation(both, rewards, GAMMA, mdp.eos)
    for k, alone in enumerate((policy, other)):
        single = token_mdp.policy_evaluation(alone, rewards, GAMMA, mdp.eos)
        for a, b in zip([*together.v, *together.q], [*single.v, *single.q], strict=True):
            assert np.broadcast_to(a, (2, *b.shape))[k] == pytest.approx(b, abs=1e-14)
    j = token_mdp.performance_by_token(both, rewards, START, mdp.eos)
    expected = [token_mdp.performance_by_token(p, rewards, START, mdp.eos) for p in (policy, other)]
    assert j == pytest.approx(expected, abs=1e-14)
    stacked = np.stack([log_pi, lm.answers_of_levels(other, mdp.eos)])
    assert token_mdp.performance(stacked, mdp.answer_rewards(), START) == pytest.approx(expected, abs=1e-13)


@pytest.mark.equation("eq-log-reward")
def test_the_return_of_a_model_under_itself_is_the_likelihood_of_the_answer(world):
    mdp, policy, log_pi = world
    own = token_mdp.log_prob_rewards(policy)
    for k, answer in enumerate(mdp.answers()):
        end = length(answer, mdp.eos)
        steps = [own[t][:, prefix_index(answer[:t], mdp.words), answer[t]] for t in range(end)]
        returns = token_mdp.return_to_go(np.stack(steps, axis=-1), 1.0)
        assert returns[:, 0] == pytest.approx(log_pi[:, k], abs=1e-13)
    value = token_mdp.policy_evaluation(policy, own, eos=mdp.eos).v[0][:, 0]
    assert value == pytest.approx(-lm.entropy(log_pi), abs=1e-12)


LOGITS = np.random.default_rng(0).normal(size=(2, 6))
TARGET = np.random.default_rng(1).dirichlet(np.ones(6), size=2)
REWARDS = np.random.default_rng(2).normal(size=(2, 6))


@pytest.mark.equation("eq-sft-gradient")
def test_the_gradient_of_imitation():
    expected = grad(lambda z: (TARGET * log_softmax(z)).sum())(LOGITS)
    assert token_mdp.sft_gradient(np.exp(log_softmax(LOGITS)), TARGET) == pytest.approx(expected, abs=1e-14)


@pytest.mark.equation("eq-policy-gradient")
def test_the_gradient_of_reward():
    import autograd.numpy as anp

    expected = grad(lambda z: anp.sum(anp.exp(log_softmax(z)) * REWARDS))(LOGITS)
    found = token_mdp.policy_gradient(np.exp(log_softmax(LOGITS)), REWARDS)
    assert found == pytest.approx(expected, abs=1e-14)


@pytest.mark.equation("eq-policy-gradient", "eq-sft-gradient")
def test_for_a_small_step_of_equal_length_no_direction_earns_more_than_the_policy_gradient():
    log_pi, reward, rng = np.asarray(log_softmax(LOGITS))[0], REWARDS[0], np.random.default_rng(4)

    def gain(gradient, length=1e-4):
        before, after = token_mdp.follow(gradient, log_pi, length, 1)
        assert np.exp(log_pi) == pytest.approx(before, abs=1e-15)
        return (after - before) @ reward / length

    steepest = token_mdp.policy_gradient(np.exp(log_pi), reward)
    best = gain(lambda pi: token_mdp.policy_gradient(pi, reward))
    assert best == pytest.approx(np.linalg.norm(steepest), rel=1e-3)
    assert best > gain(lambda pi: token_mdp.sft_gradient(pi, np.eye(6)[reward.argmax()]))
    assert all(best > gain(lambda pi, d=direction: d) for direction in rng.normal(size=(100, 6)))


def test_each_step_of_a_path_has_the_same_length_and_follows_the_gradient_anew():
    log_pi, first, second = np.log([0.5, 0.3, 0.2]), np.array([3.0, 0.0, -4.0]), np.array([0.0, -0.01, 0.0])
    left = iter([first, second])
    path = list(token_mdp.follow(lambda pi: next(left), log_pi, 0.5, 2))
    moved = log_pi + np.array([[0.3, 0.0, -0.4], [0.3, -0.5, -0.4]])
    assert path[0] == pytest.approx(np.exp(log_pi), abs=1e-15)
    assert path[1:] == [pytest.approx(np.exp(z) / np.exp(z).sum(), abs=1e-15) for z in moved]


@pytest.mark.equation("eq-policy-gradient")
def test_the_baseline_of_the_exact_gradient_is_the_mean_reward():
    pi = np.exp(log_softmax(LOGITS))
    mean = (pi * REWARDS).sum(-1, keepdims=True)
    assert (np.sign(token_mdp.policy_gradient(pi, REWARDS)) == np.sign(REWARDS - mean)).all()
    assert token_mdp.policy_gradient(pi, REWARDS + 7) == pytest.approx(token_mdp.policy_gradient(pi, REWARDS))


@pytest.mark.equation("eq-temperature", "eq-answer-temperature")
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_temperature_by_token_and_by_answer_differ_by_the_normalisers_along_the_path(world, temperature):
    mdp, policy, log_pi = world
    by_token = lm.answers_of_levels([token_mdp.with_temperature(p, temperature) for p in policy], mdp.eos)
    by_answer = token_mdp.with_temperature(log_pi, temperature)
    assert np.exp(by_token).sum(-1) == pytest.approx(np.ones(3), abs=1e-12)
    assert np.exp(by_answer).sum(-1) == pytest.approx(np.ones(3), abs=1e-12)
    passed = np.zeros(log_pi.shape)
    for k, answer in enumerate(mdp.answers()):
        for t in range(length(answer, mdp.eos)):
            chances = np.exp(policy[t][:, prefix_index(answer[:t], mdp.words)])
            passed[:, k] += np.log((chances ** (1 / temperature)).sum(-1))
    gap = by_answer - by_token - passed  # the same for every answer
    assert gap == pytest.approx(np.repeat(gap[:, :1], gap.shape[1], axis=1), abs=1e-11)
    if temperature == 1:
        assert by_token == pytest.approx(log_pi, abs=1e-12)
        assert by_answer == pytest.approx(log_pi, abs=1e-12)


@pytest.mark.equation("eq-answer-temperature", "eq-gibbs", "eq-log-reward")
@pytest.mark.parametrize("temperature", [0.1, 0.5, 0.9])
def test_temperature_by_answer_is_the_gibbs_policy_of_the_models_own_reward(world, temperature):
    _, _, log_pi = world
    best = gibbs.log_policy(log_pi, log_pi, beta=temperature / (1 - temperature))
    assert token_mdp.with_temperature(log_pi, temperature) == pytest.approx(best, abs=1e-11)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
def test_a_temperature_is_above_0(temperature):
    with pytest.raises(ValueError, match="temperature must be finite and above 0; got"):
        token_mdp.with_temperature(LOGITS, temperature)


def test_a_reward_that_is_written_without_the_action_does_not_judge_the_last_token(world):
    mdp, policy, _ = world
    rng = np.random.default_rng(5)
    blind = [np.repeat(rng.normal(size=(*p.shape[:-1], 1)), mdp.vocab, axis=-1) for p in policy]  # R(s) for R(s, a)
    values = token_mdp.policy_evaluation(policy, blind, 1.0, mdp.eos)
    assert values.advantage[-1] == pytest.approx(np.zeros(policy[-1].shape), abs=1e-14)
    assert np.abs(token_mdp.policy_evaluation(policy, mdp.token_rewards(), 1.0, mdp.eos).advantage[-1]).min() > 1e-6


BAD = {
    "start sums to 2": ({"start": [1.0, 0.5, 0.5]}, "start must sum to 1; the sum is 2"),
    "start too short": ({"start": [0.5, 0.5]}, r"start needs one probability for each of the 3 prompts; got \(2,\)"),
    "horizon": ({"horizon": 0}, "at least 1; got 0"),
    "discount 0": ({"discount": 0.0}, r"the discount lies in \(0, 1\]; got 0.0"),
    "discount 1.1": ({"discount": 1.1}, r"the discount lies in \(0, 1\]; got 1.1"),
    "eos": ({"eos": 0}, "eos must be the last token, 3, or None; got 0"),
    "prompts": ({"prompts": PROMPTS + 2}, "prompts: token 4 is outside"),
    "ragged": ({"prompts": [[0, 1], [1], [2, 0]]}, "prompts: the rows have different lengths"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_mdp_is_told(name):
    changed, message = BAD[name]
    good = {"prompts": PROMPTS, "start": START, "reward": reward, "vocab": 4, "horizon": 3, "eos": 3}
    with pytest.raises(ValueError, match=message):
        token_mdp.TokenMDP(**(good | changed))


def test_bad_rewards_are_told():
    broken = token_mdp.TokenMDP(PROMPTS, START, lambda x, y: np.full(len(x), np.nan), 4, 3, 3)
    with pytest.raises(ValueError, match="the reward of some answers is NaN or infinite"):
        broken.answer_rewards()
    with pytest.raises(ValueError, match="40 answers are possible, but 39 rewards were given"):
        token_mdp.terminal_rewards(np.zeros((3, 39)), 4, 3, 3)
    huge = token_mdp.TokenMDP(PROMPTS, START, reward, 4, 30, 3)
    with pytest.raises(ValueError, match="too many to enumerate"):
        huge.answer_rewards()


def test_messages_are_whole():
    broken = token_mdp.TokenMDP(PROMPTS, START, lambda x, y: np.full(len(x), np.inf), 4, 3, 3)
    with pytest.raises(ValueError, match=r"^the reward of some answers is NaN or infinite$"):
        broken.answer_rewards()


@pytest.mark.equation("eq-optimal-value", "eq-performance-by-token")
def test_the_greedy_policy_of_the_optimal_values_is_worth_them_and_random_policies_are_worth_less(world):
    mdp, _, _ = world
    rewards, rng = mdp.token_rewards(), np.random.default_rng(0)
    best = token_mdp.backward_induction(rewards, GAMMA, mdp.eos)
    greedy = [np.where(np.arange(mdp.vocab) == q.argmax(-1)[..., None], 0.0, -1e4) for q in best.q]
    for found, expected in zip(token_mdp.policy_evaluation(greedy, rewards, GAMMA, mdp.eos).v, best.v, strict=True):
        assert found == pytest.approx(expected, abs=1e-14)
    ceiling = START @ token_mdp.backward_induction(rewards, 1.0, mdp.eos).v[0][:, 0]
    for _ in range(50):
        policy = [np.asarray(log_softmax(3 * rng.normal(size=q.shape))) for q in best.q]
        assert token_mdp.performance_by_token(policy, rewards, START, mdp.eos) < ceiling


@pytest.mark.equation("eq-performance", "eq-performance-by-token")
def test_phrase_world_is_worth_the_same_by_answer_by_token_and_by_induction():
    mdp, policy = phrase_world.mdp(), lm.policy_levels(
        phrase_world.model(), phrase_world.pretrained(), phrase_world.PROMPTS, phrase_world.HORIZON
    )  # fmt: skip
    rewards = mdp.token_rewards()
    by_answer = token_mdp.performance(lm.answers_of_levels(policy, mdp.eos), mdp.answer_rewards(), mdp.start)
    assert token_mdp.performance_by_token(policy, rewards, mdp.start, mdp.eos) == pytest.approx(by_answer, abs=1e-12)
    root = token_mdp.policy_evaluation(policy, rewards, eos=mdp.eos).v[0][:, 0]
    assert mdp.start @ root == pytest.approx(by_answer, abs=1e-12)
    assert mdp.start @ token_mdp.backward_induction(rewards, eos=mdp.eos).v[0][:, 0] == 3


@pytest.mark.equation("eq-occupancy", "eq-chain-rule")
def test_what_no_longer_lives_has_said_eos(world):
    mdp, policy, log_pi = world
    alive = [level.sum() for level in token_mdp.occupancy(policy, START, mdp.eos)]
    ends = np.array([length(answer, mdp.eos) for answer in mdp.answers()])
    for t in range(HORIZON):
        assert alive[t] == pytest.approx(START @ np.exp(log_pi[:, ends > t]).sum(-1), abs=1e-14)


def test_start_may_be_a_list():
    mdp = token_mdp.TokenMDP(PROMPTS.tolist(), START.tolist(), reward, 4, HORIZON, 3)
    policy = lm.policy_levels(*MODELS["tabular"], PROMPTS, HORIZON)
    found = token_mdp.performance_by_token(policy, mdp.token_rewards(), mdp.start, mdp.eos)
    assert found == pytest.approx(token_mdp.performance_by_token(policy, mdp.token_rewards(), START, 3), abs=1e-14)


@pytest.mark.equation("eq-performance-by-token", "eq-log-reward")
def test_a_model_as_its_own_reward_earns_minus_its_entropy_though_it_never_says_some_tokens():
    with np.errstate(divide="ignore"):
        policy = [np.log(np.array([[[0.25, 0.75, 0.0]]])), np.log(np.tile([0.5, 0.0, 0.5], (1, 3, 1)))]
    start = np.ones(1)
    wanted = 0.25 * np.log(0.25) + 0.75 * np.log(0.75) - np.log(2)
    found = token_mdp.performance_by_token(policy, token_mdp.log_prob_rewards(policy), start)
    assert found == pytest.approx(wanted, abs=1e-15)
    assert token_mdp.policy_evaluation(policy, policy).v[0] == pytest.approx(wanted, abs=1e-15)
