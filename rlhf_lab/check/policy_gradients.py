"""What the checkers of the chapters on policy gradients and PPO know: answer keys, cases and typical mistakes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator

from rlhf_lab.check.diagnosis import Case, Exercise, log_probs, tenths, wide
from rlhf_lab.methods import actor_critic, best_of_n, policy_gradient
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array, log_softmax


def _scores(policy: Array, drawn: Array) -> Array:
    return np.eye(len(policy))[drawn] - policy


def _reinforce_gradient(policy: Array, drawn: Array, advantage: Array) -> Array:
    return (advantage[:, None] * _scores(policy, drawn)).mean(0)


def _normalised(advantage: Array) -> Array:
    return np.asarray((advantage - advantage.mean()) / (advantage.std() + 1e-8))


def _reinforce_gradient_case(rng: Generator) -> Case:
    answers, count = int(rng.integers(2, 5)), int(rng.integers(5, 9))
    return np.exp(log_probs(rng, answers)), rng.integers(answers, size=count), tenths(rng, count)


def _reinforce_gradient_mistakes(policy: Array, drawn: Array, advantage: Array) -> dict[str, Any]:
    right, one_hot = _reinforce_gradient(policy, drawn, advantage), np.eye(len(policy))[drawn]
    return {
        "You forgot minus pi: the score of a softmax is the one-hot answer minus the probabilities.": (
            advantage[:, None] * one_hot
        ).mean(0),
        "You sum over the answers that were drawn; take their mean.": right * len(drawn),
        "You divide by the number of possible answers; divide by the number that was drawn.": (
            right * len(drawn) / len(policy)
        ),
        "The sign is flipped: this is the gradient of the loss, the way down.": -right,
        "You weigh each answer with its probability; it was drawn with that probability already.": (
            (policy[drawn] * advantage)[:, None] * _scores(policy, drawn)
        ).mean(0),
        "That is the gradient in the probabilities; go on through the softmax to the logits.": (
            advantage[:, None] * one_hot / policy
        ).mean(0),
        "You forgot the advantages: this is the gradient of the plain log-likelihood.": _scores(policy, drawn).mean(0),
        "You return one row for each answer that was drawn; take the mean over them.": (
            advantage[:, None] * _scores(policy, drawn)
        ),
        "You centre the advantages; here they are used as they are.": _reinforce_gradient(
            policy, drawn, advantage - advantage.mean()
        ),
        "You normalise the advantages; here they are used as they are.": _reinforce_gradient(
            policy, drawn, _normalised(advantage)
        ),
    }


REINFORCE_GRADIENT = Exercise(
    "reinforce_gradient",
    "one number for each possible answer",
    _reinforce_gradient,
    _reinforce_gradient_case,
    _reinforce_gradient_mistakes,
)


def _rloo_case(rng: Generator) -> Case:
    rows, columns = wide(rng)
    return (tenths(rng, rows + 1, columns + 2),)


def _rloo_mistakes(f: Array) -> dict[str, Any]:
    k = f.shape[1]
    own, right = f - f.mean(1, keepdims=True), policy_gradient.rloo_advantages(f)
    return {
        "Your mean holds the answer itself: leave it out, and divide by k - 1.": own,
        "You leave the answer out of the sum, but divide by k; there are k - 1 others.": (
            f - (f.sum(1, keepdims=True) - f) / k
        ),
        "Your baseline is the mean of the whole batch; take the others in the same group.": f - f.mean(),
        "You average over the prompts; average over the answers to one prompt, the last axis.": (f - f.mean(0)),
        "You return the baseline; subtract it from f.": f - right,
        "The sign is flipped: an answer better than the others has a positive advantage.": -right,
        "You divide by the standard deviation: that is GRPO.": own / f.std(1, ddof=1, keepdims=True),
        "You subtract the best of the others; subtract their mean.": f - _best_other(f),
    }


def _best_other(f: Array) -> Array:
    return np.stack([np.delete(f, j, axis=1).max(1) for j in range(f.shape[1])], axis=1)


RLOO_ADVANTAGES = Exercise(
    "rloo_advantages", "one number for each answer", policy_gradient.rloo_advantages, _rloo_case, _rloo_mistakes
)


def _gae(rewards: Array, values: Array, gamma: float, lam: float) -> Array:
    return actor_critic.gae(rewards, values, np.ones(rewards.shape), gamma, lam)


def _gae_case(rng: Generator) -> Case:
    length = int(rng.integers(2, 7))
    gamma, lam = float(rng.choice([0.5, 0.8, 0.9])), float(rng.choice([0.3, 0.6, 0.95]))
    return tenths(rng, length), tenths(rng, length), gamma, lam


def _gae_mistakes(rewards: Array, values: Array, gamma: float, lam: float) -> dict[str, Any]:
    right, length = _gae(rewards, values, gamma, lam), len(rewards)

    def sweep(errors: Array, decay: float) -> Array:
        gap = np.arange(length) - np.arange(length)[:, None]
        return np.where(gap >= 0, decay ** np.maximum(gap, 0), 0.0) @ errors

    following = np.append(values[1:], 0.0)
    errors = rewards + gamma * following - values
    past = np.array([sum((gamma * lam) ** (t - k) * errors[k] for k in range(t + 1)) for t in range(length)])
    return {
        "You forgot lambda: you return the discounted return minus the value, GAE of lambda = 1.": sweep(errors, gamma),
        "You forgot gamma in the sum: the weights are powers of gamma lambda.": sweep(errors, lam),
        "You forgot gamma in the TD error: it is r + gamma V(next) - V.": sweep(
            rewards + following - values, gamma * lam
        ),
        "You forgot to subtract the values: a TD error is r + gamma V(next) - V.": sweep(
            rewards + gamma * following, gamma * lam
        ),
        "Behind the last token there is no value; you count the last one twice.": sweep(
            errors + np.where(np.arange(length) == length - 1, gamma * values, 0.0), gamma * lam
        ),
        "You return the TD errors: sum them up, with weights (gamma lambda)^k.": errors,
        "You return A + V, the targets of the critic.": right + values,
        "You sum over the past; A_t looks forward.": past,
        "The sign is flipped.": -right,
        "Your advantages are one token late: A_t begins with the TD error of step t.": np.append(right[1:], 0.0),
        "You dropped gamma, in the TD error and in the weights.": sweep(rewards + following - values, lam),
        "You ignore the values: that sums rewards, not TD errors.": sweep(rewards, gamma * lam),
        "You centre the advantages; that is for the loss to do.": right - right.mean(),
        "You normalise the advantages; that is for the loss to do.": _normalised(right),
    }


GAE = Exercise("gae", "one number for each token", _gae, _gae_case, _gae_mistakes)


def _ppo_loss(log_pi: Array, log_old: Array, advantage: Array, clip_range: float) -> Array:
    return actor_critic.ppo_loss(
        log_pi[:, None], log_old[:, None], advantage[:, None], np.ones((len(log_pi), 1)), clip_range
    )


def _ppo_case(rng: Generator) -> Case:
    count = int(rng.integers(5, 9))
    log_old = -rng.integers(1, 30, size=count) / 10
    ratio = rng.choice([0.5, 0.7, 0.85, 0.95, 1.05, 1.15, 1.4, 1.8], size=count)
    advantage = rng.choice([-1, 1], size=count) * rng.integers(1, 30, size=count) / 10
    return log_old + np.log(ratio), log_old, advantage, float(rng.choice([0.1, 0.2, 0.3]))


def _ppo_mistakes(log_pi: Array, log_old: Array, advantage: Array, clip_range: float) -> dict[str, Any]:
    ratio = np.exp(log_pi - log_old)
    held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
    plain, clipped = ratio * advantage, held * advantage
    wrong: dict[str, Any] = {
        "The sign is flipped: a loss goes down when good tokens become likelier.": np.minimum(plain, clipped).mean(),
        "You take the maximum of the two; the minimum is the cautious one.": -np.maximum(plain, clipped).mean(),
        "You forgot to clip the ratio.": -plain.mean(),
        "You always use the clipped ratio; take the minimum with the plain one, or mistakes cannot be undone.": (
            -clipped.mean()
        ),
        "Your ratio is upside down: it is pi / pi_old.": _ppo_loss(log_old, log_pi, advantage, clip_range),
        "You use the difference of log-probabilities as the ratio; exponentiate it.": -np.minimum(
            (log_pi - log_old) * advantage, np.clip(log_pi - log_old, 1 - clip_range, 1 + clip_range) * advantage
        ).mean(),
        "You clip to [-epsilon, epsilon]; clip to [1 - epsilon, 1 + epsilon].": -np.minimum(
            plain, np.clip(ratio, -clip_range, clip_range) * advantage
        ).mean(),
        "You clip the product; clip the ratio, then multiply by the advantage.": -np.minimum(
            plain, np.clip(plain, 1 - clip_range, 1 + clip_range)
        ).mean(),
        "You sum over the tokens; take the mean.": -np.minimum(plain, clipped).sum(),
        "You return one number for each token; take the mean.": -np.minimum(plain, clipped),
        "You take the minimum of the ratios, then multiply; where A is negative that is the larger product. "
        "Multiply first.": -(np.minimum(ratio, held) * advantage).mean(),
        "You normalise the advantages; here they are used as they are.": _ppo_loss(
            log_pi, log_old, _normalised(advantage), clip_range
        ),
    }
    return wrong


PPO_LOSS = Exercise("ppo_loss", "one number, the mean over the tokens", _ppo_loss, _ppo_case, _ppo_mistakes)


def _gibbs_gap_case(rng: Generator) -> Case:
    shape = wide(rng)
    return log_probs(rng, *shape), log_probs(rng, *shape), tenths(rng, *shape), float(rng.choice([0.4, 0.5, 2.0]))


def _gibbs_gap_mistakes(log_pi: Array, log_pi_0: Array, reward: Array, beta: float) -> dict[str, Any]:
    best, right = gibbs.log_policy(log_pi_0, reward, beta), gibbs.gap(log_pi, log_pi_0, reward, beta)
    tilted = log_pi_0 + reward / beta
    return {
        "You computed KL(pi* || pi), the other direction: weigh with pi, and subtract log pi*.": beta
        * lm.kl(best, log_pi),
        "You forgot beta: the gap is in units of reward, so multiply the divergence by it.": right / beta,
        "You measured the divergence from the reference; measure it from pi*.": beta * lm.kl(log_pi, log_pi_0),
        "Your pi* is not normalised: subtract log Z.": beta * lm.kl(log_pi, tilted),
        "Your pi* multiplies the reward by beta; divide by it.": beta
        * lm.kl(log_pi, gibbs.log_policy(log_pi_0, reward, 1 / beta)),
        "You return the value of pi; subtract it from the value of the best.": gibbs.objective(
            log_pi, log_pi_0, reward, beta
        ),
        "You return the value of pi*; subtract the value of pi.": beta * gibbs.log_normaliser(log_pi_0, reward, beta),
        "The sign is flipped: no policy is better than the best.": -right,
        "You compare rewards alone; the price of divergence counts on both sides.": (np.exp(best) * reward).sum(1)
        - (np.exp(log_pi) * reward).sum(1),
    }


GIBBS_GAP = Exercise("gibbs_gap", "one number for each prompt", gibbs.gap, _gibbs_gap_case, _gibbs_gap_mistakes)


def _best_of_n_kl(policy: Array, reward: Array, n: int) -> Array:
    log_pi = np.log(policy)
    return lm.kl(best_of_n.log_best_of_n(log_pi, reward, n), log_pi)


def _best_of_n_case(rng: Generator) -> Case:
    count = int(rng.integers(3, 7))
    reward = rng.choice(np.arange(-30, 31), size=count, replace=False) / 10
    return np.exp(log_probs(rng, count)), reward, int(rng.integers(2, 6))


def _best_of_n_mistakes(policy: Array, reward: Array, n: int) -> dict[str, Any]:
    at_most = np.array([policy[reward <= r].sum() for r in reward])
    below = at_most - policy

    def divergence(p: Array) -> Any:
        return (p * np.log(p / policy)).sum()

    right, power = at_most**n - below**n, policy**n / (policy**n).sum()
    return {
        "You return the bound, log n - (n - 1) / n; the divergence itself depends on the policy.": np.log(n)
        - (n - 1) / n,
        "You return log n; that is more than the divergence can be.": np.log(n),
        "You computed KL(pi || pi_n), the other direction: weigh with pi_n.": -(policy * np.log(right / policy)).sum(),
        "You keep the worst of n; the best has a reward that the other draws do not exceed.": divergence(
            (1 - below) ** n - (1 - at_most) ** n
        ),
        "You took n pi F^(n - 1), which sums to more than 1: the answer may be drawn more than once.": divergence(
            n * policy * at_most ** (n - 1)
        ),
        "You raise the policy to the power n and normalise; that knows nothing of the reward.": divergence(power),
        "You forgot the weights: it is a mean under pi_n.": np.log(right / policy).sum(),
        "You use logarithms to base 2; the book counts in nats.": divergence(right) / np.log(2),
        "You used one draw too many: F^(n + 1) is for n + 1 draws.": divergence(at_most ** (n + 1) - below ** (n + 1)),
    }


BEST_OF_N_KL = Exercise("best_of_n_kl", "one number", _best_of_n_kl, _best_of_n_case, _best_of_n_mistakes)


def _passes(
    policy: Array,
    drawn: Array,
    advantage: Array,
    clip_range: float,
    step_size: float,
    passes: int,
    weight: Callable[[Array, Array], Array] | None = None,
    start: Callable[[Array, Array], Array] = lambda policy, now: policy,
    scores: Callable[[Array, Array, Array], Array] = lambda policy, now, drawn: _scores(now, drawn),
) -> Array:
    def free(ratio: Array, advantage: Array) -> Array:
        return np.where(advantage > 0, ratio < 1 + clip_range, ratio > 1 - clip_range) * ratio * advantage

    now = policy
    for _ in range(passes):
        ratio = now[drawn] / start(policy, now)[drawn]
        step = (weight or free)(ratio, advantage) @ scores(policy, now, drawn) / len(drawn)
        now = np.exp(log_softmax(np.log(now) + step_size * step))
    return now


def _passes_case(rng: Generator) -> Case:
    answers, count = int(rng.integers(3, 6)), int(rng.integers(6, 10))
    advantage = rng.choice([-1, 1], size=count) * rng.integers(5, 30, size=count) / 10
    policy, drawn = np.exp(log_probs(rng, answers) / 2), rng.integers(answers, size=count)
    return policy / policy.sum(), drawn, advantage, 0.2, float(rng.choice([0.5, 1.0])), int(rng.integers(3, 6))


def _passes_mistakes(
    policy: Array, drawn: Array, advantage: Array, clip_range: float, step_size: float, passes: int
) -> dict[str, Any]:
    case = policy, drawn, advantage, clip_range, step_size, passes
    right = _passes(*case)

    def inside(ratio: Array, advantage: Array) -> Array:
        return (np.abs(ratio - 1) < clip_range) * ratio * advantage

    return {
        "You never clip: where the ratio has gone far enough, the gradient is zero.": _passes(
            *case, weight=lambda ratio, advantage: ratio * advantage
        ),
        "You forgot the ratio: the gradient of u A is u A times the score.": _passes(
            *case,
            weight=lambda ratio, advantage: (
                np.where(advantage > 0, ratio < 1 + clip_range, ratio > 1 - clip_range) * advantage
            ),
        ),
        "You clip on both sides; a token that moved the wrong way must be free to come back.": _passes(
            *case, weight=inside
        ),
        "You move pi_old along with the policy: the ratio is to the policy that wrote the answers.": _passes(
            *case, start=lambda policy, now: now
        ),
        "Your scores are those of the old policy: take them at the policy of this pass.": _passes(
            *case, scores=lambda policy, now, drawn: _scores(policy, drawn)
        ),
        "You take one pass only.": _passes(*case[:-1], 1),
        "You sum over the answers; take their mean.": _passes(*case[:4], step_size * len(drawn), passes),
        "The sign is flipped: a step down the loss makes good answers likelier.": _passes(
            *case[:4], -step_size, passes
        ),
        "You return log-probabilities; return probabilities.": np.log(right),
    }


PPO_PASSES = Exercise("ppo_passes", "the probability of each answer", _passes, _passes_case, _passes_mistakes)


def _explained_variance(values: Array, returns: Array) -> Array:
    return 1 - np.var(returns - values) / np.var(returns)


def _explained_variance_case(rng: Generator) -> Case:
    count = int(rng.integers(4, 9))
    values = tenths(rng, count) + np.arange(count)
    return values, values + tenths(rng, count) / 2 + 1


def _explained_variance_mistakes(values: Array, returns: Array) -> dict[str, Any]:
    right, total = _explained_variance(values, returns), np.var(returns)
    return {
        "You return the share that is left; subtract it from 1.": 1 - right,
        "You count a constant error as unexplained: take the variance of G - V, not the mean of its square.": 1
        - np.mean((returns - values) ** 2) / total,
        "You compare the variance of the values with that of the returns; a wild critic would look good.": np.var(
            values
        )
        / total,
        "You return the squared correlation, which forgives a wrong scale.": np.corrcoef(values, returns)[0, 1] ** 2,
        "You divide by the variance of the values; divide by that of the returns.": 1
        - np.var(returns - values) / np.var(values),
        "You take standard deviations; take variances.": 1 - np.std(returns - values) / np.std(returns),
        "You forgot to divide by the variance of the returns.": total - np.var(returns - values),
    }


EXPLAINED_VARIANCE = Exercise(
    "explained_variance", "one number", _explained_variance, _explained_variance_case, _explained_variance_mistakes
)
