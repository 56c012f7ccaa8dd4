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
ROWS = {
    "grpo": "sequence-mean",
    "bnpo": "token-mean",
    "dapo": "token-mean",
    "cispo": "cispo",
    "dr_grpo": "constant-mean",
    "luspo": "constant-mean",
}
MEANS = {
    "grpo": group_losses.sequence_mean,
    "bnpo": group_losses.token_mean,
    "dapo": group_losses.token_mean,
    "cispo": group_losses.token_mean,
    "dr_grpo": group_losses.by_constant(T),
    "luspo": group_losses.by_constant(1),
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
    inputs |= more.get("inputs", {})
    loss = getattr(trainer, method)(SimpleNamespace(**given | more), None, inputs)
    loss.backward()
    return loss.item(), log_pi.grad.numpy()


def ours(surrogate, mean, price=None, ratio=anp.exp):
    def loss(log_pi):
        each = surrogate(log_pi, OLD, ADVANTAGE, MASK)
        if price is not None:
            each = each + BETA * price(log_pi - REFERENCE, ratio(log_pi - OLD))
        return mean(each, MASK)

    return value_and_grad(loss)(OLD + STEP)


@pytest.fixture
def same(agree):
    """Assert that losses and gradients agree, and remember how well for rows of the book's table."""

    def compare(found, expected, *rows):
        for row in rows:
            agree(row, found[0], expected[0])
            agree(row, found[1], expected[1])

    return compare


def answer_mean(log_ratio):
    """The mean ratio of an answer, with all of its gradient, at each of its tokens."""
    return anp.exp(anp.sum(log_ratio * MASK, axis=1, keepdims=True) / MASK.sum(1, keepdims=True)) * MASK


def k3(step, u):
    return policy_gradient.k3(step)


LEVELS = {"token": (group_losses.token_ratio, anp.exp), "sequence": (group_losses.mean_ratio, answer_mean)}


@pytest.mark.parametrize("corrected", [None, False, True], ids=["no KL", "k3", "k3 times the ratio"])
@pytest.mark.parametrize(("low", "high"), [(0.2, 0.2), (0.2, 0.28), (0.05, 1.0), (3e-4, 4e-4)])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("loss_type", MEANS)
def test_every_loss_with_ratios_of_tokens_and_of_answers(same, loss_type, level, low, high, corrected):
    """The cap of CISPO is `epsilon_high` itself there, not one more; LUSPO is a sum over tokens, by no length."""
    options = {
        "loss_type": loss_type,
        "importance_sampling_level": level,
        "epsilon_low": low,
        "epsilon_high": high,
        "beta": 0.0 if corrected is None else BETA,
        "args": SimpleNamespace(use_bias_correction_kl=bool(corrected), delta=None),
    }
    weight, ratio = LEVELS[level]
    surrogate = group_losses.clipped(weight, low, high) if loss_type != "cispo" else group_losses.cispo(high, weight)
    price = {None: None, False: k3, True: group_losses.k3_with_ratio}[corrected]
    rows = [ROWS[loss_type], {None: "grpo-clip", False: "k3", True: "k3-ratio"}[corrected]]
    rows += ["gspo-ratio"] * (level == "sequence")
    same(ours(surrogate, MEANS[loss_type], price, ratio), theirs(GRPOTrainer, "_compute_loss", options), *rows)


PLAIN = {"importance_sampling_level": "token", "epsilon_low": 0.2, "epsilon_high": 0.2, "beta": BETA}


@pytest.mark.parametrize("loss_type", MEANS)
def test_a_batch_in_parts_is_divided_by_its_parts(same, loss_type):
    """Most losses are divided by the number of steps that are added up, here 3. Those with a mean over the tokens of
    the batch are divided by the share of one process in the tokens of the parts that make one step: 30 tokens on 2
    processes in 6 parts, 3 to a step, are 30 / 2 * 3 / 6.
    """
    whole = PLAIN | {"loss_type": loss_type}
    parts = {
        "model": SimpleNamespace(training=True),
        "_metrics": {"train": defaultdict(list)},
        "accelerator": SimpleNamespace(gather=lambda x: x, reduce=lambda x, reduction: x, num_processes=2),
        "args": SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=6),
        "current_gradient_accumulation_steps": 3,
        "inputs": {"num_items_in_batch": torch.tensor(30.0)},
    }
    factor = MASK.sum() / (30 / 2 * 3 / 6) if loss_type in ("dapo", "cispo") else 1 / 3
    loss, slope = theirs(GRPOTrainer, "_compute_loss", whole)
    same((factor * loss, factor * slope), theirs(GRPOTrainer, "_compute_loss", whole | parts), ROWS[loss_type])


@pytest.mark.parametrize("known", [True, False], ids=["old given", "old not given"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("loss_type", MEANS)
def test_on_fresh_answers_only_the_mean_matters(same, loss_type, level, known):
    fresh = {"old_per_token_logps": torch.tensor(OLD + STEP) if known else None}
    options = PLAIN | {"loss_type": loss_type, "importance_sampling_level": level, "beta": 0.0, "inputs": fresh}
    if loss_type == "cispo":  # its value is - A log pi, and a cap below 1 would make even fresh tokens count less
        options["epsilon_high"], value = 1.0, OLD + STEP
    else:
        value = 1.0
    loss, share = value_and_grad(lambda each: MEANS[loss_type](each, MASK))(-ADVANTAGE[:, None] * value * MASK)
    expected = theirs(GRPOTrainer, "_compute_loss", options)
    same((loss, -ADVANTAGE[:, None] * share), expected, ROWS[loss_type])


@pytest.mark.parametrize("loss_type", MEANS)
def test_the_correction_for_another_sampler_multiplies_the_loss_and_not_its_price(same, loss_type):
    weight = np.exp(0.5 * RNG.normal(size=(N, T)))
    options = PLAIN | {
        "loss_type": loss_type,
        "use_vllm": True,
        "vllm_importance_sampling_correction": True,
        "inputs": {"importance_sampling_ratio": torch.tensor(weight)},
    }
    plain = group_losses.cispo(0.2) if loss_type == "cispo" else group_losses.clipped()

    def surrogate(*case):
        return weight * plain(*case)

    same(ours(surrogate, MEANS[loss_type], k3), theirs(GRPOTrainer, "_compute_loss", options), ROWS[loss_type])


def test_rloo_clips_the_ratio_of_the_answer(same):
    def loss(log_pi):
        answers = anp.sum(log_pi * MASK, axis=1, keepdims=True)
        one = np.ones((N, 1))
        each = group_losses.clipped(low=0.1, high=0.3)(answers, (OLD * MASK).sum(1, keepdims=True), ADVANTAGE, one)
        return group_losses.sequence_mean(each, one)

    options = {"epsilon_low": 0.1, "epsilon_high": 0.3, "beta": 0.0}
    same(value_and_grad(loss)(OLD + STEP), theirs(RLOOTrainer, "_compute_loss", options), "answer-ratio")
    by_token = ours(group_losses.clipped(group_losses.answer_ratio, 0.1, 0.3), group_losses.by_constant(1))
    np.testing.assert_allclose(by_token[1], value_and_grad(loss)(OLD + STEP)[1], rtol=1e-12)


SAMPLER = (OLD + 0.5 * RNG.normal(size=(N, T))).astype(np.float32)  # TRL makes tensors of single precision of them
REWARDS = np.array([[1.0, 0.0], [0.3, 0.1], [0.7, 0.7]])  # the last group has no spread


def judged(trainer, **more):
    """What a trainer of TRL makes of answers and their rewards before it takes a step."""
    asked = iter([OLD, REFERENCE])
    given = {
        "accelerator": SimpleNamespace(
            device="cpu",
            gather=lambda x: x,
            reduce=lambda x, reduction: x,
            process_index=0,
            unwrap_model=lambda model: model,
        ),
        "model": SimpleNamespace(training=True, is_gradient_checkpointing=False),
        "ref_model": "the reference",
        "args": SimpleNamespace(
            per_device_train_batch_size=N,
            gradient_checkpointing_kwargs=None,
            steps_per_generation=1,
            gradient_accumulation_steps=1,
        ),
        "environment_factories": None,
        "environments": None,
        "tools": None,
        "pad_to_multiple_of": None,
        "mask_truncated_completions": False,
        "num_iterations": 1,
        "num_generations": REWARDS.shape[1],
        "_tokenizer": SimpleNamespace(pad_token_id=0),
        "_get_per_token_logps_and_entropies": lambda *a, **b: (torch.tensor(next(asked)), None, None),
        "_calculate_rewards": lambda *a: torch.tensor(REWARDS).reshape(N, 1),
        "reward_weights": torch.ones(1),
        "reward_func_names": ["reward"],
        "reward_funcs": [None],
        "reward_clip_range": None,
        "multi_objective_aggregation": "sum_then_normalize",
        "normalize_advantages": False,
        "use_vllm": False,
        "beta": 0.0,
        "_metrics": {"train": defaultdict(list)},
        "_logs": defaultdict(list) | {"rewards": defaultdict(list), "extra": defaultdict(list)},
        "_pending_extra_logs": {},
        "_pending_metrics": {},
        "log_multimodal": False,
    }
    answers = [[1] * int(length) for length in MASK.sum(1)]
    said = [row[: len(answer)].tolist() for row, answer in zip(SAMPLER, answers, strict=True)]
    prompts = [[1]] * N
    made = {
        GRPOTrainer: (prompts, answers, None, answers, said, {}, None, None),
        RLOOTrainer: (prompts, answers, answers),
    }
    given |= {"_generate": lambda prompts: made[trainer]} | more
    return trainer._generate_and_score_completions(SimpleNamespace(**given), [{"prompt": ""}] * N)


def judged_advantages(trainer, **more):
    return judged(trainer, **more)["advantages"].numpy().reshape(REWARDS.shape)


@pytest.mark.parametrize(
    ("row", "scale", "expected"),
    [
        ("grpo-advantages", "group", policy_gradient.grpo_advantages(REWARDS)),
        ("mean-advantages", "none", group_losses.mean_advantages(REWARDS)),
        (
            "grpo-advantages",
            "batch",
            group_losses.mean_advantages(REWARDS) / (np.sqrt(REWARDS.var() * float(np.float32(N / (N - 1)))) + 1e-4),
        ),
    ],
)
def test_advantages_of_grpo(agree, row, scale, expected):
    """The deviation is that of a sample, ddof = 1, and 1e-4 is added to it. That of a batch is that of all its rewards,
    around the mean of all; TRL has n / (n - 1) in single precision, which shows there: 6 / 5, and not for 2 / 1.
    """
    agree(row, judged_advantages(GRPOTrainer, scale_rewards=scale), expected)


@pytest.mark.parametrize("beta", [0.0, BETA])
def test_advantages_of_rloo_with_the_divergence_in_the_reward(agree, beta):
    log_pi, log_pi_0 = ((x * MASK).sum(1).reshape(REWARDS.shape) for x in (OLD, REFERENCE))
    f = policy_gradient.regularised_reward(REWARDS, log_pi, log_pi_0, beta)
    expected = policy_gradient.rloo_advantages(f)
    agree("k1-in-reward" if beta else "rloo-advantages", judged_advantages(RLOOTrainer, beta=beta), expected)


@pytest.mark.parametrize("cap", [0.9, 1.5])
@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize(("mode", "remedy"), [("truncate", group_losses.truncated), ("mask", group_losses.dropped)])
def test_weights_for_another_sampler(agree, mode, remedy, level, cap):
    """Of the sampler that wrote the answers; a sequence has the ratio of the whole answer, and not its mean."""
    found = judged(
        GRPOTrainer,
        scale_rewards="group",
        use_vllm=True,
        vllm_importance_sampling_correction=True,
        vllm_importance_sampling_mode=f"{level}_{mode}",
        vllm_importance_sampling_clip_min=None,
        vllm_importance_sampling_clip_max=cap,
    )["importance_sampling_ratio"].numpy()
    weight = {"token": group_losses.token_ratio, "sequence": group_losses.answer_ratio}[level]
    expected = remedy(weight(OLD - SAMPLER, MASK), cap)
    agree(remedy.__name__, found * MASK, expected * MASK)
    assert 0 < np.mean((expected == weight(OLD - SAMPLER, MASK))[MASK == 1]) < 1, "the cap is felt, by some"
