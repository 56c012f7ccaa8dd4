"""From logits to log-probabilities of answers, and how shift, mask and temperature go wrong.

    L positions    V vocabulary

`logits` (..., N, L, V), integer `tokens` and `mask` (..., N, L): logits[t] predict tokens[t + 1], and the mask marks
the tokens of the answer with its <eos>, not the prompt before it and not the padding behind it.
"""

import autograd.numpy as np

from rlhf_lab.audit.zoo.bug import bug
from rlhf_lab.numerics.autodiff import Array, log_prob_of, log_softmax


def log_probs(logits: Array, tokens: Array, mask: Array) -> Array:
    """log pi(token[t + 1] | what stands before it) where the mask says so, (..., N, L - 1), 0 elsewhere."""
    return log_prob_of(logits[..., :-1, :], tokens[..., 1:]) * mask[..., 1:]


def not_shifted(logits: Array, tokens: Array, mask: Array) -> Array:
    """You score each token with the logits at its own place, which have read it. Take those of the place before."""
    return log_prob_of(logits[..., 1:, :], tokens[..., 1:]) * mask[..., 1:]


def shifted_twice(logits: Array, tokens: Array, mask: Array) -> Array:
    """You shift the tokens twice, so that logits[t] are asked for token t + 2. Shift once: your model may do it."""
    late = log_prob_of(logits[..., :-2, :], tokens[..., 2:]) * mask[..., 2:]
    return np.concatenate([late, np.zeros(late[..., :1].shape)], axis=-1)


def mask_not_shifted(logits: Array, tokens: Array, mask: Array) -> Array:
    """You shift the tokens but not their mask: the first token of the answer is lost, and one behind its end counts."""
    return log_prob_of(logits[..., :-1, :], tokens[..., 1:]) * mask[..., :-1]


def mask_shifted_twice(logits: Array, tokens: Array, mask: Array) -> Array:
    """You shift the mask twice, as where the mask is that of the labels already: the last token of the prompt counts,
    and <eos> does not. Shift it once, as the tokens."""
    late = np.concatenate([mask[..., 2:], np.zeros(mask[..., :1].shape)], axis=-1)
    return log_prob_of(logits[..., :-1, :], tokens[..., 1:]) * late


def prompt_counts(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your log-probabilities hold those of the prompt, which the policy did not write. Mask it."""
    before = np.cumsum(mask, axis=-1) == 0
    return log_prob_of(logits[..., :-1, :], tokens[..., 1:]) * (mask + before)[..., 1:]


def eos_dropped(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your mask drops the last token of the answer, <eos>, as if it were padding: the policy never learns to stop."""
    without_last = np.concatenate([mask[..., 1:], np.zeros(mask[..., :1].shape)], axis=-1) * mask
    return log_prob_of(logits[..., :-1, :], tokens[..., 1:]) * without_last[..., 1:]


def padding_counts(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your log-probabilities hold those of the padding behind the answer. Mask it."""
    to_the_end = np.cumsum(mask, axis=-1) > 0
    return log_prob_of(logits[..., :-1, :], tokens[..., 1:]) * to_the_end[..., 1:]


def wrong_axis(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your softmax runs over the positions of the text. Let it run over the vocabulary, the last axis."""
    log_pi = np.swapaxes(log_softmax(np.swapaxes(logits, -1, -2)), -1, -2)
    chosen = np.eye(logits.shape[-1])[tokens[..., 1:]]
    return np.sum(log_pi[..., :-1, :] * chosen, axis=-1) * mask[..., 1:]


def softmax_missing(logits: Array, tokens: Array, mask: Array) -> Array:
    """You return logits, not log-probabilities. Subtract the log of the sum of their exponentials."""
    chosen = np.eye(logits.shape[-1])[tokens[..., 1:]]
    return np.sum(logits[..., :-1, :] * chosen, axis=-1) * mask[..., 1:]


def likeliest_token(logits: Array, tokens: Array, mask: Array) -> Array:
    """You score the likeliest token of each place. Score the token that stands in the text."""
    return np.max(log_softmax(logits[..., :-1, :]), axis=-1) * mask[..., 1:]


def log_probs_at(logits: Array, tokens: Array, mask: Array, temperature: float) -> Array:
    """The same of a policy that is sampled at a temperature: its logits are divided by it."""
    return log_prob_of(logits[..., :-1, :] / temperature, tokens[..., 1:]) * mask[..., 1:]


def temperature_ignored(logits: Array, tokens: Array, mask: Array, temperature: float) -> Array:
    """You sample at a temperature but score without it: these are log-probabilities of another policy. Divide the
    logits by the temperature here, too."""
    return log_prob_of(logits[..., :-1, :], tokens[..., 1:]) * mask[..., 1:]


def temperature_multiplies(logits: Array, tokens: Array, mask: Array, temperature: float) -> Array:
    """You multiply the logits by the temperature. Divide: hotter is flatter."""
    return log_prob_of(logits[..., :-1, :] * temperature, tokens[..., 1:]) * mask[..., 1:]


def temperature_in_normaliser(logits: Array, tokens: Array, mask: Array, temperature: float) -> Array:
    """You divide by the temperature in the normaliser only: the probabilities do not sum to 1. Divide the logits before
    the softmax."""
    cold, chosen = log_softmax(logits[..., :-1, :] / temperature), np.eye(logits.shape[-1])[tokens[..., 1:]]
    normaliser = logits[..., :-1, :] / temperature - cold
    return np.sum((logits[..., :-1, :] - normaliser) * chosen, axis=-1) * mask[..., 1:]


def temperature_not_in_normaliser(logits: Array, tokens: Array, mask: Array, temperature: float) -> Array:
    """You divide the logit of the token by the temperature, and not those in the normaliser: the probabilities do not
    sum to 1. Divide the logits before the softmax."""
    normaliser = logits[..., :-1, :] - log_softmax(logits[..., :-1, :])
    chosen = np.eye(logits.shape[-1])[tokens[..., 1:]]
    return np.sum((logits[..., :-1, :] / temperature - normaliser) * chosen, axis=-1) * mask[..., 1:]


def answer_log_probs(logits: Array, tokens: Array, mask: Array) -> Array:
    """log pi(answer | prompt), (..., N): the sum over the tokens of the answer."""
    return np.sum(log_prob_of(logits[..., :-1, :], tokens[..., 1:]) * mask[..., 1:], axis=-1)


def mean_of_tokens(logits: Array, tokens: Array, mask: Array) -> Array:
    """You average over the tokens of an answer. The log-probability of an answer is the sum over them."""
    total = np.sum(log_prob_of(logits[..., :-1, :], tokens[..., 1:]) * mask[..., 1:], axis=-1)
    return total / np.sum(mask[..., 1:], axis=-1)


def sft_loss(logits: Array, tokens: Array, mask: Array) -> Array:
    """- log pi of the answers' tokens, the mean over all of them in the batch: (...)."""
    log_pi = log_prob_of(logits[..., :-1, :], tokens[..., 1:])
    return -np.sum(log_pi * mask[..., 1:], axis=(-1, -2)) / np.sum(mask[..., 1:], axis=(-1, -2))


def labels_not_shifted(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your labels are not shifted: each place is asked for the token that it has just read. Take the next one."""
    log_pi = log_prob_of(logits[..., 1:, :], tokens[..., 1:])
    return -np.sum(log_pi * mask[..., 1:], axis=(-1, -2)) / np.sum(mask[..., 1:], axis=(-1, -2))


def labels_shifted_twice(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your labels are shifted twice: each place is asked for the token after the next. Shift once; your model may do it
    for you."""
    log_pi = log_prob_of(logits[..., :-2, :], tokens[..., 2:])
    return -np.sum(log_pi * mask[..., 2:], axis=(-1, -2)) / np.sum(mask[..., 2:], axis=(-1, -2))


def labels_without_eos(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your labels drop <eos>, as happens where padding is the same token: the model never learns to stop."""
    mask = np.concatenate([mask[..., 1:], np.zeros(mask[..., :1].shape)], axis=-1) * mask
    log_pi = log_prob_of(logits[..., :-1, :], tokens[..., 1:])
    return -np.sum(log_pi * mask[..., 1:], axis=(-1, -2)) / np.sum(mask[..., 1:], axis=(-1, -2))


def labels_of_prompt(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your loss holds the prompt, which is not there to be imitated. Mask it."""
    mask = mask + (np.cumsum(mask, axis=-1) == 0)
    log_pi = log_prob_of(logits[..., :-1, :], tokens[..., 1:])
    return -np.sum(log_pi * mask[..., 1:], axis=(-1, -2)) / np.sum(mask[..., 1:], axis=(-1, -2))


def padding_in_mean(logits: Array, tokens: Array, mask: Array) -> Array:
    """You divide by all places of the batch, padding and prompt with them: the step size depends on how texts are
    padded. Divide by the number of tokens that count."""
    log_pi = log_prob_of(logits[..., :-1, :], tokens[..., 1:])
    return -np.mean(log_pi * mask[..., 1:], axis=(-1, -2))


BUGS = (
    bug("not shifted", "log_probs", not_shifted, log_probs, "sec-pretraining"),
    bug("shifted twice", "log_probs", shifted_twice, log_probs, "sec-pretraining"),
    bug("mask not shifted", "log_probs", mask_not_shifted, log_probs, "sec-token-mdp"),
    bug("mask shifted twice", "log_probs", mask_shifted_twice, log_probs, "sec-token-mdp"),
    bug("prompt counts", "log_probs", prompt_counts, log_probs, "sec-token-mdp"),
    bug("eos dropped", "log_probs", eos_dropped, log_probs, "sec-token-mdp"),
    bug("padding counts", "log_probs", padding_counts, log_probs, "sec-token-mdp"),
    bug("softmax over positions", "log_probs", wrong_axis, log_probs, "sec-token-mdp"),
    bug("softmax missing", "log_probs", softmax_missing, log_probs, "sec-token-mdp"),
    bug("likeliest token", "log_probs", likeliest_token, log_probs, "sec-token-mdp"),
    bug("temperature ignored", "log_probs", temperature_ignored, log_probs_at, "sec-token-mdp"),
    bug("temperature multiplies", "log_probs", temperature_multiplies, log_probs_at, "sec-token-mdp"),
    bug("temperature in the normaliser only", "log_probs", temperature_in_normaliser, log_probs_at, "sec-token-mdp"),
    bug("temperature not in the normaliser", "log_probs", temperature_not_in_normaliser, log_probs_at, "sec-token-mdp"),
    bug("mean over tokens", "log_probs", mean_of_tokens, answer_log_probs, "sec-length"),
    bug("labels not shifted", "sft_loss", labels_not_shifted, sft_loss, "sec-pretraining"),
    bug("labels shifted twice", "sft_loss", labels_shifted_twice, sft_loss, "sec-pretraining"),
    bug("labels without eos", "sft_loss", labels_without_eos, sft_loss, "sec-pretraining"),
    bug("labels of the prompt", "sft_loss", labels_of_prompt, sft_loss, "sec-pretraining"),
    bug("padding in the mean", "sft_loss", padding_in_mean, sft_loss, "sec-pretraining"),
)
