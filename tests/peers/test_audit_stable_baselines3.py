"""The losses of Stable-Baselines3 pass their audits as its own `train` computes them, and so do its advantages.

`train` returns nothing: its loss is read from what it logs, and its gradient from what it leaves in its inputs.
"""

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from audited import check_right
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.buffers import RolloutBuffer

from rlhf_lab import audit

pytestmark = pytest.mark.peer
TWO = gymnasium.spaces.Discrete(2)


class Train(torch.autograd.Function):
    """`train` on one batch of steps, as a function of log-probabilities and values."""

    @staticmethod
    def forward(ctx, log_prob, values, agent, name, settings, batch):
        leaves = [x.detach().requires_grad_() for x in (log_prob, values)]
        logged = {}
        given = {
            "policy": SimpleNamespace(
                set_training_mode=lambda mode: None,
                evaluate_actions=lambda observations, actions: (flat[1], flat[0], torch.zeros_like(flat[0])),
                optimizer=SimpleNamespace(zero_grad=lambda: None, step=lambda: None),
                parameters=list,
            ),
            "rollout_buffer": SimpleNamespace(get=lambda batch_size: [batch], values=np.zeros(2), returns=np.arange(2)),
            "logger": SimpleNamespace(record=lambda name, value, exclude=None: logged.update({name: value})),
            "action_space": TWO,
            "clip_range": lambda progress: 0.2,
            "clip_range_vf": None,
            "normalize_advantage": False,
            "ent_coef": 0.0,
            "vf_coef": 1.0,
            "max_grad_norm": 1.0,
            "target_kl": None,
            "n_epochs": 1,
            "batch_size": None,
            "_n_updates": 0,
            "_current_progress_remaining": 1.0,
            "_update_learning_rate": lambda optimizer: None,
        }
        with torch.enable_grad():
            flat = [x.flatten() for x in leaves]
            agent.train(SimpleNamespace(**given | settings))
        ctx.slopes = [torch.zeros_like(x) if x.grad is None else x.grad for x in leaves]
        return log_prob.new_tensor(logged[name])

    @staticmethod
    def backward(ctx, slope):
        return (*(slope * each for each in ctx.slopes), None, None, None, None)


def batch_of(old_log_prob, advantages, old_values, returns):
    given = {"old_log_prob": old_log_prob, "advantages": advantages, "old_values": old_values, "returns": returns}
    rows = {name: x.flatten() for name, x in given.items()}
    return SimpleNamespace(actions=torch.zeros(returns.numel()), observations=None, **rows)


def policy_loss(**settings):
    def loss(log_prob, old_log_prob, advantages, clip_range):
        zeros = torch.zeros_like(log_prob)
        batch = batch_of(old_log_prob, advantages, zeros, zeros)
        options = {"clip_range": lambda progress: clip_range} | settings
        return Train.apply(log_prob, zeros, PPO, "train/policy_gradient_loss", options, batch)

    return loss


def value_loss(agent, **settings):
    def loss(values, returns):
        zeros = torch.zeros_like(values)
        return Train.apply(zeros, values, agent, "train/value_loss", settings, batch_of(zeros, zeros, zeros, returns))

    return loss


def clipped_value_loss(values, old_values, returns, clip_range_vf):
    zeros = torch.zeros_like(values)
    batch = batch_of(zeros, zeros, old_values, returns)
    return Train.apply(zeros, values, PPO, "train/value_loss", {"clip_range_vf": lambda progress: clip_range_vf}, batch)


def test_the_loss_of_ppo_passes():
    check_right("ppo_loss", policy_loss())


def test_advantages_that_are_whitened_in_the_loss_of_ppo_are_told():
    report = audit.ppo_loss(policy_loss(normalize_advantage=True))
    assert report.ok, str(report)
    assert any("whiten" in told for told in report.conventions), report.conventions


@pytest.mark.parametrize("agent", [PPO, A2C])
def test_losses_of_values_pass(agent):
    check_right("value_loss", value_loss(agent))


def test_the_clipped_loss_of_values_is_told():
    told = "the error of the clipped value alone, as in Stable-Baselines3"
    check_right("value_loss", clipped_value_loss, told)


def test_advantages_of_rollouts_pass():
    def gae(rewards, values, episode_starts, last_values, next_dones, gamma, lam):
        steps, rows = rewards.shape
        buffer = RolloutBuffer(steps, TWO, TWO, device="cpu", gae_lambda=lam, gamma=gamma, n_envs=rows)
        buffer.rewards, buffer.values, buffer.episode_starts = rewards, values, episode_starts
        buffer.advantages = np.zeros((steps, rows))
        buffer.compute_returns_and_advantage(torch.tensor(last_values), next_dones)
        return buffer.advantages

    report = audit.gae(gae)
    assert report.ok, str(report)
    assert any(told.startswith("time comes first, (T, N)") for told in report.conventions)
