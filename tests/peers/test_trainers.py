"""One file of ours through whole trainers of TRL: the same losses, gradients and steps of the optimiser.

The trainers read the file and batch, pad and mask it as they do for everybody. Here each text is read by itself, the
book's functions turn the log-probabilities of its tokens into a loss and its gradient in them, PyTorch takes that to
the parameters of the same model, and the book's Adam takes the step. The models are in double precision. TRL's own
kernel adds up log-probabilities in single precision, so each test runs twice: with it, and with `Plain` in its place.
"""

import gc
import sys
from pathlib import Path
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np
import pytest
import torch
from autograd import value_and_grad
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, TrainerCallback
from trl.trainer import utils

from rlhf_lab.feedback import likelihoods, preference_files
from rlhf_lab.methods import direct, group_losses, policy_gradient
from rlhf_lab.numerics import optim
from rlhf_lab.worlds.phrase_world import EOS, HORIZON, VOCAB, WORDS, encode

sys.path.insert(0, str(Path(__file__).parents[2] / "book"))

import in_trl

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
]
BETA = 0.1
DOUBLE = 1e-13  # a thousand roundings of 1.1e-16
SINGLE = 6 * 20 * 6e-8  # six roundings, one for each token of an answer, of 6e-8, in numbers up to 20
EXACT = {
    "model_init_kwargs": {"dtype": torch.float64},
    "bf16": False,
    "max_grad_norm": 0.0,
    "lr_scheduler_type": "constant",
    "disable_tqdm": True,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of comparisons and a folder with a model."""
    folder, threads = tmp_path_factory.mktemp("wild"), torch.get_num_threads()
    gc.freeze()  # trainers collect garbage, and would look through all modules each time
    torch.set_num_threads(1)
    torch.manual_seed(0)
    in_trl.write_pairs(folder / "pairs.jsonl")
    in_trl.write_model(folder / "model")
    yield folder / "pairs.jsonl", str(folder / "model")
    torch.set_num_threads(threads)
    gc.unfreeze()


class Plain:
    """The log-probabilities of labels, as TRL's kernel finds them in single precision."""

    @staticmethod
    def apply(hidden, weight, bias, labels, temperature, *more):
        log_pi = torch.log_softmax(hidden @ weight.T / temperature, -1)
        zeros = torch.zeros(len(labels))
        return log_pi[torch.arange(len(labels)), labels], zeros, zeros, zeros, zeros.bool()


@pytest.fixture(params=["single", "double"])
def within(request, monkeypatch):
    """The largest difference that roundings explain."""
    if request.param == "double":
        monkeypatch.setattr(utils, "_ChunkedLogProbFunction", Plain)
    return {"single": SINGLE, "double": DOUBLE}[request.param]


class Step(NamedTuple):
    inputs: dict
    loss: float
    before: dict
    grads: dict
    after: dict


class Watch(TrainerCallback):
    """Keeps what each step began with, found and led to."""

    def __init__(self):
        self.grads, self.after = [], []

    def on_pre_optimizer_step(self, args, state, control, model=None, **more):
        self.grads.append({name: p.grad.numpy().copy() for name, p in model.named_parameters()})

    def on_optimizer_step(self, args, state, control, model=None, **more):
        self.after.append(values(model))


def values(model):
    return {name: p.detach().numpy().copy() for name, p in model.named_parameters()}


def steps(make, files, **settings):
    """Train with a trainer of TRL, and return its steps."""
    path, model = files
    trainer = make(model, path, output_dir=str(path.parent), **in_trl.SETTINGS | EXACT | settings)
    watch, inputs, losses, compute = Watch(), [], [], trainer.compute_loss
    before = values(trainer.model)

    def compute_loss(model, given, *more, **options):
        loss = compute(model, given, *more, **options)
        inputs.append(given)
        losses.append(loss.item())
        return loss

    trainer.compute_loss = compute_loss
    trainer.add_callback(watch)
    trainer.train()
    return [Step(*step) for step in zip(inputs, losses, [before, *watch.after], watch.grads, watch.after, strict=False)]


def network(kind, folder, params, **options):
    model = kind.from_pretrained(folder, dtype=torch.float64, **options).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.tensor(params[name]))
    return model


def texts(prompts, answers):
    """Rows of tokens without padding: prompts, and answers up to their end."""
    ends = [[*row, EOS].index(EOS) + 1 for row in answers]
    return [(list(x), list(y[:end])) for x, y, end in zip(prompts, answers, ends, strict=True)]


def read(model, rows):
    """Log-probabilities of the tokens of answers, each read alone, filled up with zeros, and the mask."""
    each = []
    for prompt, answer in rows:
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        each.append(torch.log_softmax(logits, -1)[torch.arange(len(answer)), answer])
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in each], batch_first=True)
    return torch.nn.utils.rnn.pad_sequence(each, batch_first=True), mask.double().numpy()


def judged(model, rows):
    """The rewards of texts, each read alone up to its end."""
    states = [model.transformer(torch.tensor([prompt + answer])).last_hidden_state[0, -1] for prompt, answer in rows]
    return torch.stack(states) @ model.score.weight[0]


def same(agree, row, taken, losses, within):
    """Compare steps of a trainer with those that the book's functions take: `losses` has, for each step, the model's
    numbers as a tensor and the loss as a function of them.

    A small gradient is divided by its own size, and 1e-8 is added to that: what was `within` before is at most 1e8
    times as large behind the step.
    """
    adam = optim.adam(in_trl.SETTINGS["learning_rate"])
    state = adam.init(taken[0].before)
    for step, (model, numbers, loss) in zip(taken, losses, strict=True):
        value, slope = value_and_grad(loss)(numbers.detach().numpy())
        numbers.backward(torch.tensor(slope))
        grads = {name: p.grad.numpy() for name, p in model.named_parameters()}
        row = row if within == DOUBLE else "as-it-is"
        agree(row, value, step.loss, within)
        for name, grad in grads.items():
            agree(row, grad, step.grads[name], within)
        after, state = adam.update(step.before, grads, state)
        for name, value in after.items() if within == DOUBLE else ():
            agree("adam-step", value, step.after[name], in_trl.SETTINGS["learning_rate"] * within / 1e-8)
    assert max(np.abs(taken[-1].after[name] - value).max() for name, value in taken[0].before.items()) > 0.02


def our_pairs(files):
    pairs = preference_files.read(files[0], encode, HORIZON, VOCAB)
    return texts(pairs.prompt, pairs.chosen), texts(pairs.prompt, pairs.rejected)


def test_sft_is_the_mean_log_loss_of_a_token(agree, files, within):
    chosen, _ = our_pairs(files)
    taken, losses = steps(in_trl.sft, files), []
    for step in taken:
        model = network(AutoModelForCausalLM, files[1], step.before)
        log_pi, mask = read(model, chosen)
        losses.append((model, log_pi, lambda x, mask=mask: group_losses.token_mean(-x, mask)))
    same(agree, "sft", taken, losses, within)


@pytest.mark.parametrize("centre", [None, 0.5])
def test_reward_model(agree, files, centre):
    chosen, rejected = our_pairs(files)
    taken, losses = steps(in_trl.reward_model, files, center_rewards_coefficient=centre), []

    def loss(rewards):
        first, second = rewards[: len(chosen)], rewards[len(chosen) :]
        return anp.mean(likelihoods.bradley_terry_loss(first - second) + (centre or 0) * (first + second) ** 2)

    for step in taken:
        model = network(AutoModelForSequenceClassification, files[1], step.before, num_labels=1)
        losses.append((model, judged(model, chosen + rejected), loss))
    same(agree, "centre" if centre else "bt", taken, losses, DOUBLE)


def test_dpo(agree, files, within):
    chosen, rejected = our_pairs(files)
    taken, losses = steps(in_trl.dpo, files, beta=BETA), []
    reference = network(AutoModelForCausalLM, files[1], taken[0].before)
    log_pi_0 = anp.sum(read(reference, chosen + rejected)[0].detach().numpy(), axis=1)

    def loss(log_pi):
        log_ratio = anp.sum(log_pi, axis=1) - log_pi_0
        return anp.mean(direct.dpo(log_ratio[: len(chosen)] - log_ratio[len(chosen) :], BETA))

    for step in taken:
        model = network(AutoModelForCausalLM, files[1], step.before)
        losses.append((model, read(model, chosen + rejected)[0], loss))
    assert taken[-1].loss < 0.98 * np.log(2), "it has left the reference"
    same(agree, "dpo-step", taken, losses, within)


def groups(step):
    """The prompts and answers of a step, and where the answers to one prompt stand: (G, k)."""
    prompts, answers = (
        [
            row[kept == 1].tolist()
            for row, kept in zip(step.inputs[f"{part}_ids"], step.inputs[f"{part}_mask"], strict=True)
        ]
        for part in ("prompt", "completion")
    )
    order = sorted(range(len(prompts)), key=lambda k: prompts[k])
    return list(zip(prompts, answers, strict=True)), np.reshape(order, (-1, 4))


def scores(rows):
    spoken = [[" ".join(WORDS[token] for token in text if token < EOS) for text in row] for row in rows]
    return np.array(in_trl.judge(*zip(*spoken, strict=True)))


def online(make, files, loss_of, **settings):
    """Steps of a trainer that writes its own answers and takes two steps on them, and the book's losses."""
    more = {"num_iterations": 2, "max_steps": 4, "per_device_train_batch_size": 16, "beta": BETA}
    taken, losses = steps(make, files, **more | settings), []
    reference = network(AutoModelForCausalLM, files[1], taken[0].before)
    for k, step in enumerate(taken):
        rows, group = groups(step)
        model, writer = (network(AutoModelForCausalLM, files[1], taken[j].before) for j in (k, k - k % 2))
        log_pi, mask = read(model, rows)
        old, log_pi_0 = (read(other, rows)[0].detach().numpy() for other in (writer, reference))
        theirs = step.inputs["advantages"].double().numpy()
        losses.append((model, log_pi, loss_of(scores(rows)[group], group, old, log_pi_0, mask, theirs)))
        assert (np.abs(log_pi.detach().numpy() - old).max() > 0.01) == (k % 2 == 1)
    return taken, losses


def test_grpo(agree, files, within):
    """Rewards become advantages in single precision there, which is why the loss goes on with theirs."""

    def loss_of(rewards, group, old, log_pi_0, mask, advantage):
        agree("as-it-is", np.float32(advantage), advantage, 0)
        agree("as-it-is", policy_gradient.grpo_advantages(rewards), advantage[group], SINGLE)

        def loss(log_pi):
            price = BETA * group_losses.k3_with_ratio(log_pi - log_pi_0, anp.exp(log_pi - old))
            return group_losses.token_mean(group_losses.clipped()(log_pi, old, advantage, mask) + price, mask)

        return loss

    same(agree, "grpo-step", *online(in_trl.grpo, files, loss_of), within)


def test_rloo(agree, files, within):
    def loss_of(rewards, group, old, log_pi_0, mask, theirs):
        f = policy_gradient.regularised_reward(rewards, old.sum(1)[group], log_pi_0.sum(1)[group], BETA)
        advantage, one = np.zeros(f.size), np.ones((f.size, 1))
        advantage[group] = policy_gradient.rloo_advantages(f)
        agree("rloo-step" if within == DOUBLE else "as-it-is", advantage, theirs, within)

        def loss(log_pi):
            each = group_losses.clipped()(anp.sum(log_pi, 1)[:, None], old.sum(1)[:, None], advantage, one)
            return group_losses.sequence_mean(each, one)

        return loss

    same(agree, "rloo-step", *online(in_trl.rloo, files, loss_of), within)


def test_an_end_is_put_behind_every_text_and_padding_behind_that(files):
    """Of the labels of SFT, those of the prompt and of the padding are -100, and the end has one."""
    chosen, rejected = our_pairs(files)
    pad = VOCAB  # the word behind the others
    filled = [prompt + answer + [pad] * (8 - len(prompt + answer)) for prompt, answer in chosen]
    sft, reward, dpo = (steps(make, files)[0].inputs for make in (in_trl.sft, in_trl.reward_model, in_trl.dpo))
    assert sorted(sft["input_ids"].tolist()) == sorted(filled)
    for read, labels in zip(sft["input_ids"].tolist(), sft["labels"].tolist(), strict=True):
        assert labels == [-100] * 3 + [-100 if token == pad else token for token in read[3:]]
    for inputs in (reward, dpo):
        both = inputs["input_ids"].tolist()
        assert sorted(row[: row.index(EOS) + 1] for row in both) == sorted(x + y for x, y in chosen + rejected)
        assert all(set(row[row.index(EOS) + 1 :]) <= {pad} for row in both)


@pytest.mark.parametrize(
    ("trainer", "config", "columns", "read"),
    [
        (in_trl.SFTTrainer, in_trl.SFTConfig, ["prompt", "completion"], "input_ids"),
        (in_trl.RewardTrainer, in_trl.RewardConfig, ["prompt", "chosen", "rejected"], "chosen_ids"),
        (in_trl.DPOTrainer, in_trl.DPOConfig, ["prompt", "chosen", "rejected"], "chosen_ids"),
    ],
)
def test_no_end_is_put_behind_conversations(files, trainer, config, columns, read):
    tokenizer = in_trl.PreTrainedTokenizerFast.from_pretrained(files[1])
    tokenizer.chat_template = "{{ messages | map(attribute='content') | join(' ') }}"
    texts = zip(columns, (("user", "is tea hot"), ("assistant", "yes"), ("assistant", "no")), strict=False)
    row = {column: [{"role": role, "content": said}] for column, (role, said) in texts}
    args = config(output_dir=str(files[0].parent), **in_trl.SETTINGS)
    rows = in_trl.Dataset.from_list([row, row])
    seen = trainer(files[1], args=args, train_dataset=rows, processing_class=tokenizer).train_dataset[0][read]
    assert seen[-1] == encode("yes").tolist()[-1]
    assert EOS not in seen


def test_prompts_are_padded_in_front(files):
    settings = {"output_dir": str(files[0].parent), "per_device_train_batch_size": 4} | in_trl.SETTINGS | EXACT
    trainer = in_trl.GRPOTrainer(
        files[1],
        reward_funcs=lambda completions, **more: [0.0] * len(completions),
        args=in_trl.GRPOConfig(num_generations=2, max_completion_length=2, **settings | {"max_steps": 1}),
        train_dataset=in_trl.Dataset.from_dict({"prompt": ["tea hot", "is ice cold"]}),
    )
    seen, compute = [], trainer.compute_loss
    trainer.compute_loss = lambda model, inputs, *more, **options: (
        seen.append(inputs["prompt_ids"].tolist()) or compute(model, inputs, *more, **options)
    )
    trainer.train()
    assert [VOCAB, *encode("tea hot").tolist()] in seen[0]


def test_a_reward_is_read_one_word_too_early_if_padding_is_the_end(files, tmp_path):
    """A tokenizer without a token for padding gets `<eos>` in its place, and the reward is read in front of it."""
    tokenizer = in_trl.PreTrainedTokenizerFast.from_pretrained(files[1])
    tokenizer.pad_token = None
    AutoModelForCausalLM.from_pretrained(files[1]).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    chosen, rejected = our_pairs(files)
    step = steps(in_trl.reward_model, (files[0], str(tmp_path / "model")), max_steps=1)[0]
    model = network(AutoModelForSequenceClassification, files[1], step.before, num_labels=1)
    first, second = (judged(model, [(x, y[:-1]) for x, y in rows]) for rows in (chosen, rejected))
    margin = (first - second).detach().numpy()
    assert step.loss == pytest.approx(np.mean(likelihoods.bradley_terry_loss(margin)), rel=1e-12)


def test_sft_learns_with_the_dropout_of_the_model_and_comparisons_without(files, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(files[1])
    model.config.resid_pdrop = 0.5
    model.save_pretrained(tmp_path / "model")
    in_trl.PreTrainedTokenizerFast.from_pretrained(files[1]).save_pretrained(tmp_path / "model")

    def change(make, **settings):
        folders = files[1], str(tmp_path / "model")
        still, moving = (steps(make, (files[0], folder), max_steps=1, **settings)[0].loss for folder in folders)
        return abs(still - moving)

    assert in_trl.GPT2Config().resid_pdrop == 0.1
    assert change(in_trl.sft) > 1e-3
    assert change(in_trl.dpo, beta=BETA) == 0


@pytest.mark.parametrize("make", [in_trl.dpo, in_trl.grpo, in_trl.rloo])
def test_the_reference_is_what_lies_where_the_model_came_from(files, make):
    """Not the model as it is handed over: what was trained in memory is not in the reference."""
    path, folder = files
    trained = AutoModelForCausalLM.from_pretrained(folder)
    stored = values(trained)
    with torch.no_grad():
        for p in trained.parameters():
            p.add_(0.1)
    settings = {"output_dir": str(path.parent), "beta": BETA, "per_device_train_batch_size": 16} | in_trl.SETTINGS
    trainer = make(trained, path, **settings)
    for name, value in values(trainer.ref_model).items():
        np.testing.assert_array_equal(value, stored[name])
