"""What the chapter "Direct preference optimisation" says of losses, as numbers."""

from functools import partial

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import elementwise_grad, grad
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import expit
from small_pairs import BETA, LOG_PI_0, MODEL, REFERENCE, REWARD, STAR, all_pairs, trained

from rlhf_lab.feedback import pairs
from rlhf_lab.methods import direct, distillation, margins
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.tabular import Tabular

TAU = 0.25


def margins_of(log_pi):
    u = log_pi - LOG_PI_0
    return u[..., :, None] - u[..., None, :]


@pytest.mark.equation("eq-implicit-reward")
def test_the_gibbs_policy_hides_the_reward_up_to_a_constant_for_each_prompt():
    gap = direct.implicit_reward(STAR, LOG_PI_0, BETA) - REWARD
    assert np.ptp(gap, axis=-1) == pytest.approx([0, 0], abs=1e-12)
    assert -gap[:, 0] == pytest.approx(BETA * gibbs.log_normaliser(LOG_PI_0, REWARD, BETA), abs=1e-12)


@pytest.mark.equation("eq-margin")
def test_the_margin_by_hand():
    h = direct.margin(np.log([0.5, 0.1]), np.log([0.2, 0.2]), np.log([0.25, 0.3]), np.log([0.6, 0.1]))
    assert h == pytest.approx(np.log([2 * 3, (1 / 3) / 2]), abs=1e-14)


@pytest.mark.equation("eq-margin")
def test_margins_of_the_gibbs_policy_are_differences_of_reward():
    h = direct.margin(STAR[:, 0], STAR[:, 3], LOG_PI_0[:, 0], LOG_PI_0[:, 3])
    assert BETA * h == pytest.approx(REWARD[:, 0] - REWARD[:, 3], abs=1e-12)


@pytest.mark.equation("eq-expected-loss")
def test_the_expected_loss_is_the_mean_over_labels():
    h, p = np.array([0.3, -2.0]), np.array([0.2, 1.0])
    found = direct.expected(partial(direct.dpo, beta=2.0), h, p)
    by_hand = [-0.2 * np.log(expit(0.6)) - 0.8 * np.log(expit(-0.6)), -np.log(expit(-4.0))]
    assert found == pytest.approx(by_hand, rel=1e-13)


@pytest.mark.equation("eq-dpo-weight")
def test_the_weight_is_minus_the_slope_of_dpo_and_finite_far_out():
    h = np.linspace(-50, 50, 101)
    assert direct.dpo_weight(h, BETA) == pytest.approx(-elementwise_grad(direct.dpo)(h, BETA), rel=1e-10)
    assert direct.dpo_weight(np.array([-1e5, 0.0, 1e5]), 3.0) == pytest.approx([3.0, 1.5, 0.0])


@pytest.mark.equation("eq-dpo-weight")
def test_the_gradient_of_dpo_weighs_the_gradient_of_the_margin():
    batch = all_pairs(label=1.0)
    params = {"logits": np.random.default_rng(2).normal(size=(2, 1, 4))}
    found = grad(direct.preference_loss(MODEL, partial(direct.dpo, beta=BETA)))(params, batch)["logits"]

    def weighted(p):
        first, second = (lm.log_prob(MODEL, p, batch.prompt, y) for y in (batch.chosen, batch.rejected))
        u = lm.log_softmax(params["logits"][:, 0]) - LOG_PI_0
        rows = batch.prompt[:, 0]
        h = u[rows, batch.chosen[:, 0]] - u[rows, batch.rejected[:, 0]]
        return -anp.mean(direct.dpo_weight(h, BETA) * (first - second))

    assert found == pytest.approx(grad(weighted)(params)["logits"], abs=1e-14)


@pytest.mark.equation("eq-dpo-gradient")
@settings(max_examples=25)
@given(logits=hnp.arrays(float, 4, elements=st.floats(-3, 3)), two=st.permutations(range(4)))
def test_one_comparison_has_the_gradient_of_rafailov_and_moves_two_logits_of_a_table(logits, two):
    y_w, y_l = two[:2]
    batch = pairs.compare(MODEL, REFERENCE, [[0]], [[y_w]], [[y_l]])
    params = {"logits": np.stack([logits, 0 * logits])[:, None]}
    found = grad(direct.preference_loss(MODEL, partial(direct.dpo, beta=BETA)))(params, batch)["logits"][0, 0]

    g_w, g_l = (grad(lambda z, y=y: lm.log_softmax(z)[y])(logits) for y in (y_w, y_l))
    u = lm.log_softmax(logits) - LOG_PI_0[0]
    by_hand = -BETA * expit(BETA * (u[y_l] - u[y_w])) * (g_w - g_l)  # how wrong the implicit reward is
    assert found == pytest.approx(by_hand, abs=1e-13)
    assert direct.dpo_gradient(g_w, g_l, u[y_w] - u[y_l], BETA) == pytest.approx(by_hand, abs=1e-13)
    assert found[list(two[2:])] == pytest.approx([0, 0], abs=1e-13)
    assert found[y_w] == pytest.approx(-found[y_l], abs=1e-13)


@pytest.mark.equation("eq-dpo-gradient")
def test_gradients_of_many_comparisons_come_in_rows():
    h, g_w, g_l = np.array([0.0, 2.0]), np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]), np.zeros((2, 3))
    found = direct.dpo_gradient(g_w, g_l, h, 2.0)
    assert found == pytest.approx(-np.array([[1.0, 0.0, 2.0], [0.0, 2 * expit(-4.0), 0.0]]), rel=1e-13)


@pytest.mark.equation("eq-dpo", "eq-expected-loss", "eq-implicit-reward")
def test_with_exact_preferences_dpo_ends_at_the_gibbs_policy_and_its_reward():
    log_pi = trained(direct.preference_loss(MODEL, partial(direct.dpo, beta=BETA)), all_pairs(), 60, 60.0)
    assert gibbs.gap(log_pi, LOG_PI_0, REWARD, BETA).max() < 1e-9
    reward = direct.implicit_reward(log_pi, LOG_PI_0, BETA)
    centred = [r - r.mean(-1, keepdims=True) for r in (reward, REWARD)]
    assert centred[0] == pytest.approx(centred[1], abs=1e-5)


@pytest.mark.equation("eq-dpo-target", "eq-expected-loss")
def test_the_gibbs_policy_is_where_the_slope_of_expected_dpo_vanishes():
    loss, batch = direct.preference_loss(MODEL, partial(direct.dpo, beta=BETA)), all_pairs()
    assert grad(loss)({"logits": STAR[:, None]}, batch)["logits"] == pytest.approx(np.zeros((2, 1, 4)), abs=1e-14)
    p = expit(REWARD[:, :, None] - REWARD[:, None, :])
    assert direct.dpo_target(p, BETA) == pytest.approx(margins_of(STAR), abs=1e-12)


def test_the_loss_of_a_batch_is_the_weighted_mean_over_its_comparisons():
    batch = all_pairs()
    params = {"logits": np.random.default_rng(5).normal(size=(2, 1, 4))}
    u = lm.log_softmax(params["logits"][:, 0]) - LOG_PI_0
    rows, first, second = batch.prompt[:, 0], batch.chosen[:, 0], batch.rejected[:, 0]
    weight = np.arange(24) * 1.0
    for kind, loss in (("margin", partial(margins.ipo, tau=TAU)), ("list", partial(margins.nca, beta=BETA))):
        if kind == "margin":
            each = direct.expected(loss, u[rows, first] - u[rows, second], batch.label)
            found = direct.preference_loss(MODEL, loss)
        else:
            both = np.stack([u[rows, first], u[rows, second]], axis=-1)
            each = loss(both, np.stack([batch.label, 1 - batch.label], axis=-1))
            found = direct.contrastive_loss(MODEL, loss)
        assert found(params, batch) == pytest.approx(each.mean(), rel=1e-12)
        assert found(params, batch._replace(weight=weight)) == pytest.approx(each @ weight / weight.sum(), rel=1e-12)
        twice = pairs.PreferenceBatch(*(np.concatenate([column, column]) for column in batch))
        assert found(params, twice) == pytest.approx(each.mean(), rel=1e-12)


@pytest.mark.equation("eq-rpo")
def test_with_sft_adds_alpha_times_the_log_loss_of_what_people_prefer():
    batch, loss = all_pairs(), partial(direct.dpo, beta=BETA)
    params = {"logits": np.random.default_rng(5).normal(size=(2, 1, 4))}
    log_pi = lm.log_softmax(params["logits"][:, 0])
    rows, first, second = batch.prompt[:, 0], batch.chosen[:, 0], batch.rejected[:, 0]
    imitated = batch.label * log_pi[rows, first] + (1 - batch.label) * log_pi[rows, second]
    weight = np.arange(24) * 1.0
    batch = batch._replace(weight=weight)
    plain = direct.preference_loss(MODEL, loss)(params, batch)
    found = direct.with_sft(MODEL, loss, 0.3)(params, batch)
    assert found == pytest.approx(plain - 0.3 * imitated @ weight / weight.sum(), rel=1e-12)
    with pytest.raises(ValueError, match="alpha must be finite and above 0; got 0"):
        direct.with_sft(MODEL, loss, 0)


@pytest.mark.equation("eq-rpo", "eq-chosen-law")
def test_rpo_ends_between_the_gibbs_policy_and_the_law_of_chosen_answers():
    loss, ends = partial(direct.dpo, beta=BETA), {}
    model, reference = Tabular(4, 1, ((0,),)), {"logits": LOG_PI_0[:1, None]}
    first, second = np.triu_indices(4, 1)
    p, pi_0 = expit(REWARD[0, first] - REWARD[0, second]), np.exp(LOG_PI_0[0])
    data = pairs.compare(
        model, reference, np.zeros((6, 1), int), first[:, None], second[:, None], p, pi_0[first] * pi_0[second]
    )
    for alpha in (0.001, 1000.0):
        of = direct.with_sft(model, loss, alpha)
        size = 2.0 if alpha < 1 else 0.001
        ends[alpha] = trained(of, data, 400, size, reference)[0]
    assert ends[0.001] == pytest.approx(STAR[0], abs=0.05)
    even = expit(REWARD[0][:, None] - REWARD[0])
    mass = np.exp(distillation.chosen_law(LOG_PI_0[0], even)) - pi_0**2
    assert np.exp(ends[1000.0]) == pytest.approx(mass / mass.sum(), abs=1e-3)


def test_certain_labels_leave_nothing_for_the_other_side():
    loss = direct.preference_loss(MODEL, margins.gpo(lambda z: anp.exp(-z), 1.0))
    params = {"logits": np.array([[[900.0, 0.0, 0.0, 0.0]]] * 2)}  # the other side would cost exp(900)
    batch = pairs.compare(MODEL, REFERENCE, [[0], [1]], [[0], [0]], [[1], [2]])
    assert loss(params, batch) == 0
    with np.errstate(over="ignore"):
        assert loss(params, batch._replace(label=np.array([0.5, 0.5]))) == np.inf


def test_seeds_on_a_leading_axis_train_as_if_alone():
    labels = np.random.default_rng(6).integers(2, size=(3, 24)).astype(float)
    start = {"logits": np.broadcast_to(REFERENCE["logits"], (3, 2, 1, 4))}
    for loss in (
        direct.preference_loss(MODEL, partial(direct.dpo, beta=BETA)),
        direct.contrastive_loss(MODEL, partial(margins.nca, beta=BETA)),
    ):
        together = trained(loss, all_pairs(labels), 20, 5.0, start)
        for k in range(3):
            assert together[k] == pytest.approx(trained(loss, all_pairs(labels[k]), 20, 5.0), abs=1e-12)


def test_each_seed_may_have_prompts_and_answers_of_its_own():
    rng = np.random.default_rng(8)
    prompt = rng.integers(2, size=(3, 7, 1))
    first, second = (rng.permuted(np.tile(np.arange(4), (3, 7, 1)), axis=-1)[..., k : k + 1] for k in (0, 1))
    second = np.where(first == second, (first + 1) % 4, second)
    params = {"logits": rng.normal(size=(3, 2, 1, 4))}
    loss = direct.preference_loss(MODEL, partial(direct.dpo, beta=BETA))
    together = loss(params, pairs.compare(MODEL, REFERENCE, prompt, first, second))
    for k in range(3):
        alone = pairs.compare(MODEL, REFERENCE, prompt[k], first[k], second[k])
        assert together[k] == pytest.approx(loss({"logits": params["logits"][k]}, alone), rel=1e-12)


@pytest.mark.equation("eq-mean-log-ratio")
def test_under_the_reference_log_ratios_are_negative_on_average():
    exact = np.sum(np.exp(LOG_PI_0) * (STAR - LOG_PI_0), axis=-1)
    assert direct.mean_log_ratio(STAR, LOG_PI_0) == pytest.approx(exact, abs=1e-14)
    assert (exact < 0).all()


@pytest.mark.equation("eq-mean-log-ratio")
def test_half_the_mean_margin_minus_the_divergence_is_the_log_ratio_of_the_chosen():
    u, pi_0 = (STAR - LOG_PI_0)[0], np.exp(LOG_PI_0[0])
    chance = 2 * np.outer(pi_0, pi_0) * expit(REWARD[0][:, None] - REWARD[0])  # two draws from pi_0, the better first
    assert chance.sum() == pytest.approx(1)
    chosen, rejected = chance.sum(1) @ u, chance.sum(0) @ u
    drift = direct.mean_log_ratio(STAR, LOG_PI_0)[0]
    assert chosen == pytest.approx((chosen - rejected) / 2 + drift, abs=1e-12)


@pytest.mark.equation("eq-overlap")
def test_a_small_step_moves_the_chosen_by_what_it_does_not_share_with_the_rejected(policy):
    model, params, prompts = policy
    prompt, chosen, rejected = prompts[:1], np.array([[0, 1, 1]]), np.array([[1, 0, 1]])
    found = direct.gradient_overlap(model, params, prompt, chosen, rejected)
    assert found.own == pytest.approx(direct.gradient_overlap(model, params, prompt, chosen, chosen).shared, rel=1e-12)
    slope = grad(lambda p: (lm.log_prob(model, p, prompt, chosen) - lm.log_prob(model, p, prompt, rejected))[0])(params)
    moved = {name: params[name] + 1e-6 * slope[name] for name in params}
    change = lm.log_prob(model, moved, prompt, chosen) - lm.log_prob(model, params, prompt, chosen)
    assert change[0] / 1e-6 == pytest.approx(found.own - found.shared, rel=1e-4)


@pytest.mark.equation("eq-overlap", "eq-dpo-weight")
def test_one_step_of_dpo_moves_the_chosen_by_the_weight_times_what_it_does_not_share(policy):
    model, params, prompts = policy
    batch = pairs.compare(model, params, prompts[:1], np.array([[0, 1, 1]]), np.array([[1, 0, 1]]))
    loss = direct.preference_loss(model, partial(direct.dpo, beta=BETA))
    params = {name: value + 0.1 * np.sin(np.arange(value.size)).reshape(value.shape) for name, value in params.items()}
    slope, step = grad(loss)(params, batch), 1e-6
    moved = {name: params[name] - step * slope[name] for name in params}
    change = lm.log_prob(model, moved, *batch[:2]) - lm.log_prob(model, params, *batch[:2])
    now = [lm.log_prob(model, params, batch.prompt, y) for y in (batch.chosen, batch.rejected)]
    weight = direct.dpo_weight(direct.margin(*now, *batch[3:5]), BETA)
    found = direct.gradient_overlap(model, params, *batch[:3])
    assert change / step == pytest.approx(weight * (found.own - found.shared), rel=1e-4)


@pytest.mark.equation("eq-overlap")
def test_in_a_table_a_comparison_alone_never_costs_its_chosen_answer():
    params = {"logits": np.random.default_rng(7).normal(size=(2, 1, 4)) * 3}
    pi = np.exp(lm.log_softmax(params["logits"][0, 0]))
    for won, lost in [(0, 1), (2, 3), (3, 0)]:
        found = direct.gradient_overlap(MODEL, params, np.array([[0]]), np.array([[won]]), np.array([[lost]]))
        assert found.own - found.shared == pytest.approx(1 - pi[won] + pi[lost], abs=1e-12)
        assert found.own > found.shared


def test_overlaps_of_many_comparisons_are_those_of_each_and_rows_are_refused(policy):
    model, params, prompts = policy
    chosen, rejected = np.array([[[0, 1, 1]], [[1, 1, 0]]]), np.array([[[1, 0, 1]], [[0, 0, 1]]])
    twice = {name: np.stack([value, value / 2]) for name, value in params.items()}
    found = direct.gradient_overlap(model, twice, np.stack([prompts[:1], prompts[1:2]]), chosen, rejected)
    for k in range(2):
        one = {name: value[k] for name, value in twice.items()}
        alone = direct.gradient_overlap(model, one, prompts[k : k + 1], chosen[k], rejected[k])
        assert [each[k] for each in found] == pytest.approx(alone, rel=1e-10)
    for wrong, got in (
        ((chosen[:, 0], rejected[:1, 0]), r"got \(2, 3\), \(1, 3\)$"),
        ((chosen[:1, 0], rejected[:, 0]), r"got \(1, 3\), \(2, 3\)$"),
        ((chosen[:1, 0] + 9, rejected[:1, 0]), "^chosen: token"),
        ((chosen[:1, 0], rejected[:1, 0] + 9), "^rejected: token"),
    ):
        with pytest.raises(ValueError, match=got):
            direct.gradient_overlap(model, params, prompts[:1], *wrong)


def test_diagnostics_are_those_that_trl_logs():
    given = np.log([[0.5, 0.1, 0.2], [0.2, 0.2, 0.1], [0.25, 0.2, 0.2], [0.4, 0.2, 0.1]])
    found = direct.diagnostics(*given, beta=0.5)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {
            "rewards/chosen": 0.5 * np.log(2 * 0.5 * 1) / 3,
            "rewards/rejected": 0.5 * np.log(0.5 * 1 * 1) / 3,
            "rewards/accuracies": 1 / 3,  # the third is a tie
            "rewards/margins": 0.5 * (np.log(4) + np.log(0.5)) / 3,
            "logps/chosen": np.log([0.5, 0.1, 0.2]).mean(),
            "logps/rejected": np.log([0.2, 0.2, 0.1]).mean(),
        }
    )
    assert direct.diagnostics(given[0][None], *given[1:], beta=0.5)["rewards/margins"].shape == (1,)
    narrow = np.log([[0.5], [0.4], [0.5], [0.5]])  # a margin of log(1.25), far below a nat
    assert direct.diagnostics(*narrow, beta=0.5)["rewards/accuracies"] == 1


# What a reader can get wrong.


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf])
def test_beta_must_be_positive(wrong):
    calls = [
        lambda: direct.implicit_reward(STAR, LOG_PI_0, wrong),
        lambda: direct.dpo(0.3, wrong),
        lambda: direct.dpo_target(0.5, wrong),
        lambda: direct.dpo_weight(0.3, wrong),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="beta must be finite and above 0; got"):
            call()


def test_shares_of_people_lie_between_0_and_1():
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\]; got 1.2"):
        direct.dpo_target(np.array([0.5, 1.2]), BETA)


GOOD = np.log([[0.5, 0.1], [0.2, 0.2], [0.25, 0.2], [0.4, 0.2]])


@pytest.mark.parametrize("k", range(4))
@pytest.mark.parametrize("call", [direct.margin, partial(direct.diagnostics, beta=BETA)])
def test_the_four_arrays_hold_log_probabilities_one_for_each_comparison(call, k):
    name = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")[k]
    for wrong, shown in ((0.2, "0.2"), (np.nan, "nan")):
        given = GOOD.copy()
        given[k, 1] = wrong
        with pytest.raises(ValueError, match=f"^{name}: log-probabilities are at most 0; got {shown}. Take natural"):
            call(*given)
    given[k, 1] = -np.inf
    with pytest.raises(ValueError, match=f"^{name} holds -inf: a response that a model rules out has no log-ratio$"):
        call(*given)
    shorter = [row[:1] if i == k else row for i, row in enumerate(GOOD)]
    with pytest.raises(ValueError, match=r"one log-probability for each comparison, .*; got shapes .*\(1,\)"):
        call(*shorter)
    with pytest.raises(
        ValueError, match=r"one log-probability for each comparison, .*; got shapes \(\), \(\), \(\), \(\)"
    ):
        call(*GOOD[:, 0])
    told = (
        r"^policy_chosen, policy_rejected, reference_chosen and reference_rejected need one log-probability for each "
    )
    with pytest.raises(
        ValueError, match=told + r"comparison, and at least one comparison; got shapes \(0,\), \(0,\), "
    ):
        call(*GOOD[:, :0])


def test_the_four_arrays_may_be_lists_and_the_margin_has_a_gradient():
    assert direct.margin(*GOOD.tolist()).tolist() == direct.margin(*GOOD).tolist()
    assert direct.diagnostics(*GOOD.tolist(), beta=BETA) == direct.diagnostics(*GOOD, beta=BETA)
    assert grad(lambda row: direct.margin(row, *GOOD[1:]).sum())(GOOD[0]).tolist() == [1.0, 1.0]


def test_rounding_above_zero_is_no_error():
    assert direct.margin(np.full(1, 1e-12), GOOD[1, :1], GOOD[2, :1], GOOD[3, :1]).shape == (1,)


@pytest.mark.equation("eq-expected-loss")
def test_where_all_agree_the_infinite_target_costs_nothing():
    p = np.array([0.0, 1.0, 0.5])
    h = direct.dpo_target(p, 0.5)
    assert h.tolist() == [-np.inf, np.inf, 0]
    found = direct.expected(lambda m: direct.dpo(m, 0.5), h, p)
    assert found == pytest.approx([0, 0, np.log(2)], abs=1e-15)
