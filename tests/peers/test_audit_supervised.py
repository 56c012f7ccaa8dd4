"""Losses of reward models and of supervised fine-tuning pass their audits as trainers compute them.

TRL's own collator, fused head and `compute_loss` run; a stand-in for the network hands them rewards, or logits. What
the trainer makes of texts is looked at with a small network and a tokenizer of words.
"""

from collections import defaultdict
from types import SimpleNamespace

import choix
import numpy as np
import pytest
import torch
from audited import check_right
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.trainer_pt_utils import LabelSmoother
from trl import SFTConfig
from trl.trainer.reward_trainer import DataCollatorForPreference, RewardTrainer
from trl.trainer.sft_trainer import SFTTrainer
from trl.trainer.utils import add_fused_lm_head

from rlhf_lab import audit
from rlhf_lab.audit.zoo import tokens

pytestmark = pytest.mark.peer


def stand_in(**more):
    accelerator = {"gather": lambda x: x, "gather_for_metrics": lambda x: x, "parallelism_config": None}
    given = {
        "model": SimpleNamespace(training=True),
        "accelerator": SimpleNamespace(num_processes=1, **accelerator),
        "get_tp_size": lambda: 1,
        "aux_loss_enabled": False,
        "compute_loss_func": None,
        "label_smoother": None,
        "_metrics": {"train": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }
    return SimpleNamespace(**given | more)


def reward_model(centred=None, asked=None):
    """The loss of TRL's trainer, from answers of one token whose rewards stand in a table."""

    def loss(chosen_rewards, rejected_rewards):
        table, count = torch.cat([chosen_rewards, rejected_rewards]), len(chosen_rewards)
        margin = {} if asked is None else {"margin": asked}
        pairs = [{"chosen_ids": [k], "rejected_ids": [count + k]} | margin for k in range(count)]
        inputs = DataCollatorForPreference(pad_token_id=0)(pairs)
        trainer = stand_in(args=SimpleNamespace(center_rewards_coefficient=centred))
        network = lambda input_ids, **more: SimpleNamespace(logits=table[input_ids])  # noqa: E731
        return RewardTrainer.compute_loss(trainer, network, inputs)

    return loss


@pytest.mark.parametrize(
    ("loss", "convention"),
    [
        (reward_model(), "the mean over the batch"),
        (reward_model(centred=0.01), "0.01 times the squared sum of the rewards keeps them centred"),
        (reward_model(asked=0.5), "a margin of 0.5 is asked for"),
    ],
)
def test_losses_of_reward_models_pass_and_their_options_are_told(loss, convention):
    check_right("reward_model_loss", loss, convention)


def test_the_likelihood_of_comparisons_in_choix_is_the_loss_of_a_reward_model():
    def loss(chosen_rewards, rejected_rewards):
        wins = [(k, len(chosen_rewards) + k) for k in range(len(chosen_rewards))]
        return -choix.log_likelihood_pairwise(wins, np.concatenate([chosen_rewards, rejected_rewards]))

    check_right("reward_model_loss", loss, "the sum over the batch")


class Told(torch.nn.Module):
    """A language model that says the logits that it is given; its head is the identity."""

    def __init__(self, logits):
        super().__init__()
        vocab = logits.shape[-1]
        self.config, self.logits = LlamaConfig(vocab_size=vocab), logits
        self.head = torch.nn.Linear(vocab, vocab, bias=False, dtype=logits.dtype)
        torch.nn.init.eye_(self.head.weight)

    def base_model(self, **inputs):
        return SimpleNamespace(last_hidden_state=self.logits)

    def get_output_embeddings(self):
        return self.head

    def forward(self, **inputs):
        return {"logits": self.logits}


def sft(loss_type="nll", smoothing=None, counted=None):
    """The loss of TRL's trainer, from labels as it makes them of an assistant's or a completion's mask."""

    def loss(logits, labels):
        network = Told(logits)
        add_fused_lm_head(network, outputs=("log_probs", "entropy", "is_top1"))
        trainer = stand_in(
            args=SimpleNamespace(loss_type=loss_type, average_tokens_across_devices=True),
            label_smoother=smoothing and LabelSmoother(smoothing),
        )
        inputs = {"labels": labels, "attention_mask": torch.ones_like(labels)}
        return SFTTrainer.compute_loss(trainer, network, inputs, num_items_in_batch=counted)

    return loss


@pytest.mark.parametrize(
    ("loss", "conventions"),
    [
        (sft(), ["the mean over all tokens"]),
        (sft(smoothing=0.1), ["the mean over all tokens", "label smoothing of 0.1"]),
        (sft(counted=torch.tensor(8)), ["the sum over all tokens"]),
        (lambda logits, labels: ForCausalLMLoss(logits, labels, logits.shape[-1]), ["the mean over all tokens"]),
    ],
)
def test_losses_of_supervised_fine_tuning_pass_and_their_options_are_told(loss, conventions):
    check_right("sft_loss", loss, "the labels hold the mask: -100 where a token does not count", *conventions)


def test_fine_tuning_without_a_mask_counts_every_token():
    check_right(
        "sft_loss", lambda logits, tokens: sft()(logits, tokens), "takes no mask: every token counts, as in pretraining"
    )


def test_dft_is_told_as_what_it_is():
    report = audit.sft_loss(sft("dft"))
    assert report.verdict == "weighted by the probability in SFT"
    assert "that is DFT" in report.told


def test_what_is_handed_over_wrongly_is_named():
    assert audit.sft_loss(lambda logits, labels: sft()(logits, labels.roll(-1, 1))).verdict == "labels shifted twice"
    exchanged = lambda chosen_rewards, rejected_rewards: reward_model()(rejected_rewards, chosen_rewards)  # noqa: E731
    assert audit.reward_model_loss(exchanged).verdict == "rewards swapped"


WORDS = ["<pad>", "<eos>", "<unk>", "user", "says", "what", "is", "it", "a", "cat"]
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}user {{ message['content'] }} says "
    "{% else %}{% generation %}{{ message['content'] }} <eos>{% endgeneration %}{% endif %}{% endfor %}"
)
SPLIT = [{"prompt": "what is it", "completion": " a cat"}, {"prompt": "what", "completion": " it is a cat"}]
SPOKEN = [
    {"messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"][1:]}]}
    for row in SPLIT
]


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers", "ignore::UserWarning:torch.utils.data")
@pytest.mark.parametrize(
    ("rows", "options", "counted"),
    [
        (SPLIT, {}, ["a cat <eos>", "it is a cat <eos>"]),
        (SPLIT, {"completion_only_loss": False}, ["what is it a cat <eos>", "what it is a cat <eos>"]),
        (SPOKEN, {"assistant_only_loss": True}, ["a cat <eos>", "it is a cat <eos>"]),
    ],
    ids=["completion", "all", "assistant"],
)
def test_what_a_trainer_makes_of_texts_counts_the_answer_with_its_end(rows, options, counted, tmp_path):
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = SFTTrainer(
        LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(WORDS), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
            )
        ),
        SFTConfig(tmp_path, use_cpu=True, bf16=False, report_to="none", per_device_train_batch_size=2, **options),
        train_dataset=Dataset.from_list(rows),
        processing_class=PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", chat_template=TEMPLATE
        ),
    )
    batch = next(iter(trainer.get_train_dataloader()))
    ids, mask = batch["input_ids"].numpy(), 1.0 * (batch["labels"] != -100).numpy()
    found = [" ".join(WORDS[k] for k in row[marks > 0]) for row, marks in zip(ids, mask, strict=True)]
    assert sorted(found) == sorted(counted)
    with torch.no_grad():
        logits = trainer.model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits.double().numpy()
    loss = trainer.compute_loss(trainer.model, dict(batch)).item()
    assert loss == pytest.approx(tokens.sft_loss(logits, ids, mask), rel=1e-5)
