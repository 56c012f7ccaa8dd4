"""Reward models and how they are fitted to what people say.

    R_phi reward model    phi parameters    m margin R(x, y) - R(x, y')    l label 0, 1/2 or 1    f features
    theta weights of a linear model    epsilon mis-click rate    nu weight of a tie    lambda precision of the prior

Losses are numbers in, numbers out: margins and labels (..., N) give one loss for each comparison, nats.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import autograd.numpy as np
from numpy.random import Generator
from scipy.special import expit

from . import checks
from .autodiff import Array, embedding, rnn_logits
from .lm import answer_index, check_enumerable, count_responses, response_mask
from .optim import Params
from .recurrent import Recurrent
from .tabular import Tabular

STEPS = 100  # of Newton's method; a maximum that exists is found in about ten
SIDES = np.array([[1.0], [-1.0]])  # of a margin: chosen minus rejected


class RewardModel(Protocol):
    """A function of the parameters that judges whole responses; what a language model is to text, for rewards."""

    def init(self, rng: Generator) -> Params:
        """Return fresh parameters."""

    def reward(self, params: Params, prompt: Array, response: Array) -> Array:
        """Return R_phi(x, y), shape (..., N), for prompts (N, P) and responses (N, T)."""


@dataclass(frozen=True)
class Linear:
    """R(x, y) = f(x, y) . theta with D features, `features(prompt, response)` (N, D), of texts of `vocab` tokens.

    Parameters: theta, `weights` (..., D).
    """

    features: Callable[[Array, Array], Array]
    size: int
    vocab: int

    def init(self, rng: Generator) -> Params:
        """Return weights of zero: every response is worth the same. The model needs no chance."""
        return {"weights": np.zeros(self.size)}

    def reward(self, params: Params, prompt: Array, response: Array) -> Array:
        """Return R_phi(x, y), shape (..., N)."""
        prompt = checks.tokens("prompt", prompt, self.vocab)
        response = checks.tokens("response", response, self.vocab)
        checks.same_batch(prompt, response)
        checks.shapes(params, {"weights": (self.size,)})
        return np.matmul(self.features(prompt, response), params["weights"][..., None])[..., 0]


@dataclass(frozen=True)
class Table:
    """One reward for each prompt and answer that `language`, a table, knows. Parameters: `rewards` (..., K, A)."""

    language: Tabular

    def init(self, rng: Generator) -> Params:
        """Return rewards of zero. The table needs no chance."""
        return {"rewards": np.zeros(self._shape())}

    def _shape(self) -> tuple[int, int]:
        language = self.language
        return len(language.prompts), count_responses(language.vocab, language.horizon, language.eos)

    def reward(self, params: Params, prompt: Array, response: Array) -> Array:
        """Look R_phi(x, y) up, shape (..., N)."""
        language, rewards = self.language, params["rewards"]
        row, response = language.row(prompt), checks.tokens("response", response, language.vocab)
        checks.same_batch(np.asarray(prompt), response)
        checks.shapes(params, {"rewards": self._shape()})
        index = answer_index(response, language.vocab, language.eos)
        flat = np.reshape(rewards, (*rewards.shape[:-2], -1, 1))
        return embedding(flat, (row * rewards.shape[-1] + index)[..., None])[..., 0, 0]


@dataclass(frozen=True)
class Network:
    """A recurrent reader whose state after the last token is projected to one number.

    A language model with another head, as reward models are made in practice.
    Parameters: those of `language`, and `head` (..., D) in place of its readout. RLHF Deciphered, section 7.5.
    """

    language: Recurrent

    def init(self, rng: Generator) -> Params:
        """Return the parameters of a fresh reader, and a head of zeros."""
        params = self.language.init(rng)
        del params["readout"]
        return params | {"head": np.zeros(self.language.hidden)}

    def reward(self, params: Params, prompt: Array, response: Array) -> Array:
        """Return R_phi(x, y), shape (..., N), read at the first `eos` or, if there is none, at the last token."""
        language = self.language
        prompt = checks.tokens("prompt", prompt, language.vocab)
        response = checks.tokens("response", response, language.vocab)
        checks.same_batch(prompt, response)
        checks.shapes(params, {"head": (language.hidden,), "embed": (language.vocab, language.hidden)})
        read = np.concatenate([prompt, response], axis=-1)
        weights = params["recurrent"], params["embed"], params["head"][..., None], params["start"]
        each = rnn_logits(*weights, read, prompt.shape[-1] + 1)
        each = np.reshape(each, each.shape[:-1])
        alive = response_mask(response, language.eos)
        return np.sum(
            each * (alive - np.concatenate([alive[..., 1:], np.zeros((*alive.shape[:-1], 1))], axis=-1)), axis=-1
        )

    def every_reward(self, params: Params, prompt: Array, horizon: int) -> Array:
        """Return R_phi(x, y) of every answer, (..., N, A), in the order of `lm.enumerate_responses`.

        Answers that begin alike share their states, which makes this much faster than `reward`.
        """
        language = self.language
        prompt = checks.tokens("prompt", prompt, language.vocab)
        check_enumerable(language.vocab, horizon, language.eos, prompt.shape[-2])
        state, _ = language.start(params | {"readout": np.zeros((language.hidden, language.vocab))}, prompt)
        turn, embed = np.swapaxes(params["recurrent"], -1, -2), params["embed"][..., None, :, :]
        blocks, worth = [], state
        for _ in range(horizon):
            longer = np.tanh(np.matmul(state, turn)[..., None, :] + embed)  # each prefix with each token behind it
            worth = np.matmul(longer, params["head"][..., None, :, None])[..., 0]
            if language.eos is not None:
                blocks.append(worth[..., -1])
                longer, worth = longer[..., :-1, :], worth[..., :-1]
            state = np.reshape(longer, (*longer.shape[:-3], -1, language.hidden))
        blocks.append(worth)
        lead = state.shape[:-2]
        return np.concatenate([np.reshape(block, (*lead, prompt.shape[-2], -1)) for block in blocks], axis=-1)


def bradley_terry_loss(margin: Array, label: Array = 1.0) -> Array:
    """- l log sigmoid(m) - (1 - l) log sigmoid(-m): cross-entropy of label and Bradley-Terry (eq-bt-loss).

    RLHF Deciphered, eq. 11; a label of 1/2 says that people saw no difference.
    """
    return np.logaddexp(0.0, margin) - label * margin


def preference_loss(model: RewardModel, loss: Callable[..., Array]) -> Callable[[Params, Any], Array]:
    """Return the mean of `loss(margin, label)` over a batch, as `optim.fit` wants it.

    A batch holds prompt, chosen, rejected and label, as in `Preferences.columns`.
    """

    def mean(params: Params, batch: Any) -> Array:
        prompt, chosen, rejected, label = batch
        both = np.concatenate([chosen, rejected], axis=-2)  # one call on twice the rows is faster than two
        reward = model.reward(params, np.concatenate([prompt, prompt], axis=-2), both)
        pairs = np.reshape(reward, (*reward.shape[:-1], 2, -1))
        return np.mean(loss(np.sum(pairs * SIDES, axis=-2), label), axis=-1)

    return mean


class Posterior(NamedTuple):
    """A normal distribution over the weights of a linear model: `mean` (..., D), `covariance` (..., D, D)."""

    mean: Array
    covariance: Array


def fisher(difference: Array, margin: Array, misclick: float = 0.0) -> Array:
    """F = sum_i w_i d_i d_i^T, what comparisons tell of theta, (..., D, D) (eq-fisher).

    `difference` (..., N, D) are the differences d of features, `margin` (..., N) their products with theta. The weight
    is p'(m)^2 / (p (1 - p)) with p the probability of label 1; without mis-clicks that is p (1 - p).
    """
    _, _, slope, share = _chances(margin, misclick)
    weighted = difference * (slope * share)[..., None]
    return np.matmul(np.swapaxes(difference, -1, -2), weighted)


def fit_linear(difference: Array, label: Array, precision: float, misclick: float = 0.0) -> Posterior:
    """Find the most probable theta under the prior N(0, I / lambda) (eq-map), and a normal posterior (eq-laplace).

    `difference` (..., N, D) holds features of the first response minus those of the second, `label` (..., N) which was
    preferred, `precision` is lambda >= 0. Newton's method; where mis-clicks bend the posterior upwards, Fisher scoring.
    Raises `ValueError` if there is no finite maximum.
    """
    difference, label = _comparisons(difference, label)
    checks.not_negative("precision", precision, "lambda of the prior N(0, I / lambda)")
    prior, theta = precision * np.eye(difference.shape[-1]), np.zeros(difference.shape[-1])
    for _ in range(STEPS):
        margin = _times(difference, theta)
        p, q, _, share = _chances(margin, checks.share("misclick", misclick))
        information = fisher(difference, margin, misclick) + prior
        if checks.ill_conditioned(information):
            break
        surprise = label * q - (1 - label) * p  # label - p, without rounding to 0 where a label is nearly certain
        score = _times(np.swapaxes(difference, -1, -2), surprise * share) - precision * theta
        curvature = _curvature(difference, label, margin, misclick, prior, information)
        step = np.linalg.solve(curvature, score[..., None])[..., 0]
        if np.max(np.abs(step)) <= 1e-10 * max(1.0, np.max(np.abs(theta))):
            return Posterior(theta, np.linalg.inv(information))
        here = _cost(theta, difference, label, precision, misclick)
        while (worse := _cost(theta + step, difference, label, precision, misclick) > here + 1e-9 * (1 + here)).any():
            step = np.where(worse[..., None], step / 2, step)
        theta = theta + step
    raise ValueError(
        "no finite maximum was found: some direction of the features separates the comparisons, or none of them "
        "measures it; give a prior, precision > 0"
    )


def _curvature(
    difference: Array, label: Array, margin: Array, misclick: float, prior: Array, information: Array
) -> Array:
    """Return minus the second derivative of the log-posterior, or `information` where it is not positive definite."""
    if not misclick:
        return information
    p, q, slope, _ = _chances(margin, misclick)
    bend = -slope * np.tanh(margin / 2)
    weight = label * ((slope / p) ** 2 - bend / p) + (1 - label) * ((slope / q) ** 2 + bend / q)
    found = np.matmul(np.swapaxes(difference, -1, -2), difference * weight[..., None]) + prior
    return np.where(np.linalg.eigvalsh(found)[..., :1, None] > 0, found, information)


def _cost(theta: Array, difference: Array, label: Array, precision: float, misclick: float) -> Array:
    margin = _times(difference, theta)
    loss = misclick_loss(margin, label, rate=misclick) if misclick else bradley_terry_loss(margin, label)
    return np.sum(loss, axis=-1) + precision / 2 * np.sum(theta**2, axis=-1)


def _comparisons(difference: Array, label: Array) -> tuple[Array, Array]:
    difference, label = np.asarray(difference), checks.labels("label", label)
    if difference.ndim < 2 or difference.shape[-2] != label.shape[-1]:
        raise ValueError(
            f"difference (..., N, D) and label (..., N) must have one row for each comparison; got {difference.shape} "
            f"and {label.shape}"
        )
    if not np.isfinite(difference).all():
        raise ValueError("difference holds NaN or infinity; check the features")
    return difference, label


def _times(matrix: Array, vector: Array) -> Array:
    return np.matmul(matrix, vector[..., None])[..., 0]


def _chances(margin: Array, misclick: float) -> tuple[Array, Array, Array, Array]:
    """Return p, 1 - p, the slope p' and p' / (p (1 - p)), which is 1 without mis-clicks, however small p is."""
    win, loss = expit(margin), expit(-margin)
    p, q = ((1 - misclick) * side + misclick / 2 for side in (win, loss))
    slope = (1 - misclick) * win * loss
    return p, q, slope, slope / (p * q) if misclick else np.ones_like(p)


def squared_error(reward: Array, rating: Array) -> Array:
    """(R(x, y) - z)^2, for ratings z (eq-mse). RLHF Deciphered, eq. 7."""
    return (reward - rating) ** 2


class Ratings(NamedTuple):
    """A linear model of ratings: `weights` (..., D) of the reward, and the `intercept` (..., P, 1) of each person.

    With one intercept for all it has the shape (..., 1, 1).
    """

    weights: Array
    intercept: Array


def fit_ratings(features: Array, rating: Array, *, personal: bool) -> Ratings:
    """Find theta with the least mean of `squared_error` (eq-mse), where P people rate K answers each.

    `features` (..., P, K, D), `rating` (..., P, K). An intercept is added to the reward: one for all people, or with
    `personal` one for each, which takes up how high a person rates in general. Raises `ValueError` if a direction of
    the features is not measured.
    """
    features, rating = np.asarray(features), np.asarray(rating)
    if rating.ndim < 2 or features.shape[:-1] != rating.shape:
        raise ValueError(
            f"features (..., P, K, D) and rating (..., P, K) must have an entry for each answer that a person rates; "
            f"got {features.shape} and {rating.shape}"
        )
    if not (np.isfinite(features).all() and np.isfinite(rating).all()):
        raise ValueError("features and ratings must be finite; these hold NaN or infinity")
    over = (-1,) if personal else (-2, -1)
    level = np.mean(rating, axis=over, keepdims=True)
    usual = np.mean(features, axis=tuple(axis - 1 for axis in over), keepdims=True)
    x = np.reshape(features - usual, (*rating.shape[:-2], -1, features.shape[-1]))
    z = np.reshape(rating, (*rating.shape[:-2], -1))
    turned = np.swapaxes(x, -1, -2)
    information = np.matmul(turned, x)
    if checks.ill_conditioned(information):
        raise ValueError("a direction of the features does not vary: its weight cannot be told from the intercept")
    weights = np.linalg.solve(information, _times(turned, z)[..., None])[..., 0]
    return Ratings(weights, level - _times(usual, weights[..., None, :]))


def ranking_loss(reward: Array) -> Array:
    """- log probability of a ranking of K answers, their rewards (..., K) best first: (...) (eq-ranking-loss).

    Plackett-Luce: sum over places k of log sum_(j >= k) exp(R_j) - R_k. With K = 2 it is Bradley-Terry.
    """
    rest, total = reward[..., -1], 0.0
    for place in range(reward.shape[-1] - 2, -1, -1):
        rest = np.logaddexp(rest, reward[..., place])
        total = total + rest - reward[..., place]
    return total


def segment_reward(token_reward: Array, mask: Array) -> Array:
    """sum_t r_t over the tokens of a segment, (..., N, T) to (..., N): people judge the sum (eq-segments).

    Christiano et al. 2017. `mask` is 1 on the segment and 0 elsewhere, as from `lm.response_mask`.
    """
    return np.sum(token_reward * mask, axis=-1)


def misclick_loss(margin: Array, label: Array = 1.0, *, rate: float) -> Array:
    """Cross-entropy of the label and (1 - epsilon) sigmoid(m) + epsilon / 2; `rate` is epsilon (eq-misclick-loss).

    At most - log(epsilon / 2): no comparison, however absurd, can cost more. Christiano et al. 2017.
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate is the share of coin flips, in (0, 1); got {rate}; without any, use bradley_terry_loss")
    sure, flip = np.log(1 - rate), np.log(rate / 2)
    won = np.logaddexp(sure - np.logaddexp(0.0, -margin), flip)
    lost = np.logaddexp(sure - np.logaddexp(0.0, margin), flip)
    return -label * won - (1 - label) * lost


def ties_loss(margin: Array, label: Array, *, log_tie: Array) -> Array:
    """- log probability of label 0, 1/2 or 1 if ties are an answer of their own, `log_tie` = log nu (eq-ties-loss).

    Davidson 1970: the weights of loss, tie and win are exp(-m/2), nu and exp(m/2).
    """
    total = np.logaddexp(np.logaddexp(-margin / 2, margin / 2), log_tie)
    return total - (label - 0.5) * margin - (label == 0.5) * log_tie


def smoothed(label: Array, p: Array, rate: float) -> Array:
    """(1 - s) l + s p: move the labels towards what the model says, by a share s, `rate` (eq-smoothing)."""
    return (1 - rate) * label + rate * p


class Smoothing(NamedTuple):
    """Weights (rounds + 1, ..., D) of Iterated Data Smoothing from start to end, and the labels (..., N) at the end."""

    weights: Array
    label: Array


def iterated_data_smoothing(
    difference: Array, label: Array, *, step_size: float, rate: float, rounds: int
) -> Smoothing:
    """Each round, take a gradient step on the current labels, and smooth the labels. Zhu et al. 2024.

    A linear model that starts at zero; `difference` (..., N, D), `label` (..., N). With `rate` = 0 it is plain gradient
    descent. Otherwise it ends at the most probable theta under a prior of precision s N / alpha, with alpha the step
    size (eq-smoothing-limit): smoothing is that prior.
    """
    difference, label = _comparisons(difference, label)
    checks.share("rate", rate), checks.positive("step_size", step_size)
    theta = np.zeros_like(_times(np.swapaxes(difference, -1, -2), label))
    weights = [theta]
    for _ in range(rounds):
        p = expit(_times(difference, theta))
        theta = theta + step_size / label.shape[-1] * _times(np.swapaxes(difference, -1, -2), label - p)
        label = smoothed(label, p, rate)
        weights.append(theta)
    return Smoothing(np.array(weights), label)
