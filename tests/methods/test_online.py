"""The loop, its rules, and references that move."""

import numpy as np
import pytest

from rlhf_lab.feedback import linear_fits
from rlhf_lab.methods import online, questions, regret
from rlhf_lab.models import gibbs
from rlhf_lab.numerics.autodiff import log_softmax

RNG = np.random.default_rng(0)
K, A, D, BETA = 2, 5, 3, 0.4
START = np.array([0.4, 0.6])
LOG_PI_0 = np.log(RNG.dirichlet(np.ones(A), size=K))
WORLD = online.World(START, LOG_PI_0, RNG.normal(size=(K, A, D)), RNG.normal(size=(3, D)), BETA)


def told(n, seed=1, seeds=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(seeds, n, D)), (rng.random((seeds, n)) < 0.5).astype(float)


def product(first, second):
    law = np.exp(first)[..., :, None] * np.exp(second)[..., None, :] * (1 - np.eye(A))
    return law / law.sum((-1, -2), keepdims=True)


def knowing(n=20, precision=0.5):
    difference, label = told(n)
    theta = linear_fits.fit_linear(difference, label, precision).mean
    return online.known(difference, label, theta, precision)


def test_the_world_plans_exactly_and_knows_its_mean_features():
    theta = RNG.normal(size=(4, D))
    reward = np.einsum("kad,sd->ska", WORLD.features, theta)
    assert WORLD.policy(theta) == pytest.approx(gibbs.log_policy(LOG_PI_0, reward, BETA), abs=1e-14)
    found = WORLD.mean(WORLD.policy(theta))
    expected = sum(START[k] * np.exp(WORLD.policy(theta))[:, k] @ WORLD.features[k] for k in range(K))
    assert found == pytest.approx(expected, rel=1e-12)
    own = WORLD._replace(features=RNG.normal(size=(4, K, A, D)))
    assert own.policy(theta)[2] == pytest.approx(own._replace(features=own.features[2]).policy(theta[2]), abs=1e-14)
    assert own.mean(LOG_PI_0)[1] == pytest.approx(own._replace(features=own.features[1]).mean(LOG_PI_0), rel=1e-12)


# The rules.


def test_what_is_known_is_sigma_and_the_posterior():
    known = knowing(precision=0.7)
    sigma = 0.7 * np.eye(D) + np.einsum("snd,sne->sde", known.difference, known.difference)
    assert known.sigma == pytest.approx(sigma, rel=1e-12)
    fitted = linear_fits.fit_linear(known.difference, known.label, 0.7)
    assert known.posterior == pytest.approx(fitted.covariance, rel=1e-8)
    assert known.theta == pytest.approx(fitted.mean, abs=1e-12)


def test_rules_ask_what_they_say():
    known, rng = knowing(), np.random.default_rng(2)
    main = WORLD.policy(known.theta)
    assert online.offline(WORLD, known, rng) == pytest.approx(product(LOG_PI_0, LOG_PI_0), rel=1e-12)
    assert online.on_policy(WORLD, known, rng) == pytest.approx(product(main, main), rel=1e-12)
    assert online.with_reference(WORLD, known, rng) == pytest.approx(product(main, LOG_PI_0), rel=1e-12)
    before, after = online.hybrid(21), online.hybrid(20)
    assert before(WORLD, known, rng) == pytest.approx(product(LOG_PI_0, LOG_PI_0), rel=1e-12)
    assert after(WORLD, known, rng) == pytest.approx(product(main, LOG_PI_0), rel=1e-12)
    enhancer = questions.enhancer(main, START, WORLD.features, known.sigma, radius=1.5, beta=BETA).log_pi
    assert online.optimistic(1.5)(WORLD, known, rng) == pytest.approx(product(main, enhancer), rel=1e-9)
    reward = np.einsum("kad,sd->ska", WORLD.features, known.theta)
    both = questions.best_and_worst(main, reward, 3)
    both = both * (1 - np.eye(A))
    expected = both / both.sum((-1, -2), keepdims=True)
    assert online.best_and_worst(3)(WORLD, known, rng) == pytest.approx(expected, rel=1e-12)
    new = online.known(np.zeros((3, 0, D)), np.zeros((3, 0)), np.zeros((3, D)), 0.5)
    assert online.best_and_worst(3)(WORLD, new, rng) == pytest.approx(
        np.broadcast_to(product(LOG_PI_0, LOG_PI_0), (3, K, A, A)), rel=1e-12
    )


@pytest.mark.equation("eq-ensemble-question")
def test_members_of_the_ensemble_are_draws_from_the_posterior():
    known = knowing()
    found = online.ensemble(3000)(WORLD, known, np.random.default_rng(3))
    theta = np.stack(
        [
            np.random.default_rng(4).multivariate_normal(mean, cov, size=3000)
            for mean, cov in zip(known.theta, known.posterior, strict=True)
        ],
        axis=1,
    )
    pi = np.exp(WORLD.policy(theta)).mean(0)
    assert found == pytest.approx(product(np.log(pi), np.log(pi)), abs=0.01)
    # two members are not one: with one pair of weights a question is a product of their two policies
    rng = np.random.default_rng(5)
    noise = np.random.default_rng(5).normal(size=(2, 3, D))
    one, other = (known.theta + np.einsum("sde,se->sd", np.linalg.cholesky(known.posterior), z) for z in noise)
    expected = product(WORLD.policy(one), WORLD.policy(other)) * (
        np.exp(WORLD.policy(one))[..., :, None] * np.exp(WORLD.policy(other))[..., None, :] * (1 - np.eye(A))
    ).sum((-1, -2), keepdims=True)
    expected = expected + np.swapaxes(expected, -1, -2)
    expected = expected / expected.sum((-1, -2), keepdims=True)
    assert online.ensemble(2)(WORLD, known, rng) == pytest.approx(expected, rel=1e-9)


# The loop.


@pytest.mark.equation("eq-online-loop")
def test_each_round_asks_with_what_was_learned_before_it():
    seen = []

    def ask(world, known, rng):
        seen.append(known)
        return online.with_reference(world, known, rng)

    trail = online.learn(WORLD, ask, batches=[4, 6, 5], precision=0.5, rng=np.random.default_rng(6))
    assert trail.theta.shape == (4, 3, D)
    assert trail.difference.shape == (3, 15, D)
    assert trail.label.shape == (3, 15)
    assert not trail.theta[0].any()
    for t, n in enumerate((0, 4, 10, 15)):
        if n:
            fitted = linear_fits.fit_linear(trail.difference[:, :n], trail.label[:, :n], 0.5).mean
            assert trail.theta[t] == pytest.approx(fitted, abs=1e-12)
        if t < 3:
            assert seen[t].difference == pytest.approx(trail.difference[:, :n])
            assert seen[t].label == pytest.approx(trail.label[:, :n])
            assert seen[t].theta == pytest.approx(trail.theta[t])


@pytest.mark.equation("eq-online-loop")
def test_answers_come_from_people_who_have_theta_star_in_mind():
    one = WORLD._replace(theta=WORLD.theta[0])
    trail = online.learn(one, online.offline, batches=[4000], precision=0.5, rng=np.random.default_rng(7))
    assert trail.theta.shape == (2, D)
    known = one.features[:, :, None] - one.features[:, None]
    assert all(np.isclose(known, d).all(-1).any() for d in trail.difference[:20])
    p = 1 / (1 + np.exp(-trail.difference @ one.theta))
    assert np.mean(trail.label - p) == pytest.approx(0, abs=3 * 0.5 / 4000**0.5)
    assert regret.regret(one, trail.theta[1]) < 0.02 * regret.regret(one, trail.theta[0])


def test_worlds_of_seeds_are_kept_apart():
    worlds = WORLD._replace(
        log_pi_0=np.log(RNG.dirichlet(np.ones(A), size=(3, K))), features=RNG.normal(size=(3, K, A, D))
    )
    for ask in (online.offline, online.on_policy, online.optimistic(2.0), online.best_and_worst(3), online.ensemble(3)):
        trail = online.learn(worlds, ask, batches=[300, 300], precision=0.5, rng=np.random.default_rng(8))
        assert (regret.regret(worlds, trail.theta[-1]) < regret.regret(worlds, trail.theta[0])).all()
        for s in range(3):
            all_of = worlds.features[s][:, :, None] - worlds.features[s][:, None]
            assert all(np.isclose(all_of, d).all(-1).any() for d in trail.difference[s, ::50])


def test_labels_must_arrive():
    settings = {"precision": 1.0, "rng": RNG}
    with pytest.raises(ValueError, match=r"^batches says .* there are no labels to learn of$"):
        online.learn(WORLD, online.offline, batches=[], **settings)
    with pytest.raises(ValueError, match="count is the number of labels of a round, of which none arrives"):
        online.learn(WORLD, online.offline, batches=[0, 5], **settings)
    with pytest.raises(ValueError, match="label is empty; at least one comparison is needed"):
        online.most_probable(WORLD, np.zeros((3, 0, D)), np.zeros((3, 0)), 1.0, WORLD.theta)
    with pytest.raises(ValueError, match="precision must be finite and above 0"):
        online.learn(WORLD, online.offline, batches=[5], precision=0.0, rng=RNG)


@pytest.mark.parametrize(
    "part", [{"start": np.ones(3) / 3}, {"features": WORLD.features[:, 1:]}, {"theta": np.ones((3, D + 1))}]
)
def test_the_parts_of_a_world_fit_together(part):
    shapes = r"(\(\d[\d, ]*\), ){3}\(\d[\d, ]*\)"
    with pytest.raises(ValueError, match=rf"a world has start \(K,\), log_pi_0 \(..., K, A\), .*; got {shapes}$"):
        online.learn(WORLD._replace(**part), online.offline, batches=[5], precision=1.0, rng=RNG)


# References that move.


@pytest.mark.equation("eq-moving-reference")
@pytest.mark.parametrize("anchor", [0.0, 0.3, 1.0])
def test_a_moving_reference_is_a_falling_price(anchor):
    reward = RNG.normal(size=(K, A))
    trail = online.moving_reference(LOG_PI_0, reward, BETA, 12, anchor)
    assert trail.shape == (13, K, A)
    assert trail[0] == pytest.approx(LOG_PI_0)
    for k in range(1, 13):
        price = BETA * anchor / (1 - (1 - anchor) ** k) if anchor else BETA / k
        assert trail[k] == pytest.approx(gibbs.log_policy(LOG_PI_0, reward, price), abs=1e-12)


def test_one_reference_goes_with_many_rewards_one_reward_with_many_and_no_anchor_is_the_last_policy():
    many = RNG.normal(size=(3, K, A))
    trail = online.moving_reference(LOG_PI_0, many, BETA, 4)
    assert trail.shape == (5, 3, K, A)
    assert trail[4] == pytest.approx(gibbs.log_policy(LOG_PI_0, many, BETA / 4), abs=1e-12)
    references = log_softmax(many)
    trail = online.moving_reference(references, many[0], BETA, 4)
    assert trail.shape == (5, 3, K, A)
    assert trail[4, 1] == pytest.approx(gibbs.log_policy(references[1], many[0], BETA / 4), abs=1e-12)


def test_rounds_and_the_anchor_are_checked():
    with pytest.raises(ValueError, match="rounds is the number of times that the policy is trained"):
        online.moving_reference(LOG_PI_0, np.zeros((K, A)), BETA, 0)
    for anchor in (-0.1, 1.1):
        with pytest.raises(ValueError, match="anchor must lie in"):
            online.moving_reference(LOG_PI_0, np.zeros((K, A)), BETA, 2, anchor)
