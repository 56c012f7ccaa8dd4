"""Small policies by hand, and how often they do what."""

import numpy as np
import pytest

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
        weight = np.exp(expected)
        assert policies.softmax(np.array(expected)) == pytest.approx(weight / sum(weight), abs=1e-12)
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


def test_what_no_network_can_be_or_read_is_refused():
    with pytest.raises(ValueError, match="observations have 4 entries; this policy was made for 3"):
        DEEP.logits(DEEP.init(np.random.default_rng(0)), np.ones((2, 5, 4)))
    with pytest.raises(ValueError, match="a policy chooses among at least 2 actions; got 1"):
        Network(3, 1)
    with pytest.raises(ValueError, match="scale has 2 entries; observations have 3"):
        Network(3, 2, scale=(1.0, 1.0))


def test_actions_come_as_often_as_their_probabilities_say_and_impossible_ones_never():
    policy, rng = np.array([0.5, 0.0, 0.5, 0.0]), np.random.default_rng(0)
    drawn = policies.draw(np.tile(policy, (4000, 1)), rng)
    share = np.bincount(drawn, minlength=4) / 4000
    assert share == pytest.approx(policy, abs=4 * (0.25 / 4000) ** 0.5)
    assert (share[policy == 0] == 0).all()
    with np.errstate(divide="ignore"):
        again = policies.sample(np.tile(np.log(policy), (4000, 1)), np.random.default_rng(0))
    assert (again == drawn).all()
