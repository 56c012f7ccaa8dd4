import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from small_trees import every_size, tree

from rlhf_lab.feedback.likelihoods import bradley_terry_loss
from rlhf_lab.feedback.linear_fits import fit_linear
from rlhf_lab.methods import objectives
from rlhf_lab.methods.distillation import levels_of
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics.autodiff import log_softmax
from rlhf_lab.worlds import token_mdp

START = np.array([0.3, 0.7])
BETA = 0.5


def world(seed, vocab=3, horizon=3, eos=2, heads=2):
    """log pi_0 (K, A), heads (k, K, A)."""
    prior, first, _ = tree(seed, vocab, horizon, eos)
    rng = np.random.default_rng([seed, 1])
    others = rng.normal(size=(heads - 1, *first.shape))
    return lm.answers_of_levels(prior, eos), np.concatenate([first[None], others])


def levels(log_pi, vocab=3, horizon=3):
    return levels_of(log_pi, vocab, horizon)


# Heads and gate.


@pytest.mark.equation("eq-gate")
def test_a_gate_weighs_the_heads_of_each_prompt():
    heads = np.arange(12.0).reshape(3, 2, 2)
    gate = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 2.0]])
    assert objectives.gated(heads, gate).tolist() == [[0, 1], [-6 + 20, -7 + 22]]
    assert objectives.gated(heads, [1, 1, 1]).tolist() == heads.sum(0).tolist()
    several = objectives.gated(heads, np.stack([gate, 2 * gate]))
    assert several.shape == (2, 2, 2)
    assert (several[1] == 2 * several[0]).all()
    assert (objectives.gated(heads, gate[:, None])[:, 1] == np.einsum("mi,ia->ma", gate, heads[:, 1])).all()


def test_heads_without_a_gate_and_gates_of_another_shape_are_told():
    heads = np.zeros((3, 2, 4))
    for none in (None, 0.5):
        with pytest.raises(ValueError, match=r"^3 heads need a gate, one weight for each: several rewards are not yet"):
            objectives.gated(heads, none)
    for wrong in (np.ones(2), np.ones((3, 3)), np.ones((2, 4))):
        with pytest.raises(ValueError, match=r"^the gate needs one weight for each of 3 heads.*of 2 prompts.*got \("):
            objectives.gated(heads, wrong)
    with pytest.raises(ValueError, match=r"^heads must be \(k, K, A\).*got \(2, 4\)"):
        objectives.gated(heads[0], np.ones(2))


def compared(seed, n=4000, prompts=3, features=4):
    rng = np.random.default_rng(seed)
    d = rng.normal(size=(prompts, n, features))
    gate, heads = np.array([[1.0, 0.2], [0.3, 0.8], [-0.5, 0.5]]), rng.normal(size=(2, features))
    margin = np.einsum("xi,id,xnd->xn", gate, heads, d)
    return d, (rng.random(margin.shape) < 1 / (1 + np.exp(-margin))).astype(float), gate, heads


def nll(d, label, reward):
    return bradley_terry_loss(np.einsum("xd,xnd->xn", reward, d), label).sum()


@pytest.mark.equation("eq-gate-likelihood")
def test_the_gate_is_where_the_likelihood_is_highest_and_near_the_one_that_people_have():
    d, label, gate, heads = compared(0)
    found = objectives.fit_gate(d @ heads.T, label)
    assert np.abs(found - gate).max() < 0.15
    least = nll(d, label, found @ heads)
    for move in 0.01 * np.random.default_rng(1).normal(size=(20, *gate.shape)):
        assert nll(d, label, (found + move) @ heads) > least
    score = np.einsum("xn,xni->xi", label - 1 / (1 + np.exp(-np.einsum("xi,xni->xn", found, d @ heads.T))), d @ heads.T)
    assert np.abs(score).max() < 1e-6
    pulled = objectives.fit_gate(d @ heads.T, label, 1e4)
    assert np.abs(pulled).max() < 0.5 * np.abs(found).max()


@pytest.mark.equation("eq-gate-free")
def test_heads_in_other_units_or_mixed_give_another_gate_and_the_same_reward():
    d, label, _, heads = compared(2, n=500)
    found = objectives.fit_gate(d @ heads.T, label)
    for mix in (np.diag([5.0, 0.1]), np.array([[1.0, 2.0], [-1.0, 0.5]])):
        other = objectives.fit_gate(d @ (mix @ heads).T, label)
        assert other == pytest.approx(found @ np.linalg.inv(mix), abs=1e-8)
        assert other @ mix @ heads == pytest.approx(found @ heads, abs=1e-8)
        assert nll(d, label, other @ mix @ heads) == pytest.approx(nll(d, label, found @ heads), rel=1e-10)


def test_gate_and_heads_fitted_to_comparisons_alone_agree_on_the_reward_only():
    d, label, gate, heads = compared(3, n=400)
    rng = np.random.default_rng(4)
    (g, v), (h, w) = (objectives.fit_both(d, label, rng.normal(size=heads.shape), 1e-6, 60) for _ in range(2))
    assert g @ v == pytest.approx(h @ w, abs=1e-3)
    assert g @ v == pytest.approx(gate @ heads, abs=0.5)
    assert np.abs(v - w).max() > 0.3
    mix = w @ np.linalg.pinv(v)
    assert mix @ v == pytest.approx(w, abs=5e-3), "one is the other, times a matrix"
    assert h @ mix == pytest.approx(g, abs=5e-3)


def test_each_turn_lowers_the_penalised_loss_and_shapes_are_told():
    d, label, _, heads = compared(5, n=200)
    start, losses = np.random.default_rng(6).normal(size=heads.shape), []
    for rounds in (1, 2, 5, 20):
        gate, found = objectives.fit_both(d, label, start, 0.3, rounds)
        losses.append(nll(d, label, gate @ found) + 0.15 * (np.sum(gate**2) + np.sum(found**2)))
    assert (np.diff(losses) < 0).all()
    assert gate.shape == (3, 2)
    assert gate == pytest.approx(objectives.fit_gate(d @ found.T, label, 0.3), abs=1e-12), "the gate of these heads"
    first = objectives.fit_gate(d @ start.T, label, 50.0)
    joint = np.stack([first[x, :, None] * d[x, n] for x in range(3) for n in range(200)]).reshape(600, -1)
    second = fit_linear(joint, label.ravel(), 50.0).mean.reshape(2, -1)
    assert objectives.fit_both(d, label, start, 50.0, 1)[1] == pytest.approx(second, abs=1e-10)
    with pytest.raises(ValueError, match=r"^heads must be \(k, D\) with D = 4 features; got \(2, 3\)"):
        objectives.fit_both(d, label, start[:, :3], 0.3, 1)
    with pytest.raises(ValueError, match=r"^heads must be \(k, D\) with D = 4 features; got \(4,\)"):
        objectives.fit_both(d, label, start[0], 0.3, 1)
    with pytest.raises(ValueError, match=r"^rounds is how often gate and heads are fitted in turns"):
        objectives.fit_both(d, label, start, 0.3, 0)


# The Pareto front.


@pytest.mark.equation("eq-objectives")
def test_the_values_of_a_policy_are_those_of_each_head_alone():
    log_pi_0, heads = world(7, heads=3)
    log_pi = np.stack([log_pi_0, gibbs.log_policy(log_pi_0, heads[1], 0.3)])
    found = objectives.values(log_pi, log_pi_0, heads, BETA, START)
    assert found.shape == (2, 3)
    for k in range(2):
        for i in range(3):
            each = np.sum(np.exp(log_pi[k]) * heads[i], -1) - BETA * lm.kl(log_pi[k], log_pi_0)
            assert found[k, i] == pytest.approx(START @ each)


@pytest.mark.equation("eq-pareto")
@given(st.integers(0, 10**6))
def test_no_policy_is_beyond_the_front(seed):
    log_pi_0, heads = world(8)
    rng = np.random.default_rng(seed)
    w = rng.dirichlet([1, 1])
    best = objectives.front(log_pi_0, heads, w, BETA)
    most = w @ objectives.values(best, log_pi_0, heads, BETA, START)
    mixed = w[0] * heads[0] + w[1] * heads[1]
    assert most == pytest.approx(BETA * gibbs.log_normaliser(log_pi_0, mixed, BETA) @ START)
    other = log_softmax(best + rng.normal(scale=rng.choice([0.01, 1.0]), size=best.shape))
    assert w @ objectives.values(other, log_pi_0, heads, BETA, START) < most


@pytest.mark.equation("eq-shortfall")
def test_the_shortfall_is_what_the_weighted_values_lack():
    log_pi_0, heads = world(9)
    weights = np.array([[0.2, 0.8], [0.9, 0.1]])
    best = objectives.front(log_pi_0, heads, weights, BETA)
    assert best.shape == (2, *log_pi_0.shape)
    found = objectives.shortfall(log_pi_0, best, BETA, START)
    gap = objectives.values(best, log_pi_0, heads, BETA, START) - objectives.values(
        log_pi_0, log_pi_0, heads, BETA, START
    )
    assert found == pytest.approx(np.sum(weights * gap, axis=-1))
    with pytest.raises(ValueError, match="weights must sum to 1"):
        objectives.front(log_pi_0, heads, [1, 1], BETA)


# Soups.


@pytest.mark.equation("eq-answer-soup")
@every_size
def test_averaging_log_probabilities_of_answers_is_the_optimum_of_the_mixed_reward(vocab, horizon, eos):
    log_pi_0, heads = world(10, vocab, horizon, eos, heads=3)
    w = np.array([0.5, 0.3, 0.2])
    experts = np.stack([gibbs.log_policy(log_pi_0, head, BETA) for head in heads])
    assert objectives.answer_soup(experts, w) == pytest.approx(objectives.front(log_pi_0, heads, w, BETA), abs=1e-10)


@pytest.mark.equation("eq-token-soup")
def test_averaging_log_probabilities_of_tokens_is_behind_the_front_and_exact_for_one_token():
    w = np.array([0.4, 0.6])
    for horizon, behind in ((1, 0.0), (2, 1e-4), (3, 1e-3)):
        short = []
        for seed in range(20):
            log_pi_0, heads = world(seed, horizon=horizon)
            experts = [levels(gibbs.log_policy(log_pi_0, head, BETA), horizon=horizon) for head in heads]
            soup = objectives.token_soup(experts, w)
            assert np.exp(soup[-1]).sum(-1) == pytest.approx(1)
            best = objectives.front(log_pi_0, heads, w, BETA)
            short.append(objectives.shortfall(lm.answers_of_levels(soup, 2), best, BETA, START))
        assert min(short) >= -1e-12
        assert (max(short) < 1e-12) if horizon == 1 else min(short) > behind / 10
        assert np.median(short) >= behind - 1e-12


@pytest.mark.equation("eq-soup-agreement")
@every_size
def test_the_agreement_along_an_answer_is_what_the_token_soup_forgets(vocab, horizon, eos):
    log_pi_0, heads = world(11, vocab, horizon, eos)
    w = np.array([0.4, 0.6])
    policies = [gibbs.log_policy(log_pi_0, head, BETA) for head in heads]
    if eos is None:
        # without eos all answers have one length: sum over what begins with a prefix
        cube = [np.exp(p).reshape(2, *[vocab] * horizon) for p in policies]
        sums = [[c.sum(tuple(range(t + 1, horizon + 1))) for t in range(horizon + 1)] for c in cube]
        experts = [[np.log(s[t + 1] / s[t][..., None]).reshape(2, -1, vocab) for t in range(horizon)] for s in sums]
    else:
        experts = [levels(p, vocab, horizon) for p in policies]
    agree = objectives.agreement(experts, w)
    assert max(level.max() for level in agree) <= 1e-12
    soup = lm.answers_of_levels(objectives.token_soup(experts, w), eos)
    exact = objectives.answer_soup(np.stack(policies), w)
    assert log_softmax(soup + lm.answers_of_levels(agree, eos)) == pytest.approx(exact, abs=1e-10)
    by_hand = np.log(np.sum(np.exp(0.4 * experts[0][0] + 0.6 * experts[1][0]), -1))
    assert agree[0] == pytest.approx(np.repeat(by_hand[..., None], vocab, -1))


@pytest.mark.equation("eq-weight-soup")
def test_averaged_weights_are_the_token_soup_in_a_table_and_something_else_in_a_network():
    w, prompts = np.array([0.4, 0.6]), np.array([[0], [1]])
    table, network = Tabular(3, 3, ((0,), (1,)), 2), Recurrent(3, 5, 2)
    for model, same in ((table, True), (network, False)):
        rng = np.random.default_rng(12)
        draw = [{k: v + rng.normal(size=v.shape) for k, v in model.init(rng).items()} for _ in range(2)]
        mixed = objectives.weight_soup(draw, w)
        for name in mixed:
            assert mixed[name] == pytest.approx(0.4 * draw[0][name] + 0.6 * draw[1][name])
        experts = [lm.policy_levels(model, each, prompts, 3) for each in draw]
        soup = lm.answers_of_levels(objectives.token_soup(experts, w), 2)
        found = lm.answer_log_probs(model, mixed, prompts, 3)
        assert (np.abs(found - soup).max() < 1e-12) == same
        assert same or np.abs(found - soup).max() > 0.1


def test_weights_of_a_soup_are_shares_one_for_each_expert():
    log_pi_0, _ = world(13)
    experts = [levels(log_pi_0)] * 2
    for cook, given_ in (
        (objectives.answer_soup, np.stack([log_pi_0] * 2)),
        (objectives.token_soup, experts),
        (objectives.agreement, experts),
        (objectives.weight_soup, [{"a": np.ones(2)}] * 2),
    ):
        with pytest.raises(ValueError, match=r"^there must be one weight for each of 2 experts; got shape \(3,\)"):
            cook(given_, [0.2, 0.2, 0.6])
        with pytest.raises(ValueError, match=r"^weights must sum to 1"):
            cook(given_, [1.0, 1.0])


# A floor.


@pytest.mark.equation("eq-dual")
def test_the_dual_is_an_upper_bound_of_every_policy_that_meets_the_floor():
    log_pi_0, (helpful, safe) = world(14)
    rng = np.random.default_rng(15)
    seen = 0
    for _ in range(500):
        log_pi = log_softmax(log_pi_0 + rng.normal(scale=1.5, size=log_pi_0.shape) + rng.random() * safe)
        earned = START @ np.sum(np.exp(log_pi) * safe, -1)
        worth = START @ gibbs.objective(log_pi, log_pi_0, helpful, BETA)
        floor = earned - 0.01
        seen += floor > 0.3
        assert all(
            objectives.dual(price, log_pi_0, helpful, safe, floor, BETA, START).value > worth for price in (0, 0.3, 2)
        )
    assert seen > 50
    reward = helpful + 0.7 * (safe - 0.2)
    found = objectives.dual(0.7, log_pi_0, helpful, safe, 0.2, BETA, START)
    assert found.value == pytest.approx(BETA * START @ gibbs.log_normaliser(log_pi_0, reward, BETA))
    assert found.log_pi == pytest.approx(gibbs.log_policy(log_pi_0, reward, BETA))
    with pytest.raises(ValueError, match=r"^price is lambda, what a unit of the floor costs, finite and at least 0"):
        objectives.dual(-0.1, log_pi_0, helpful, safe, 0.2, BETA, START)


@pytest.mark.equation("eq-dual-slope")
def test_the_slope_of_the_dual_is_by_how_much_its_policy_is_above_the_floor():
    log_pi_0, (helpful, safe) = world(16)
    for price in (0.5, 2.0):
        at = [objectives.dual(price + d, log_pi_0, helpful, safe, 0.2, BETA, START) for d in (-1e-5, 0, 1e-5)]
        assert (at[2].value - at[0].value) / 2e-5 == pytest.approx(at[1].slope, abs=1e-8)
        assert at[2].slope > at[0].slope, "the dual is convex"
        assert at[1].slope == pytest.approx(START @ np.sum(np.exp(at[1].log_pi) * safe, -1) - 0.2)


@pytest.mark.equation("eq-constrained")
@pytest.mark.parametrize("share", [-1.0, -0.05, 0.1, 0.5, 0.95])
def test_there_is_no_gap_and_the_price_is_paid_only_where_the_floor_binds(share):
    log_pi_0, (helpful, safe) = world(17)
    free = START @ np.sum(np.exp(gibbs.log_policy(log_pi_0, helpful, BETA)) * safe, -1)
    floor = free + share * (START @ safe.max(-1) - free)
    found = objectives.constrained(log_pi_0, helpful, safe, floor, BETA, START)
    above = START @ np.sum(np.exp(found.log_pi) * safe, -1) - floor
    assert found.price >= 0
    assert above > -1e-9
    assert found.price * above == pytest.approx(0, abs=1e-9), "slackness"
    assert (found.price == 0) == (share < 0)
    at = objectives.dual(found.price, log_pi_0, helpful, safe, floor, BETA, START)
    assert found.value == pytest.approx(at.value, abs=1e-9), "no gap"

    def value(price):
        return objectives.dual(price, log_pi_0, helpful, safe, floor, BETA, START).value

    least = minimize_scalar(value, bounds=(0, 20), method="bounded", options={"xatol": 1e-9})
    assert least.fun >= found.value - 1e-9
    assert least.x == pytest.approx(found.price, abs=1e-3)


def test_a_unit_more_of_the_floor_costs_its_price():
    log_pi_0, (helpful, safe) = world(18)
    at = [objectives.constrained(log_pi_0, helpful, safe, 0.6 + d, BETA, START) for d in (-1e-4, 0, 1e-4)]
    assert (at[2].value - at[0].value) / 2e-4 == pytest.approx(-at[1].price, rel=1e-5)


def test_an_infeasible_floor_says_how_far_it_is():
    log_pi_0, (helpful, safe) = world(19)
    most = START @ safe.max(-1)
    with pytest.raises(
        ValueError, match=rf"^the floor {most + 0.25:.6g} is met by no policy.*{most:.6g}, 0.25 too lit"
    ):
        objectives.constrained(log_pi_0, helpful, safe, most + 0.25, BETA, START)
    with pytest.raises(
        ValueError,
        match=r"^the floor [-0-9.]+ needs that answer always, at a price that grows without end: .* 0 too little",
    ):
        objectives.constrained(log_pi_0, helpful, safe, float(most), BETA, START)
    near = objectives.constrained(log_pi_0, helpful, safe, most - 1e-6, BETA, START)
    assert near.price > objectives.constrained(log_pi_0, helpful, safe, most - 1e-3, BETA, START).price > 1
    never = np.where(safe == safe.max(-1, keepdims=True), -np.inf, log_pi_0)
    never = never - np.log(np.exp(never).sum(-1, keepdims=True))
    second = START @ np.sort(safe, axis=-1)[:, -2]
    with pytest.raises(ValueError, match=rf"can write has {second:.6g}"):
        objectives.constrained(never, helpful, safe, (most + second) / 2, BETA, START)


def test_one_price_serves_all_prompts_where_a_floor_holds_on_average():
    """Values are those of a single prompt if the other is never asked, and the floor is one of the mean."""
    log_pi_0, (helpful, safe) = world(20)
    only = objectives.constrained(log_pi_0, helpful, safe, 0.5, BETA, np.array([1.0, 0.0]))
    alone = objectives.constrained(log_pi_0[:1], helpful[:1], safe[:1], 0.5, BETA, np.ones(1))
    assert only.price == pytest.approx(alone.price)
    assert token_mdp.performance(only.log_pi[:1], safe[:1], np.ones(1)) == pytest.approx(0.5)
