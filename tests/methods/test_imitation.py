"""How experts are cloned, what that loses, exactly, and DAgger, with every question counted."""

from functools import partial

import numpy as np
import pytest
from autograd.test_util import check_grads

from rlhf_lab.feedback import demonstrations
from rlhf_lab.feedback.demonstrations import Labels
from rlhf_lab.methods import imitation
from rlhf_lab.models import policies
from rlhf_lab.models.policies import Network
from rlhf_lab.worlds import control, environments, gridworlds
from rlhf_lab.worlds.control import rollout

CLIFF = gridworlds.cliff()
STAY = gridworlds.table(np.array([0, 1]), 2)  # the expert of the cliff: stay on the road, swerve out of the ditch
DEEP = Network(3, 2, hidden=4, scale=(1.0, 2.0, 0.5))
horizons = pytest.mark.parametrize("horizon", [1, 2, 7, 50])


def cliff_policy(road, ditch):
    """Err with probability `road` on the road and `ditch` in the ditch."""
    return np.array([[1 - road, road], [ditch, 1 - ditch]])


@pytest.mark.equation("eq-cloning-loss")
def test_the_cloning_loss_by_hand():
    logits = np.log(np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]]))
    action, weight = np.array([1, 0, 1]), np.array([1.0, 2.0, 0.0])
    expected = -(np.log(0.8) + 2 * np.log(0.5)) / 3
    assert imitation.cloning_loss(logits, action, weight) == pytest.approx(expected, rel=1e-14)
    assert imitation.cloning_loss(logits, action, 7 * weight) == pytest.approx(expected, rel=1e-14)
    both = imitation.cloning_loss(np.stack([logits, -logits]), action, weight)
    assert both.shape == (2,)
    assert both[0] == pytest.approx(expected, rel=1e-14)
    check_grads(lambda z: imitation.cloning_loss(z, action, weight), modes=["rev"], order=1)(logits)


@pytest.mark.equation("eq-cloning-loss")
def test_the_clone_of_a_noisy_expert_is_its_frequencies():
    state = np.repeat([0, 1], [10, 5])
    action = np.array([0] * 7 + [1] * 3 + [1] * 4 + [0])
    labels = Labels(np.eye(2)[state], action, np.ones(15))
    network, rng = Network(2, 2), np.random.default_rng(7)
    params = imitation.clone(network, network.init(rng), labels, rounds=400, step_size=0.1)
    assert policies.softmax(params["weights"]) == pytest.approx(np.array([[0.7, 0.3], [0.2, 0.8]]), abs=1e-4)


def test_weights_leave_pairs_out_and_seeds_train_as_if_alone():
    rng = np.random.default_rng(8)
    rows, action = rng.normal(size=(2, 6, 3)), rng.integers(2, size=(2, 6))
    weight = np.array([[1, 1, 1, 0, 0, 0], [1, 2, 0, 1, 1, 0.0]])
    params = DEEP.init(rng, (2,))
    both = imitation.clone(DEEP, params, Labels(rows, action, weight), rounds=20, step_size=0.1)
    one = {name: value[0] for name, value in params.items()}
    few = Labels(rows[0, :3], action[0, :3], np.ones(3))
    alone = imitation.clone(DEEP, one, few, rounds=20, step_size=0.1)
    for name in one:
        assert both[name][0] == pytest.approx(alone[name], abs=1e-10)
        assert not np.allclose(alone[name], one[name])


def clone_with(**changed):
    labels = Labels(np.ones((2, 3)), np.array([0, 1]), np.ones(2))._replace(**changed)
    rng = np.random.default_rng(0)
    return imitation.clone(DEEP, DEEP.init(rng), labels, rounds=1, step_size=0.1)


def test_what_is_not_a_demonstration_is_refused():
    with pytest.raises(ValueError, match="action must be integers, the numbers of discrete actions; got float64"):
        clone_with(action=np.array([0.5, 1.0]))
    for wrong in (2, -1):
        with pytest.raises(ValueError, match=f"action: there are 2 actions, 0 to 1; got {wrong}"):
            clone_with(action=np.array([0, wrong]))
    for changed in ({"action": np.array([0])}, {"weight": np.ones(3)}, {"observation": np.ones((3, 3))}):
        with pytest.raises(ValueError, match="must have one action and one weight for each observation"):
            clone_with(**changed)
    for wrong in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^observation holds NaN or infinity$"):
            clone_with(observation=np.array([[1.0, wrong, 0], [0, 0, 0]]))
    for weight in ([0, 0], [1, -0.5], [1, np.nan]):
        with pytest.raises(ValueError, match=r"^weights must be finite and not negative, and not all 0: .* imitate$"):
            clone_with(weight=np.array(weight))
    with pytest.raises(ValueError, match="observations have 4 entries; this policy was made for 3"):
        clone_with(observation=np.ones((2, 4)))


@pytest.mark.equation("eq-cliff-clone")
@horizons
@pytest.mark.parametrize("epsilon", [1e-6, 0.01, 0.3])
def test_a_clone_on_the_cliff_loses_what_the_formula_says(epsilon, horizon):
    clone = cliff_policy(epsilon, 1.0)
    lost = gridworlds.performance(CLIFF, STAY, horizon) - gridworlds.performance(CLIFF, clone, horizon)
    assert imitation.cliff_clone_gap(epsilon, horizon) == pytest.approx(lost, abs=1e-8)
    assert imitation.cliff_clone_gap(1e-7, 100) == pytest.approx(1e-7 * 100 * 99 / 2, rel=1e-4)


@pytest.mark.equation("eq-cliff-dagger")
@horizons
def test_a_policy_that_errs_evenly_loses_linearly(horizon):
    lost = horizon - gridworlds.performance(CLIFF, cliff_policy(0.03, 0.03), horizon)
    assert imitation.cliff_dagger_gap(0.03, horizon) == pytest.approx(lost, abs=1e-12)


@pytest.mark.equation("eq-cliff-clone", "eq-cliff-dagger")
def test_slopes_on_the_cliff():
    steps = 2.0 ** np.arange(3, 8)
    slope = lambda gap: np.polyfit(np.log(steps), np.log(gap(1e-4, steps)), 1)[0]  # noqa: E731
    assert slope(imitation.cliff_clone_gap) == pytest.approx(2, abs=0.05)
    assert slope(imitation.cliff_dagger_gap) == pytest.approx(1, abs=0.05)


@pytest.mark.equation("eq-expert-difference")
def test_what_a_policy_loses_is_what_its_actions_cost_where_it_takes_them():
    grid = gridworlds.track(3, wind=0.1)
    expert = gridworlds.table(gridworlds.drive(3), 3)
    others = np.random.default_rng(0).dirichlet(np.ones(3), size=(4, 7))
    lost = gridworlds.performance(grid, expert, 9) - gridworlds.performance(grid, others, 9)
    assert imitation.gap(grid, expert, others, 9) == pytest.approx(lost, abs=1e-12)
    cost = imitation.expert_advantage(grid, expert, 9)
    assert cost.shape == (9, 7, 3)
    assert cost.min() > -1e-12
    assert (cost * expert).sum(-1) == pytest.approx(np.zeros((9, 7)), abs=1e-12)


def test_one_wrong_turn_on_the_track_costs_at_most_two_steps():
    cost = imitation.expert_advantage(gridworlds.track(3), gridworlds.table(gridworlds.drive(3), 3), 12)
    assert cost[0, 3].tolist() == [1, 0, 1]  # from the middle: one step beside it
    assert cost[0, 4].tolist() == [0, 2, 2]  # from beside it: one step farther, and one more back
    assert cost[0, 6].tolist() == [0, 1, 1]  # on the verge one can go no farther
    assert cost.max() == 2


def test_the_error_counts_steps():
    policy, d = cliff_policy(0.1, 0.6), np.array([[1.0, 0.0], [0.5, 0.5]])
    assert imitation.error(policy, STAY, d) == pytest.approx((0.1 + 0.05 + 0.3) / 2, rel=1e-14)
    assert imitation.error(np.stack([policy, STAY]), STAY, d) == pytest.approx([0.225, 0.0], abs=1e-14)


@pytest.mark.equation("eq-clone-bound", "eq-interactive-bound")
@pytest.mark.parametrize("horizon", [1, 3, 20])
def test_both_bounds_hold_for_any_policy(horizon):
    grid = gridworlds.track(3, wind=0.05)
    expert = gridworlds.table(gridworlds.drive(3), 3)
    rng = np.random.default_rng(1)
    share = rng.random((300, 1, 1)) ** 4
    others = (1 - share) * expert + share * rng.dirichlet(np.full(3, 0.3), size=(300, 7))
    lost = imitation.gap(grid, expert, others, horizon)
    shown = imitation.error(others, expert, gridworlds.occupancy(grid, expert, horizon))
    own = imitation.error(others, expert, gridworlds.occupancy(grid, others, horizon))
    u = imitation.expert_advantage(grid, expert, horizon).max()
    assert (lost <= imitation.clone_bound(shown, horizon) + 1e-12).all()
    assert (lost <= imitation.interactive_bound(own, u, horizon) + 1e-12).all()
    assert imitation.clone_bound(0.1, horizon) == pytest.approx(0.1 * horizon**2)
    assert imitation.interactive_bound(0.1, 2.0, horizon) == pytest.approx(0.2 * horizon)


@pytest.mark.equation("eq-interactive-bound")
def test_the_interactive_bound_is_reached_on_the_track_as_near_as_one_error_costs():
    grid, expert = gridworlds.track(4), gridworlds.table(gridworlds.drive(4), 3)
    policy = policies.trembling(expert, 1e-6)
    own = imitation.error(policy, expert, gridworlds.occupancy(grid, policy, 100))
    bound = imitation.interactive_bound(own, 1.0, 100)
    assert imitation.gap(grid, expert, policy, 100) == pytest.approx(bound, rel=0.02)


WIDTH, HORIZON = 8, 64
TRACK = gridworlds.track(WIDTH)
EXPERT = gridworlds.table(gridworlds.drive(WIDTH), 3)
NETWORK = Network(TRACK.observations, 3)
RATE = 0.003


def expert(seen, rng):
    return gridworlds.drive(WIDTH)[seen.argmax(-1)]


def train(params, labels, rng):
    return imitation.clone(NETWORK, params, labels, rounds=40, step_size=0.3)


def start(seeds, rng):
    labels = demonstrations.draw_states(rollout(TRACK, expert, (seeds, 3), 50, rng), 50, rng)
    return train(NETWORK.init(rng, (seeds,), spread=0.0), labels, rng), labels


def learned(params, rate=RATE):
    return policies.trembling(policies.softmax(params["weights"]), rate)


def run(ask, *, rounds=12, episodes=32, keep=8, horizon=128, beta=0.0, rate=RATE, seeds=5, seed=0):
    rng = np.random.default_rng(seed)
    params, labels = start(seeds, rng)
    settings = {"rounds": rounds, "episodes": episodes, "keep": keep, "horizon": horizon, "beta": beta, "rate": rate}
    return imitation.dagger(TRACK, expert, NETWORK, params, labels, ask, train, **settings, rng=rng)


def slope(policy):
    steps = 2 ** np.arange(3, 8)
    lost = [imitation.gap(TRACK, EXPERT, policy, horizon).mean() for horizon in steps]
    return np.polyfit(np.log(steps), np.log(lost), 1)[0]


def test_on_the_track_a_clone_loses_quadratically_and_dagger_linearly():
    clone, *_, last = run(imitation.always(expert), rounds=6)
    assert slope(learned(clone.params)) == pytest.approx(2, abs=0.15)
    assert slope(learned(last.params)) == pytest.approx(1, abs=0.15)
    assert clone.queries.tolist() == [150] * 5
    assert last.queries.tolist() == [150 + 6 * 32 * 8] * 5


def test_a_clone_knows_the_middle_of_the_road_and_nothing_else():
    params, _ = start(2, np.random.default_rng(0))
    policy = policies.softmax(params["weights"])
    assert (policy[:, WIDTH, gridworlds.AHEAD] > 0.99).all()
    assert policy[:, :WIDTH] == pytest.approx(np.full((2, WIDTH, 3), 1 / 3), abs=1e-12)


@pytest.mark.equation("eq-dagger-mixture")
def test_a_mixture_lets_the_expert_act_as_often_as_it_says():
    rng = np.random.default_rng(2)
    always = lambda seen, rng: 1 + rng.integers(1, size=seen.shape[:-1])  # noqa: E731
    never = wrong_in_one
    acted = imitation.mixture(always, never, 0.3)(np.zeros((20_000, 1)), rng)
    assert abs(acted.mean() - 0.3) < 4 * (0.3 * 0.7 / 20_000) ** 0.5
    assert imitation.mixture(always, never, 1.0)(np.zeros((9, 1)), rng).tolist() == [1] * 9
    assert imitation.mixture(always, never, 0.0)(np.zeros((9, 1)), rng).tolist() == [0] * 9
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\]; got 1.1"):
        imitation.mixture(always, never, 1.1)


@pytest.mark.equation("eq-dagger-mixture")
def test_the_share_of_the_expert_is_beta_to_the_round(monkeypatch):
    shares = []
    original = imitation.mixture
    monkeypatch.setattr(imitation, "mixture", lambda e, p, share: shares.append(share) or original(e, p, share))
    run(imitation.always(expert), rounds=3, episodes=1, keep=1, horizon=4, beta=0.5, seeds=1)
    assert shares == [0.5, 0.25, 0.125]


def test_with_the_expert_at_the_wheel_dagger_learns_nothing_new():
    *_, last = run(imitation.always(expert), rounds=4, beta=1.0, seeds=2)
    policy = policies.softmax(last.params["weights"])
    assert policy[:, : WIDTH - 1] == pytest.approx(np.full((2, WIDTH - 1, 3), 1 / 3), abs=1e-12)


@pytest.mark.equation("eq-query-probability")
def test_who_is_sure_seldom_asks():
    log_pi = np.log(np.array([[0.5, 0.5, 1e-9], [0.6, 0.1, 0.3], [1 - 2e-6, 1e-6, 1e-6]]))
    q = imitation.query_probability(log_pi, 0.5)
    assert q == pytest.approx([1.0, 0.5 / (0.5 + np.log(2)), 0.5 / (0.5 + np.log((1 - 2e-6) / 1e-6))], rel=1e-12)
    assert imitation.query_probability(log_pi[1], 2.0) == pytest.approx(2 / (2 + np.log(2)), rel=1e-12)
    with pytest.raises(ValueError, match="b must be finite and above 0; got 0"):
        imitation.query_probability(log_pi, 0)


@pytest.mark.equation("eq-guided-query")
def test_both_doubts_are_needed_to_ask():
    q, delta = np.array([0.0, 0.5, 1.0]), np.array([0.4, 0.4, 0.4])
    assert imitation.guided_query_probability(q, delta) == pytest.approx([0, 0.2, 0.4], abs=1e-14)


SEEN = Labels(np.broadcast_to(np.eye(2), (4000, 2, 2)), np.zeros((4000, 2), dtype=int), np.ones((4000, 2)))
SURE = {"weights": np.array([[0.0, 0.0], [3.0, 0.0]])}  # in state 0 it does not know, in state 1 it is fairly sure
TWO = Network(2, 2)


def right(seen, rng):
    """An expert that takes its state for an action, and uses chance as an expert may."""
    return seen.argmax(-1) + rng.integers(1, size=seen.shape[:-1])


def wrong_in_one(seen, rng):
    return rng.integers(1, size=seen.shape[:-1])


def near(found, expected, n):
    return abs(found - expected) <= 4 * (expected * (1 - expected) / n) ** 0.5 + 1e-12


@pytest.mark.equation("eq-query-probability")
def test_states_are_asked_about_as_often_as_the_policy_is_unsure():
    labels, queries = imitation.when_unsure(TWO, right, 1.0)(SURE, SEEN, np.random.default_rng(3))
    assert labels.action.tolist() == [[0, 1]] * 4000
    assert near(labels.weight[:, 0].mean(), 1.0, 4000)
    assert near(labels.weight[:, 1].mean(), 0.25, 4000)
    assert (queries == labels.weight.sum(-1)).all()
    labels, queries = imitation.always(right)(SURE, SEEN._replace(weight=0 * SEEN.weight), np.random.default_rng(3))
    assert labels.action.tolist() == [[0, 1]] * 4000
    assert not queries.any()


@pytest.mark.equation("eq-guided-query")
def test_a_guide_answers_where_the_expert_has_confirmed_it():
    ask = imitation.Guided(TWO, right, wrong_in_one, 1.0)
    rng = np.random.default_rng(4)
    labels, queries = ask(SURE, SEEN, rng)
    prior = imitation.PRIOR
    told = labels.weight[:, 0].sum() == 4000  # always unsure in state 0: expert or guide answers
    assert told
    assert (labels.action[:, 0] == 0).all()
    assert near(labels.weight[:, 1].mean(), 0.25, 4000)
    wrong = (labels.weight[:, 1] == 1) & (labels.action[:, 1] == 0)  # the guide's answer, which is wrong there
    assert near(wrong.mean(), 0.25 * (1 - prior), 4000)
    assert near(queries.mean() / 1.25, prior, 5000)
    assert ask.asked.shape == (4000, 1, 2)
    assert ask.wrong[..., 0].sum() == 0
    assert (ask.wrong[..., 1] == ask.asked[..., 1]).all()
    confirmed, caught = ask.asked[:, 0, 0] > 0, ask.asked[:, 0, 1] > 0
    before = ask.asked.copy()
    ask(SURE, SEEN, rng)
    again = (ask.asked - before)[:, 0]
    for asked, chance, n in (
        (again[confirmed, 0], prior / 2, confirmed.sum()),
        (again[~confirmed, 0], prior, (~confirmed).sum()),
        (again[caught, 1], 0.25 * (prior + 1) / 2, caught.sum()),
        (again[~caught, 1], 0.25 * prior, (~caught).sum()),
    ):
        assert near(asked.mean(), chance, n)


@pytest.mark.parametrize("way", ["always", "unsure", "guided"])
def test_runs_with_several_leading_axes_are_counted_one_by_one(way):
    rows = Labels(np.broadcast_to(np.eye(2), (2, 3, 2, 2)), np.zeros((2, 3, 2), dtype=int), np.ones((2, 3, 2)))
    rows.weight[1, 2] = 0.0
    ask = {
        "always": imitation.always(right),
        "unsure": imitation.when_unsure(TWO, right, 1e9),
        "guided": imitation.Guided(TWO, right, wrong_in_one, 1e9),
    }[way]
    labels, queries = ask({"weights": np.zeros((2, 3, 2, 2))}, rows, np.random.default_rng(8))
    assert labels.weight.shape == (2, 3, 2)
    assert queries.shape == (2, 3)
    assert queries[1, 2] == 0
    if way != "guided":
        assert (queries.ravel()[:-1] == 2).all()


def test_dagger_with_two_leading_axes_one_round_and_no_tremble(monkeypatch):
    rates = []
    original = policies.acting
    monkeypatch.setattr(policies, "acting", lambda n, p, rate: rates.append(rate) or original(n, p, rate))
    rng, grid = np.random.default_rng(9), gridworlds.cliff()
    rows = Labels(np.broadcast_to(np.eye(2), (2, 3, 2, 2)), np.zeros((2, 3, 2), dtype=int), np.ones((2, 3, 2)))
    first, last = imitation.dagger(
        grid, right, TWO, TWO.init(rng, (2, 3)), rows, imitation.always(right), lambda params, labels, rng: params,
        rounds=1, episodes=4, keep=2, horizon=5, beta=0.5, rng=rng,
    )  # fmt: skip
    assert rates == [0.0]
    assert first.queries.tolist() == [[2.0] * 3] * 2
    assert last.queries.tolist() == [[10.0] * 3] * 2


asked = partial(run, episodes=4, keep=16, horizon=HORIZON, rate=0.02, seeds=10, seed=3)


@pytest.fixture(scope="module")
def alone():
    """The end of DAgger that asks the expert where the policy is unsure, and has no guide."""
    return asked(imitation.when_unsure(NETWORK, expert, 0.1))[-1]


def test_active_learning_on_the_track_asks_far_less_for_the_same_policy(alone):
    all_ = asked(imitation.always(expert))[-1]
    loss = [imitation.gap(TRACK, EXPERT, learned(r.params, 0.02), HORIZON).mean() for r in (all_, alone)]
    assert loss[1] < 1.2 * loss[0]
    assert ((alone.queries - 150) * 10 < all_.queries - 150).all()


def half(seen, rng):
    """A guide that knows the left half of the road."""
    return np.where(seen.argmax(-1) <= WIDTH, expert(seen, rng), gridworlds.AHEAD)


def test_a_wrong_answer_of_the_guide_that_is_believed_stays():
    guided = asked(imitation.Guided(NETWORK, expert, half, 0.1), seed=8)[-1]
    lost = np.sort(imitation.gap(TRACK, EXPERT, learned(guided.params, 0.02), HORIZON))
    assert lost[:8].max() < 1.1
    assert lost[8:] == pytest.approx([11.3, 11.3], abs=0.1)


def test_a_guide_that_is_right_on_one_side_saves_questions(alone):
    guided = asked(imitation.Guided(NETWORK, expert, half, 0.1))[-1]
    saved = alone.queries - guided.queries
    assert saved.mean() > 0
    loss = [imitation.gap(TRACK, EXPERT, learned(r.params, 0.02), HORIZON).mean() for r in (alone, guided)]
    assert loss[1] < 1.5 * loss[0]


def test_seeds_of_dagger_count_their_own_queries_and_the_rollin_trembles(monkeypatch):
    rates = []
    original = policies.acting
    monkeypatch.setattr(policies, "acting", lambda n, p, rate=0.0: rates.append(rate) or original(n, p, rate))
    *_, last = run(imitation.always(expert), rounds=2, episodes=3, keep=5, horizon=7, rate=0.2, seeds=2)
    assert last.queries.tolist() == [150 + 30] * 2
    assert rates == [0.2, 0.2]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"rounds": 0}, "DAgger needs at least 1 round of 1 episode; got 0 rounds of 32"),
        ({"episodes": 0}, "DAgger needs at least 1 round of 1 episode; got 12 rounds of 0"),
        ({"beta": 1.5}, r"beta must lie in \[0, 1\]; got 1.5"),
        ({"rate": -1.0}, r"rate must lie in \[0, 1\]; got -1.0"),
    ],
)
def test_settings_without_sense_are_refused(changed, told):
    with pytest.raises(ValueError, match=told):
        run(imitation.always(expert), seeds=1, **changed)


def test_dagger_needs_a_network_that_was_made_for_its_world():
    rng, network = np.random.default_rng(0), Network(4, 5)
    rows = Labels(np.ones((1, 2, 4)), np.zeros((1, 2), dtype=int), np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"the world shows 4 numbers and knows 2 actions; .* made for 4 and 5"):
        imitation.dagger(
            control.CartPole(), control.cartpole_expert, network, network.init(rng, (1,)), rows,
            imitation.always(control.cartpole_expert), train, rounds=1, episodes=1, keep=1, horizon=5, beta=0.0,
            rng=rng,
        )  # fmt: skip


@pytest.mark.parametrize("row", [[0.5, 0.5], [1.0, 1.0], [0.0, 0.0], [2.0, -1.0]])
def test_a_guide_is_counted_in_states_and_wants_one_hot_rows(row):
    ask = imitation.Guided(TWO, right, wrong_in_one, 1.0)
    rows = Labels(np.array([[[1.0, 0.0], row]]), np.zeros((1, 2), dtype=int), np.ones((1, 2)))
    with pytest.raises(ValueError, match="observations must be one-hot rows"):
        ask({"weights": np.zeros((1, 2, 2))}, rows, np.random.default_rng(0))


@pytest.mark.parametrize("epsilon", [0.0, 1.0, -0.1, np.nan])
def test_an_error_is_a_probability(epsilon):
    with pytest.raises(ValueError, match="epsilon is a chance to err, above 0 and below 1; got"):
        imitation.cliff_clone_gap(epsilon, 5)
    if epsilon < 0:
        with pytest.raises(ValueError, match=r"epsilon must lie in \[0, 1\]"):
            imitation.cliff_dagger_gap(epsilon, 5)


def test_dagger_runs_on_an_environment_of_gymnasium():
    world, rng = environments.Gym("CartPole-v1"), np.random.default_rng(5)
    network = Network(4, 2, hidden=8, scale=control.CartPole().scale)
    fit = lambda params, labels, rng: imitation.clone(network, params, labels, rounds=40, step_size=0.05)  # noqa: E731
    labels = demonstrations.draw_states(rollout(world, control.cartpole_expert, (1, 1), 500, rng), 50, rng)
    params = fit(network.init(rng, (1,)), labels, rng)
    found = imitation.dagger(
        world, control.cartpole_expert, network, params, labels, imitation.always(control.cartpole_expert), fit,
        rounds=3, episodes=2, keep=20, horizon=500, beta=0.5, rng=rng,
    )  # fmt: skip
    returns = rollout(world, policies.acting(network, found[-1].params), (1, 5), 500, rng).returns
    assert returns.mean() > 100  # random play reaches about 20


@pytest.mark.equation("eq-dagger-regret")
def test_a_leader_among_two_policies_has_regret_and_one_that_mixes_has_none():
    """Action a leads to state a, and the expert swaps: "always a" errs where it goes, and the other one does not."""
    horizon, swap = 100, np.eye(2)[::-1]
    grid = gridworlds.Grid(np.broadcast_to(np.eye(2), (2, 2, 2)), np.zeros(2), np.array([0.0, 1.0]))

    def losses(policies, driver):
        return imitation.error(policies, swap, gridworlds.occupancy(grid, driver, horizon))

    both = np.stack([np.tile(row, (2, 1)) for row in np.eye(2)])
    found, leader, led = [], 0, []
    for _ in range(20):
        led.append(leader)
        found.append(losses(both, both[leader]))
        total = np.sum(found, axis=0)
        leader = 1 - leader if total[0] == total[1] else int(np.argmin(total))
    played = np.array(found)[range(20), led]
    assert played.mean() == pytest.approx(0.995)
    assert np.mean(found, axis=0).min() == pytest.approx(0.495)
    assert imitation.regret(played, np.array(found)) == pytest.approx(0.5)
    share, error, surprise = np.array([0.9, 0.1]), [], []  # the expert's actions so far: their share surprises least
    for _ in range(400):
        mixed = np.tile(share / share.sum(), (2, 1))
        told = gridworlds.occupancy(grid, mixed, horizon).mean(0) @ swap
        error.append(float(losses(mixed, mixed)))
        surprise.append(-told @ np.log(mixed[0]))
        share = share + told
    told = (share - [0.9, 0.1]) / 400
    gamma = [imitation.regret(np.array(surprise), np.full((400, 1), -told @ np.log(told)))]
    assert share / share.sum() == pytest.approx([0.5, 0.5], abs=0.01)
    assert np.mean(error) == pytest.approx(0.5, abs=2e-3)
    assert 400 * gamma[0] == pytest.approx(1.37, abs=0.01)  # bounded: the regret falls as 1 / N


@pytest.mark.equation("eq-dagger-regret")
def test_some_policy_loses_no_more_than_the_mean_of_the_rounds_allows():
    rng, grid = np.random.default_rng(0), gridworlds.track(3, wind=0.05)
    expert = gridworlds.table(gridworlds.drive(3), 3)
    u = imitation.expert_advantage(grid, expert, 20).max()
    for _ in range(20):
        rounds = rng.dirichlet(np.full(3, 0.5), size=(6, 7))
        all_ = np.array([imitation.error(rounds, expert, gridworlds.occupancy(grid, r, 20)) for r in rounds])
        each, best = all_.diagonal(), all_.mean(0).min()
        assert imitation.gap(grid, expert, rounds, 20).min() <= imitation.interactive_bound(each.mean(), u, 20)
        assert best + imitation.regret(each, all_) == pytest.approx(each.mean(), rel=1e-12)
        with pytest.raises(ValueError, match=r"for the rounds that were played: losses \(5,\) .* \(6, 6\)"):
            imitation.regret(each[1:], all_)


@pytest.mark.equation("eq-cloning-loss")
def test_a_pair_of_weight_zero_may_be_impossible():
    logits = np.array([[0.0, 1.0, -np.inf], [0.0, 1.0, -np.inf]])
    found = imitation.cloning_loss(logits, [1, 2], np.array([2.0, 0.0]))
    assert found == pytest.approx(np.log(1 + np.exp(-1)), abs=1e-15)
    assert imitation.cloning_loss(logits, [1, 2], np.array([2.0, 1.0])) == np.inf


def test_a_policy_that_is_sure_acts_without_a_warning():
    network = Network(observations=2, actions=3)
    act = policies.acting(network, {"weights": np.array([[0.0, 900.0, -900.0], [900.0, 0.0, 0.0]])})
    assert act(np.eye(2), np.random.default_rng(0)).tolist() == [1, 0]
