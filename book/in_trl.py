"""One file of comparisons through five trainers of TRL: the code that the page `in_the_wild.md` shows.

A test of the peers runs it. `python book/in_trl.py` trains each for three steps, on a tiny model made on the spot.
"""

import tempfile
from pathlib import Path

import numpy as np
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    RewardConfig,
    RewardTrainer,
    RLOOConfig,
    RLOOTrainer,
    SFTConfig,
    SFTTrainer,
)

from rlhf_lab.feedback import preference_files, preferences
from rlhf_lab.worlds.phrase_world import EOS, HORIZON, PROMPTS, VOCAB, WORDS, decode, encode, reward

CHOSEN = ("yes it is hot", "no thanks", "no it is cold", "yes thanks")
REJECTED = ("no", "yes tea is fool", "ice is hot thanks", "fool")
SETTINGS = {"max_steps": 3, "learning_rate": 0.01, "logging_steps": 1, "save_strategy": "no", "use_cpu": True}


def write_pairs(path):
    """Write four comparisons of PhraseWorld as JSON lines."""
    chosen = np.stack([encode(text, HORIZON) for text in CHOSEN])
    rejected = np.stack([encode(text, HORIZON) for text in REJECTED])
    pairs = preferences.Preferences(PROMPTS, chosen, rejected, VOCAB)
    preference_files.write(path, pairs, decode)


def read_pairs(path, columns):
    """Return columns of such a file as a dataset, under a trainer's names for them."""
    found = Dataset.from_json(str(path)).select_columns(list(columns))
    return found.rename_columns(columns)


def write_model(folder):
    """Write a tokenizer of the words of PhraseWorld, and a small GPT-2."""
    number = {word: token for token, word in enumerate((*WORDS, "<pad>"))}
    words = Tokenizer(WordLevel(number))
    words.pre_tokenizer = WhitespaceSplit()
    names = {"eos_token": "<eos>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **names).save_pretrained(folder)
    size = {"vocab_size": len(number), "n_positions": 16}
    size |= {"n_embd": 16, "n_layer": 1, "n_head": 2, "initializer_range": 0.2}
    no_dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0)
    ends = {"bos_token_id": EOS, "eos_token_id": EOS, "pad_token_id": number["<pad>"]}
    config = GPT2Config(**size, **no_dropout, **ends)
    GPT2LMHeadModel(config).save_pretrained(folder)


def sft(model, path, **settings):
    """Imitate the chosen answers."""
    texts = read_pairs(path, {"prompt": "prompt", "chosen": "completion"})
    return SFTTrainer(model, args=SFTConfig(**settings), train_dataset=texts)


def reward_model(model, path, **settings):
    """Fit a reward to the comparisons."""
    pairs = read_pairs(path, {name: name for name in ("prompt", "chosen", "rejected")})
    return RewardTrainer(model, args=RewardConfig(**settings), train_dataset=pairs)


def dpo(model, path, **settings):
    """Fit the policy to the comparisons."""
    pairs = read_pairs(path, {name: name for name in ("prompt", "chosen", "rejected")})
    return DPOTrainer(model, args=DPOConfig(**settings), train_dataset=pairs)


def judge(prompts, completions, **columns):
    """Return the reward of each answer; `columns` are other columns and the tokens."""
    asked = np.stack([encode(text) for text in prompts])
    said = np.stack([encode(text, HORIZON + 1) for text in completions])
    return reward(asked, said).tolist()


def grpo(model, path, **settings):
    """Answer the prompts, four times each, and learn from the rewards."""
    prompts = read_pairs(path, {"prompt": "prompt"})
    args = GRPOConfig(num_generations=4, max_completion_length=HORIZON, **settings)
    return GRPOTrainer(model, reward_funcs=judge, args=args, train_dataset=prompts)


def rloo(model, path, **settings):
    """Do the same with the advantages of RLOO and the price in the reward."""
    prompts = read_pairs(path, {"prompt": "prompt"})
    args = RLOOConfig(num_generations=4, max_completion_length=HORIZON, **settings)
    return RLOOTrainer(model, reward_funcs=judge, args=args, train_dataset=prompts)


def main():
    """Train each for three steps."""
    with tempfile.TemporaryDirectory() as folder:
        pairs, model = Path(folder, "pairs.jsonl"), str(Path(folder, "model"))
        write_pairs(pairs)
        write_model(model)
        for make in (sft, reward_model, dpo, grpo, rloo):
            make(model, pairs, output_dir=folder, **SETTINGS).train()


if __name__ == "__main__":
    main()
