"""DRIL: the cost, its gradient, and a bound that holds."""

import itertools

import numpy as np
import pytest
from autograd import grad

from rlhf_lab import control, dril, gridworlds, imitation, policies
from rlhf_lab.control import rollout
from rlhf_lab.gridworlds import Grid
from rlhf_lab.policies import Labels, Network

WIDTH, HORIZON, RATE = 8, 64, 0.003
TRACK = gridworlds.track(WIDTH)
EXPERT = gridworlds.table(gridworlds.drive(WIDTH), 3)
SHOWN = np.zeros((17, 3))
SHOWN[WIDTH, gridworlds.AHEAD] = 150.0  # what demonstrations of the track hold


@pytest.mark.equation("eq-posterior-ensemble")
def test_members_are_drawn_from_the_posterior_of_a_table():
    counts = np.array([[0.0, 0.0, 0.0], [3.0, 1.0, 0.0]])
    drawn = dril.posterior_ensemble(np.stack([counts, counts + 5]), 20_000, np.random.default_rng(0))
    assert drawn.shape == (20_000, 2, 2, 3)
    assert drawn.sum(-1) == pytest.approx(np.ones((20_000, 2, 2)), abs=1e-12)
    a = np.stack([counts, counts + 5]) + 1
    total = a.sum(-1, keepdims=True)
    mean, variance = a / total, a * (total - a) / total**2 / (total + 1)
    assert (np.abs(drawn.mean(0) - mean) < 4.5 * np.sqrt(variance / 20_000)).all()
    assert dril.disagreement(drawn) == pytest.approx(variance, rel=0.08)


def test_bootstrap_weights_are_draws_with_replacement_of_the_pairs_that_are_there():
    weight = np.array([[1.0, 1, 1, 1, 0], [2.0, 1, 0, 0, 0]])
    drawn = dril.bootstrap(weight, 4000, np.random.default_rng(1))
    assert drawn.shape == (4000, 2, 5)
    assert (drawn.sum(-1) == [4, 3]).all()
    assert not drawn[:, weight == 0].any()
    share = weight / weight.sum(-1, keepdims=True)
    deviation = np.sqrt(weight.sum(-1, keepdims=True) * share * (1 - share) / 4000)
    assert (np.abs(drawn.mean(0) - weight) <= 4 * deviation + 1e-12).all()


@pytest.mark.equation("eq-disagreement")
def test_disagreement_is_the_variance_over_the_members():
    probs = np.array([[[0.1, 0.9]], [[0.5, 0.5]], [[0.6, 0.4]]])
    expected = ((0.1 - 0.4) ** 2 + 0.1**2 + 0.2**2) / 3
    assert dril.disagreement(probs) == pytest.approx(np.array([[expected, expected]]), rel=1e-12)


@pytest.mark.equation("eq-disagreement")
def test_networks_disagree_about_the_action_that_was_taken():
    network, rng = Network(3, 2, hidden=4), np.random.default_rng(2)
    ensemble = network.init(rng, (5, 2))
    rows = Labels(rng.normal(size=(2, 7, 3)), rng.integers(2, size=(2, 7)), np.ones((2, 7)))
    found = dril.costs(network, ensemble, rows)
    probs = np.exp(network.log_policy(ensemble, rows.observation))
    for seed, row in itertools.product(range(2), range(7)):
        assert found[seed, row] == pytest.approx(np.var(probs[:, seed, row, rows.action[seed, row]]), abs=1e-14)


@pytest.mark.equation("eq-clipped-disagreement")
def test_the_cost_is_clipped_at_a_quantile_of_the_demonstrations():
    cost, weight = np.array([[0.3, 0.1, 0.2, 0.4, 9.0], [0.5, 0.5, 0.1, 0.2, 9.0]]), np.ones((2, 5))
    weight[:, 4] = 0
    for quantile, expected in ((0.25, [0.1, 0.1]), (0.26, [0.2, 0.2]), (0.75, [0.3, 0.5]), (0.98, [0.4, 0.5])):
        limit = dril.threshold(cost, weight, quantile)
        assert limit.tolist() == expected
        inside = (dril.clipped(cost, limit[:, None]) == -1) & (weight > 0)
        assert (inside.sum(-1) >= quantile * 4).all()
    assert dril.clipped(np.array([0.1, 0.2, 0.3]), 0.2).tolist() == [-1, -1, 1]
    assert dril.threshold(np.array([0.1, 0.2]), np.array([3.0, 1.0]), 0.7) == 0.1


@pytest.mark.parametrize("quantile", [0.0, 1.0, -0.5, 98, np.nan])
def test_a_quantile_is_a_share(quantile):
    with pytest.raises(ValueError, match="quantile is a share of the demonstrations, above 0 and below 1; got"):
        dril.threshold(np.ones(3), np.ones(3), quantile)


@pytest.mark.parametrize(
    "function",
    [
        lambda: dril.posterior_ensemble(SHOWN, 1, np.random.default_rng(0)),
        lambda: dril.bootstrap(np.ones(3), 1, np.random.default_rng(0)),
        lambda: dril.disagreement(np.ones((1, 2, 2))),
    ],
)
def test_one_alone_cannot_disagree(function):
    with pytest.raises(ValueError, match="an ensemble of 1 cannot disagree with itself; use at least 2 members"):
        function()


@pytest.mark.equation("eq-dril-objective")
def test_the_objective_adds_what_it_says():
    assert dril.objective(0.3, 2.0, 0.1) == pytest.approx(0.5)
    policy, cost = np.array([[0.3, 0.7], [1.0, 0.0]]), np.array([[1.0, 2.0], [4.0, 8.0]])
    grid = gridworlds.cliff()
    by_hand = (1.7 + 0.3 * 1.7 + 0.7 * 4.0) / 2
    assert dril.expected_cost(grid, policy, cost, 2) == pytest.approx(by_hand, rel=1e-12)


def test_costs_to_go_are_discounted_and_stop_with_the_episode():
    cost, alive = np.array([[1.0, 1.0], [2.0, 5.0], [4.0, 7.0]]), np.array([[1, 1], [1, 0], [1, 0]], dtype=bool)
    assert dril.costs_to_go(cost, alive, 0.5).tolist() == [[3.0, 1.0], [4.0, 0.0], [4.0, 0.0]]


def test_an_advantage_compares_with_the_other_episodes():
    to_go, alive = np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 6.0]]), np.array([[1, 1, 1], [0, 1, 1]], dtype=bool)
    found = dril.advantages(to_go, alive)
    assert found[0] == pytest.approx([1 - 4, 2 - 3.5, 6 - 1.5], abs=1e-12)
    assert found[1] == pytest.approx([0, 0 - 3, 6 - 0], abs=1e-12)
    with pytest.raises(ValueError, match="a mean over episodes needs at least 2 of them; got 1"):
        dril.advantages(to_go[:, :1], alive[:, :1])


@pytest.mark.equation("eq-dril-gradient")
def test_the_policy_gradient_of_the_cost_is_unbiased():
    grid, horizon = gridworlds.track(2, wind=0.2), 6
    rng = np.random.default_rng(3)
    logits, cost = 0.5 * rng.normal(size=(5, 3)), rng.random((5, 3))
    exact = grad(lambda z: dril.expected_cost(grid, policies.softmax(z), cost, horizon))(logits)
    network = Network(5, 3)
    play = rollout(grid, policies.acting(network, {"weights": logits}), (4000, 4), horizon, rng)
    state = play.observation.argmax(-1)
    advantage = np.moveaxis(
        dril.advantages(dril.costs_to_go(cost[state, play.action], play.alive, 1.0), play.alive), 0, -1
    )
    slopes = np.moveaxis(np.eye(3)[play.action] - policies.softmax(logits)[state], 0, 2)  # of log pi, in its own row
    each = np.einsum("bet,beta,bets->bsa", advantage, slopes, np.moveaxis(play.observation, 0, 2)) / 4 / horizon
    deviation = each.std(0, ddof=1) / 4000**0.5
    assert (np.abs(each.mean(0) - exact) < 4.5 * deviation + 1e-12).all()
    assert np.abs(exact).max() > 20 * deviation.max()

    def surrogate(z):
        log_pi = dril.log_prob_of(z[state[:, 0]], play.action[:, 0])
        return dril.surrogate(log_pi.T, advantage[0], horizon)

    assert grad(surrogate)(logits) == pytest.approx(each[0], abs=1e-12)


def solved(width=WIDTH, wind=0.0, counts=SHOWN, members=20, weight=0.1, seed=0):
    rng = np.random.default_rng(seed)
    grid = gridworlds.track(width, wind)
    cost = dril.disagreement(dril.posterior_ensemble(counts, members, rng))
    policy = dril.solve_table(
        grid, counts, cost, horizon=HORIZON, weight=weight, rate=RATE, rounds=150, step_size=0.1, rng=rng
    )
    return grid, cost, policy


@pytest.mark.equation("eq-dril-objective")
def test_on_the_track_dril_loses_linearly_without_asking_anybody():
    _, _, policy = solved(counts=np.broadcast_to(SHOWN, (5, 17, 3)))
    steps = 2 ** np.arange(3, 8)
    lost = np.array([imitation.gap(TRACK, EXPERT, policy, horizon).mean() for horizon in steps])
    assert np.polyfit(np.log(steps), np.log(lost), 1)[0] == pytest.approx(1, abs=0.15)
    assert (policy[:, WIDTH - 1, gridworlds.RIGHT] > 0.9).all()
    assert (policy[:, WIDTH + 1, gridworlds.LEFT] > 0.9).all()


@pytest.mark.equation("eq-dril-objective")
def test_the_table_that_is_found_is_a_minimum():
    grid, cost, policy = solved(width=2, counts=SHOWN[6:11])

    def value(p):
        cloning = -np.sum(SHOWN[6:11] * np.log(p)) / SHOWN.sum()
        return dril.objective(dril.expected_cost(grid, p, cost, HORIZON), cloning, 0.1)

    rng = np.random.default_rng(4)
    other = policies.trembling(rng.dirichlet(np.ones(3), size=5), RATE)
    assert value(policy) < value(0.95 * policy + 0.05 * other)
    assert value(policy) < value(policies.trembling(EXPERT[6:11], 0.1))
    assert value(policy) < value(policies.trembling(EXPERT[6:11], RATE)) + 1e-3
    assert policy.min() >= RATE / 3 - 1e-12


@pytest.mark.equation("eq-concentrability")
def test_concentrability_compares_the_most_visits_with_those_of_the_expert():
    grid = gridworlds.track(2, wind=0.3)
    expert = gridworlds.table(gridworlds.drive(2), 3)
    shown = gridworlds.occupancy(grid, expert, 5)
    ratio = dril.concentrability(grid, shown, 5)
    assert ratio == pytest.approx(gridworlds.most_visits(grid, 5) / shown.sum(0), rel=1e-12)
    assert (ratio >= 1).all()
    calm = gridworlds.track(2)
    assert (
        dril.concentrability(calm, gridworlds.occupancy(calm, expert, 5), 5).tolist()
        == [np.inf, np.inf, 1] + [np.inf] * 2
    )
    nowhere = Grid(np.eye(3)[None].repeat(2, 0).swapaxes(0, 1), np.zeros(3), np.array([1.0, 0, 0]))
    stays = gridworlds.occupancy(nowhere, np.full((3, 2), 0.5), 4)
    assert dril.concentrability(nowhere, stays, 4).tolist() == [1, 0, 0]


def by_enumeration(ratio, variance):
    best = np.inf
    for size in range(1, len(ratio)):
        for inside in itertools.combinations(range(len(ratio)), size):
            outside = [s for s in range(len(ratio)) if s not in inside]
            alpha = max(1.0, max(ratio[s] for s in inside))
            best = min(best, alpha / min(variance[s].min() for s in outside))
    return best


@pytest.mark.equation("eq-dril-kappa")
def test_kappa_is_the_minimum_over_all_sets_of_states():
    rng = np.random.default_rng(5)
    for _ in range(60):
        ratio, variance = rng.choice([0.0, 1.0, 1.5, 3.0, 20.0, np.inf], size=6), rng.random((6, 2)) ** 3 / 4
        found = dril.kappa(ratio, variance)
        assert found.kappa == pytest.approx(by_enumeration(ratio, variance), rel=1e-12)
        if np.isfinite(found.kappa):
            assert found.kappa == found.alpha / found.variance
            assert found.alpha == max(1, ratio[found.inside].max())
            assert found.variance == variance[~found.inside].min()
    assert dril.kappa(np.array([1.0, np.inf]), np.array([[0.0], [0.0]])).kappa == np.inf
    with pytest.raises(ValueError, match="kappa needs at least 2 states; got 1"):
        dril.kappa(np.ones(1), np.ones((1, 2)))


@pytest.mark.equation("eq-dril-kappa", "eq-posterior-ensemble")
def test_on_the_cliff_kappa_tends_to_twelve():
    grid, counts = gridworlds.cliff(), np.array([[100.0, 0.0], [0.0, 0.0]])
    shown = gridworlds.occupancy(grid, np.array([[1.0, 0.0], [0.0, 1.0]]), 30)
    ratio = dril.concentrability(grid, shown, 30)
    assert ratio.tolist() == [1, np.inf]
    ensemble = dril.posterior_ensemble(counts, 100_000, np.random.default_rng(6))
    found = dril.kappa(ratio, dril.disagreement(ensemble))
    assert found.kappa == pytest.approx(12, rel=0.02)
    assert found.inside.tolist() == [True, False]


@pytest.mark.equation("eq-dril-bound")
@pytest.mark.parametrize("wind", [0.0, 0.05, 0.3])
def test_the_bound_holds_for_any_policy_and_any_ensemble(wind):
    rng = np.random.default_rng(7)
    grid, expert = gridworlds.track(3, wind), gridworlds.table(gridworlds.drive(3), 3)
    shown = gridworlds.occupancy(grid, expert, 20)
    ratio, u = dril.concentrability(grid, shown, 20), imitation.expert_advantage(grid, expert, 20).max()
    for _ in range(20):
        counts = rng.poisson(rng.choice([3, 30]) * shown.sum(0))[:, None] * expert
        cost = dril.disagreement(dril.posterior_ensemble(counts, 10, rng))
        share = rng.random((50, 1, 1)) ** 4
        others = (1 - share) * expert + share * rng.dirichlet(np.full(3, 0.3), size=(50, 7))
        lost = imitation.gap(grid, expert, others, 20)
        epsilon = imitation.error(others, expert, shown)
        bound = dril.dril_bound(
            dril.kappa(ratio, cost).kappa, epsilon, dril.expected_cost(grid, others, cost, 20), u, 20
        )
        assert (lost <= bound + 1e-12).all()
    assert dril.dril_bound(12.0, 0.01, 0.02, 2.0, 50) == pytest.approx(36)


NETWORK = Network(5, 3)


def trained(limit, *, rounds=60, weight=0.1, episodes=16, discount=1.0, seeds=3, start_rate=0.2):
    """DRIL by sampling on a small track, from a clone that trembles so much that it leaves the road."""
    grid, rng = gridworlds.track(2), np.random.default_rng(8)
    rows = Labels(np.eye(5)[np.full((seeds, 20), 2)], np.full((seeds, 20), 1), np.ones((seeds, 20)))
    clone = {"weights": np.zeros((seeds, 5, 3))}
    clone["weights"][:, 2, 1] = 2.0
    members = np.log(dril.posterior_ensemble(SHOWN[None, 6:11].repeat(seeds, 0), 10, rng))
    ensemble = {"weights": members}
    at = None if limit is None else dril.threshold(dril.costs(NETWORK, ensemble, rows), rows.weight, limit)
    found = dril.dril(
        grid, NETWORK, clone, ensemble, rows, at, rounds=rounds, episodes=episodes, horizon=12, weight=weight,
        discount=discount, step_size=0.1, rng=rng,
    )  # fmt: skip
    return grid, clone, found


@pytest.mark.parametrize("limit", [None, 0.9])
def test_dril_learns_to_come_back_by_playing(limit):
    grid, clone, found = trained(limit)
    expert = gridworlds.table(gridworlds.drive(2), 3)
    before, after = (imitation.gap(grid, expert, policies.softmax(p["weights"]), 12) for p in (clone, found))
    assert (after < 0.2 * before).all()


def test_with_much_weight_on_cloning_dril_stays_a_clone():
    _, _, found = trained(0.9, weight=1e6, rounds=40)
    policy = policies.softmax(found["weights"])
    assert (policy[:, 2, 1] > 0.99).all()


def test_dril_of_no_rounds_is_the_clone_and_labels_are_checked():
    _, clone, found = trained(0.9, rounds=0)
    assert (found["weights"] == clone["weights"]).all()
    grid, rng = gridworlds.track(2), np.random.default_rng(0)
    bad = Labels(np.eye(5), np.array([0, 1, 2, 3, 0]), np.ones(5))
    with pytest.raises(ValueError, match="action: there are 3 actions, 0 to 2; got 3"):
        dril.dril(
            grid, NETWORK, clone, clone, bad, None, rounds=1, episodes=2, horizon=3, weight=1.0, discount=1.0,
            step_size=0.1, rng=rng,
        )  # fmt: skip


def test_what_one_round_of_dril_sees():
    """The batch by hand: rows of an episode stand together, and each carries its own advantage."""
    batches = []
    original = dril.fit

    def spy(loss, params, collect, **settings):
        batches.extend(collect(params, settings["rng"]))
        return original(loss, params, lambda p, r: [batches[0]], **settings)

    grid, rng = gridworlds.track(2, wind=0.5), np.random.default_rng(9)
    params = {"weights": np.zeros((2, 5, 3))}
    ensemble = {"weights": rng.normal(size=(4, 2, 5, 3))}
    rows = Labels(np.eye(5)[np.full((2, 3), 2)], np.full((2, 3), 1), np.ones((2, 3)))
    dril.fit = spy
    try:
        dril.dril(
            grid, NETWORK, params, ensemble, rows, None, rounds=1, episodes=3, horizon=4, weight=0.1, discount=0.9,
            step_size=0.1, rng=rng,
        )  # fmt: skip
    finally:
        dril.fit = original
    labels, advantage = batches[0]
    assert (labels.observation.shape, labels.action.shape, advantage.shape) == ((2, 12, 5), (2, 12), (2, 3, 4))
    cost = dril.costs(NETWORK, ensemble, labels).reshape(2, 3, 4)
    assert (labels.observation.reshape(2, 3, 4, 5)[:, :, 0, 2] == 1).all()  # episodes begin in the middle
    to_go = np.stack([(cost[..., t:] * 0.9 ** np.arange(4 - t)).sum(-1) for t in range(4)], axis=-1)
    assert advantage == pytest.approx((to_go - to_go.mean(1, keepdims=True)) * 3 / 2, abs=1e-12)


def test_dril_runs_on_an_environment_of_gymnasium():
    world, rng = control.Gym("CartPole-v1"), np.random.default_rng(10)
    network = Network(4, 2)
    labels = control.draw_states(rollout(world, control.cartpole_expert, (1, 2), 50, rng), 10, rng)
    params = network.init(rng, (1,))
    found = dril.dril(
        world, network, params, network.init(rng, (3, 1)), labels, np.array([0.01]), rounds=2, episodes=2, horizon=50,
        weight=1.0, discount=0.99, step_size=0.01, rng=rng,
    )  # fmt: skip
    assert np.isfinite(found["weights"]).all()
    assert not np.allclose(found["weights"], params["weights"])
