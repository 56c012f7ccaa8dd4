"""TRL's DPO trainer finds the same losses, gradients and diagnostics from the same log-probabilities.

The trainer's own method computes them; a stand-in for the model hands it the log-probabilities.
"""

from collections import defaultdict
from functools import partial
from types import SimpleNamespace

import autograd.numpy as anp
import numpy as np
import pytest
import torch
from autograd import value_and_grad
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer

from rlhf_lab.methods import direct, margins, self_play, unpaired

pytestmark = pytest.mark.peer
BETA, FLIP = 0.3, 0.1
COUNT = 7
GIVEN = -np.random.default_rng(0).gamma(2.0, 2.0, size=(4, COUNT))  # as in `direct.margin`

LOSSES = {
    "sigmoid": ("dpo", lambda h: direct.dpo(h, BETA)),
    "hinge": ("slic", lambda h: margins.slic(h, BETA)),
    "robust": ("robust-dpo", lambda h: margins.robust_dpo(h, BETA, FLIP)),
}


class Model:
    """A prompt of one token and answers of `tokens`, among which their log-probabilities are divided unevenly."""

    training = True

    def __init__(self, chosen, rejected, tokens):
        share = torch.arange(1.0, tokens + 1, dtype=torch.float64)
        self.log_probs = torch.cat([chosen, rejected])[:, None] * share / share.sum()

    def __call__(self, **inputs):
        shape = self.log_probs.shape
        return SimpleNamespace(
            log_probs=self.log_probs,
            entropy=torch.zeros(shape),
            mean_logits=torch.zeros(shape),
            is_top1=torch.ones(shape, dtype=torch.bool),
        )


def trl(loss_type, tokens=1, alpha=0.0):
    """Return the loss, with `alpha` times the loss "sft" if it is not 0, its gradients in the policy's
    log-probabilities, and what the trainer logs.
    """
    chosen, rejected = (torch.tensor(row, requires_grad=True) for row in GIVEN[:2])
    model = Model(chosen, rejected, tokens)
    accelerator = SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x)
    trainer = SimpleNamespace(
        model=model,
        accelerator=accelerator,
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[loss_type, "sft"] if alpha else [loss_type],
        loss_weights=[1.0, alpha] if alpha else [1.0],
        beta=BETA,
        label_smoothing=FLIP,
        use_weighting=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {
        "input_ids": torch.ones((2 * COUNT, 1 + tokens), dtype=torch.long),
        "attention_mask": torch.ones((2 * COUNT, 1 + tokens), dtype=torch.long),
        "completion_mask": torch.tensor([[0] + [1] * tokens] * (2 * COUNT)),
        "ref_chosen_logps": torch.tensor(GIVEN[2]),
        "ref_rejected_logps": torch.tensor(GIVEN[3]),
    }
    loss = DPOTrainer._compute_loss(trainer, model, inputs, return_outputs=False)
    loss.backward()
    logged = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    return loss.item(), np.stack([chosen.grad.numpy(), rejected.grad.numpy()]), logged


def ours(loss):
    return value_and_grad(lambda policy: anp.mean(loss(policy[0], policy[1])))(GIVEN[:2])


def of_margin(loss):
    return ours(lambda *policy: loss(policy[0] - GIVEN[2] - (policy[1] - GIVEN[3])))


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_the_margin(agree, name, tokens):
    """`label_smoothing` is not 0 here: with "sigmoid" and "hinge" it does nothing."""
    row, loss = LOSSES[name]
    value, grads = of_margin(loss)
    expected, slopes, _ = trl(name, tokens)
    agree(row, value, expected)
    agree(row, grads, slopes)


@pytest.mark.parametrize("tokens", [1, 3])
def test_ipo_of_answers_of_one_length_is_the_same_but_for_a_factor(agree, tokens):
    value, grads = of_margin(lambda h: margins.ipo(h, BETA / tokens))
    expected, slopes, _ = trl("ipo", tokens)
    agree("ipo", value, tokens**2 * expected)
    agree("ipo", grads, tokens**2 * slopes)


@pytest.mark.parametrize("tokens", [1, 3])
def test_self_play_on_single_labels(agree, tokens):
    """SPPO's eta is 1 / beta there. The peer's reference is whatever the data say; in the method it is pi_t."""

    def loss(chosen, rejected):
        return self_play.sppo_hard(chosen - GIVEN[2], rejected - GIVEN[3], 1 / BETA)

    value, grads = ours(loss)
    expected, slopes, _ = trl("sppo_hard", tokens)
    agree("sppo-hard", value, expected)
    agree("sppo-hard", grads, slopes)


@pytest.mark.parametrize("tokens", [1, 3])
def test_the_sft_term_is_a_mean_over_tokens_there(agree, tokens):
    def loss(chosen, rejected):
        return direct.dpo(chosen - GIVEN[2] - (rejected - GIVEN[3]), BETA) - 0.2 / tokens * chosen

    value, grads = ours(loss)
    expected, slopes, _ = trl("sigmoid", tokens, alpha=0.2)
    agree("rpo", value, expected)
    agree("rpo", grads, slopes)


def test_noise_contrastive_alignment(agree):
    def loss(chosen, rejected):
        both = anp.stack([chosen - GIVEN[2], rejected - GIVEN[3]], axis=-1)
        return margins.nca(both, np.array([1.0, 0.0]), BETA)

    value, grads = ours(loss)
    expected, slopes, _ = trl("nca_pair")
    agree("nca", value, expected)
    agree("nca", grads, slopes)


def test_diagnostics(agree):
    *_, logged = trl("sigmoid")
    for name, value in direct.diagnostics(*GIVEN, beta=BETA).items():
        agree("diagnostics", value, logged[name], within=6e-8)  # TRL's share of right pairs is in single precision


def trl_online(loss_type, first_wins):
    """Return loss and gradients of TRL's online DPO, if the first answers are those of `GIVEN` that were chosen where
    `first_wins`, and the others elsewhere.
    """
    online_dpo = pytest.importorskip("trl.experimental.online_dpo", reason="this part of TRL needs more packages")
    place = np.where(first_wins, [[0], [1]], [[1], [0]])  # of chosen and rejected among first and second
    policy = torch.tensor(np.take_along_axis(GIVEN[:2], place, 0).reshape(-1, 1), requires_grad=True)
    reference = torch.tensor(np.take_along_axis(GIVEN[2:], place, 0).reshape(-1, 1))
    ones, wins = torch.ones((2 * COUNT, 1), dtype=torch.long), torch.tensor(first_wins, dtype=torch.float64)
    trainer = SimpleNamespace(
        args=SimpleNamespace(
            use_vllm=False,
            missing_eos_penalty=None,
            loss_type=loss_type,
            torch_empty_cache_steps=None,
            optim="adamw_torch",
            n_gpu=1,
            gradient_accumulation_steps=1,
        ),
        _generate=lambda model, prompts, images: (ones, ones, ones, ones, None),
        eos_token_ids=[1],
        _forward=lambda model, *texts: policy if model is trained else reference,
        _calculate_rewards_from_functions=lambda **texts: torch.cat([wins, 1 - wins]),
        processing_class=SimpleNamespace(batch_decode=lambda ids, **settings: ["an answer"] * len(ids)),
        is_vision_model=False,
        ref_model=object(),
        reward_funcs=[None],
        beta=BETA,
        state=SimpleNamespace(global_step=0),
        accelerator=SimpleNamespace(gather_for_metrics=lambda x: x, backward=lambda loss: loss.backward()),
        stats=defaultdict(list),
    )
    trained = SimpleNamespace(train=lambda: None)
    loss = online_dpo.OnlineDPOTrainer.training_step(trainer, trained, {"prompt": ["a question"] * COUNT})
    return loss.item(), np.take_along_axis(policy.grad.numpy().reshape(2, COUNT), place, 0)


@pytest.mark.parametrize(("loss_type", "loss"), [("sigmoid", direct.dpo), ("ipo", margins.ipo)])
def test_online_dpo_is_the_same_loss_on_answers_of_its_own(agree, loss_type, loss):
    value, grads = of_margin(lambda h: loss(h, BETA))
    expected, slopes = trl_online(loss_type, np.arange(COUNT) % 2 == 0)
    agree(f"online-{loss.__name__}", value, expected)
    agree(f"online-{loss.__name__}", grads, slopes)


TOKENS = np.array([1, 2, 3, 5, 8, 2, 4])  # of each answer


def logits_of(log_probs):
    """Logits of two tokens for texts of up to 8, whose first token has the log-probability of the text by itself, and
    labels that count as many tokens as there are, all others without a choice.
    """
    length = TOKENS.max()
    place = torch.arange(length)
    share = (place == 0)[None] * log_probs[:, None]
    other = torch.log(-torch.expm1(share.clamp(max=-1e-300)))
    logits = torch.stack([share, torch.where(place == 0, other, torch.full_like(other, -1e9))], -1)
    labels = torch.where(place < torch.tensor(TOKENS)[:, None], 0, -100)
    return torch.cat([logits, logits[:, -1:]], 1), torch.cat([labels[:, :1], labels], 1)


def trl_of_means(module, name, **settings):
    """Return loss and gradients of a trainer of `trl.experimental` that reads log-probabilities of `GIVEN` as those of
    texts, divides them by their tokens, and adds the mean log-loss that it is handed to what its own method says.
    """
    trainer_of = getattr(pytest.importorskip(module, reason="this part of TRL needs more packages"), name)
    policy = torch.tensor(GIVEN[:2], requires_grad=True)
    means = [trainer_of.get_batch_logps(*logits_of(row), average_log_prob=True) for row in policy]
    nothing = torch.zeros(1)
    trainer = SimpleNamespace(
        concatenated_forward=lambda model, batch: (*means, nothing, nothing, -means[0].mean()),
        accelerator=SimpleNamespace(device="cpu", gather_for_metrics=lambda x: x),
        aux_loss_enabled=False,
        beta=BETA,
        **settings,
    )
    for method in ("cpo_loss", "odds_ratio_loss"):
        if hasattr(trainer_of, method):
            setattr(trainer, method, partial(getattr(trainer_of, method), trainer))
    loss, _ = trainer_of.get_batch_loss_metrics(trainer, None, {})
    loss.backward()
    return loss.item(), policy.grad.numpy()


def of_means(loss):
    return ours(lambda *policy: loss(policy[0] / TOKENS, policy[1] / TOKENS))


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_simpo(agree, gamma):
    value, grads = of_means(partial(unpaired.simpo, beta=BETA, gamma=gamma))
    expected, slopes = trl_of_means(
        "trl.experimental.cpo",
        "CPOTrainer",
        loss_type="simpo",
        simpo_gamma=gamma,
        cpo_alpha=0.0,
        alpha=0.0,
        label_smoothing=0.0,
    )
    agree("simpo", value, expected)
    agree("simpo", grads, slopes)


def test_orpo(agree):
    """TRL's `beta` is lambda; the log-loss is handed over, because there it counts the tokens of the prompt, too.

    It turns log-probabilities into single precision, with a rounding of 6e-8 in each of numbers up to 4.
    """
    value, grads = of_means(partial(unpaired.orpo, weight=BETA))
    expected, slopes = trl_of_means("trl.experimental.orpo", "ORPOTrainer")
    agree("orpo", value, expected, within=4 * 6e-8)
    agree("orpo", grads, slopes, within=4 * 6e-8)


@pytest.mark.parametrize("shift", [-3.0, 3.0])
@pytest.mark.parametrize("desirable", [np.arange(COUNT) % 3 == 0, np.ones(COUNT, bool), np.zeros(COUNT, bool)])
def test_kto(agree, desirable, shift):
    """The first row of `GIVEN` are answers, the second answers to other prompts; `shift` puts their mean below 0 and
    above."""
    policy = torch.tensor(GIVEN[0], requires_grad=True)
    elsewhere = torch.tensor(GIVEN[3] + shift, requires_grad=True)
    zeros = torch.zeros(COUNT, 1)

    def model(**inputs):
        return SimpleNamespace(log_probs=policy[:, None], entropy=zeros, mean_logits=zeros)

    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x),
        calculate_KL=True,
        _compute_kl_logps=lambda model, batch: elsewhere,
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        loss_type="kto",
        beta=BETA,
        desirable_weight=1.5,
        undesirable_weight=0.7,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    ones = torch.ones((COUNT, 2), dtype=torch.long)
    inputs = {
        "label": torch.tensor(desirable),
        "input_ids": ones,
        "attention_mask": ones,
        "completion_mask": torch.tensor([[0, 1]] * COUNT),
        "ref_logps": torch.tensor(GIVEN[2]),
        "ref_KL_logps": torch.tensor(GIVEN[3]),
    }
    loss = KTOTrainer._compute_loss(trainer, model, inputs, False)
    loss.backward()
    z_ref = unpaired.kto_reference(np.full(COUNT, shift))
    agree("kto-reference", z_ref, trainer._metrics["train"]["kl"][0])
    assert elsewhere.grad is None
    value, slope = value_and_grad(
        lambda row: anp.mean(unpaired.kto(row - GIVEN[2], 1.0 * desirable, z_ref, BETA, 1.5, 0.7))
    )(GIVEN[0])
    agree("kto", value, loss.item())
    agree("kto", slope, policy.grad.numpy())
