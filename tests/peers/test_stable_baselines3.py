"""Stable-Baselines3 finds the same advantages, and takes the same step of PPO."""

import autograd.numpy as np
import gymnasium
import pytest
import torch
from autograd import grad
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.logger import configure

from rlhf_lab.methods import actor_critic
from rlhf_lab.numerics.autodiff import log_prob_of

pytestmark = pytest.mark.peer

STATES, ACTIONS, COUNT = 5, 3, 64


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 1.0), (0.8, 0.0)])
def test_advantages_of_answers_of_different_lengths(agree, gamma, lam):
    rng, lengths = np.random.default_rng(0), [4, 1, 3, 2]
    mask = np.array([[1.0] * n + [0.0] * (4 - n) for n in lengths])
    rewards, values = rng.normal(size=(2, 4, 4))
    real = mask > 0

    one = gymnasium.spaces.Discrete(2)
    buffer = RolloutBuffer(sum(lengths), one, one, device="cpu", gae_lambda=lam, gamma=gamma)
    begins = np.concatenate([[1.0] + [0.0] * (n - 1) for n in lengths])
    buffer.rewards, buffer.values = rewards[real][:, None], values[real][:, None]
    buffer.episode_starts, buffer.advantages = begins[:, None], np.zeros((sum(lengths), 1))
    buffer.compute_returns_and_advantage(torch.zeros(1), np.ones(1))

    found = actor_critic.gae(rewards, values, mask, gamma, lam)
    agree("gae", found[real], buffer.advantages[:, 0])
    agree("gae", (found + values)[real], buffer.returns[:, 0])


class Choices(gymnasium.Env):
    """Enough of an environment to make an agent."""

    observation_space = gymnasium.spaces.Discrete(STATES)
    action_space = gymnasium.spaces.Discrete(ACTIONS)


@pytest.mark.parametrize("value_clip", [None, 0.2])
def test_one_step_of_ppo_has_the_same_gradient(agree, value_clip):
    agent = PPO(
        "MlpPolicy",
        Choices(),
        n_steps=COUNT,
        batch_size=COUNT,
        n_epochs=1,
        normalize_advantage=False,
        clip_range=0.2,
        clip_range_vf=value_clip,
        ent_coef=0.0,
        vf_coef=0.5,
        max_grad_norm=1e9,
        device="cpu",
        seed=0,
        policy_kwargs={"net_arch": [], "optimizer_class": torch.optim.SGD},
    )
    rng = np.random.default_rng(1)
    state, action = rng.integers(STATES, size=COUNT), rng.integers(ACTIONS, size=COUNT)
    advantage, returns, old_values = rng.normal(size=(3, COUNT)).astype(np.float32)
    log_old = np.log(rng.dirichlet(np.ones(ACTIONS), size=STATES))[state, action].astype(np.float32)
    if value_clip is not None:
        # SB3 takes the error of the clipped value where ours is the larger of the two: they agree where the return lies
        # beyond the new value, seen from the old one.
        new_values = agent.policy.predict_values(torch.as_tensor(state)).detach().numpy()[:, 0]
        returns = new_values + np.sign(new_values - old_values) * np.abs(returns)
        assert 0.2 < (np.abs(new_values - old_values) > value_clip).mean() < 1
    weights = {
        name: p.detach().numpy().astype(float).copy()
        for name, p in agent.policy.named_parameters()
        if name.startswith(("action_net", "value_net"))
    }

    buffer = agent.rollout_buffer
    buffer.observations = state.reshape(COUNT, 1, *buffer.obs_shape).astype(buffer.observations.dtype)
    buffer.actions = action.reshape(COUNT, 1, 1).astype(np.float32)
    buffer.log_probs, buffer.values = log_old[:, None], old_values[:, None]
    buffer.advantages, buffer.returns = advantage[:, None], returns[:, None]
    buffer.full, buffer.generator_ready = True, False
    agent.set_logger(configure(None, []))
    agent.train()

    def loss(weights):
        seen = np.eye(STATES)[state]
        logits = seen @ weights["action_net.weight"].T + weights["action_net.bias"]
        value = seen @ weights["value_net.weight"].T + weights["value_net.bias"]
        one = np.ones((COUNT, 1))
        log_pi = log_prob_of(logits[:, None, :], action[:, None])
        gain = actor_critic.ppo_loss(log_pi, log_old[:, None], advantage[:, None], one, 0.2)
        if value_clip is None:
            return gain + actor_critic.value_loss(value, returns[:, None], one)
        return gain + actor_critic.clipped_value_loss(value, old_values[:, None], returns[:, None], one, value_clip)

    found = grad(loss)(weights)
    for name, p in agent.policy.named_parameters():
        if name in found:
            row = "ppo" if name.startswith("action") else "value-loss" if value_clip is None else "value-clip"
            agree(row, found[name], p.grad.numpy(), within=1e-6)  # single precision, and 64 states in a sum
