"""The study of networks that learn soft values: who writes, what the control learns from, where the runs begin."""

import numpy as np
import pytest

from rlhf_lab import experiments
from rlhf_lab.experiments import soft_values
from rlhf_lab.methods import soft_values as soft
from rlhf_lab.methods.rollouts import stack
from rlhf_lab.models import lm

RUNS = soft_values.RUNS


def fresh(seeds):
    return stack([soft_values.NETWORK.init(rng) for rng in np.random.default_rng(0).spawn(seeds)])


@pytest.mark.parametrize("name", ["psi, learner", "G, learner", "G, prior", "psi, uniform"])
def test_each_writer_writes_by_its_own_law(name):
    task, prior = soft_values.world()
    params = fresh(2)
    prompt, response, reward = soft_values.writer(RUNS[name], 2, 20_000)(params, np.random.default_rng(1))
    assert reward == pytest.approx(task.mdp.reward(prompt, response))
    uniform = [np.full(level.shape, -np.log(11)) for level in prior]
    fixed = lm.answers_of_levels(prior if RUNS[name].writer == "prior" else uniform, 10)
    learns = RUNS[name].writer == "learner"
    law = soft_values.policy(RUNS[name].kind, params) if learns else np.stack([fixed] * 2)
    expected = np.sum(np.exp(law) * task.rewards, axis=-1) @ task.mdp.start
    error = reward.std(-1) / 20_000**0.5
    assert (np.abs(reward.mean(-1) - expected) < 4 * error).all()


def test_the_control_learns_from_the_exact_values_of_the_same_answers():
    task, prior = soft_values.world()
    for kind in ("psi", "G"):
        run, params = RUNS[f"{kind}, exact values"], fresh(2)
        draw = soft_values.writer(run, 2, 8)
        ((prompt, response, target),) = soft_values.exact_targets(run, draw)(params, np.random.default_rng(3))
        again = draw(params, np.random.default_rng(3))
        assert (prompt == again[0]).all()
        assert (response == again[1]).all()
        # exact values are their own targets: at the last token, and at the first
        mask = lm.response_mask(response, 10)
        last = mask.sum(-1).astype(int) - 1
        earned = again[2] / 0.5
        if kind == "psi":
            log_p = lm.token_log_prob(*task.reference, prompt, response)
            earned = earned + np.take_along_axis(log_p, last[..., None], axis=-1)[..., 0]
        assert np.take_along_axis(target, last[..., None], axis=-1)[..., 0] == pytest.approx(earned)
        root = soft_values.KINDS[kind][1](prior, task.mdp.token_rewards(), 0.5, eos=10).q[0][:, 0]
        row = (prompt[..., None, :] == task.mdp.prompts).all(-1).argmax(-1)
        assert target[..., 0] == pytest.approx(root[row, response[..., 0]])


def test_exact_values_give_the_optimum_and_a_network_for_g_starts_at_the_prior():
    task, prior = soft_values.world()
    nothing = fresh(1) | {"readout": np.zeros((1, 16, 11))}
    assert soft_values.policy("G", nothing) == pytest.approx(task.log_pi_0[None])
    best = soft.psi_values(prior, task.mdp.token_rewards(), 0.5, eos=10).advantage
    assert lm.answers_of_levels(best, 10) == pytest.approx(task.log_optimum)


def test_a_small_curve_and_the_stored_ones():
    for name in ("G, learner", "psi, exact values"):
        assert soft_values.curve(RUNS[name], range(2), rounds=4, points=2).shape == (2, 3)
    stored = experiments.stored("soft values")
    assert {name: each.shape for name, each in stored.items()} == dict.fromkeys(RUNS, (10, 11))


def test_g_ends_nearer_than_psi_with_every_writer_and_nearest_with_the_prior():
    stored = experiments.stored("soft values")
    ends = {name: each[:, -1] for name, each in stored.items()}

    def error(runs):
        return runs.std(ddof=1) / len(runs) ** 0.5

    for writer in ("learner", "prior", "uniform", "exact values"):
        gap = ends[f"psi, {writer}"] - ends[f"G, {writer}"]
        assert gap.mean() > 2 * error(gap), writer
    for kind in ("psi", "G"):
        for other in ("learner", "uniform"):
            gap = ends[f"{kind}, {other}"] - ends[f"{kind}, prior"]
            assert gap.mean() > 3 * error(gap), (kind, other)
    assert np.mean(stored["G, learner"][:, 1]) < np.mean(stored["G, prior"][:, 1])
