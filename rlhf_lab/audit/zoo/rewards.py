"""More ways in which the loss of a reward model goes wrong; `pairs` has the right function."""

import autograd.numpy as np

from rlhf_lab.audit.zoo.bug import bug
from rlhf_lab.audit.zoo.pairs import log_sigmoid, reward_model_loss
from rlhf_lab.numerics.autodiff import Array


def log_missing(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """Your loss is 1 - sigmoid of the difference, without the logarithm, so that the worst pairs get the smallest
    gradient. Take -log sigmoid."""
    return 1 - np.exp(log_sigmoid(chosen_rewards - rejected_rewards))


def sigmoid_missing(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """Your loss is the bare difference of the rewards, which falls without end. Take -log sigmoid of it."""
    return rejected_rewards - chosen_rewards


def hinge(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """Your loss is a hinge, max(0, 1 - difference). It ranks, but its rewards are no log-odds: take -log
    sigmoid."""
    return np.maximum(0.0, 1 - (chosen_rewards - rejected_rewards))


def regression(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """You pull the difference of the rewards to 1, as if every preference were as strong. Take -log sigmoid of
    it."""
    return (chosen_rewards - rejected_rewards - 1) ** 2


def margin_of_probabilities(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """You squash each reward with a sigmoid before you subtract, so that the loss cannot fall below 0.31. Subtract
    the rewards."""
    chosen, rejected = np.exp(log_sigmoid(chosen_rewards)), np.exp(log_sigmoid(rejected_rewards))
    return -log_sigmoid(chosen - rejected)


def added(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """You add the two rewards. Subtract that of the rejected answer."""
    return -log_sigmoid(chosen_rewards + rejected_rewards)


def mean_inside(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """You average the differences of the batch before the loss. Take the loss of each pair first, and average
    then."""
    difference = np.mean(chosen_rewards - rejected_rewards, axis=-1, keepdims=True)
    return -log_sigmoid(difference) * np.ones(chosen_rewards.shape)


def rejected_ignored(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """Your loss sees only the reward of the chosen answer. Subtract that of the rejected one before the sigmoid."""
    return -log_sigmoid(chosen_rewards)


def all_pairs(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """Your shapes broadcast, (N, 1) against (N,), so that answers to different prompts are compared. Compare within
    pairs."""
    return np.mean(-log_sigmoid(chosen_rewards[..., :, None] - rejected_rewards[..., None, :]), axis=-1)


def distance(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """You take the size of the difference, so that it does not matter which answer is preferred. Keep its sign."""
    return -log_sigmoid(np.abs(chosen_rewards - rejected_rewards))


def exponential(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """Your loss is the exponential of the difference, so that one mis-click outweighs all others. Take -log sigmoid."""
    return np.exp(rejected_rewards - chosen_rewards)


def labels_regressed(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """You pull each chosen reward to 1 and each rejected one to 0. A comparison says only which of two is better: take
    the difference of the rewards, and -log sigmoid of it."""
    return (chosen_rewards - 1) ** 2 + rejected_rewards**2


def sum_inside(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """You add up the differences of the batch before the loss, so that easy pairs hide hard ones. Take the loss of each
    pair first."""
    difference = np.sum(chosen_rewards - rejected_rewards, axis=-1, keepdims=True)
    return -log_sigmoid(difference) * np.ones(chosen_rewards.shape)


def perceptron(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """Your loss is 0 as soon as the order is right, however narrowly: equal rewards cost nothing. Take -log sigmoid."""
    return np.maximum(0.0, rejected_rewards - chosen_rewards)


def ratio(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """You divide the rewards. Subtract them: only their difference has a meaning."""
    return -log_sigmoid(chosen_rewards / rejected_rewards)


def difference_clipped(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """You clip the difference of the rewards: a pair that is wrong by more than that has no gradient, and is never put
    right. Leave it out."""
    return -log_sigmoid(np.clip(chosen_rewards - rejected_rewards, -1.0, 1.0))


def softmax_over_batch(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """Your softmax runs over the wrong axis: chosen answers compete with those to other prompts. Take it over the two
    answers of a pair."""
    largest = np.max(chosen_rewards, axis=-1, keepdims=True)
    total = np.sum(np.exp(chosen_rewards - largest), axis=-1, keepdims=True)
    return np.log(total) + largest - chosen_rewards


def margin_granted(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """You add the margin to the difference: the rejected answer may be ahead by it. A margin that is asked for is
    subtracted."""
    return -log_sigmoid(chosen_rewards - rejected_rewards + 1)


def logarithm_of_mean(chosen_rewards: Array, rejected_rewards: Array) -> Array:
    """You average probabilities and take the logarithm of the mean: pairs that are right hide those that are wrong.
    Take logarithms first, and average then."""
    mean = np.mean(np.exp(log_sigmoid(chosen_rewards - rejected_rewards)), axis=-1, keepdims=True)
    return -np.log(mean) * np.ones(chosen_rewards.shape)


BUGS = (
    bug("margin on the wrong side", "reward_model_loss", margin_granted, reward_model_loss, "sec-reward-modeling"),
    bug("logarithm of the mean", "reward_model_loss", logarithm_of_mean, reward_model_loss, "sec-reward-modeling"),
    bug(
        "logarithm of the comparison missing",
        "reward_model_loss",
        log_missing,
        reward_model_loss,
        "sec-reward-modeling",
    ),
    bug(
        "sigmoid of the comparison missing",
        "reward_model_loss",
        sigmoid_missing,
        reward_model_loss,
        "sec-reward-modeling",
    ),
    bug("hinge of the comparison", "reward_model_loss", hinge, reward_model_loss, "sec-reward-modeling"),
    bug("regression to 1", "reward_model_loss", regression, reward_model_loss, "sec-reward-modeling"),
    bug(
        "margin of probabilities",
        "reward_model_loss",
        margin_of_probabilities,
        reward_model_loss,
        "sec-reward-modeling",
    ),
    bug("rewards added", "reward_model_loss", added, reward_model_loss, "sec-reward-modeling"),
    bug("mean inside the comparison", "reward_model_loss", mean_inside, reward_model_loss, "sec-reward-modeling"),
    bug("rejected reward ignored", "reward_model_loss", rejected_ignored, reward_model_loss, "sec-reward-modeling"),
    bug(
        "every chosen against every rejected", "reward_model_loss", all_pairs, reward_model_loss, "sec-reward-modeling"
    ),
    bug("distance in place of difference", "reward_model_loss", distance, reward_model_loss, "sec-reward-modeling"),
    bug("exponential in place of logistic", "reward_model_loss", exponential, reward_model_loss, "sec-reward-modeling"),
    bug("labels regressed", "reward_model_loss", labels_regressed, reward_model_loss, "sec-reward-modeling"),
    bug("sum inside the comparison", "reward_model_loss", sum_inside, reward_model_loss, "sec-reward-modeling"),
    bug("perceptron", "reward_model_loss", perceptron, reward_model_loss, "sec-reward-modeling"),
    bug("ratio of rewards", "reward_model_loss", ratio, reward_model_loss, "sec-reward-modeling"),
    bug("softmax over the pairs", "reward_model_loss", softmax_over_batch, reward_model_loss, "sec-reward-modeling"),
    bug("difference clipped", "reward_model_loss", difference_clipped, reward_model_loss, "sec-reward-modeling"),
)
