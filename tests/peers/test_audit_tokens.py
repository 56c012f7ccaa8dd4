"""Log-probabilities and losses of SFT in PyTorch and JAX, as libraries write them."""

import jax
import jax.numpy as jnp
import pytest
import torch
from audited import check_right
from torch.nn import functional as F
from trl.trainer.utils import selective_log_softmax

from rlhf_lab import audit

pytestmark = pytest.mark.peer


def get_batch_logps(logits, labels, average_log_prob=False, label_pad_token_id=-100):
    labels, logits = labels[:, 1:].clone(), logits[:, :-1, :]
    counts = labels != label_pad_token_id
    labels[labels == label_pad_token_id] = 0
    found = torch.gather(logits.log_softmax(-1), dim=2, index=labels.unsqueeze(2)).squeeze(2)
    return (found * counts).sum(-1), counts.sum(-1)


def at(logits, index):
    return logits.log_softmax(-1).gather(-1, index.unsqueeze(-1)).squeeze(-1)


def logprobs_from_logits(logits, labels, temperature=1.0):
    return at(logits / temperature, labels)


def rolled(logits, input_ids, loss_mask):
    labels, mask = torch.roll(input_ids, -1, 1), torch.roll(loss_mask, -1, 1).bool()
    labels[~mask] = 0
    return torch.roll(at(logits, labels).masked_fill(~mask, 0.0), 1, 1)


def in_jax(logits, tokens, mask):
    found = jnp.take_along_axis(jax.nn.log_softmax(logits[:, :-1]), tokens[:, 1:, None], -1)[..., 0]
    return (found * mask[:, 1:]).sum(-1)


IN_PLACE = "takes no mask and does not shift: hand over logits[:, :-1] and tokens[:, 1:]"


@pytest.mark.parametrize(
    ("function", "convention"),
    [
        (selective_log_softmax, IN_PLACE),
        (logprobs_from_logits, IN_PLACE),
        (get_batch_logps, "the labels hold the mask: -100 where a token does not count"),
        (rolled, "a number for each place, 0 for the first"),
        (in_jax, "the sum over the tokens of each answer"),
    ],
)
def test_right_log_probs_pass(function, convention):
    check_right("log_probs", function, convention)


class GPTLMLoss(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.loss = torch.nn.CrossEntropyLoss(ignore_index=-100)

    def forward(self, logits, labels):
        return self.loss(logits[..., :-1, :].flatten(0, 1), labels[..., 1:].flatten())


def smoothed(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], label_smoothing=0.1)


def masked(logits, input_ids, attention_mask):
    labels = input_ids.masked_fill(attention_mask == 0, -100)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())


@jax.jit
def jitted(logits, tokens, mask):
    return -in_jax(logits, tokens, mask).sum() / mask[:, 1:].sum()


@pytest.mark.parametrize(
    ("function", "convention"),
    [
        (GPTLMLoss(), "the mean over all tokens"),
        (smoothed, "label smoothing of 0.1"),
        (masked, "the mean over all tokens"),
        (jitted, "the mean over all tokens"),
    ],
)
def test_right_losses_of_sft_pass(function, convention):
    check_right("sft_loss", function, convention)


@pytest.mark.parametrize(
    ("kind", "function", "name"),
    [
        ("log_probs", lambda logits, ids, mask: (at(logits, ids) * mask).sum(-1), "not shifted"),
        ("log_probs", lambda logits, ids, mask: in_jax(logits, ids, mask) / mask.sum(-1), "mean over tokens"),
        ("log_probs", lambda logits, ids, mask: rolled(logits, ids, mask).detach(), "wrong gradient"),
        ("sft_loss", lambda logits, labels: F.cross_entropy(logits.transpose(1, 2), labels), "labels not shifted"),
        (
            "sft_loss",
            lambda logits, labels: F.cross_entropy(logits[:, :-1].softmax(-1).transpose(1, 2), labels[:, 1:]),
            "softmax twice in SFT",
        ),
    ],
)
def test_bugs_are_named(kind, function, name):
    assert getattr(audit, kind)(function).verdict == name
