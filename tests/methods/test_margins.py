"""What the chapter "What a preference loss asks for" says of the relatives of DPO, as numbers."""

from functools import partial

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import elementwise_grad, grad
from autograd.test_util import check_grads
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from small_pairs import BETA, LOG_PI_0, REWARD, STAR, trained

from rlhf_lab.feedback import pairs
from rlhf_lab.methods import direct, margins
from rlhf_lab.models import lm
from rlhf_lab.models.tabular import Tabular

TAU = 0.25
LOSSES = {  # a loss of the margin, a margin, and its value there by hand
    "dpo": (partial(direct.dpo, beta=BETA), 2 * np.log(3), np.log(4 / 3)),
    "ipo": (partial(margins.ipo, tau=TAU), 5.0, 9.0),
    "slic": (partial(margins.slic, beta=BETA), 1.0, 0.5),
    "smoothed": (
        partial(margins.smoothed_dpo, beta=BETA, smoothing=0.1),
        2 * np.log(3),
        0.9 * np.log(4 / 3) + 0.1 * np.log(4),
    ),
    "robust": (
        partial(margins.robust_dpo, beta=BETA, flip=0.1),
        2 * np.log(3),
        (0.9 * np.log(4 / 3) - 0.1 * np.log(4)) / 0.8,
    ),
    "misclick": (partial(margins.misclick_dpo, beta=BETA, rate=0.2), 2 * np.log(3), -np.log(0.8 * 0.75 + 0.1)),
}
every_loss = pytest.mark.parametrize("loss", [row[0] for row in LOSSES.values()], ids=LOSSES)


@pytest.mark.equation("eq-dpo", "eq-ipo", "eq-slic", "eq-smoothed-dpo", "eq-robust-dpo", "eq-misclick-dpo")
@pytest.mark.parametrize(("loss", "h", "by_hand"), LOSSES.values(), ids=LOSSES)
def test_values_by_hand(loss, h, by_hand):
    assert loss(h) == pytest.approx(by_hand, rel=1e-13)


@every_loss
@settings(max_examples=25)
@given(h=hnp.arrays(float, hnp.array_shapes(max_dims=2, max_side=8), elements=st.floats(-30, 1.9)))
def test_slopes_are_right(loss, h):
    check_grads(loss, modes=["rev"])(h)


@every_loss
def test_values_and_slopes_are_finite_at_the_extremes(loss):
    h = np.array([-1e4, 1e4])
    assert np.isfinite(loss(h)).all()
    assert np.isfinite(elementwise_grad(loss)(h)).all()


@every_loss
def test_a_tied_pair_is_pushed_apart_and_coin_flip_labels_push_nowhere(loss):
    assert grad(loss)(0.0) < 0
    assert grad(lambda h: direct.expected(loss, h, 0.5))(0.0) == pytest.approx(0, abs=1e-14)


P = np.array([0.01, 0.3, 0.5, 0.7, 0.9, 0.999])


@pytest.mark.equation("eq-gpo-optimum", "eq-dpo-target", "eq-ipo-target")
@pytest.mark.parametrize("scale", [0.1, 0.5, 3.0])
def test_optimal_margins_by_hand(scale):
    found = margins.optimal_margin(partial(direct.dpo, beta=scale), P)
    assert found == pytest.approx(np.log(P / (1 - P)) / scale, abs=1e-9)
    assert direct.dpo_target(P, scale) == pytest.approx(found, abs=1e-9)
    found = margins.optimal_margin(partial(margins.ipo, tau=scale), P)
    assert found == pytest.approx((P - 0.5) / scale, abs=1e-9)
    assert margins.ipo_target(P, scale) == pytest.approx(found, abs=1e-9)
    found = margins.optimal_margin(partial(margins.slic, beta=scale), P)
    assert found == pytest.approx(np.sign(P - 0.5) / scale, abs=1e-9)
    found = margins.optimal_margin(margins.gpo(lambda z: anp.exp(-z), scale), P)
    assert found == pytest.approx(np.log(P / (1 - P)) / (2 * scale), abs=1e-9)


@pytest.mark.equation("eq-gpo-optimum")
@pytest.mark.parametrize("p", [0.15, 0.5, 0.8])
@every_loss
def test_no_margin_beats_the_optimal_one(loss, p):
    best = direct.expected(loss, margins.optimal_margin(loss, p), p)
    near = np.linspace(-5, 5, 1001) if loss.func is margins.robust_dpo else np.linspace(-40, 40, 8001)
    assert (best <= direct.expected(loss, near, p) + 1e-12).all()


@pytest.mark.equation("eq-robust-dpo", "eq-misclick-dpo")
@pytest.mark.parametrize("name", ["robust", "misclick"])
def test_people_as_sure_as_wrong_labels_allow_have_no_finite_margin(name):
    loss = LOSSES[name][0]
    assert (np.diff(direct.expected(loss, -np.linspace(0, 40, 21), 0.1)) < 0).all()
    assert margins.optimal_margin(loss, 0.1) < -60  # rounding ends the fall, at the latest


@pytest.mark.equation("eq-dpo-target", "eq-ipo-target", "eq-gpo-optimum")
def test_certain_preferences_have_no_finite_margin_for_dpo_and_one_for_ipo():
    sure = np.array([0.0, 1.0])
    for beta in (0.01, 1.0, 100.0):
        assert direct.dpo_target(sure, beta).tolist() == [-np.inf, np.inf]
    for loss in (partial(direct.dpo, beta=0.01), margins.gpo(lambda z: anp.exp(-z), 0.74)):
        assert margins.optimal_margin(loss, sure).tolist() == [-np.inf, np.inf]
    assert margins.optimal_margin(partial(margins.ipo, tau=1 / 1800), sure) == pytest.approx([-900.0, 900.0])
    assert margins.optimal_margin(partial(margins.ipo, tau=1 / 2001), sure).tolist() == [-np.inf, np.inf]  # 1,000.5
    assert margins.ipo_target(sure, TAU).tolist() == [-2.0, 2.0]
    assert margins.optimal_margin(partial(margins.ipo, tau=TAU), sure) == pytest.approx([-2.0, 2.0])


def test_certain_preferences_may_be_truth_values():
    assert direct.dpo_target([True, False], BETA).tolist() == [np.inf, -np.inf]
    assert margins.optimal_margin(partial(margins.ipo, tau=TAU), [True, False]) == pytest.approx([2.0, -2.0])


@pytest.mark.equation("eq-gpo-optimum")
def test_of_many_optimal_margins_the_nearest_to_zero_is_told():
    assert margins.optimal_margin(partial(margins.slic, beta=BETA), np.array([0.0, 1.0])) == pytest.approx([-2.0, 2.0])


@pytest.mark.equation("eq-gpo")
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_a_loss_is_convex_or_not_in_any_unit(scale):
    loss = margins.gpo(lambda z: scale * anp.logaddexp(0.0, -z), BETA)
    assert loss(0.3) == pytest.approx(scale * direct.dpo(0.3, BETA), rel=1e-12)
    with pytest.raises(ValueError, match="f must be convex"):
        margins.gpo(lambda z: scale / (1 + anp.exp(z)), BETA)


@pytest.mark.equation("eq-gpo")
@pytest.mark.parametrize(
    ("f", "named"),
    [
        (lambda z: anp.logaddexp(0.0, -z), partial(direct.dpo, beta=BETA)),
        (lambda z: (z - 1) ** 2 * BETA**-2, partial(margins.ipo, tau=BETA / 2)),
        (lambda z: anp.maximum(0.0, 1 - z), partial(margins.slic, beta=BETA)),
        (lambda z: anp.logaddexp(0.0, -z) + 0.1 * z, partial(margins.smoothed_dpo, beta=BETA, smoothing=0.1)),
        (lambda z: anp.logaddexp(0.0, -z) - 0.1 * z / 0.8, partial(margins.robust_dpo, beta=BETA, flip=0.1)),
    ],
)
def test_the_named_losses_are_members_of_the_family(f, named):
    h = np.linspace(-9, 9, 200)
    assert margins.gpo(f, BETA)(h) == pytest.approx(named(h), abs=1e-12)
    assert margins.gpo(named, 1.0)(h) == pytest.approx(named(h), abs=1e-12)


@pytest.mark.equation("eq-gpo", "eq-misclick-dpo")
def test_of_the_named_losses_of_the_margin_only_that_of_misclicks_is_not_convex():
    for name, (loss, *_) in LOSSES.items():
        slope = elementwise_grad(loss)(np.linspace(-20, 20, 401))
        assert (np.diff(slope) > -1e-9).all() == (name != "misclick")
    with pytest.raises(ValueError, match="f must be convex"):
        margins.gpo(partial(margins.misclick_dpo, beta=1.0, rate=0.2), 1.0)


@pytest.mark.equation("eq-slic")
def test_slic_pulls_evenly_up_to_its_margin_and_not_beyond():
    assert elementwise_grad(margins.slic)(np.array([-7.0, 1.9, 2.1]), BETA).tolist() == [-BETA, -BETA, 0.0]


@pytest.mark.equation("eq-ipo-target")
def test_ipo_on_two_answers_stops_at_its_target():
    model, reference = Tabular(2, 1, ((0,),)), {"logits": np.log([[[0.3, 0.7]]])}
    for p in (0.5, 0.8, 1.0):
        batch = pairs.compare(model, reference, [[0]], [[1]], [[0]], p)
        loss = direct.preference_loss(model, partial(margins.ipo, tau=TAU))
        u = trained(loss, batch, 40, 0.2, reference)[0] - np.log([0.3, 0.7])
        assert u[1] - u[0] == pytest.approx((p - 0.5) / TAU, abs=1e-8)


def gradient_flow(loss, steps):
    """The margin after each run of steps, given as (count, size)."""
    model, start = Tabular(2, 1, ((0,),)), {"logits": np.zeros((1, 1, 2))}
    batch = pairs.compare(model, start, [[0]], [[1]], [[0]])
    for rounds, size in steps:
        log_pi = trained(direct.preference_loss(model, loss), batch, rounds, size, start)
        start = {"logits": log_pi[:, None]}
        yield log_pi[0, 1] - log_pi[0, 0]


@pytest.mark.equation("eq-dpo", "eq-ipo")
@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_under_certain_preferences_the_margin_of_dpo_grows_like_a_logarithm_and_that_of_ipo_stops(beta):
    """The flow dh/dt = 2 beta sigmoid(-beta h) solves z + exp(z) = 1 + 2 beta^2 t, with z = beta h."""
    steps, passed = [(100, 0.1), (40, 0.5), (60, 1.0)], (10, 30, 90)  # short steps where the margin bends most
    for time, h in zip(passed, gradient_flow(partial(direct.dpo, beta=beta), steps), strict=True):
        z = beta * h
        assert z + np.exp(z) - 1 == pytest.approx(2 * beta**2 * time, rel=0.03)
    assert [*gradient_flow(partial(margins.ipo, tau=TAU), [(100, 0.1)])] == [pytest.approx(2.0, abs=1e-12)]


@pytest.mark.equation("eq-smoothed-dpo", "eq-robust-dpo", "eq-misclick-dpo")
def test_what_each_loss_makes_of_wrong_labels():
    flip, p = 0.1, np.array([0.15, 0.5, 0.6, 0.95])
    seen = (1 - flip) * p + flip * (1 - p)

    def found(loss, shares):
        return BETA * margins.optimal_margin(loss, shares)

    def logit(q):
        return np.log(q / (1 - q))

    assert found(partial(direct.dpo, beta=BETA), seen) == pytest.approx(logit(seen), abs=1e-9)
    smoothed = partial(margins.smoothed_dpo, beta=BETA, smoothing=flip)
    assert found(smoothed, p) == pytest.approx(logit(seen), abs=1e-9)
    assert found(smoothed, np.array([1.0])) == pytest.approx([logit(1 - flip)], abs=1e-9)
    for right in (
        partial(margins.robust_dpo, beta=BETA, flip=flip),
        partial(margins.misclick_dpo, beta=BETA, rate=2 * flip),
    ):
        assert found(right, seen) == pytest.approx(logit(p), abs=1e-8)


@pytest.mark.equation("eq-robust-dpo")
def test_the_robust_loss_has_the_mean_of_clean_dpo_and_no_bottom():
    loss, h = partial(margins.robust_dpo, beta=BETA, flip=0.2), np.linspace(-5, 5, 11)
    assert direct.expected(loss, h, 0.8) == pytest.approx(direct.dpo(h, BETA), rel=1e-12)
    assert loss(1e4) == pytest.approx(-0.2 * BETA * 1e4 / 0.6)


@pytest.mark.equation("eq-misclick-dpo")
def test_no_comparison_costs_more_than_a_misclick():
    loss = partial(margins.misclick_dpo, beta=BETA, rate=0.2)
    assert loss(-1e4) == pytest.approx(-np.log(0.1), rel=1e-12)
    assert loss(1e4) == pytest.approx(-np.log(0.9), rel=1e-12)


U = np.random.default_rng(3).normal(size=(5, 3))
WEIGHT = np.random.default_rng(4).dirichlet(np.ones(3), size=5)


@pytest.mark.equation("eq-info-nca", "eq-nca")
def test_contrastive_losses_by_hand():
    u, weight = np.array([[np.log(4), 0.0]]), np.array([[0.75, 0.25]])
    assert margins.info_nca(u, weight, 0.5) == pytest.approx([-0.75 * np.log(2 / 3) - 0.25 * np.log(1 / 3)])
    by_hand = -0.75 * np.log(2 / 3) - 0.25 * np.log(1 / 2) - 0.5 * np.log(1 / 3) - 0.5 * np.log(1 / 2)
    assert margins.nca(u, weight, 0.5) == pytest.approx([by_hand])


@pytest.mark.equation("eq-info-nca", "eq-nca")
@pytest.mark.parametrize("loss", [margins.info_nca, margins.nca])
def test_contrastive_losses_of_seeds_and_rows_are_those_of_each(loss):
    found = loss(np.stack([U, 2 * U]), WEIGHT, BETA)
    each = [[loss(row, weight, BETA) for row, weight in zip(u, WEIGHT, strict=True)] for u in (U, 2 * U)]
    assert found == pytest.approx(np.array(each), rel=1e-12)


@pytest.mark.equation("eq-info-nca")
def test_info_nca_of_two_is_expected_dpo_and_of_many_ends_at_the_gibbs_policy():
    h, p = U[:, 0] - U[:, 1], WEIGHT[:, 0]
    two = margins.info_nca(U[:, :2], np.stack([p, 1 - p], axis=-1), BETA)
    assert two == pytest.approx(direct.expected(partial(direct.dpo, beta=BETA), h, p), rel=1e-12)
    weight = np.exp(lm.log_softmax(REWARD))
    slope = grad(lambda u: margins.info_nca(u, weight, BETA).sum())(STAR - LOG_PI_0)
    assert slope == pytest.approx(np.zeros((2, 4)), abs=1e-14)


@pytest.mark.equation("eq-nca")
def test_nca_bounds_the_implicit_reward_of_the_winner():
    """Left free, each implicit reward tends to log(K w): log 2 for one that always wins against one other."""
    weight = np.array([0.7, 0.2, 0.1])
    slope = grad(lambda u: margins.nca(u, weight, BETA))(np.log(3 * weight) / BETA)
    assert slope == pytest.approx(np.zeros(3), abs=1e-14)
    certain = grad(lambda u: margins.nca(u, np.array([1.0, 0.0]), BETA))
    assert certain(np.array([np.log(2) / BETA, 0.0]))[0] == pytest.approx(0, abs=1e-14)
    assert certain(np.array([0.0, -20.0]))[1] > 0


@pytest.mark.parametrize("loss", [margins.info_nca, margins.nca])
def test_slopes_of_contrastive_losses_and_extremes(loss):
    check_grads(lambda u: loss(u, WEIGHT, BETA), modes=["rev"])(U)
    assert loss(1e3 * U, WEIGHT, BETA).shape == (5,)
    assert np.isfinite(grad(lambda u: loss(u, WEIGHT, BETA).sum())(1e4 * U)).all()


# What a reader can get wrong.


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf])
def test_beta_and_tau_must_be_positive(wrong):
    calls = [
        lambda: margins.gpo(anp.exp, wrong),
        lambda: margins.slic(U, wrong),
        lambda: margins.info_nca(U, WEIGHT, wrong),
        lambda: margins.nca(U, WEIGHT, wrong),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="beta must be finite and above 0; got"):
            call()
    for call in (lambda: margins.ipo(U, wrong), lambda: margins.ipo_target(0.5, wrong)):
        with pytest.raises(ValueError, match="tau must be finite and above 0; got"):
            call()


@pytest.mark.parametrize("share", [-0.1, 0.5, np.nan])
def test_shares_of_wrong_labels_are_below_one_half(share):
    with pytest.raises(ValueError, match=rf"smoothing is a share of wrong labels, in \[0, 0.5\); got {share}"):
        margins.smoothed_dpo(U, BETA, share)
    with pytest.raises(ValueError, match=rf"flip is a share of wrong labels, in \[0, 0.5\); got {share}"):
        margins.robust_dpo(U, BETA, share)
    assert margins.smoothed_dpo(U, BETA, 0.0) == pytest.approx(direct.dpo(U, BETA))
    assert margins.robust_dpo(U, BETA, 0) == pytest.approx(direct.dpo(U, BETA))


@pytest.mark.parametrize("rate", [0, 1, -0.2, np.nan])
def test_without_misclicks_there_is_another_loss(rate):
    with pytest.raises(ValueError, match=rf"in \(0, 1\); got {rate}; without any, use dpo"):
        margins.misclick_dpo(U, BETA, rate)


def test_a_function_that_is_no_member_of_the_family_is_refused():
    with pytest.raises(ValueError, match=r"f must fall at 0, f'\(0\) < 0, .* here f'\(0\) = 1"):
        margins.gpo(anp.exp, BETA)
    with pytest.raises(ValueError, match=r"here f'\(0\) = -?0"):
        margins.gpo(lambda z: z**2, BETA)
    with pytest.raises(ValueError, match=r"^f must be convex; on \[-20, 20\] its slope falls somewhere$"):
        margins.gpo(lambda z: 1 / (1 + anp.exp(z)), BETA)
    for bump in (lambda z: 2 * anp.exp(-((z - 6) ** 2)), lambda z: 0.2 * anp.sin(z)):  # small beside exp(20)
        with pytest.raises(ValueError, match="f must be convex"):
            margins.gpo(lambda z, bump=bump: anp.exp(-z) + bump(z), BETA)


def test_shares_of_people_lie_between_0_and_1():
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\]; got 1.2"):
        margins.ipo_target(np.array([0.5, 1.2]), TAU)
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\]; got -1"):
        margins.optimal_margin(partial(direct.dpo, beta=1.0), -1)
