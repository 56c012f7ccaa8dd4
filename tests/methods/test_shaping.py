"""Dense rewards against the exact optimum on random trees, and their noise against all answers one by one."""

import re

import numpy as np
import pytest
from autograd import jacobian, value_and_grad
from hypothesis import given, settings
from hypothesis import strategies as st
from small_trees import SIZES, every_size, tree

from rlhf_lab.methods import actor_critic, best_of_n, shaping
from rlhf_lab.methods import soft_values as soft
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.worlds import token_mdp


def trees(seed, vocab, horizon, eos, prompts=3):
    """Random trees, one for each prompt: a prior, rewards of answers (K, A) and of tokens, and a potential."""
    rng = np.random.default_rng(seed)
    found = tree(rng, vocab, horizon, eos, prompts)
    return *found, [2 * rng.normal(size=level.shape[:-1]) for level in found[0]]


def plus(one, other, times=1.0):
    return [a + times * b for a, b in zip(one, other, strict=True)]


def same(one, other, bound=1e-10):
    for a, b in zip(one, other, strict=True):
        assert a == pytest.approx(b, abs=bound)


def totals(tokens, eos):
    """What tokens sum up to over each answer, (K, A)."""
    return lm.answers_of_levels(tokens, eos)


def last_states(potential, eos):
    """The potential of the state from which each answer took its last token, (K, A)."""
    words = potential[1].shape[1]
    return np.concatenate([*(potential if eos is not None else []), np.repeat(potential[-1], words, axis=1)], axis=1)


@pytest.mark.equation("eq-shaping")
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(SIZES), st.floats(0.1, 1), st.floats(0.1, 3), st.sampled_from([0.0, 1.0]))
def test_a_potential_that_is_0_at_the_end_leaves_hard_and_soft_optima_alone(seed, size, discount, price, inner):
    vocab, _, eos = size
    prior, _, rewards, potential = trees(seed, *size)
    rewards = plus(rewards, [np.sin(np.arange(r.size).reshape(r.shape)) for r in rewards], inner)
    shaped = plus(rewards, shaping.shaping(potential, vocab, discount, eos))
    hard, soft_ = (token_mdp.backward_induction(r, discount, eos) for r in (rewards, shaped))
    same(hard.advantage, soft_.advantage)
    same(soft_.v, plus(hard.v, potential, -1))
    before, after = (soft.psi_values(prior, r, price, discount, eos) for r in (rewards, shaped))
    same(before.advantage, after.advantage)
    same(after.v, plus(before.v, potential, -1 / price))


def test_a_shaping_term_by_hand():
    # two words and eos, two tokens: from the root to "0", "1" and the end, from each of these to what is cut off
    potential = [np.array([[5.0]]), np.array([[1.0, -2.0]])]
    root, after = shaping.shaping(potential, 3, 0.5, 2, end=np.array([[10.0, 20, 30, 1, 2, 3, 4]]))
    assert root.tolist() == [[[0.5 - 5, -1 - 5, 5 - 5]]]
    assert after.tolist() == [[[0.5 - 1, 1 - 1, 10 - 1], [1.5 + 2, 2 + 2, 15 + 2]]]


@pytest.mark.parametrize("discount", [1.0, 0.9])
@pytest.mark.parametrize("eos", [2, None])
def test_a_potential_at_the_end_is_that_potential_added_to_the_reward(eos, discount):
    prior, rewards, by_token, potential = trees(0, 3, 4, eos, prompts=100)
    ends = np.random.default_rng(1).normal(size=rewards.shape)
    shaped = plus(by_token, shaping.shaping(potential, 3, discount, eos, ends))
    moved = token_mdp.terminal_rewards(rewards + discount * ends, 3, 4, eos)
    one, other = (soft.psi_values(prior, r, 0.5, discount, eos).advantage for r in (shaped, moved))
    same(one, other)
    hard = [soft.greedy(token_mdp.backward_induction(r, discount, eos).q, eos) for r in (shaped, moved)]
    assert (hard[0] == hard[1]).all()


def moved(discount, eos, kind):
    """Shares of 100 trees where the best answer, and the best token of any state, change; and the KL of soft optima."""
    prior, rewards, by_token, potential = trees(2, 3, 4, eos, prompts=100)
    only_cut = np.where(np.arange(rewards.shape[1]) < (15 if eos else 0), 0.0, last_states(potential, eos))
    ends = {
        "constant": 0.7,
        "last state": last_states(potential, eos),
        "horizon": only_cut,
        "answer": 2 * rewards[::-1],
    }
    shaped = plus(by_token, shaping.shaping(potential, 3, discount, eos, ends[kind]))
    hard = [token_mdp.backward_induction(r, discount, eos).q for r in (by_token, shaped)]
    best = [soft.greedy(q, eos) for q in hard]
    other = [(a.argmax(-1) != b.argmax(-1)).any(-1) for a, b in zip(*hard, strict=True)]
    policy = [soft.psi_values(prior, r, 0.5, discount, eos).advantage for r in (shaped, by_token)]
    return np.mean((best[0] != best[1]).any(-1)), np.mean(np.any(other, axis=0)), soft.token_kl(*policy, eos)


def test_a_constant_at_the_end_is_harmless_without_a_discount_or_if_all_answers_are_equally_long():
    for discount, eos in ((1.0, 2), (1.0, None), (0.9, None)):
        changed, anywhere, kl = moved(discount, eos, "constant")
        assert changed == anywhere == 0
        assert kl == pytest.approx(0, abs=1e-10)
    changed, anywhere, kl = moved(0.9, 2, "constant")
    assert 0 < changed < anywhere < 0.25
    assert (kl > 1e-4).mean() > 0.9


@pytest.mark.parametrize("kind", ["last state", "horizon", "answer"])
@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_other_potentials_at_the_end_change_nearly_all_optima(kind, discount):
    changed, anywhere, kl = moved(discount, 2, kind)
    assert changed > 0.4
    assert anywhere > 0.9
    assert (kl > 0.01).mean() > 0.95


@every_size
@pytest.mark.parametrize("discount", [0.4, 1.0])
def test_the_potential_is_found_again_and_only_shaping_leaves_the_soft_optimum_alone(vocab, horizon, eos, discount):
    prior, _, rewards, potential = trees(3, vocab, horizon, eos)
    terms = shaping.shaping(potential, vocab, discount, eos)
    same(shaping.potential_of(terms, discount, eos), potential)
    # the other way round: any two rewards with the same soft optimum differ by shaping terms
    policy = soft.psi_values(prior, rewards, 0.7, discount, eos)
    other = shaping.implicit_rewards(policy.advantage, prior, 0.7)
    same(soft.psi_values(prior, other, 0.7, discount, eos).advantage, policy.advantage)
    found = shaping.potential_of(plus(other, rewards, -1), discount, eos)
    same(found, [0.7 * v for v in policy.v])


def test_a_bonus_that_is_no_shaping_is_refused_with_its_place():
    *_, potential = trees(4, 3, 4, 2)
    terms = shaping.shaping(potential, 3, 1.0, 2)
    terms[2][1, 3, 0] += 0.25
    told = "prompt 1, prefix 3 of 2 words, where continuations differ by 0.25 in what they are paid"
    with pytest.raises(ValueError, match=re.escape(told)):
        shaping.potential_of(terms, 1.0, 2)
    terms[2][1, 3, 0] -= 0.25 - 1e-10
    same(shaping.potential_of(terms, 1.0, 2), potential, 1e-9)
    nothing = levels_with((1, 1, 3), (1, 2, 3))
    same(shaping.potential_of(nothing, 1.0, 2, atol=0.0), [level[..., 0] for level in nothing])
    last = shaping.shaping(potential, 3, 1.0, 2, end=last_states(potential, 2))
    with pytest.raises(ValueError, match=r"no potential that is 0 at the end has these terms: prompt [0-2], prefix"):
        shaping.potential_of(last, 1.0, 2)


@pytest.mark.equation("eq-soft-potential", "eq-token-implicit")
@every_size
@pytest.mark.parametrize("discount", [0.6, 0.9, 1.0])
def test_the_soft_potential_turns_rewards_into_the_implicit_rewards_of_the_optimum(vocab, horizon, eos, discount):
    prior, rewards, by_token, _ = trees(5, vocab, horizon, eos)
    potential = shaping.soft_potential(prior, by_token, 0.4, discount, eos)
    policy = soft.psi_values(prior, by_token, 0.4, discount, eos).advantage
    shaped = plus(by_token, shaping.shaping(potential, vocab, discount, eos))
    same(shaped, shaping.implicit_rewards(policy, prior, 0.4))
    # each token can be judged alone: whatever the discount, the shaped rewards have the same optimum
    for other in (0.0, 0.5, 1.0):
        found = soft.psi_values(prior, shaped, 0.4, other, eos)
        same(found.advantage, policy)
        same(found.v, [np.zeros(v.shape) for v in found.v])
    log_p = lm.answers_of_levels(prior, eos)
    if discount == 1:
        assert potential[0][:, 0] == pytest.approx(0.4 * gibbs.log_normaliser(log_p, rewards, 0.4))
        assert totals(shaped, eos) == pytest.approx(rewards - potential[0])
    elif horizon > 1:  # beta log Z is the potential for a discount of 1 only
        plain = shaping.soft_potential(prior, by_token, 0.4, 1.0, eos)
        with pytest.raises(AssertionError):
            same(plus(by_token, shaping.shaping(plain, vocab, discount, eos)), shaped, 1e-3)


@every_size
def test_judged_token_by_token_on_the_values_of_the_prior_the_optimum_is_one_step_of_decoding(vocab, horizon, eos):
    prior, _, rewards, _ = trees(5, vocab, horizon, eos)
    values = token_mdp.policy_evaluation(prior, rewards, 1.0, eos)
    shaped = plus(rewards, shaping.shaping(values.v, vocab, 1.0, eos))
    found = soft.psi_values(prior, shaped, 0.4, 0.0, eos).advantage
    same(found, best_of_n.weighted_decoding(prior, values.q, 1 / 0.4))


@every_size
def test_the_implicit_rewards_of_any_policy_have_that_policy_for_their_optimum(vocab, horizon, eos):
    prior, other = (trees(seed, vocab, horizon, eos)[0] for seed in (6, 7))
    implicit = shaping.implicit_rewards(other, prior, 2.0)
    same(soft.psi_values(prior, implicit, 2.0, eos=eos).advantage, other)


@pytest.mark.parametrize("beta", [0.0, -1.0])
def test_a_price_is_above_0(beta):
    prior, _, rewards, _ = trees(5, 3, 2, 2)
    with pytest.raises(ValueError, match="beta must be finite and above 0"):
        shaping.implicit_rewards(prior, prior, beta)
    with pytest.raises(ValueError, match="must be finite and above 0"):
        shaping.soft_potential(prior, rewards, beta)


@pytest.mark.equation("eq-step-value")
def test_scores_of_a_table_are_means_of_labels_and_of_what_was_believed_before():
    start = np.array([0.5, 0.25, 1.0])
    found = shaping.step_values(np.array([0, 1, 0]), np.array([1, 0, 0.5]), start, 2.0)
    assert found == pytest.approx([(1.5 + 2 * 0.5) / 4, 2 * 0.25 / 3, 1.0])
    assert shaping.step_values(np.array([], int), np.array([]), start, 2.0) == pytest.approx(start)


def test_scores_tend_to_the_chance_of_success():
    rng = np.random.default_rng(0)
    chance = np.array([0.0, 0.1, 0.5, 0.9])
    place = rng.integers(4, size=40_000)
    found = shaping.step_values(place, (rng.random(40_000) < chance[place]).astype(float), np.full(4, 0.5), 1.0)
    assert (abs(found - chance) <= 4 * np.sqrt(chance * (1 - chance) / 9_800) + 1e-4).all()


@pytest.mark.parametrize(
    ("place", "label", "weight", "told"),
    [
        ([0, 1], [0.5, 1.5], 1.0, "labels must lie in [0, 1]; got 1.5"),
        ([0, 1], [0.5, -1.0], 1.0, "labels must lie in [0, 1]; got -1.0"),
        ([0, 1], [0.5, np.nan], 1.0, "labels must lie in [0, 1]; got nan"),
        ([0, 2], [0.5, 1.0], 1.0, "place must be integers: there are 2 actions"),
        ([0, 1], [0.5], 1.0, "there must be one label for each place, shape (N,); got (1,) for (2,)"),
        ([[0, 1]], [[0.5, 1.0]], 1.0, "there must be one label for each place, shape (N,); got (1, 2) for (1, 2)"),
        ([0, 1], [0.5, 1.0], 0.0, "weight must be finite and above 0; got 0.0"),
    ],
)
def test_bad_labels_are_told(place, label, weight, told):
    told = told.replace("place must be integers: there", "place: there")
    with pytest.raises(ValueError, match="^" + re.escape(told)):
        shaping.step_values(np.array(place), np.array(label), np.zeros(2), weight)


@pytest.mark.equation("eq-step-sum")
@every_size
def test_summed_scores_pay_for_every_state_behind_the_prompt(vocab, horizon, eos):
    _, ends, _, scores = trees(8, vocab, horizon, eos)
    paid = totals(shaping.step_sum(scores, vocab, eos, ends), eos)
    answers = lm.enumerate_responses(vocab, horizon, eos)
    table = Tabular(vocab, horizon, ((0,), (1,), (2,))[:1], eos)
    places = table.places(np.zeros((len(answers), 1), int), answers)
    mask = lm.response_mask(answers, eos)
    for k in range(3):
        seen = np.concatenate([level[k] for level in scores])[places]
        assert paid[k] == pytest.approx((seen * mask)[:, 1:].sum(-1) + ends[k])
    equal = shaping.step_sum([0 * s + 1 for s in scores], vocab, eos, 1.0)
    assert totals(equal, eos) == pytest.approx(np.tile(mask.sum(-1), (3, 1)))  # a score of 1 pays for the length


@pytest.mark.equation("eq-progress")
@every_size
def test_progress_replaces_the_reward_and_added_to_it_it_halves_the_price(vocab, horizon, eos):
    prior, rewards, by_token, scores = trees(9, vocab, horizon, eos)
    values = token_mdp.policy_evaluation(prior, by_token, 1.0, eos)
    for v in (values.v, scores):
        moves = shaping.progress(v, vocab, eos, rewards)
        assert totals(moves, eos) == pytest.approx(rewards - v[0], abs=1e-12)
        right = soft.psi_values(prior, by_token, 0.6, 1.0, eos).advantage
        same(soft.psi_values(prior, moves, 0.6, 1.0, eos).advantage, right)
        half = soft.psi_values(prior, by_token, 0.3, 1.0, eos).advantage
        same(soft.psi_values(prior, plus(by_token, moves), 0.6, 1.0, eos).advantage, half)
        unpaid = plus(by_token, shaping.progress(v, vocab, eos))
        same(soft.psi_values(prior, unpaid, 0.6, 1.0, eos).advantage, right)
    same(shaping.progress(values.v, vocab, eos, rewards), values.advantage)  # of exact values it is the advantage


@pytest.mark.equation("eq-shaped-return")
@pytest.mark.parametrize("gamma", [0.7, 1.0])
def test_shaped_returns_are_returns_less_the_potential_so_shaping_is_a_first_guess_of_the_critic(gamma):
    rng = np.random.default_rng(10)
    mask = (np.arange(5) < rng.integers(1, 6, size=20)[:, None]).astype(float)
    rewards, potential, values = (rng.normal(size=(20, 5)) for _ in range(3))
    terms = actor_critic.td_errors(0 * rewards, potential, mask, gamma)
    shaped, plain = (token_mdp.return_to_go(r * mask, gamma) for r in (rewards + terms, rewards))
    assert shaped * mask == pytest.approx((plain - potential) * mask, abs=1e-12)
    for lam in (0.0, 0.6, 1.0):
        one = actor_critic.gae((rewards + terms) * mask, values - potential, mask, gamma, lam)
        other = actor_critic.gae(rewards * mask, values, mask, gamma, lam)
        assert one == pytest.approx(other, abs=1e-12)
        # and the critic takes the same step
        step = value_and_grad(lambda v, a: actor_critic.value_loss(v, a, mask))
        moves = step(values - potential, one + values - potential), step(values, other + values)
        assert moves[0][1] == pytest.approx(moves[1][1], abs=1e-12)


def by_answers(table, policy, rewards, potential, start, lam):
    """The gradient estimates of all answers, one by one, and their probabilities."""
    eos = table.eos
    answers = lm.enumerate_responses(table.vocab, table.horizon, eos)
    mask, params = lm.response_mask(answers, eos), np.concatenate(policy, axis=-2)
    estimates, chances = [], []
    for k, prompt in enumerate(table.prompts):
        asked = np.tile(prompt, (len(answers), 1))
        places = table.places(asked, answers)
        paid = np.concatenate(rewards, axis=-2).reshape(-1, table.vocab)[places]
        paid = np.take_along_axis(paid, answers[..., None], -1)[..., 0] * mask
        phi = np.concatenate(potential, axis=-1).reshape(-1)[places]
        advantage = actor_critic.gae(paid, phi, mask, 1.0, lam)

        def score(logits, asked=asked, advantage=advantage):
            return np.sum(advantage * lm.token_log_prob(table, {"logits": logits}, asked, answers), axis=-1)

        estimates.append(jacobian(lambda logits, f=score: f(logits))(params).reshape(len(answers), -1))
        chances.append(start[k] * np.exp(lm.log_prob(table, {"logits": params}, asked, answers)))
    return np.concatenate(estimates), np.concatenate(chances)


@pytest.mark.equation("eq-token-noise")
@pytest.mark.parametrize(("vocab", "horizon", "eos"), [(3, 3, 2), (3, 2, None)])
@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_noise_and_bias_are_those_of_all_answers_one_by_one(vocab, horizon, eos, lam):
    policy, _, rewards, potential = trees(11, vocab, horizon, eos, prompts=2)
    rewards = plus(rewards, [np.cos(np.arange(r.size).reshape(r.shape)) for r in rewards])
    table, start = Tabular(vocab, horizon, ((0,), (1,)), eos), np.array([0.3, 0.7])
    found = shaping.gradient_noise(policy, rewards, start, potential, lam, eos)
    g, chance = by_answers(table, policy, rewards, potential, start, lam)
    plain, _ = by_answers(table, policy, rewards, [0 * p for p in potential], start, 1.0)
    mean, right = chance @ g, chance @ plain
    noise = chance @ np.sum((g - mean) ** 2, axis=-1)
    assert found.noise == pytest.approx(noise / np.sum(right**2))
    assert found.bias == pytest.approx(np.sum((mean - right) ** 2) / np.sum(right**2), abs=1e-12)
    assert (found.bias < 1e-12) == (lam == 1)


def test_with_the_values_for_a_potential_a_shorter_trace_makes_less_noise_and_no_bias():
    gains = []
    for seed in range(20):
        policy, _, rewards, _ = trees(seed, 3, 4, 2, prompts=1)
        values = token_mdp.policy_evaluation(policy, rewards, 1.0, 2).v
        start = np.ones(1)
        found = [shaping.gradient_noise(policy, rewards, start, values, lam, 2) for lam in (1.0, 0.5, 0.0)]
        assert max(each.bias for each in found) < 1e-12
        assert found[0].noise > found[1].noise > found[2].noise
        alone = [np.zeros(v.shape) for v in values]
        gains.append(shaping.gradient_noise(policy, rewards, start, alone, 1.0, 2).noise / found[0].noise)
    assert np.median(gains) > 1.1
    assert min(gains) < 1  # the potential of least noise is near the values, not equal to them


@every_size
@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
def test_shaped_rewards_with_a_shorter_trace_end_at_the_soft_optimum_of_that_discount(vocab, horizon, eos, lam):
    prior, _, rewards, potential = trees(13, vocab, horizon, eos)
    shaped = plus(rewards, shaping.shaping(potential, vocab, 1.0, eos))
    end = soft.psi_values(prior, shaped, 0.4, lam, eos).advantage
    paid = plus(shaped, shaping.implicit_rewards(end, prior, 0.4), -1)  # what is left after the price of each token
    advantage = token_mdp.policy_evaluation(end, paid, lam, eos).advantage
    same(advantage, [np.zeros(a.shape) for a in advantage])  # so no policy gradient is left


def test_a_single_token_is_judged_alone_whatever_lambda_is():
    policy, _, rewards, potential = trees(0, 3, 1, 2)
    one, other = (shaping.gradient_noise(policy, rewards, np.ones(3) / 3, potential, lam, 2) for lam in (0.0, 1.0))
    assert one == other
    assert one.bias == pytest.approx(0, abs=1e-12)


def test_lambda_is_a_share():
    policy, _, rewards, potential = trees(0, 3, 2, 2)
    with pytest.raises(ValueError, match="lambda must lie in"):
        shaping.gradient_noise(policy, rewards, np.ones(3) / 3, potential, 1.5, 2)


@pytest.mark.equation("eq-return-variance")
@every_size
@pytest.mark.parametrize("discount", [0.6, 1.0])
def test_the_variance_of_a_return_is_that_over_all_answers(vocab, horizon, eos, discount):
    policy, _, rewards, _ = trees(12, vocab, horizon, eos, prompts=1)
    rewards = plus(rewards, [np.cos(np.arange(r.size).reshape(r.shape)) for r in rewards])
    found = shaping.return_variance(policy, rewards, discount, eos)
    chance = np.exp(lm.answers_of_levels(policy, eos))[0]
    returns = totals([discount**t * r for t, r in enumerate(rewards)], eos)[0]
    first = lm.enumerate_responses(vocab, horizon, eos)[:, 0]
    for a in range(vocab):
        weight = chance * (first == a)
        weight /= weight.sum()
        mean = weight @ returns
        assert found[0][0, 0, a] == pytest.approx(weight @ (returns - mean) ** 2, abs=1e-12)
    assert (np.concatenate([v.ravel() for v in found]) >= 0).all()


def levels_with(*shapes):
    return [np.zeros(shape) for shape in shapes]


@pytest.mark.parametrize("make", [shaping.shaping, shaping.step_sum, shaping.progress])
def test_a_potential_of_the_wrong_shape_is_told_before_any_work(make):
    rest = (1.0, 2) if make is shaping.shaping else (2,)
    bad = "level 1 must have one finite number for each prompt and each prefix of 1 words, shape (2, 2)"
    for shape in ((2, 3), (1, 2), (2, 2, 1)):
        with pytest.raises(ValueError, match="^" + re.escape(f"{bad}; got shape {shape}")):
            make(levels_with((2, 1), shape), 3, *rest)
    with pytest.raises(ValueError, match="^" + re.escape("level 0 must have one finite number for each prompt")):
        make([np.full((2, 1), np.nan), np.zeros((2, 2))], 3, *rest)
    good = levels_with((2, 1), (2, 2))
    told = "the end must be one finite number, or one for each finished answer, shape (2, 7)"
    for end, shape in ((np.zeros(7), (7,)), (np.zeros((2, 6)), (2, 6)), (np.inf, ())):
        with pytest.raises(ValueError, match="^" + re.escape(f"{told}; got shape {shape}")):
            make(good, 3, *rest, end)
    with pytest.raises(ValueError, match="a language needs at least 2 tokens"):
        make(good, 1, *rest)
    with pytest.raises(ValueError, match="eos must be the last token, 2, or None; got 1"):
        make(good, 3, *rest[:-1], 1)
    told = "level 2 must have one finite number for each prompt and each prefix of 2 words, shape (2, 9)"
    with pytest.raises(ValueError, match="^" + re.escape(f"{told}; got shape (2, 6)")):
        make(levels_with((2, 1), (2, 3), (2, 6)), 4, *rest[:-1], 3)


def test_without_further_words_there_is_no_discount_no_eos_and_the_end_is_worth_nothing():
    prior, _, rewards, potential = trees(14, 3, 3, None)
    start = np.array([0.2, 0.3, 0.5])
    terms = shaping.shaping(potential, 3, 1.0, None, 0.0)
    same(shaping.shaping(potential, 3), terms, 0)
    same(shaping.progress(potential, 3), terms, 0)
    same(shaping.step_sum(potential, 3), shaping.step_sum(potential, 3, None, 0.0), 0)
    same(shaping.potential_of(terms), potential)
    soft_one = shaping.soft_potential(prior, rewards, 0.4)
    same(soft_one, shaping.soft_potential(prior, rewards, 0.4, 1.0, None), 0)
    same(shaping.return_variance(prior, rewards), shaping.return_variance(prior, rewards, 1.0, None), 0)
    noise = shaping.gradient_noise(prior, rewards, start, potential)
    assert noise == shaping.gradient_noise(prior, rewards, start, potential, 1.0, None)
