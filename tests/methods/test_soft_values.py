"""Soft values against the Gibbs policy over all answers, on random trees."""

import numpy as np
import pytest
from small_trees import every_size, tree

from rlhf_lab.methods import soft_values as soft
from rlhf_lab.methods.rollouts import Task
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics.autodiff import log_softmax
from rlhf_lab.numerics.optim import fit, sgd
from rlhf_lab.worlds import token_mdp


def same(one, other, bound):
    for a, b in zip(one, other, strict=True):
        assert a == pytest.approx(b, abs=bound)


@pytest.mark.equation("eq-soft-maximum")
def test_the_soft_maximum_lies_between_the_maximum_and_log_v_more():
    values = 300 * np.random.default_rng(0).normal(size=(50, 7))
    found = soft.soft_maximum(values)
    assert found == pytest.approx(np.logaddexp.reduce(values, axis=-1))
    assert (found >= values.max(-1)).all()
    assert (found <= values.max(-1) + np.log(7)).all()
    assert soft.soft_maximum(np.zeros(7)) == pytest.approx(np.log(7))


@pytest.mark.equation("eq-g")
@every_size
@pytest.mark.parametrize("discount", [0.3, 0.9, 1.0])
def test_psi_is_g_and_the_prior(vocab, horizon, eos, discount):
    prior, _, rewards = tree(0, vocab, horizon, eos)
    psi, g = (f(prior, rewards, 0.4, discount, eos) for f in (soft.psi_values, soft.g_values))
    same(psi.q, [q + p for q, p in zip(g.q, prior, strict=True)], 1e-12)
    same(psi.v, g.v, 1e-12)


@pytest.mark.equation("eq-psi")
@every_size
@pytest.mark.parametrize("price", [0.05, 0.5, 3.0])
def test_psi_finds_the_gibbs_policy_token_by_token(vocab, horizon, eos, price):
    prior, rewards, by_token = tree(1, vocab, horizon, eos)
    found = soft.psi_values(prior, by_token, price, eos=eos)
    log_p = lm.answers_of_levels(prior, eos)
    assert lm.answers_of_levels(found.advantage, eos) == pytest.approx(
        gibbs.log_policy(log_p, rewards, price), abs=1e-10
    )
    assert found.v[0][:, 0] == pytest.approx(gibbs.log_normaliser(log_p, rewards, price), abs=1e-10)


@pytest.mark.parametrize("discount", [0.7, 0.95])
def test_with_a_discount_the_soft_value_is_not_log_z(discount):
    prior, rewards, by_token = tree(1, 4, 3, 3)
    log_z = gibbs.log_normaliser(lm.answers_of_levels(prior, 3), rewards, 0.5)
    for values in (soft.psi_values, soft.g_values):
        assert (np.abs(values(prior, by_token, 0.5, discount, 3).v[0][:, 0] - log_z) > 0.01).all()


@every_size
@pytest.mark.parametrize("discount", [0.7, 1.0])
def test_what_the_prior_never_writes_the_optimum_never_writes(vocab, horizon, eos, discount):
    """There Psi is -inf, whatever G is: what comes after such a token changes nothing that is written."""
    prior, rewards, by_token = tree(1, vocab, horizon, eos)
    with np.errstate(divide="ignore"):
        never = [np.log(np.arange(vocab) > 0) for _ in prior]
    prior = [log_softmax(p + n) for p, n in zip(prior, never, strict=True)]
    psi, g = (f(prior, by_token, 0.5, discount, eos) for f in (soft.psi_values, soft.g_values))
    same(psi.v, g.v, 1e-12)
    for q, finite in zip(psi.q, g.q, strict=True):
        assert (q[..., 0] == -np.inf).all()
        assert np.isfinite(finite).all()
    if discount == 1:
        log_p = lm.answers_of_levels(prior, eos)
        assert psi.v[0][:, 0] == pytest.approx(gibbs.log_normaliser(log_p, rewards, 0.5), abs=1e-10)
        assert (np.exp(lm.answers_of_levels(psi.advantage, eos))[log_p == -np.inf] == 0).all()


@every_size
def test_an_action_value_with_its_own_price_is_flat_at_the_optimum(vocab, horizon, eos):
    """CS188 sums r / c - log pi + log p from this step on; at the optimum that is V(s), whatever the token."""
    prior, _, rewards = tree(2, vocab, horizon, eos)
    best = soft.psi_values(prior, rewards, 0.6, eos=eos)
    q = soft.soft_evaluation(best.advantage, prior, rewards, 0.6, eos=eos).q
    for level, pi, p, v in zip(q, best.advantage, prior, best.v, strict=True):
        assert level / 0.6 - pi + p == pytest.approx(np.repeat(v[..., None], vocab, axis=-1), abs=1e-10)


@pytest.mark.equation("eq-other-direction")
@pytest.mark.parametrize("price", [0.01, 0.5, 20.0])
def test_the_divergence_the_other_way_round_has_an_optimum_in_closed_form(price):
    rng = np.random.default_rng(11)
    log_p, rewards = log_softmax(rng.normal(size=(50, 6))), rng.normal(size=(50, 6))
    log_p[0] = log_softmax(np.array([9.0, 0, 0, 0, 0, -np.inf]))
    rewards[0, 5] = 50.0  # of no use: the prior never writes it
    log_pi = soft.other_direction(log_p, rewards, price)
    again = soft.other_direction(log_p.reshape(5, 10, 6), rewards.reshape(5, 10, 6), price)
    assert np.exp(again.reshape(50, 6)) == pytest.approx(np.exp(log_pi))
    assert np.exp(log_pi).sum(-1) == pytest.approx(np.ones(50))
    assert log_pi[0, 5] == -np.inf
    assert np.isfinite(log_pi[1:]).all()

    def worth(pi, p):  # an answer that p never writes costs nothing to leave out, and earns -100
        seen = p > -np.inf
        return pi @ np.where(seen, rewards[k], -100) - price * np.sum(np.exp(p[seen]) * (p[seen] - np.log(pi[seen])))

    for k in range(50):
        best = worth(np.exp(log_pi[k]), log_p[k])
        for noise in rng.normal(size=(20, 6)):
            near = np.exp(log_pi[k] + 0.05 * noise)
            assert worth(near / near.sum(), log_p[k]) < best


def test_the_other_direction_looks_at_each_question_alone():
    log_p, rewards = log_softmax(np.zeros((2, 3))), np.array([[0.0, 1.0, 2.0], [1e15, 0.0, 0.0]])
    assert soft.other_direction(log_p, rewards, 0.5)[0] == pytest.approx(
        soft.other_direction(log_p[0], rewards[0], 0.5), abs=1e-9
    )


@pytest.mark.parametrize("price", [0.3, 2.0])
def test_a_target_that_forgets_the_horizon_favours_answers_that_were_cut_off(price):
    """Logits of 0 behind the horizon are worth log V: answers that were cut off become V times as likely."""
    prior, rewards, by_token = tree(12, 3, 3, 2)
    length = lm.response_mask(lm.enumerate_responses(3, 3, 2), 2).sum(-1)
    cut = (lm.enumerate_responses(3, 3, 2) != 2).all(-1)
    assert (length[cut] == 3).all()
    by_token[-1][..., :2] += price * np.log(3)
    found = lm.answers_of_levels(soft.psi_values(prior, by_token, price, eos=2).advantage, 2)
    right = gibbs.log_policy(lm.answers_of_levels(prior, 2), rewards, price)
    assert found == pytest.approx(log_softmax(right + cut * np.log(3)), abs=1e-10)


@pytest.mark.equation("eq-prior-q")
@every_size
def test_a_log_prior_in_q_finds_the_likeliest_answer_of_the_gibbs_policy(vocab, horizon, eos):
    for seed in range(20):
        prior, rewards, by_token = tree(seed, vocab, horizon, eos)
        q = soft.prior_q_values(prior, by_token, 0.7, eos=eos)
        optimum = gibbs.log_policy(lm.answers_of_levels(prior, eos), rewards, 0.7)
        found = lm.answer_index(soft.greedy(q.q, eos), vocab, eos)
        assert (found == optimum.argmax(-1)).all()
        # its gap to the optimum is -c log pi*(mode)
        only = np.full(optimum.shape, -1e9)
        only[range(2), found] = 0
        assert gibbs.gap(only, lm.answers_of_levels(prior, eos), rewards, 0.7) == pytest.approx(-0.7 * optimum.max(-1))


def test_the_gibbs_policy_read_greedily_misses_its_mode_on_more_than_a_quarter_of_the_trees():
    """Each of 2,000 trees has a price of its own: the rewards are divided by it, and the price is 1."""
    prior, _, by_token = tree(1000, 3, 4, 2, prompts=2000)
    prices = np.random.default_rng(1000).uniform(0.2, 2, size=(2000, 1, 1))
    policy = soft.psi_values(prior, [r / prices for r in by_token], 1.0, eos=2).advantage
    read = lm.answer_index(soft.greedy(policy, 2), 3, 2)
    missed = np.mean(read != lm.answers_of_levels(policy, 2).argmax(-1))
    assert missed == pytest.approx(0.27, abs=0.01)


@pytest.mark.parametrize(("vocab", "horizon", "eos"), [(2, 3, 1), (3, 4, 2), (3, 2, None)])
def test_what_is_read_ends_where_it_ends_and_for_each_seed_alone(vocab, horizon, eos):
    seeds = [tree(seed, vocab, horizon, eos, prompts=5)[0] for seed in range(4)]
    together = soft.greedy([np.stack(level) for level in zip(*seeds, strict=True)], eos)
    for found, prior in zip(together, seeds, strict=True):
        assert (found == soft.greedy(prior, eos)).all()
        for k in range(5):
            told, place = [], 0
            for level in prior:
                told.append(eos if eos in told and eos is not None else int(level[k, place].argmax()))
                place = place * (vocab if eos is None else eos) + told[-1] if told[-1] != eos else 0
            assert found[k].tolist() == told


@pytest.mark.equation("eq-token-kl")
@every_size
def test_token_divergences_add_up_to_that_of_answers(vocab, horizon, eos):
    one, other = (tree(seed, vocab, horizon, eos)[0] for seed in (3, 4))
    whole = lm.kl(lm.answers_of_levels(one, eos), lm.answers_of_levels(other, eos))
    assert soft.token_kl(one, other, eos) == pytest.approx(whole, abs=1e-12)


@pytest.mark.equation("eq-soft-q")
@every_size
def test_soft_policy_iteration_reaches_the_gibbs_policy_in_as_many_steps_as_there_are_tokens(vocab, horizon, eos):
    prior, _, rewards = tree(5, vocab, horizon, eos)
    optimum = soft.psi_values(prior, rewards, 0.6, eos=eos).advantage
    policy, worth = prior, []
    for _ in range(horizon):
        found = soft.soft_evaluation(policy, prior, rewards, 0.6, eos=eos)
        worth.append(found.v[0][:, 0])
        policy = [log_softmax(p + q / 0.6) for p, q in zip(prior, found.q, strict=True)]
    assert lm.answers_of_levels(policy, eos) == pytest.approx(lm.answers_of_levels(optimum, eos), abs=1e-10)
    assert (np.diff(worth, axis=0) > -1e-12).all()


@pytest.mark.equation("eq-misplaced")
@every_size
@pytest.mark.parametrize("price", [0.1, 0.8, 4.0])
def test_the_price_on_the_wrong_term_has_another_fixed_point(vocab, horizon, eos, price):
    prior, rewards, by_token = tree(6, vocab, horizon, eos)
    found = soft.misplaced_price(prior, by_token, price, eos=eos)
    again = soft.misplaced_target(found.q, prior, by_token, price, eos=eos)
    same(found.q, again, 1e-10)
    same(found.v, [soft.soft_maximum(q) for q in found.q], 1e-10)
    log_p = lm.answers_of_levels(prior, eos)
    closed = log_softmax(price / (1 + price) * log_p + rewards / (1 + price))
    assert lm.answers_of_levels(found.advantage, eos) == pytest.approx(closed, abs=1e-10)


@pytest.mark.parametrize(
    ("price", "step", "settles"),
    [(0.5, 1.0, True), (2.0, 1.0, False), (2.0, 1 / 3, True), (2.0, 0.6, True), (2.0, 0.7, False)],
)
def test_that_rule_runs_away_for_prices_above_one_unless_it_is_damped(price, step, settles):
    prior, _, rewards = tree(7, 3, 3, 2)
    fixed = soft.misplaced_price(prior, rewards, price, eos=2).q
    values = [q + 0.01 * np.arange(3) for q in fixed]
    for _ in range(200):  # steps from 2 / (1 + c) on run away
        target = soft.misplaced_target(values, prior, rewards, price, eos=2)
        values = [q + step * (t - q) for q, t in zip(values, target, strict=True)]
    error = max(np.abs(a - b).max() for a, b in zip(values, fixed, strict=True))
    assert (error < 1e-6) == settles
    assert settles or error > 1e3


@pytest.mark.parametrize("price", [0.5, 2.0])
def test_an_error_at_a_last_token_comes_back_c_times_as_large_with_its_sign_turned(price):
    prior, _, rewards = tree(7, 3, 3, 2)
    fixed = soft.misplaced_price(prior, rewards, price, eos=2)
    nearby = [q + 1e-5 * np.arange(3) for q in fixed.q]
    again = soft.misplaced_target(nearby, prior, rewards, price, eos=2)
    before, after = (log_softmax(values[-1]) - fixed.advantage[-1] for values in (nearby, again))
    assert after == pytest.approx(-price * before, rel=1e-3, abs=1e-9)


def table(levels, vocab, horizon, eos):
    """The levels as a tabular language model of two prompts, and its logits."""
    model = Tabular(vocab, horizon, ((0, 1), (1, 1)), eos)
    return model, {"logits": np.concatenate(levels, axis=1)}


EXACT = {
    "psi": (soft.PSI, soft.psi_values),
    "G": (soft.G, soft.g_values),
    "prior Q": (soft.PRIOR_Q, soft.prior_q_values),
}


@pytest.mark.equation("eq-td")
@every_size
@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("discount", [0.8, 1.0])
def test_exact_values_are_their_own_targets(vocab, horizon, eos, kind, discount):
    """No error is left anywhere: not at `eos`, and not at the horizon, behind which nothing comes."""
    backup, exact = EXACT[kind]
    prior, rewards, by_token = tree(8, vocab, horizon, eos)
    model, params = table(exact(prior, by_token, 0.5, discount, eos).q, vocab, horizon, eos)
    reference, log_p = table(prior, vocab, horizon, eos)
    answers = lm.enumerate_responses(vocab, horizon, eos)
    prompt = np.repeat(np.array(model.prompts), len(answers), axis=0)
    response = np.tile(answers, (2, 1))
    values, log_p = model.logits(params, prompt, response), log_softmax(reference.logits(log_p, prompt, response))
    targets = soft.td_targets(backup, values, log_p, response, rewards.reshape(-1), 0.5, discount, eos)
    mask = lm.response_mask(response, eos)
    taken = np.take_along_axis(values, response[..., None], axis=-1)[..., 0]
    assert targets == pytest.approx(mask * taken, abs=1e-12)


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("discount", [0.8, 1.0])
def test_temporal_differences_learn_them_from_the_answers_of_the_prior(kind, discount):
    backup, exact = EXACT[kind]
    prior, rewards, by_token = tree(9, 3, 3, 2)
    reference = table(prior, 3, 3, 2)
    answers = lm.enumerate_responses(3, 3, 2)
    prompts = np.array(reference[0].prompts)

    def reward(prompt, response):
        return rewards[reference[0].row(prompt), lm.answer_index(response, 3, 2)]

    task = Task(token_mdp.TokenMDP(prompts, np.full(2, 0.5), reward, 3, 3, 2, discount), reference, 0.5)
    prompt, response = np.repeat(prompts, len(answers), axis=0), np.tile(answers, (2, 1))

    def draw(params, rng):  # what the prior would write if it wrote everything
        return prompt, response, reward(prompt, response)

    loss, collect = soft.td(task, reference[0], backup, draw)
    rng = np.random.default_rng(0)
    params, _ = fit(loss, reference[1], collect, rounds=150, optimizer=sgd(8.0), rng=rng)
    for found, level in zip(
        np.split(params["logits"], [1, 3], axis=1), exact(prior, by_token, 0.5, discount, 2).q, strict=True
    ):
        assert found == pytest.approx(level, abs=1e-3)


@pytest.mark.parametrize("kind", EXACT)
def test_several_seeds_learn_at_once_and_each_from_its_own_answers(kind):
    """Values, targets and losses of three seeds are those of each alone, and `draw` is told who writes."""
    backup, _ = EXACT[kind]
    prior, rewards, _ = tree(14, 3, 3, 2)
    model, reference = table(prior, 3, 3, 2)
    prompts, rng = np.array(model.prompts), np.random.default_rng(15)

    def reward(prompt, response):
        return rewards[model.row(prompt), lm.answer_index(response, 3, 2)]

    task = Task(token_mdp.TokenMDP(prompts, np.full(2, 0.5), reward, 3, 3, 2), (model, reference), 0.5)
    params = {"logits": reference["logits"] + rng.normal(size=(3, *reference["logits"].shape))}

    def draw(params, rng):
        prompt = np.broadcast_to(np.repeat(prompts, 2, axis=0), (*params["logits"].shape[:-3], 4, 2))
        response = lm.sample(model, params, prompt, 3, np.random.default_rng(16))
        return prompt, response, reward(prompt, response)

    loss, collect = soft.td(task, model, backup, draw)
    ((prompt, response, target),) = collect(params, rng)
    losses = loss(params, (prompt, response, target))
    assert losses.shape == (3,)
    mask, length = lm.response_mask(response, 2), lm.response_mask(response, 2).sum((-1, -2))
    for k in range(3):
        alone = {"logits": params["logits"][k]}
        values = model.logits(alone, prompt[k], response[k])
        log_p = log_softmax(model.logits(reference, prompt[k], response[k]))
        earned = reward(prompt[k], response[k])
        assert target[k] == pytest.approx(soft.td_targets(backup, values, log_p, response[k], earned, 0.5, eos=2))
        assert target[k] == pytest.approx(soft.td_targets(backup, values, log_p, response[k], earned, 0.5, 1.0, 2))
        assert losses[k] == pytest.approx(loss(alone, (prompt[k], response[k], target[k])))
        taken = np.take_along_axis(values, response[k][..., None], axis=-1)[..., 0]
        assert losses[k] == pytest.approx(np.sum(mask[k] * (taken - target[k]) ** 2) / length[k])
    other, _ = table(tree(0, 4, 3, 3)[0], 4, 3, 3)
    with pytest.raises(ValueError, match=r"^the value model has 4 tokens and eos 3, the task 3 tokens and eos 2"):
        soft.td(task, other, backup, draw)


def test_nothing_is_discounted_unless_it_is_said():
    prior, _, rewards = tree(16, 3, 3, 2)
    for make in (soft.psi_values, soft.g_values, soft.prior_q_values, soft.misplaced_price):
        same(make(prior, rewards, 0.5, eos=2).q, make(prior, rewards, 0.5, 1.0, 2).q, 1e-12)
    for make in (soft.soft_evaluation, soft.misplaced_target):
        found, again = make(prior, prior, rewards, 0.5, eos=2), make(prior, prior, rewards, 0.5, 1.0, 2)
        same(*((found.q, again.q) if make is soft.soft_evaluation else (found, again)), 1e-12)


def test_a_price_is_above_zero():
    prior, _, rewards = tree(0, 3, 2, 2)
    for make in (soft.psi_values, soft.g_values, soft.prior_q_values, soft.misplaced_price):
        with pytest.raises(ValueError, match="price must be finite and above 0; got 0"):
            make(prior, rewards, 0)
    nothing = np.zeros((1, 2, 3))
    for call in (
        lambda: soft.misplaced_target(prior, prior, rewards, 0),
        lambda: soft.soft_evaluation(prior, prior, rewards, 0),
        lambda: soft.other_direction(prior[0], rewards[0], 0),
        lambda: soft.td_targets(soft.PSI, nothing, nothing, np.array([[0, 2]]), np.ones(1), 0),
    ):
        with pytest.raises(ValueError, match="price must be finite and above 0; got 0"):
            call()


def test_in_a_table_g_from_nothing_takes_the_path_of_psi_from_the_prior():
    prior, rewards, _ = tree(10, 3, 3, 2)
    model, reference = table(prior, 3, 3, 2)

    def reward(prompt, response):
        return rewards[model.row(prompt), lm.answer_index(response, 3, 2)]

    prompts = np.array(model.prompts)
    task = Task(token_mdp.TokenMDP(prompts, np.full(2, 0.5), reward, 3, 3, 2), (model, reference), 0.5)

    def draw(params, rng):
        prompt = np.repeat(prompts, 8, axis=0)
        response = lm.sample(model, reference, prompt, 3, rng)
        return prompt, response, reward(prompt, response)

    ends = {}
    for name, backup, start in (("psi", soft.PSI, reference), ("g", soft.G, {"logits": 0 * reference["logits"]})):
        loss, collect = soft.td(task, model, backup, draw)
        ends[name], _ = fit(loss, start, collect, rounds=20, optimizer=sgd(1.0), rng=np.random.default_rng(0))
    assert ends["psi"]["logits"] == pytest.approx(ends["g"]["logits"] + reference["logits"], abs=1e-9)


@pytest.mark.equation("eq-td")
@pytest.mark.parametrize("padding", [np.nan, np.inf, -np.inf, 1e10])
@pytest.mark.parametrize("backup", [soft.PSI, soft.G, soft.PRIOR_Q])
def test_targets_do_not_depend_on_what_stands_behind_the_end(backup, padding):
    rng, response = np.random.default_rng(0), np.array([[0, 2, 2], [1, 0, 1]])
    values, log_p = rng.normal(size=(2, 3, 3)), log_softmax(rng.normal(size=(2, 3, 3)))
    wanted = soft.td_targets(backup, values, log_p, response, np.array([1.0, 2.0]), 0.5, 0.9, 2)
    for array in (values, log_p):
        array[0, 2] = padding
    found = soft.td_targets(backup, values, log_p, response.tolist(), [1.0, 2.0], 0.5, 0.9, 2)
    assert found == pytest.approx(wanted, abs=1e-15)


@pytest.mark.equation("eq-token-kl")
def test_a_token_that_is_never_written_leads_nowhere():
    with np.errstate(divide="ignore"):
        policy = [np.log(np.array([[[1.0, 0.0]]])), np.log(np.array([[[0.5, 0.5], [1.0, 0.0]]]))]
        other = [np.log(np.array([[[0.5, 0.5]]])), np.log(np.array([[[0.25, 0.75], [0.0, 1.0]]]))]
    wanted = np.log(2) + 0.5 * np.log(4 / 3)
    assert soft.token_kl(policy, other) == pytest.approx([wanted], abs=1e-15)
    nothing = [np.zeros((1, 1, 2)), np.zeros((1, 2, 2))]
    assert soft.soft_evaluation(policy, other, nothing, 2.0).v[0] == pytest.approx(-2 * wanted, abs=1e-15)
