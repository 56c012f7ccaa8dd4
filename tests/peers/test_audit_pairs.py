"""Losses of comparisons in PyTorch and JAX, as libraries write them: right ones pass, wrong ones are named."""

from collections import defaultdict
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
import torch
from audited import check_right
from torch.nn import functional as F
from trl.trainer.dpo_trainer import DPOTrainer

from rlhf_lab import audit

pytestmark = pytest.mark.peer


class DPOLoss(torch.nn.Module):
    def __init__(self, beta, label_smoothing=0.0, ipo=False):
        super().__init__()
        self.beta, self.label_smoothing, self.ipo = beta, label_smoothing, ipo

    def forward(self, policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps):
        logits = policy_chosen_logps - policy_rejected_logps - (reference_chosen_logps - reference_rejected_logps)
        if self.ipo:
            losses = (logits - 1 / (2 * self.beta)) ** 2
        else:
            wrong = self.label_smoothing
            losses = -F.logsigmoid(self.beta * logits) * (1 - wrong) - F.logsigmoid(-self.beta * logits) * wrong
        return losses.mean(), (policy_chosen_logps - reference_chosen_logps).detach()


class PairWiseLoss(torch.nn.Module):
    def forward(self, chosen_reward, reject_reward, margin=None):
        difference = chosen_reward - reject_reward
        return -F.logsigmoid(difference if margin is None else difference - margin).mean()


def margin(pc, pr, rc, rr):
    return pc - pr - (rc - rr)


@jax.jit
def jitted(pc, pr, rc, rr, beta):
    return -jax.nn.log_sigmoid(beta * margin(pc, pr, rc, rr)).mean()


def classified(pc, pr, rc, rr, beta):
    return F.cross_entropy(
        torch.stack([beta * (pc - rc), beta * (pr - rr)], -1), torch.zeros(len(pc), dtype=torch.long)
    )


@pytest.mark.parametrize(
    ("kind", "function", "conventions"),
    [
        ("dpo_loss", DPOLoss(0.1), ["no parameter beta: 0.1, worked out from its slope, is fixed inside it"]),
        ("dpo_loss", DPOLoss(0.1, 0.1), ["label smoothing of 0.1"]),
        ("ipo_loss", DPOLoss(0.1, ipo=True), ["the mean over the batch"]),
        ("reward_model_loss", PairWiseLoss(), ["the mean over the batch"]),
        ("dpo_loss", classified, ["the mean over the batch"]),
        ("dpo_loss", jitted, ["the mean over the batch"]),
        ("dpo_loss", lambda a, b, c, d, e: F.softplus(-e * margin(a, b, c, d).float()), ["a loss for each comparison"]),
        ("dpo_loss", lambda a, b, c, d, e: F.softplus(-e * margin(a, b, c, d).bfloat16()).mean(), []),
        ("dpo_loss", lambda a, b, c, d, e: -torch.log(torch.sigmoid(e * margin(a, b, c, d))).sum(), []),
        ("ipo_loss", lambda a, b, c, d, e: jnp.mean((margin(a, b, c, d) - 0.5 / e) ** 2), ["the mean over the batch"]),
        ("reward_model_loss", lambda r_w, r_l: F.soft_margin_loss(r_w - r_l, torch.ones_like(r_w)), []),
    ],
)
def test_right_losses_pass(kind, function, conventions):
    check_right(kind, function, *conventions)


def trl(loss_type, smoothing=0.0):
    """The loss of TRL's trainer; a stand-in for the model hands it the log-probabilities."""

    def loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
        log_probs = torch.cat([policy_chosen, policy_rejected])[:, None]
        size = len(log_probs)
        output = SimpleNamespace(
            log_probs=log_probs,
            entropy=torch.zeros(size, 1),
            mean_logits=torch.zeros(size, 1),
            is_top1=torch.ones(size, 1, dtype=torch.bool),
        )
        trainer = SimpleNamespace(
            model=SimpleNamespace(training=True),
            accelerator=SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x),
            aux_loss_enabled=False,
            ld_alpha=None,
            precompute_ref_logps=True,
            f_divergence_type="reverse_kl",
            loss_types=[loss_type],
            loss_weights=[1.0],
            beta=beta,
            label_smoothing=smoothing,
            use_weighting=False,
            _metrics={"train": defaultdict(list)},
            _total_train_tokens=0,
            _tp_size=1,
        )
        inputs = {
            "input_ids": torch.ones((size, 2), dtype=torch.long),
            "attention_mask": torch.ones((size, 2), dtype=torch.long),
            "completion_mask": torch.tensor([[0, 1]] * size),
            "ref_chosen_logps": reference_chosen,
            "ref_rejected_logps": reference_rejected,
        }
        return DPOTrainer._compute_loss(trainer, lambda **inputs: output, inputs, return_outputs=False)

    return loss


@pytest.mark.parametrize(
    ("kind", "loss", "convention"),
    [
        ("dpo_loss", trl("sigmoid"), "the mean over the batch"),
        ("dpo_loss", trl("robust", 0.1), "robust to labels of which 0.1 are flipped"),
        ("ipo_loss", trl("ipo"), "the mean over the batch"),
    ],
)
def test_losses_of_trl_are_right(kind, loss, convention):
    check_right(kind, loss, convention)


def test_other_losses_of_trl_are_named_as_what_they_are():
    assert audit.dpo_loss(trl("hinge")).verdict == "hinge in place of logistic"
    assert audit.dpo_loss(trl("ipo")).verdict == "square in place of logistic"
    assert audit.ipo_loss(trl("sigmoid")).verdict == "logistic in place of square"


def stopped(x):
    return jax.lax.stop_gradient(x)


@pytest.mark.parametrize(
    ("kind", "loss", "name"),
    [
        ("dpo_loss", lambda a, b, c, d, e: -F.logsigmoid(e * margin(a, b, a, b)), "reference not frozen"),
        (
            "dpo_loss",
            lambda a, b, c, d, e: -F.logsigmoid(e * margin(a, b, a.detach(), b.detach())).mean(),
            "reference re-made each step",
        ),
        (
            "dpo_loss",
            lambda a, b, c, d, e: -jax.nn.log_sigmoid(e * margin(a, b, stopped(a), stopped(b))),
            "reference re-made each step",
        ),
        ("dpo_loss", lambda a, b, c, d, e: -F.logsigmoid(e * margin(a, b.detach(), c, d)).mean(), "wrong gradient"),
        (
            "reward_model_loss",
            lambda r_w, r_l: F.binary_cross_entropy_with_logits(torch.sigmoid(r_w - r_l), torch.ones_like(r_w)),
            "sigmoid twice",
        ),
    ],
)
def test_bugs_are_named(kind, loss, name):
    assert getattr(audit, kind)(loss).verdict == name


def test_a_missing_gradient_is_told_with_its_input():
    def detached(pc, pr, rc, rr, beta):
        return -F.logsigmoid(beta * margin(pc, pr.detach(), rc, rr)).mean()

    told = audit.dpo_loss(detached).told
    assert told.startswith("Its numbers are right and its gradient is not: there is none in policy_rejected.")


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (lambda loss, x: loss.item(), "A number of Python carries no gradient: return the tensor."),
        (lambda loss, x: loss.cuda(), "It wants a GPU ("),
        (lambda loss, x: x.sub_(1).sum() + loss, "It changes its input policy_chosen: work on a copy."),
        (lambda loss, x: loss + F.dropout(x).sum(), "it draws at random (dropout?)"),
    ],
)
def test_what_keeps_a_loss_from_being_audited_is_told(loss, told):
    def function(pc, pr, rc, rr, beta):
        return loss(-F.logsigmoid(beta * margin(pc, pr, rc, rr)).mean(), pc)

    report = audit.dpo_loss(function)
    assert report.verdict == "not audited"
    assert told in report.told
