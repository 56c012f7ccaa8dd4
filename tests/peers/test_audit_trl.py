"""The losses of TRL's trainers of policies pass their audits, and where they deviate it is named as what it is.

The trainers' own methods compute the losses; a stand-in for the model hands them the log-probabilities.
"""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_trainer import RLOOTrainer

from rlhf_lab import audit

pytestmark = pytest.mark.peer
FORWARD = "KL by k3: its gradient is on average that of KL(pi_ref || pi) of each next token"
REVERSE = (
    "KL by k3 times the ratio: on answers of the policy its gradient is on average that of KL(pi || pi_ref) of each "
    "next token"
)


def stand_in(log_pi, epsilon, beta, **more):
    accelerator = SimpleNamespace(gather=lambda x: x, reduce=lambda x, reduction: x, num_processes=1)
    given = {
        "_get_per_token_logps_and_entropies": lambda *inputs, **options: (log_pi, torch.zeros_like(log_pi), None),
        "model": SimpleNamespace(training=False),
        "accelerator": accelerator,
        "args": SimpleNamespace(use_bias_correction_kl=True, delta=None),
        "_metrics": {"eval": defaultdict(list)},
        "aux_loss_enabled": False,
        "top_entropy_quantile": 1.0,
        "off_policy_mask_threshold": None,
        "importance_sampling_level": "token",
        "use_vllm": False,
        "_entropy_bonus_enabled": False,
        "max_completion_length": log_pi.shape[1],
        "epsilon_low": epsilon,
        "epsilon_high": epsilon,
        "beta": beta,
    }
    return SimpleNamespace(**given | more)


def ids(mask):
    one = torch.ones((len(mask), 1), dtype=torch.long)
    answers = {"completion_ids": torch.ones(mask.shape, dtype=torch.long), "completion_mask": mask}
    return {"prompt_ids": one, "prompt_mask": one} | answers


def grpo(loss_type, *, corrected=True, **more):
    """Return the loss of TRL's trainer as a function."""

    def loss(log_pi, log_old, log_ref, advantage, mask, epsilon, beta):
        args = SimpleNamespace(use_bias_correction_kl=corrected, delta=None)
        trainer = stand_in(log_pi, epsilon, beta, loss_type=loss_type, args=args, **more)
        logs = {"old_per_token_logps": log_old, "ref_per_token_logps": log_ref, "num_items_in_batch": mask.sum()}
        return GRPOTrainer._compute_loss(trainer, None, ids(mask) | logs | {"advantages": advantage})

    return loss


@pytest.mark.parametrize(
    ("loss_type", "aggregation"), [("grpo", "sequence"), ("bnpo", "token"), ("dapo", "token"), ("dr_grpo", "constant")]
)
@pytest.mark.parametrize("corrected", [True, False])
def test_losses_of_grpo_pass_and_the_estimate_of_their_divergence_is_told(loss_type, aggregation, corrected):
    report = audit.grpo_loss(grpo(loss_type, corrected=corrected), aggregation=aggregation)
    assert report.ok, str(report)
    assert (REVERSE if corrected else FORWARD) in report.conventions


def test_ratios_of_whole_answers_are_told():
    report = audit.grpo_loss(grpo("grpo", corrected=False, importance_sampling_level="sequence"))
    assert report.ok, str(report)
    assert any("a geometric mean (GSPO)" in told for told in report.conventions)


def test_a_ratio_that_is_clipped_and_held_constant_is_not_this_loss():
    assert not audit.grpo_loss(grpo("cispo"))


def test_the_loss_of_rloo_is_that_of_ppo_for_whole_answers():
    def loss(log_pi, log_old, advantage, epsilon):
        log_pi, log_old, advantage = (x.reshape(-1, 1) for x in (log_pi, log_old, advantage))
        trainer = stand_in(log_pi, epsilon, 0.0)
        given = {"old_logps": log_old[:, 0], "advantages": advantage[:, 0]}
        return RLOOTrainer._compute_loss(trainer, None, ids(torch.ones_like(log_pi)) | given)

    report = audit.ppo_loss(loss)
    assert report.ok, str(report)
