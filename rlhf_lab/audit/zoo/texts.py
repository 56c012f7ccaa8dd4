"""More ways in which log-probabilities of texts go wrong; `tokens` has the right functions and the letters."""

import autograd.numpy as np
from autograd.tracer import getval

from rlhf_lab.audit.zoo.bug import bug
from rlhf_lab.audit.zoo.tokens import log_probs, log_probs_at, sft_loss
from rlhf_lab.numerics.autodiff import Array, log_prob_of, log_softmax


def mask_ignored(logits: Array, tokens: Array, mask: Array) -> Array:
    """You do not use the mask: prompt and padding count as if the policy had written them. Multiply by it."""
    return log_prob_of(logits[..., :-1, :], tokens[..., 1:]) * np.ones(mask[..., 1:].shape)


def mask_upside_down(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your mask is upside down: prompt and padding count, the answer does not. Count where it is 1."""
    return log_prob_of(logits[..., :-1, :], tokens[..., 1:]) * (1 - mask[..., 1:])


def shifted_back(logits: Array, tokens: Array, mask: Array) -> Array:
    """You shift the wrong way: logits[t] are asked for token t - 1, which they have read. Ask them for token t + 1."""
    return log_prob_of(logits[..., 1:, :], tokens[..., :-1]) * mask[..., :-1]


def own_token(logits: Array, tokens: Array, mask: Array) -> Array:
    """You shift the mask but not the tokens: each place is asked for the token that it has just read. Take the next."""
    return log_prob_of(logits[..., :-1, :], tokens[..., :-1]) * mask[..., 1:]


def probabilities(logits: Array, tokens: Array, mask: Array) -> Array:
    """You return probabilities. Take their logarithm, or log_softmax of the logits."""
    return np.exp(log_prob_of(logits[..., :-1, :], tokens[..., 1:])) * mask[..., 1:]


def softmax_twice(logits: Array, tokens: Array, mask: Array) -> Array:
    """You take the softmax twice: a function that expects logits is given probabilities. Hand over the logits."""
    return log_prob_of(np.exp(log_softmax(logits[..., :-1, :])), tokens[..., 1:]) * mask[..., 1:]


def sign_turned(logits: Array, tokens: Array, mask: Array) -> Array:
    """You return minus the log-probabilities, as a cross-entropy does. Turn the sign."""
    return -log_prob_of(logits[..., :-1, :], tokens[..., 1:]) * mask[..., 1:]


def over_the_batch(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your softmax runs over the texts of the batch. Let it run over the vocabulary, the last axis."""
    log_pi = np.swapaxes(log_softmax(np.swapaxes(logits, -1, -3)), -1, -3)
    chosen = np.eye(logits.shape[-1])[tokens[..., 1:]]
    return np.sum(log_pi[..., :-1, :] * chosen, axis=-1) * mask[..., 1:]


def temperature_outside(logits: Array, tokens: Array, mask: Array, temperature: float) -> Array:
    """You divide log-probabilities by the temperature, and they no longer sum to 1. Divide the logits."""
    return log_prob_of(logits[..., :-1, :], tokens[..., 1:]) * mask[..., 1:] / temperature


def all_places(mask: Array) -> Array:
    """The number of places of a batch that could be counted."""
    return np.sum(np.ones(mask[..., 1:].shape), axis=(-1, -2))


def mean_loss(log_pi: Array, mask: Array) -> Array:
    """- log pi, the mean over what a mask keeps of a batch."""
    return -np.sum(log_pi * mask, axis=(-1, -2)) / np.sum(mask, axis=(-1, -2))


def loss_without_mask(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your loss does not use the mask: it imitates prompt and padding, too. Count the answers' tokens only."""
    return -np.sum(log_prob_of(logits[..., :-1, :], tokens[..., 1:]), axis=(-1, -2)) / all_places(mask)


def loss_of_padding(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your loss holds the padding behind the answer. Mask it: -100 in the labels, or 0 in the mask."""
    return mean_loss(log_prob_of(logits[..., :-1, :], tokens[..., 1:]), 1.0 * (np.cumsum(mask, axis=-1) > 0)[..., 1:])


def loss_upside_down(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your mask is upside down: the loss imitates prompt and padding, and leaves out the answer. Count where it is
    1."""
    return mean_loss(log_prob_of(logits[..., :-1, :], tokens[..., 1:]), 1 - mask[..., 1:])


def loss_mask_not_shifted(logits: Array, tokens: Array, mask: Array) -> Array:
    """You shift the labels but not their mask: the first token of the answer is lost, and one behind its end counts."""
    return mean_loss(log_prob_of(logits[..., :-1, :], tokens[..., 1:]), mask[..., :-1])


def loss_shifted_back(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your labels are shifted the wrong way: each place is asked for the token before the last. Take the next one."""
    return mean_loss(log_prob_of(logits[..., 1:, :], tokens[..., :-1]), mask[..., :-1])


def loss_own_token(logits: Array, tokens: Array, mask: Array) -> Array:
    """You shift the mask but not the labels: each place is asked for the token that it has just read. Take the next."""
    return mean_loss(log_prob_of(logits[..., :-1, :], tokens[..., :-1]), mask[..., 1:])


def loss_of_probabilities(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your loss is minus the probability, without the logarithm, so that unlikely tokens get the smallest gradient."""
    return mean_loss(np.exp(log_prob_of(logits[..., :-1, :], tokens[..., 1:])), mask[..., 1:])


def weighted(logits: Array, tokens: Array, mask: Array) -> Array:
    """log pi of each token, times its own probability, which is held constant."""
    log_pi = log_prob_of(logits[..., :-1, :], tokens[..., 1:])
    return np.exp(getval(log_pi)) * log_pi * mask[..., 1:]


def loss_weighted(logits: Array, tokens: Array, mask: Array) -> Array:
    """You weight each token by its own probability, held constant: that is DFT, which pulls least at what is unlikely,
    not maximum likelihood. Leave the weight out."""
    return -np.sum(weighted(logits, tokens, mask), axis=(-1, -2)) / np.sum(mask[..., 1:], axis=(-1, -2))


def loss_softmax_twice(logits: Array, tokens: Array, mask: Array) -> Array:
    """You take the softmax before a cross-entropy that takes it, too: the loss cannot fall to 0. Hand over logits."""
    return mean_loss(log_prob_of(np.exp(log_softmax(logits[..., :-1, :])), tokens[..., 1:]), mask[..., 1:])


def loss_softmax_missing(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your loss is minus the logit, which falls without end. Subtract the logit from the log of the sum of all
    exponentials: a cross-entropy."""
    chosen = np.eye(logits.shape[-1])[tokens[..., 1:]]
    return mean_loss(np.sum(logits[..., :-1, :] * chosen, axis=-1), mask[..., 1:])


def loss_over_positions(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your softmax runs over the positions of the text. Let it run over the vocabulary, the last axis."""
    log_pi = np.swapaxes(log_softmax(np.swapaxes(logits, -1, -2)), -1, -2)
    chosen = np.eye(logits.shape[-1])[tokens[..., 1:]]
    return mean_loss(np.sum(log_pi[..., :-1, :] * chosen, axis=-1), mask[..., 1:])


def first_token_lost(logits: Array, tokens: Array, mask: Array) -> Array:
    """You leave out the first token of the answer, which the last one of the prompt predicts. Count it."""
    return log_prob_of(logits[..., :-1, :], tokens[..., 1:]) * (mask[..., 1:] * mask[..., :-1])


def loss_without_first(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your loss leaves out the first token of the answer, which the last one of the prompt predicts. Count it."""
    return mean_loss(log_prob_of(logits[..., :-1, :], tokens[..., 1:]), mask[..., 1:] * mask[..., :-1])


def perplexity(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your loss is the perplexity, the exponential of the cross-entropy, so that the worst batches get the largest
    steps. Leave out the exponential."""
    return np.exp(mean_loss(log_prob_of(logits[..., :-1, :], tokens[..., 1:]), mask[..., 1:]))


def prompt_in_mean(logits: Array, tokens: Array, mask: Array) -> Array:
    """You divide by the tokens of prompts and answers: texts with long prompts teach less. Divide by the number of
    tokens that count."""
    total = np.sum(log_prob_of(logits[..., :-1, :], tokens[..., 1:]) * mask[..., 1:], axis=(-1, -2))
    return -total / np.sum(1.0 * (np.cumsum(mask[..., ::-1], axis=-1) > 0), axis=(-1, -2))


def likeliest_label(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your loss asks for the likeliest token of each place, not for that of the text. Pick the label."""
    return mean_loss(np.max(log_softmax(logits[..., :-1, :]), axis=-1), mask[..., 1:])


def logarithm_of_mean(logits: Array, tokens: Array, mask: Array) -> Array:
    """You average probabilities and take the logarithm of the mean: likely tokens hide the unlikely ones. Take
    logarithms first, and average then."""
    probs = np.exp(log_prob_of(logits[..., :-1, :], tokens[..., 1:]))
    return -np.log(np.sum(probs * mask[..., 1:], axis=(-1, -2)) / np.sum(mask[..., 1:], axis=(-1, -2)))


def squared_error(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your loss is the squared error of the probabilities: what is unlikely gets hardly a gradient. Take minus the
    log-probability of the label."""
    apart = np.exp(log_softmax(logits[..., :-1, :])) - np.eye(logits.shape[-1])[tokens[..., 1:]]
    return -mean_loss(np.sum(apart**2, axis=-1), mask[..., 1:])


def logits_masked(logits: Array, tokens: Array, mask: Array) -> Array:
    """You multiply the logits by the mask: what predicts the first token becomes the same for all words. Multiply the
    log-probabilities."""
    return log_prob_of((logits * mask[..., None])[..., :-1, :], tokens[..., 1:]) * mask[..., 1:]


def entropy_for_label(logits: Array, tokens: Array, mask: Array) -> Array:
    """Your loss is the entropy of the policy, which does not look at the labels. Take minus the log-probability of the
    label."""
    log_pi = log_softmax(logits[..., :-1, :])
    return mean_loss(np.sum(np.exp(log_pi) * log_pi, axis=-1), mask[..., 1:])


BUGS = (
    bug("mask left out", "log_probs", mask_ignored, log_probs, "sec-token-mdp"),
    bug("mask upside down", "log_probs", mask_upside_down, log_probs, "sec-token-mdp"),
    bug("shifted the wrong way", "log_probs", shifted_back, log_probs, "sec-pretraining"),
    bug("token that was read", "log_probs", own_token, log_probs, "sec-pretraining"),
    bug("probabilities, not logs", "log_probs", probabilities, log_probs, "sec-token-mdp"),
    bug("softmax twice", "log_probs", softmax_twice, log_probs, "sec-token-mdp"),
    bug("minus the log-probabilities", "log_probs", sign_turned, log_probs, "sec-token-mdp"),
    bug("softmax over the batch", "log_probs", over_the_batch, log_probs, "sec-token-mdp"),
    bug("temperature outside", "log_probs", temperature_outside, log_probs_at, "sec-token-mdp"),
    bug("labels without a mask", "sft_loss", loss_without_mask, sft_loss, "sec-pretraining"),
    bug("labels of the padding", "sft_loss", loss_of_padding, sft_loss, "sec-pretraining"),
    bug("labels upside down", "sft_loss", loss_upside_down, sft_loss, "sec-pretraining"),
    bug("mask of the labels not shifted", "sft_loss", loss_mask_not_shifted, sft_loss, "sec-pretraining"),
    bug("labels shifted the wrong way", "sft_loss", loss_shifted_back, sft_loss, "sec-pretraining"),
    bug("label that was read", "sft_loss", loss_own_token, sft_loss, "sec-pretraining"),
    bug("logarithm missing in SFT", "sft_loss", loss_of_probabilities, sft_loss, "sec-pretraining"),
    bug("weighted by the probability in SFT", "sft_loss", loss_weighted, sft_loss, "sec-pretraining"),
    bug("softmax twice in SFT", "sft_loss", loss_softmax_twice, sft_loss, "sec-pretraining"),
    bug("softmax missing in SFT", "sft_loss", loss_softmax_missing, sft_loss, "sec-pretraining"),
    bug("softmax over positions in SFT", "sft_loss", loss_over_positions, sft_loss, "sec-pretraining"),
    bug("first token lost", "log_probs", first_token_lost, log_probs, "sec-token-mdp"),
    bug("first label lost", "sft_loss", loss_without_first, sft_loss, "sec-pretraining"),
    bug("perplexity", "sft_loss", perplexity, sft_loss, "sec-pretraining"),
    bug("prompt in the mean", "sft_loss", prompt_in_mean, sft_loss, "sec-pretraining"),
    bug("logarithm of the mean in SFT", "sft_loss", logarithm_of_mean, sft_loss, "sec-pretraining"),
    bug("squared error in SFT", "sft_loss", squared_error, sft_loss, "sec-pretraining"),
    bug("logits masked", "log_probs", logits_masked, log_probs, "sec-token-mdp"),
    bug("entropy in SFT", "sft_loss", entropy_for_label, sft_loss, "sec-pretraining"),
    bug("likeliest token in SFT", "sft_loss", likeliest_label, sft_loss, "sec-pretraining"),
)
