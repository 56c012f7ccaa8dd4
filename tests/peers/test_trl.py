"""TRL's DPO trainer finds the same losses, gradients and diagnostics from the same log-probabilities.

The trainer's own method computes them; a stand-in for the model hands it the log-probabilities.
"""

from collections import defaultdict
from types import SimpleNamespace

import autograd.numpy as anp
import numpy as np
import pytest
import torch
from autograd import value_and_grad
from trl.trainer.dpo_trainer import DPOTrainer

from rlhf_lab import direct

pytestmark = pytest.mark.peer
BETA, FLIP = 0.3, 0.1
COUNT = 7
GIVEN = -np.random.default_rng(0).gamma(2.0, 2.0, size=(4, COUNT))  # as in `direct.margin`

LOSSES = {
    "sigmoid": lambda h: direct.dpo(h, BETA),
    "hinge": lambda h: direct.slic(h, BETA),
    "ipo": lambda h: direct.ipo(h, BETA),
    "robust": lambda h: direct.robust_dpo(h, BETA, FLIP),
}


class Model:
    """Two tokens a text, prompt and answer: the log-probabilities of the answers are given."""

    training = True

    def __init__(self, chosen, rejected):
        self.log_probs = torch.cat([chosen, rejected])[:, None]

    def __call__(self, **inputs):
        shape = self.log_probs.shape
        return SimpleNamespace(
            log_probs=self.log_probs,
            entropy=torch.zeros(shape),
            mean_logits=torch.zeros(shape),
            is_top1=torch.ones(shape, dtype=torch.bool),
        )


def trl(loss_type):
    """Return the loss, its gradients in the policy's log-probabilities, and what the trainer logs."""
    chosen, rejected = (torch.tensor(row, requires_grad=True) for row in GIVEN[:2])
    model = Model(chosen, rejected)
    accelerator = SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x)
    trainer = SimpleNamespace(
        model=model,
        accelerator=accelerator,
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[loss_type],
        loss_weights=[1.0],
        beta=BETA,
        label_smoothing=FLIP,
        use_weighting=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {
        "input_ids": torch.ones((2 * COUNT, 2), dtype=torch.long),
        "attention_mask": torch.ones((2 * COUNT, 2), dtype=torch.long),
        "completion_mask": torch.tensor([[0, 1]] * (2 * COUNT)),
        "ref_chosen_logps": torch.tensor(GIVEN[2]),
        "ref_rejected_logps": torch.tensor(GIVEN[3]),
    }
    loss = DPOTrainer._compute_loss(trainer, model, inputs, return_outputs=False)
    loss.backward()
    logged = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    return loss.item(), np.stack([chosen.grad.numpy(), rejected.grad.numpy()]), logged


def ours(loss):
    return value_and_grad(lambda policy: anp.mean(loss(policy[0], policy[1])))(GIVEN[:2])


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_the_margin(name):
    value, grads = ours(lambda *policy: LOSSES[name](policy[0] - GIVEN[2] - (policy[1] - GIVEN[3])))
    expected, slopes, _ = trl(name)
    assert value == pytest.approx(expected, abs=1e-6)
    assert grads == pytest.approx(slopes, abs=1e-6)


def test_noise_contrastive_alignment():
    def loss(chosen, rejected):
        both = anp.stack([chosen - GIVEN[2], rejected - GIVEN[3]], axis=-1)
        return direct.nca(both, np.array([1.0, 0.0]), BETA)

    value, grads = ours(loss)
    expected, slopes, _ = trl("nca_pair")
    assert value == pytest.approx(expected, abs=1e-6)
    assert grads == pytest.approx(slopes, abs=1e-6)


def test_diagnostics():
    *_, logged = trl("sigmoid")
    for name, value in direct.diagnostics(*GIVEN, beta=BETA).items():
        assert float(value) == pytest.approx(logged[name], abs=1e-6), name
