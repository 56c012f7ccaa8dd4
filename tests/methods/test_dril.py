"""DRIL: the cost, its gradient, and a bound that holds."""

import itertools

import numpy as np
import pytest
from autograd import grad

from rlhf_lab.feedback import demonstrations
from rlhf_lab.feedback.demonstrations import Labels
from rlhf_lab.methods import dril, imitation
from rlhf_lab.models import policies
from rlhf_lab.models.policies import Network
from rlhf_lab.worlds import control, environments, gridworlds
from rlhf_lab.worlds.control import rollout
from rlhf_lab.worlds.gridworlds import Grid

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
    assert np.abs(drawn.sum(-1) - 1).max() < 1e-12
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


@pytest.mark.equation("eq-policy-disagreement")
def test_disagreement_is_the_variance_over_the_members():
    probs = np.array([[[0.1, 0.9]], [[0.5, 0.5]], [[0.6, 0.4]]])
    expected = ((0.1 - 0.4) ** 2 + 0.1**2 + 0.2**2) / 3
    assert dril.disagreement(probs) == pytest.approx(np.array([[expected, expected]]), rel=1e-12)


@pytest.mark.equation("eq-policy-disagreement")
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


def test_each_seed_has_a_quantile_of_its_own_weights():
    cost, weight = np.array([[1.0, 2.0]] * 2), np.array([[1.0, 9.0], [9.0, 1.0]])
    assert dril.threshold(cost, weight, 0.5).tolist() == [2, 1]


def test_a_pseudo_count_is_positive():
    with pytest.raises(ValueError, match=r"^pseudo_count must be finite and above 0; got 0$"):
        dril.posterior_ensemble(SHOWN, 5, np.random.default_rng(0), pseudo_count=0)


def test_a_small_pseudo_count_makes_members_extreme():
    counts = np.zeros((1, 2))
    drawn = dril.posterior_ensemble(counts, 20_000, np.random.default_rng(12), pseudo_count=0.1)
    assert dril.disagreement(drawn) == pytest.approx(np.full((1, 2), 0.25 / 1.2), rel=0.02)
    smallest = dril.posterior_ensemble(counts, 20_000, np.random.default_rng(12), pseudo_count=1e-6)
    assert np.abs(smallest.sum(-1) - 1).max() < 1e-12
    assert smallest[..., 0].mean() == pytest.approx(0.5, abs=4 * 0.5 / 20_000**0.5)


@pytest.mark.parametrize("weight", [np.array([]), np.zeros(2), np.array([1.0, -1.0]), np.array([1.0, np.nan])])
def test_without_pairs_there_is_nothing_to_draw_from_and_no_quantile(weight):
    for function in (
        lambda: dril.threshold(np.ones(len(weight)), weight, 0.9),
        lambda: dril.bootstrap(weight, 3, np.random.default_rng(0)),
    ):
        with pytest.raises(ValueError, match="weights must be finite and not negative, and not all 0"):
            function()


def test_a_bootstrap_draws_whole_pairs():
    with pytest.raises(
        ValueError, match=r"^a bootstrap draws pairs: weights must be whole numbers, how often each pair is there$"
    ):
        dril.bootstrap(np.array([1.0, 0.5, 0.5]), 3, np.random.default_rng(0))


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
    pairs = rng.normal(size=(2, 2, 3, 4))
    seeds = dril.surrogate(*pairs, horizon=7)
    assert seeds == pytest.approx([(a * b).sum() / 3 / 7 for a, b in zip(*pairs, strict=True)], abs=1e-12)


def solved(width=WIDTH, wind=0.0, counts=SHOWN, members=20, weight=0.1, seed=0):
    rng = np.random.default_rng(seed)
    grid = gridworlds.track(width, wind)
    cost = dril.disagreement(dril.posterior_ensemble(counts, members, rng))
    costs = np.broadcast_to(cost, (*np.shape(weight), *cost.shape))
    found = dril.solve_table(grid, counts, costs, horizon=HORIZON, weight=weight, rate=RATE, rounds=30, step_size=30.0)
    return grid, cost, policies.trembling(found, RATE)


@pytest.mark.equation("eq-dril-objective")
def test_on_the_track_dril_loses_linearly_without_asking_anybody():
    _, _, policy = solved(counts=np.broadcast_to(SHOWN, (5, 17, 3)))
    steps = 2 ** np.arange(3, 8)
    lost = np.array([imitation.gap(TRACK, EXPERT, policy, horizon).mean() for horizon in steps])
    assert np.polyfit(np.log(steps), np.log(lost), 1)[0] == pytest.approx(1, abs=0.15)
    assert (policy[:, WIDTH - 1, gridworlds.RIGHT] > 0.9).all()
    assert (policy[:, WIDTH + 1, gridworlds.LEFT] > 0.9).all()


def least_cost(grid, cost, horizon):
    """The least mean cost of any policy that trembles with RATE, also one that changes with the step."""
    v = np.zeros(grid.observations)
    for _ in range(horizon):
        q = cost + grid.transition @ v
        v = (1 - RATE) * q.min(-1) + RATE * q.mean(-1)
    return v @ grid.start / horizon


@pytest.mark.equation("eq-dril-objective")
@pytest.mark.parametrize(("width", "wind"), [(2, 0.0), (WIDTH, 0.0), (WIDTH, 0.1)])
def test_the_table_that_is_found_is_a_minimum(width, wind):
    """No policy that trembles has a smaller cost, and none a smaller loss: their sum cannot be undercut."""
    shown, weight = SHOWN[WIDTH - width : WIDTH + width + 1], np.array([0.01, 0.1, 1.0])
    grid, cost, policy = solved(width, wind, shown, weight=weight)
    cloning = -np.sum(shown * np.log(policy), axis=(-2, -1)) / SHOWN.sum()
    found = dril.objective(dril.expected_cost(grid, policy, cost, HORIZON), cloning, weight)
    least = dril.objective(least_cost(grid, cost, HORIZON), -np.log(1 - RATE * 2 / 3), weight)
    assert (found >= least - 1e-12).all()
    assert found == pytest.approx(least, rel=0.01)


def test_states_that_nobody_can_reach_in_time_are_left_alone():
    cost = dril.disagreement(dril.posterior_ensemble(SHOWN, 20, np.random.default_rng(0)))
    policy = dril.solve_table(TRACK, SHOWN, cost, horizon=4, weight=0.1, rate=RATE, rounds=30, step_size=30.0)
    assert policy[[0, 4, 12, 16]] == pytest.approx(np.full((4, 3), 1 / 3), abs=1e-12)
    assert policy[7:10] == pytest.approx(EXPERT[7:10], abs=1e-3)
    still = dril.solve_table(TRACK, SHOWN, cost, horizon=4, weight=0.1, rate=RATE, rounds=0, step_size=30.0)
    assert still == pytest.approx(np.full((17, 3), 1 / 3), abs=1e-15)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"weight": np.array([0.1, 0.0])}, "weight must be finite and above 0; got 0.0"),
        ({"rate": 0.0}, "rate must be finite and above 0; got 0.0"),
        ({"step_size": -1.0}, "step_size must be finite and above 0; got -1.0"),
    ],
)
def test_a_table_is_not_solved_with_settings_without_sense(changed, told):
    settings = {"horizon": 4, "weight": 0.1, "rate": RATE, "rounds": 1, "step_size": 1.0} | changed
    with pytest.raises(ValueError, match=told):
        dril.solve_table(TRACK, SHOWN, np.ones((2, 17, 3)), **settings)


def test_weights_of_cloning_along_a_leading_axis_are_solved_side_by_side():
    rng = np.random.default_rng(11)
    grid, shown = gridworlds.track(2), SHOWN[6:11]
    cost = dril.disagreement(dril.posterior_ensemble(shown, 5, rng))
    settings = {"horizon": 8, "rate": 0.01, "rounds": 5, "step_size": 0.1}
    both = dril.solve_table(grid, shown, np.stack([cost] * 2), weight=np.array([0.1, 2.0]), **settings)
    for policy, weight in zip(both, (0.1, 2.0), strict=True):
        assert policy == pytest.approx(dril.solve_table(grid, shown, cost, weight=weight, **settings), abs=1e-12)


def test_the_cloning_term_is_a_mean_for_each_seed():
    rng = np.random.default_rng(13)
    counts = np.stack([SHOWN[6:11], 7 * SHOWN[6:11]])
    cost = dril.disagreement(dril.posterior_ensemble(SHOWN[6:11], 5, rng))
    settings = {"horizon": 8, "weight": 0.5, "rate": 0.01, "rounds": 2, "step_size": 0.1}
    one, other = dril.solve_table(gridworlds.track(2), counts, np.stack([cost] * 2), **settings)
    assert one == pytest.approx(other, abs=1e-12)
    assert 0.33 < one[2, 1] < 0.9


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


@pytest.mark.equation("eq-dril-bound", "eq-kappa-bound")
@pytest.mark.parametrize("wind", [0.0, 0.05, 0.3])
def test_both_bounds_hold_for_any_policy_and_any_ensemble_on_the_track(wind):
    rng = np.random.default_rng(7)
    grid, expert = gridworlds.track(3, wind), gridworlds.table(gridworlds.drive(3), 3)
    shown = gridworlds.occupancy(grid, expert, 20)
    for _ in range(20):
        counts = rng.poisson(rng.choice([3, 30]) * shown.sum(0))[:, None] * expert
        lost, sharp, simple = bounds(grid, expert, counts, 20, rng)
        assert (lost <= sharp + 1e-12).all()
        assert (sharp <= simple + 1e-12).all()
    assert dril.kappa_bound(12.0, 0.01, 0.02, 2.0, 50) == pytest.approx(36)


def bounds(grid, expert, counts, horizon, rng):
    """What fifty policies lose, from near the expert to far away, and the two bounds on it."""
    shown, actions = gridworlds.occupancy(grid, expert, horizon), expert.shape[-1]
    ratio, u = dril.concentrability(grid, shown, horizon), imitation.expert_advantage(grid, expert, horizon).max()
    cost = dril.disagreement(dril.posterior_ensemble(counts, 10, rng))
    share = rng.random((50, 1, 1)) ** 4
    others = (1 - share) * expert + share * rng.dirichlet(np.full(actions, 0.3), size=(50, len(expert)))
    epsilon, paid = imitation.error(others, expert, shown), dril.expected_cost(grid, others, cost, horizon)
    simple = dril.kappa_bound(dril.kappa(ratio, cost).kappa, epsilon, paid, u, horizon)
    sharp = dril.dril_bound(ratio, cost, epsilon, paid, u, horizon)
    return imitation.gap(grid, expert, others, horizon), sharp, simple


@pytest.mark.equation("eq-dril-bound", "eq-kappa-bound")
def test_both_bounds_hold_in_random_worlds():
    rng = np.random.default_rng(0)
    for _ in range(30):
        states, actions, horizon = (int(rng.integers(*span)) for span in ((3, 8), (2, 4), (3, 25)))
        move = rng.dirichlet(np.full(states, 0.3), size=(states, actions))
        grid = Grid(move, rng.random(states), rng.dirichlet(np.ones(states)))
        value = np.zeros(states)
        for _ in range(200):
            q = grid.reward[:, None] + 0.99 * grid.transition @ value
            value = q.max(-1)
        expert = np.eye(actions)[q.argmax(-1)]
        visits = gridworlds.occupancy(grid, expert, horizon).sum(0)
        lost, sharp, simple = bounds(grid, expert, rng.poisson(20 * visits)[:, None] * expert, horizon, rng)
        assert (lost <= sharp + 1e-9).all()
        assert (sharp <= simple + 1e-9).all()


@pytest.mark.equation("eq-dril-bound")
def test_the_bound_is_the_minimum_over_all_sets_of_states():
    rng = np.random.default_rng(5)
    for _ in range(60):
        ratio, variance = rng.choice([0.0, 1.0, 1.5, 3.0, 20.0, np.inf], size=5), rng.random((5, 2)) ** 3 / 4
        epsilon, cost = rng.random(2)
        best = np.inf
        for inside in itertools.product([False, True], repeat=5):
            alpha = max((r for r, i in zip(ratio, inside, strict=True) if i), default=0.0)
            v = min((x.min() for x, i in zip(variance, inside, strict=True) if not i), default=np.inf)
            best = min(best, alpha * epsilon + cost / v)
        assert dril.dril_bound(ratio, variance, epsilon, cost, 2.0, 10) == pytest.approx(20 * best, rel=1e-12)
    unsure_nowhere = dril.dril_bound(np.array([1.0, np.inf]), np.zeros((2, 1)), np.array([0.1, 0.2]), 0.1, 1.0, 10)
    assert unsure_nowhere.tolist() == [np.inf, np.inf]


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
            grid, NETWORK, clone, {"weights": np.zeros((2, 3, 5, 3))}, bad, None, rounds=1, episodes=2, horizon=3,
            weight=1.0, discount=1.0, step_size=0.1, rng=rng,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"network": Network(5, 2)},
            "the world shows 5 numbers and knows 3 actions; this network was made for 5 and 2",
        ),
        (
            {"network": Network(4, 3)},
            "the world shows 5 numbers and knows 3 actions; this network was made for 4 and 3",
        ),
        ({"weight": -1.0}, "weight must be finite and above 0; got -1.0"),
        ({"discount": 2.0}, r"discount must lie in \[0, 1\]; got 2.0"),
        ({"limit": np.nan}, "^limit is NaN: take it from `threshold`, or None for the raw cost$"),
        (
            {"ensemble": {"weights": np.zeros((5, 3))}},
            r"behind an axis of members: weights \(5, 3\), of the ensemble \(5, 3\)",
        ),
        ({"ensemble": {"weights": np.zeros((1, 5, 3))}}, "an ensemble of 1 cannot disagree with itself"),
    ],
)
def test_dril_refuses_what_does_not_fit_together(changed, told):
    params, rows = {"weights": np.zeros((5, 3))}, Labels(np.eye(5), np.ones(5, dtype=int), np.ones(5))
    given = {"network": NETWORK, "params": params, "ensemble": {"weights": np.zeros((4, 5, 3))}, "labels": rows}
    settings = {"limit": None, "rounds": 1, "episodes": 2, "horizon": 3, "weight": 1.0, "discount": 1.0, "step_size": 1}
    with pytest.raises(ValueError, match=told):
        dril.dril(gridworlds.track(2), **given | settings | changed, rng=np.random.default_rng(0))


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


def test_runs_may_have_several_leading_axes_or_none():
    grid, rng = gridworlds.track(2), np.random.default_rng(14)
    for lead in ((), (2, 3)):
        params = {"weights": rng.normal(size=(*lead, 5, 3))}
        ensemble = {"weights": rng.normal(size=(4, *lead, 5, 3))}
        rows = Labels(np.broadcast_to(np.eye(5), (*lead, 5, 5)), np.ones((*lead, 5), dtype=int), np.ones((*lead, 5)))
        found = dril.dril(
            grid, NETWORK, params, ensemble, rows, np.full(lead, 0.1), rounds=2, episodes=2, horizon=3, weight=1.0,
            discount=1.0, step_size=0.1, rng=rng,
        )  # fmt: skip
        assert found["weights"].shape == (*lead, 5, 3)


def test_dril_runs_on_an_environment_of_gymnasium():
    world, rng = environments.Gym("CartPole-v1"), np.random.default_rng(10)
    network = Network(4, 2)
    labels = demonstrations.draw_states(rollout(world, control.cartpole_expert, (1, 2), 50, rng), 10, rng)
    params = network.init(rng, (1,))
    found = dril.dril(
        world, network, params, network.init(rng, (3, 1)), labels, np.array([0.01]), rounds=2, episodes=2, horizon=50,
        weight=1.0, discount=0.99, step_size=0.01, rng=rng,
    )  # fmt: skip
    assert np.isfinite(found["weights"]).all()
    assert not np.allclose(found["weights"], params["weights"])
