"""Small policies and how they are cloned."""

import numpy as np
import pytest
from autograd.test_util import check_grads

from rlhf_lab.feedback import demonstrations
from rlhf_lab.feedback.demonstrations import Labels
from rlhf_lab.methods import imitation
from rlhf_lab.models import policies
from rlhf_lab.models.policies import Network

RNG = np.random.default_rng(0)
OBSERVATION = RNG.normal(size=(5, 3))
DEEP = Network(3, 2, hidden=4, scale=(1.0, 2.0, 0.5))
FLAT = Network(3, 4)


def test_the_network_by_hand():
    params = DEEP.init(np.random.default_rng(1))
    params["bias"], params["hidden_bias"] = np.array([0.3, -0.2]), np.array([0.1, 0.2, -0.3, 0.4])
    for row, logits in zip(OBSERVATION, DEEP.logits(params, OBSERVATION), strict=True):
        read = [row[0], row[1] / 2, row[2] * 2]
        h = [
            np.tanh(sum(x * params["hidden_weights"][d, k] for d, x in enumerate(read)) + params["hidden_bias"][k])
            for k in range(4)
        ]
        expected = [sum(h[k] * params["weights"][k, a] for k in range(4)) + params["bias"][a] for a in range(2)]
        assert logits == pytest.approx(expected, abs=1e-12)
        assert policies.softmax(np.array(expected)) == pytest.approx(
            np.exp(expected) / sum(np.exp(expected)), abs=1e-12
        )
    assert np.exp(DEEP.log_policy(params, OBSERVATION)).sum(-1) == pytest.approx(np.ones(5), abs=1e-12)


def test_without_hidden_units_and_with_one_hot_rows_it_is_a_table():
    params = FLAT.init(np.random.default_rng(2))
    assert list(params) == ["weights"]
    assert (FLAT.logits(params, np.eye(3)) == params["weights"]).all()


def test_fresh_parameters():
    rng = np.random.default_rng(3)
    params = Network(50, 2, hidden=200).init(rng, (3, 10))
    assert {name: value.shape for name, value in params.items()} == {
        "weights": (3, 10, 200, 2),
        "hidden_weights": (3, 10, 50, 200),
        "hidden_bias": (3, 10, 200),
        "bias": (3, 10, 2),
    }
    assert params["weights"].std() == pytest.approx(200**-0.5, rel=0.05)
    assert params["hidden_weights"].std() == pytest.approx(50**-0.5, rel=0.05)
    assert not params["bias"].any()
    assert not params["hidden_bias"].any()
    assert Network(50, 100).init(rng)["weights"].std() == pytest.approx(50**-0.5, rel=0.05)
    even = DEEP.init(rng, spread=0.0)
    assert np.exp(DEEP.log_policy(even, OBSERVATION)) == pytest.approx(np.full((5, 2), 0.5), abs=1e-14)
    assert DEEP.init(np.random.default_rng(4), spread=2.0)["weights"] == pytest.approx(
        2 * DEEP.init(np.random.default_rng(4))["weights"], abs=1e-14
    )


def test_members_along_leading_axes_are_each_alone():
    params = DEEP.init(np.random.default_rng(5), (2, 3))
    rows = RNG.normal(size=(3, 5, 3))
    found = DEEP.logits(params, rows)
    assert found.shape == (2, 3, 5, 2)
    alone = {name: value[1, 2] for name, value in params.items()}
    assert found[1, 2] == pytest.approx(DEEP.logits(alone, rows[2]), abs=1e-14)


def test_actions_are_drawn_as_often_as_their_probability_says():
    log_pi = np.log(np.array([[0.1, 0.6, 0.3], [1.0, 1e-300, 1e-300]]))
    drawn = policies.sample(np.broadcast_to(log_pi, (20_000, 2, 3)), np.random.default_rng(6))
    share = np.stack([(drawn == a).mean(0) for a in range(3)], axis=-1)
    p = np.exp(log_pi)
    assert (np.abs(share - p) <= 4 * np.sqrt(p * (1 - p) / 20_000) + 1e-12).all()


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


@pytest.mark.equation("eq-trembling")
def test_a_trembling_policy_takes_any_action_now_and_then():
    policy = np.array([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    assert policies.trembling(policy, 0.3) == pytest.approx(np.array([[0.8, 0.1, 0.1], [0.24, 0.31, 0.45]]), abs=1e-14)
    assert policies.trembling(policy, 0.0) is not policy
    assert (policies.trembling(policy, 0.0) == policy).all()
    assert policies.trembling(policy, 1.0) == pytest.approx(np.full((2, 3), 1 / 3), abs=1e-14)
    with pytest.raises(ValueError, match=r"rate must lie in \[0, 1\]; got -0.1"):
        policies.trembling(policy, -0.1)


def test_a_network_acts_as_it_says_and_trembles_if_asked():
    params = {"weights": np.array([[0.0, 50.0], [50.0, 0.0]])}
    seen = np.broadcast_to(np.eye(2), (5000, 2, 2))
    network, rng = Network(2, 2), np.random.default_rng(9)
    assert (policies.acting(network, params)(seen, rng) == [1, 0]).all()
    wrong = (policies.acting(network, params, 0.5)(seen, rng) != [1, 0]).mean()
    assert abs(wrong - 0.25) < 4 * (0.25 * 0.75 / 10_000) ** 0.5


def test_labels_are_joined_row_after_row():
    deep = Labels(np.ones((2, 3, 5, 4)), np.ones((2, 3, 5), dtype=int), np.ones((2, 3, 5)))
    assert [part.shape for part in demonstrations.join_labels(deep, deep)] == [(2, 3, 10, 4), (2, 3, 10), (2, 3, 10)]
    lists = demonstrations.check_labels(Labels([[1, 2], [3, 4]], [0, 1], [1, 1]), 2)
    assert [part.dtype for part in lists] == [float, np.int64, float]
    one = demonstrations.check_labels(Labels(np.ones((2, 1, 4)), [[0], [1]], [[1], [1]]), 2)
    assert one.weight.dtype == float
    with pytest.raises(ValueError, match=r"^weights must be finite and not negative, and not all 0: .* to imitate$"):
        demonstrations.check_labels(Labels(np.ones((2, 1, 4)), [[0], [1]], [[1], [0]]), 2)
    first = Labels(np.ones((2, 3, 4)), np.ones((2, 3), dtype=int), np.ones((2, 3)))
    second = Labels(np.zeros((2, 1, 4)), np.zeros((2, 1), dtype=int), np.zeros((2, 1)))
    both = demonstrations.join_labels(first, second)
    assert [part.shape for part in both] == [(2, 4, 4), (2, 4), (2, 4)]
    assert both.action.tolist() == [[1, 1, 1, 0]] * 2
    assert (both.observation[:, 3].sum(), both.weight.sum()) == (0, 6)


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
        with pytest.raises(
            ValueError, match="weights must be finite and not negative, and not all 0: there is nothing"
        ):
            clone_with(weight=np.array(weight))
    with pytest.raises(ValueError, match="observations have 4 entries; this policy was made for 3"):
        clone_with(observation=np.ones((2, 4)))
    with pytest.raises(ValueError, match="observations have 4 entries; this policy was made for 3"):
        DEEP.logits(DEEP.init(np.random.default_rng(0)), np.ones((2, 5, 4)))
    with pytest.raises(ValueError, match="a policy chooses among at least 2 actions; got 1"):
        Network(3, 1)
    with pytest.raises(ValueError, match="scale has 2 entries; observations have 3"):
        Network(3, 2, scale=(1.0, 1.0))
