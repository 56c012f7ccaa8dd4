"""Losses and gradients of TRL's GRPO and RLOO are those of `group_losses`, for all that both have.

The trainers' own methods compute the losses; a stand-in for the model hands them the log-probabilities.
"""

from collections import defaultdict
from types import SimpleNamespace

import autograd.numpy as anp
import numpy as np
import pytest
import torch
from autograd import value_and_grad
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_trainer import RLOOTrainer

from rlhf_lab.methods import group_losses, policy_gradient

pytestmark = pytest.mark.peer
N, T, BETA = 6, 5, 0.04
RNG = np.random.default_rng(0)
OLD, STEP = -3 * RNG.random((N, T)), 0.4 * RNG.normal(size=(N, T))
REFERENCE = OLD + 0.3 * RNG.normal(size=(N, T))
ADVANTAGE = RNG.normal(size=N)
MASK = 1.0 * (np.arange(T) < np.array([5, 3, 1, 4, 2, 5])[:, None])
MEANS = {
    "grpo": group_losses.sequence_mean,
    "bnpo": group_losses.token_mean,
    "dapo": group_losses.token_mean,
    "cispo": group_losses.token_mean,
    "dr_grpo": group_losses.by_constant(T),
}


def theirs(trainer, method, more):
    """The loss of a trainer of TRL and its gradient in the log-probabilities."""
    log_pi = torch.tensor(OLD + STEP, requires_grad=True)
    mask = torch.tensor(MASK)
    one = torch.ones((N, 1), dtype=torch.long)
    inputs = {
        "prompt_ids": one,
        "prompt_mask": one,
        "completion_ids": torch.ones((N, T), dtype=torch.long),
        "completion_mask": mask,
        "advantages": torch.tensor(ADVANTAGE),
        "old_per_token_logps": torch.tensor(OLD),
        "old_logps": torch.tensor((OLD * MASK).sum(1)),
        "ref_per_token_logps": torch.tensor(REFERENCE),
        "num_items_in_batch": mask.sum(),
    }
    given = {
        "_get_per_token_logps_and_entropies": lambda *a, **b: (log_pi, torch.zeros_like(log_pi), None),
        "model": SimpleNamespace(training=False),
        "accelerator": SimpleNamespace(gather=lambda x: x, reduce=lambda x, reduction: x, num_processes=1),
        "args": SimpleNamespace(use_bias_correction_kl=False, delta=None),
        "_metrics": {"eval": defaultdict(list)},
        "aux_loss_enabled": False,
        "top_entropy_quantile": 1.0,
        "off_policy_mask_threshold": None,
        "use_vllm": False,
        "_entropy_bonus_enabled": False,
        "max_completion_length": T,
    }
    inputs |= more.pop("inputs", {})
    loss = getattr(trainer, method)(SimpleNamespace(**given | more), None, inputs)
    loss.backward()
    return loss.item(), log_pi.grad.numpy()


def ours(surrogate, mean, price=None, advantage=ADVANTAGE):
    def loss(log_pi):
        each = surrogate(log_pi, OLD, advantage, MASK)
        if price is not None:
            each = each + BETA * price(log_pi - REFERENCE, anp.exp(log_pi - OLD))
        return mean(each, MASK)

    return value_and_grad(loss)(OLD + STEP)


def same(found, expected):
    assert found[0] == pytest.approx(expected[0], rel=1e-10, abs=1e-12)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("corrected", [None, False, True], ids=["no KL", "k3", "k3 times the ratio"])
@pytest.mark.parametrize(("low", "high"), [(0.2, 0.2), (0.2, 0.28), (0.05, 1.0)])
@pytest.mark.parametrize("loss_type", MEANS)
def test_every_loss_with_ratios_of_tokens(loss_type, low, high, corrected):
    options = {
        "loss_type": loss_type,
        "importance_sampling_level": "token",
        "epsilon_low": low,
        "epsilon_high": high,
        "beta": 0.0 if corrected is None else BETA,
        "args": SimpleNamespace(use_bias_correction_kl=bool(corrected), delta=None),
    }
    surrogate = group_losses.cispo(high) if loss_type == "cispo" else group_losses.clipped(low=low, high=high)
    price = {None: None, False: lambda step, u: policy_gradient.k3(step), True: group_losses.k3_with_ratio}[corrected]
    same(ours(surrogate, MEANS[loss_type], price), theirs(GRPOTrainer, "_compute_loss", options))


@pytest.mark.parametrize("low", [3e-4, 0.1])
def test_gspo(low):
    options = {
        "loss_type": "grpo",
        "importance_sampling_level": "sequence",
        "epsilon_low": low,
        "epsilon_high": 2 * low,
    }
    surrogate = group_losses.clipped(group_losses.mean_ratio, low, 2 * low)
    same(
        ours(surrogate, group_losses.sequence_mean),
        theirs(GRPOTrainer, "_compute_loss", options | {"beta": 0.0}),
    )


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_on_fresh_answers_only_the_mean_matters(level):
    options = {"loss_type": "grpo", "importance_sampling_level": level, "epsilon_low": 0.2, "epsilon_high": 0.2}
    fresh = {"inputs": {"old_per_token_logps": torch.tensor(OLD + STEP)}, "beta": 0.0}
    _, slope = theirs(GRPOTrainer, "_compute_loss", options | fresh)
    expected = -ADVANTAGE[:, None] * MASK / MASK.sum(1, keepdims=True) / N
    np.testing.assert_allclose(slope, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("remedy", [group_losses.truncated, group_losses.dropped])
def test_the_correction_for_another_sampler_multiplies_the_loss(remedy):
    weight = remedy(np.exp(0.5 * RNG.normal(size=(N, T))), 1.2)
    options = {
        "loss_type": "grpo",
        "importance_sampling_level": "token",
        "epsilon_low": 0.2,
        "epsilon_high": 0.2,
        "beta": 0.0,
        "use_vllm": True,
        "vllm_importance_sampling_correction": True,
        "inputs": {"importance_sampling_ratio": torch.tensor(weight)},
    }

    def surrogate(*case):
        return weight * group_losses.clipped()(*case)

    same(ours(surrogate, group_losses.sequence_mean), theirs(GRPOTrainer, "_compute_loss", options))


def test_rloo_clips_the_ratio_of_the_answer():
    def loss(log_pi):
        answers = anp.sum(log_pi * MASK, axis=1, keepdims=True)
        one = np.ones((N, 1))
        each = group_losses.clipped()(answers, np.sum(OLD * MASK, axis=1, keepdims=True), ADVANTAGE, one)
        return group_losses.sequence_mean(each, one)

    options = {"epsilon_low": 0.2, "epsilon_high": 0.2, "beta": 0.0}
    same(value_and_grad(loss)(OLD + STEP), theirs(RLOOTrainer, "_compute_loss", options))
