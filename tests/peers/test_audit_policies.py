"""Losses, advantages and estimates in PyTorch and JAX as people write them: right ones pass, wrong ones are named."""

import jax
import jax.numpy as jnp
import pytest
import torch
import torch.nn.functional as F

from rlhf_lab import audit

pytestmark = pytest.mark.peer


def cleanrl(newlogprob, b_logprobs, mb_advantages, clip_coef=0.2):
    ratio = (newlogprob - b_logprobs).exp()
    first = -mb_advantages * ratio
    second = -mb_advantages * torch.clamp(ratio, 1 - clip_coef, 1 + clip_coef)
    return torch.max(first, second).mean()


def verl(old_log_prob, log_prob, advantages, response_mask, cliprange_low, cliprange_high, clip_ratio_c=3.0):
    difference = torch.clamp(log_prob - old_log_prob, min=-20.0, max=20.0)
    ratio = torch.exp(difference)
    first = -advantages * ratio
    second = -advantages * torch.clamp(ratio, 1 - cliprange_low, 1 + cliprange_high)
    high = torch.maximum(first, second)
    low = torch.min(-advantages * clip_ratio_c, high)
    losses = torch.where(advantages < 0, low, high)
    mean = (losses * response_mask).sum() / (response_mask.sum() + 1e-8)
    return mean, ((second > first) * response_mask).sum() / response_mask.sum()


def selected(logprobs, old_logprobs, advantages, mask, eps):
    logprobs, old_logprobs, advantages = (x[mask] for x in (logprobs, old_logprobs, advantages))
    ratio = torch.exp(logprobs - old_logprobs)
    return -torch.min(ratio * advantages, ratio.clamp(1 - eps, 1 + eps) * advantages).mean()


def filled(logprobs, old_logprobs, advantages, mask, eps):
    step = (logprobs - old_logprobs).masked_fill(~mask, 0.0)
    advantages = advantages.masked_fill(~mask, 0.0)
    losses = torch.max(-advantages * step.exp(), -advantages * step.exp().clamp(1 - eps, 1 + eps))
    return (losses.sum(-1) / mask.sum(-1)).mean()


def in_single_precision(logps, old_logps, advantages, mask, clip_range):
    ratio = (logps.float() - old_logps.float()).exp()
    losses = -torch.minimum(ratio * advantages.float(), ratio.clip(1 - clip_range, 1 + clip_range) * advantages.float())
    return (losses * mask.float()).sum(1).mean()


def with_jax(log_probs, old_log_probs, advantages, mask, epsilon):
    ratio = jnp.exp(log_probs - old_log_probs)
    losses = -jnp.minimum(ratio * advantages, jnp.clip(ratio, 1 - epsilon, 1 + epsilon) * advantages)
    return jnp.sum(losses * mask) / jnp.sum(mask)


def with_half(log_probs, old_log_probs, advantages, mask, clip_range):
    ratio = torch.exp(log_probs.bfloat16() - old_log_probs.bfloat16())
    near = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -(torch.min(ratio * advantages, near * advantages) * mask).sum() / mask.sum()


def larger(log_probs, old_log_probs, advantages, mask, clip_range):
    ratio = torch.exp(log_probs - old_log_probs)
    near = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -(torch.max(ratio * advantages, near * advantages) * mask).sum() / mask.sum()


def recomputed(log_probs, old_log_probs, advantages, mask, clip_range):
    ratio = torch.exp(log_probs - log_probs.detach())
    near = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -(torch.min(ratio * advantages, near * advantages) * mask).sum() / mask.sum()


def no_gradient(log_probs, old_log_probs, advantages, mask, clip_range):
    with torch.no_grad():
        ratio = torch.exp(log_probs - old_log_probs)
    near = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -(torch.min(ratio * advantages, near * advantages) * mask).sum() / mask.sum()


@pytest.mark.parametrize(
    "function", [cleanrl, verl, selected, filled, in_single_precision, with_jax], ids=lambda f: f.__name__
)
def test_right_losses_of_ppo_pass(function):
    report = audit.ppo_loss(function)
    assert report.ok, str(report)
    assert set(report.identities.values()) == {"holds"}
    assert not any("automatic" in told for told in report.conventions)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (larger, "max in place of min"),
        (recomputed, "old log-probabilities recomputed"),
        (no_gradient, "wrong gradient"),
        (with_half, "ratio of rounded numbers"),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_wrong_losses_of_ppo_are_named(function, name):
    assert audit.ppo_loss(function).verdict == name


def trl(logps, advantages, mask, old_logps, ref_logps, epsilon_low, epsilon_high, beta):
    step = logps - old_logps
    ratio, advantages = torch.exp(step), advantages.unsqueeze(1)
    first, second = ratio * advantages, torch.clamp(ratio, 1 - epsilon_low, 1 + epsilon_high) * advantages
    losses = -torch.min(first, second)
    losses = losses + beta * (torch.exp(ref_logps - logps) - (ref_logps - logps) - 1)
    return ((losses * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()


def corrected(logps, advantages, mask, old_logps, ref_logps, epsilon, beta):
    ratio, advantages = torch.exp(logps - old_logps), advantages.unsqueeze(1)
    losses = -torch.min(ratio * advantages, torch.clamp(ratio, 1 - epsilon, 1 + epsilon) * advantages)
    losses = losses + beta * ratio * (torch.exp(ref_logps - logps) - (ref_logps - logps) - 1)
    return (losses * mask).sum() / mask.sum().clamp(min=1.0)


def fresh(logps, advantages, mask):
    ratio = torch.exp(logps - logps.detach())
    return (-ratio * advantages.unsqueeze(1) * mask).sum() / (mask.size(0) * mask.size(1))


def low_variance(log_prob, old_log_prob, ref_log_prob, advantages, response_mask, clip_ratio, kl_loss_coef):
    """As verl: advantages of tokens, and a divergence that is clamped."""
    ratio = torch.exp(log_prob - old_log_prob)
    losses = torch.max(-advantages * ratio, -advantages * ratio.clamp(1 - clip_ratio, 1 + clip_ratio))
    step = torch.clamp(ref_log_prob - log_prob, min=-20, max=20)
    losses = losses + kl_loss_coef * torch.clamp(step.exp() - step - 1, min=-10, max=10)
    return (losses * response_mask).sum() / response_mask.sum()


def bare(logps, advantages, mask, old_logps, ref_logps, epsilon, beta):
    ratio, advantages = torch.exp(logps - old_logps), advantages.unsqueeze(1)
    losses = -torch.min(ratio * advantages, torch.clamp(ratio, 1 - epsilon, 1 + epsilon) * advantages)
    return ((losses + beta * (logps - ref_logps)) * mask).sum() / mask.sum()


@pytest.mark.parametrize(
    ("function", "convention"),
    [
        (trl, "KL by k3: its gradient is on average that of KL(pi_ref || pi)"),
        (corrected, "KL by k3 times the ratio: on answers of the policy its gradient is on average that of KL(pi ||"),
        (fresh, "takes no old log-probabilities"),
        (low_variance, "one advantage for each token, (N, T)"),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_right_losses_of_grpo_pass(function, convention):
    report = audit.grpo_loss(function)
    assert report.ok, str(report)
    assert any(convention in told for told in report.conventions), report.conventions


def test_the_bare_log_ratio_in_the_loss_is_named():
    assert audit.grpo_loss(bare).verdict == "k1 in the loss"


def straight_through(logprob, ref_logprob):
    k2 = 0.5 * (logprob - ref_logprob).square()
    k3 = torch.exp(ref_logprob - logprob) - 1 + logprob - ref_logprob
    return k3.detach() - k2.detach() + k2


@pytest.mark.parametrize(
    ("use", "function", "verdict"),
    [
        ("loss", straight_through, "right"),
        ("loss", lambda logp, ref: (logp - ref).detach() * logp, "right"),
        ("loss", lambda logp, ref: F.mse_loss(logp, ref) / 2, "right"),
        ("loss", lambda logp, ref: F.mse_loss(logp, ref), "half missing"),
        ("loss", lambda logp, ref: (logp - ref).mean(), "k1 as a loss"),
        ("loss", lambda logp, ref: (torch.exp(ref - logp) - 1 + logp - ref).mean(), "k3 as a loss"),
        ("loss", lambda logp, ref: jnp.mean((logp - ref) ** 2) / 2 + 0 * jax.numpy.sum(ref), "right"),
        ("number", lambda logp, ref: F.kl_div(ref, logp, log_target=True), "weighted by the probability again"),
    ],
)
def test_estimates_of_a_divergence(use, function, verdict):
    assert audit.kl_estimate(function, use=use).verdict == verdict


def trl_gae(rewards, values, gamma, lam):
    last, found = 0, []
    length = rewards.shape[1]
    for t in reversed(range(length)):
        after = values[:, t + 1] if t < length - 1 else 0.0
        last = rewards[:, t] + gamma * after - values[:, t] + gamma * lam * last
        found.append(last)
    return torch.stack(found[::-1], axis=1)


def verl_gae(token_level_rewards, values, response_mask, gamma, lam):
    with torch.no_grad():
        after, last, found = 0, 0, []
        for t in reversed(range(values.shape[-1])):
            new = token_level_rewards[:, t] + gamma * after - values[:, t] + gamma * lam * last
            mask = response_mask[:, t]
            after = values[:, t] * mask + (1 - mask) * after
            last = new * mask + (1 - mask) * last
            found.append(last)
        advantages = torch.stack(found[::-1], dim=1)
        returns = advantages + values
        mean = (advantages * response_mask).sum() / response_mask.sum()
        variance = ((advantages - mean) ** 2 * response_mask).sum() / (response_mask.sum() - 1)
        return (advantages - mean) * torch.rsqrt(variance + 1e-8), returns


def cleanrl_gae(rewards, values, dones, next_value, next_done, gamma=0.99, gae_lambda=0.95):
    advantages, last = torch.zeros_like(rewards), 0
    for t in reversed(range(rewards.shape[0])):
        end = t == rewards.shape[0] - 1
        live, after = 1.0 - (next_done if end else dones[t + 1]), next_value if end else values[t + 1]
        advantages[t] = last = rewards[t] + gamma * after * live - values[t] + gamma * gae_lambda * live * last
    return advantages


@pytest.mark.parametrize("function", [trl_gae, verl_gae, cleanrl_gae], ids=lambda f: f.__name__)
def test_right_advantages_of_a_critic_pass(function):
    report = audit.gae(function)
    assert report.ok, str(report)


def trl_groups(rewards, num_generations):
    mean = rewards.view(-1, num_generations).mean(dim=1).repeat_interleave(num_generations, dim=0)
    return (rewards - mean) / (
        rewards.view(-1, num_generations).std(dim=1).repeat_interleave(num_generations, dim=0) + 1e-4
    )


def tiled(rewards, num_generations):
    mean = rewards.view(-1, num_generations).mean(dim=1).repeat(num_generations)
    std = rewards.view(-1, num_generations).std(dim=1).repeat(num_generations)
    return (rewards - mean) / (std + 1e-4)


def trl_rloo(rlhf_reward, rloo_k):
    rows = rlhf_reward.reshape(-1, rloo_k)
    return (rows - (rows.sum(1, keepdim=True) - rows) / (rloo_k - 1)).flatten()


def test_advantages_of_groups():
    assert audit.advantages(trl_groups)
    assert audit.advantages(trl_rloo)
    assert not audit.advantages(tiled)
    assert (
        audit.advantages(lambda r: (r - r.mean(1, keepdim=True)) / r.std(1, keepdim=True)).verdict == "spread of zero"
    )


def test_losses_of_critics_and_whitening():
    assert audit.value_loss(lambda values, returns: F.mse_loss(values, returns))
    assert audit.value_loss(lambda values, returns: 0.5 * F.mse_loss(returns, values, reduction="sum"))
    assert audit.value_loss(lambda values, returns: F.smooth_l1_loss(values, returns))
    assert audit.value_loss(lambda values, returns: F.mse_loss(values.detach(), returns)).verdict == "dead critic"
    assert audit.value_loss(lambda values, returns: F.l1_loss(values, returns)).verdict == "error not squared"
    assert audit.whiten(lambda adv: (adv - adv.mean()) / (adv.std() + 1e-8))
    assert (
        audit.whiten(lambda adv, mask: (adv - adv.mean()) / (adv.std() + 1e-8) * mask).verdict
        == "whitened with padding"
    )
