"""Checkers of the exercises: `check.kl(your_function)` runs the answer key and says what is wrong, in words.

To add an exercise, write an `Exercise` (see `diagnosis`) and a public function of three lines.
"""

import numpy as np

from . import gibbs as _gibbs
from . import lm as _lm
from . import token_mdp as _token_mdp
from .autodiff import log_softmax as _log_softmax
from .diagnosis import Array, Case, Exercise, Function, diagnose


def _report(name: str, exercise: Exercise, function: Function) -> None:
    wrong = diagnose(exercise, function)
    count = len(exercise.cases) + len(exercise.hard)
    print(f"{name}: right on all {count} cases." if wrong is None else f"{name}: not yet. {wrong}")


def log_prob(function: Function) -> None:
    """Check f(logits (N, T, V), response (N, T), eos) -> log-probabilities (N,), nats, up to and with the first eos."""
    _report("log_prob", LOG_PROB, function)


def return_to_go(function: Function) -> None:
    """Check f(rewards (T,), discount) -> returns (T,)."""
    _report("return_to_go", RETURN_TO_GO, function)


def state_values(function: Function) -> None:
    """Check f(policy, rewards, discount) -> values, lists over t of (W^t, W), (W^t, W) and (W^t,); no eos."""
    _report("state_values", STATE_VALUES, function)


def kl(function: Function) -> None:
    """Check f(log_p (N, A), log_q (N, A)) -> KL(p || q) (N,), nats."""
    _report("kl", KL, function)


def policy_gradient(function: Function) -> None:
    """Check f(policy (A,), reward (A,)) -> gradient (A,) of the expected reward in the logits of the answers."""
    _report("policy_gradient", POLICY_GRADIENT, function)


def gibbs(function: Function) -> None:
    """Check f(log_pi_0 (N, A), reward (N, A), beta) -> log-probabilities (N, A) of the Gibbs policy."""
    _report("gibbs", GIBBS, function)


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _token_log_probs(logits: Array, response: Array) -> Array:
    return np.take_along_axis(np.asarray(_log_softmax(logits)), response[..., None], axis=-1)[..., 0]


def _log_prob(logits: Array, response: Array, eos: int) -> Array:
    return (_token_log_probs(logits, response) * _lm.response_mask(response, eos)).sum(1)


def _log_prob_cases() -> list[Case]:
    rng, cases = _rng(), []
    for n, t, v in ((3, 4, 5), (5, 6, 3), (4, 2, 4), (2, 7, 3)):
        response = rng.integers(v, size=(n, t))
        response[0, 0] = v - 1
        ended = np.cumsum(response == v - 1, axis=-1) - (response == v - 1) > 0
        response[ended] = v - 1
        response[-1] = rng.integers(v - 1, size=t)
        cases.append((rng.normal(size=(n, t, v)), response, v - 1))
    return cases


LOG_PROB = Exercise(
    _log_prob,
    _log_prob_cases(),
    [
        (
            lambda z, y, eos: (_token_log_probs(z, y) * _lm.response_mask(y, eos)).sum(0),
            "You summed over the batch axis; sum over the tokens of each response, the last axis.",
        ),
        (
            lambda z, y, eos: _token_log_probs(z, y).sum(-1),
            "You count the padding: tokens behind the first eos have no probability of their own.",
        ),
        (
            lambda z, y, eos: (_token_log_probs(z, y) * (np.cumsum(y == eos, -1) == 0)).sum(-1),
            "You leave out the eos itself: stopping is an action too, and has a probability.",
        ),
        (
            lambda z, y, eos: _log_prob(z, y, eos) / _lm.response_mask(y, eos).sum(-1),
            "You take the mean over the tokens; the log-probability of a response is their sum.",
        ),
        (
            lambda z, y, eos: (np.take_along_axis(z, y[..., None], -1)[..., 0] * _lm.response_mask(y, eos)).sum(-1),
            "You add logits; turn them into log-probabilities first, with a log-softmax over the vocabulary.",
        ),
        (lambda z, y, eos: np.exp(_log_prob(z, y, eos)), "You return the probability; return its logarithm."),
        (
            lambda z, y, eos: _log_prob(z, y, eos) / np.log(2),
            "You use logarithms to base 2; the book uses natural ones.",
        ),
    ],
    [
        (
            (np.array([[[1e4, 0.0], [0.0, 1e4]]]), np.array([[0, 1]]), 1),
            "Right, but large logits overflow: subtract the largest logit before you exponentiate.",
        )
    ],
)

RETURN_TO_GO = Exercise(
    _token_mdp.return_to_go,
    [(_rng().normal(size=t), discount) for t in (1, 3, 6) for discount in (1.0, 0.9, 0.5)],
    [
        (
            lambda r, g: np.cumsum((r * g ** np.arange(len(r)))[::-1])[::-1],
            "You discount from the start of the episode; G_t discounts from step t, so its own reward counts in full.",
        ),
        (
            lambda r, g: np.append(_token_mdp.return_to_go(r, g)[1:], 0.0),
            "You leave out the reward of step t itself: G_t begins with r_t.",
        ),
        (
            lambda r, g: g * np.append(_token_mdp.return_to_go(r, g)[1:], 0.0),
            "You leave out the reward of step t itself: G_t begins with r_t.",
        ),
        (
            lambda r, g: _token_mdp.return_to_go(r[::-1], g)[::-1],
            "You sum over the past; the return looks forward, from step t to the end.",
        ),
        (lambda r, g: np.cumsum(r), "You sum over the past; the return looks forward, from step t to the end."),
        (lambda r, g: np.cumsum(r[::-1])[::-1], "You forgot the discount."),
        (
            lambda r, g: _token_mdp.return_to_go(r, g)[0],
            "You return one number, the return of the whole episode; there is one return for each step.",
        ),
    ],
    [],
)


def _values(policy: list[Array], rewards: list[Array], discount: float) -> list[Array]:
    values = _token_mdp.evaluate([p[None] for p in policy], [r[None] for r in rewards], discount)
    return [v[0] for v in values.v]


def _values_with(backup: Function) -> Function:
    def solve(policy: list[Array], rewards: list[Array], discount: float) -> list[Array]:
        values: list[Array] = []
        for log_pi, reward in zip(policy[::-1], rewards[::-1], strict=True):
            following = values[0].reshape(log_pi.shape) if values else np.zeros_like(log_pi)
            values.insert(0, backup(log_pi, reward, following, discount))
        return values

    return solve


def _tree(words: int, horizon: int, discount: float) -> Case:
    rng = _rng()
    policy = [np.asarray(_log_softmax(rng.normal(size=(words**t, words)))) for t in range(horizon)]
    return policy, [rng.normal(size=p.shape) for p in policy], discount


STATE_VALUES = Exercise(
    _values,
    [_tree(2, 3, 0.9), _tree(3, 2, 0.7), _tree(3, 3, 1.0)],
    [
        (
            _values_with(lambda p, r, v, g: (r + g * v).max(-1)),
            "You take the best action; the value of a policy is the mean over the actions that it takes.",
        ),
        (
            _values_with(lambda p, r, v, g: (p * (r + g * v)).sum(-1)),
            "You weigh with log-probabilities; exponentiate the policy first.",
        ),
        (_values_with(lambda p, r, v, g: (np.exp(p) * (r + v)).sum(-1)), "You forgot the discount."),
        (
            _values_with(lambda p, r, v, g: (np.exp(p) * (r if not v.any() else g * v)).sum(-1)),
            "You count only the future: add the reward of the action itself.",
        ),
        (
            _values_with(lambda p, r, v, g: (np.exp(p) * (r + g * v.reshape(v.shape[::-1]).T)).sum(-1)),
            "You mixed up the children: word a of prefix i leads to prefix i * W + a.",
        ),
        (
            _values_with(lambda p, r, v, g: (np.exp(p) * g * (r + v)).sum(-1)),
            "You discount the immediate reward too; only the value of the next state is discounted.",
        ),
        (
            _values_with(lambda p, r, v, g: (r + g * v).mean(-1)),
            "You average over the words; weigh them with the policy.",
        ),
    ],
    [],
)


def _distributions(count: int) -> list[list[Array]]:
    rng = _rng()
    return [
        [np.asarray(_log_softmax(rng.normal(size=(n, a)))) for _ in range(count)] for n, a in ((1, 2), (3, 5), (4, 3))
    ]


KL = Exercise(
    _lm.kl,
    [(p, q) for p, q in _distributions(2)],
    [
        (lambda p, q: _lm.kl(q, p), "You computed KL(q || p), the other direction: weigh with p, and put p on top."),
        (lambda p, q: (p - q).sum(-1), "You forgot the weights: each log-ratio counts as often as p says."),
        (lambda p, q: (p - q).mean(-1), "You forgot the weights: each log-ratio counts as often as p says."),
        (lambda p, q: -_lm.kl(p, q), "The sign is flipped: it is log p minus log q."),
        (lambda p, q: _lm.kl(p, q).sum(), "You summed over the batch too: there is one divergence for each row."),
        (lambda p, q: _lm.kl(p, q).mean(), "You averaged over the batch: there is one divergence for each row."),
        (lambda p, q: _lm.kl(p, q) / np.log(2), "You use logarithms to base 2; the book counts in nats."),
        (lambda p, q: -(np.exp(p) * q).sum(-1), "That is the cross-entropy; the entropy of p is still in it."),
    ],
    [],
)

POLICY_GRADIENT = Exercise(
    _token_mdp.policy_gradient,
    [(np.exp(p[0][0]), _rng().normal(size=p[0].shape[1])) for p in _distributions(1)],
    [
        (lambda p, r: p * r, "You forgot the baseline: subtract the expected reward from each reward."),
        (lambda p, r: r - p @ r, "You forgot the weight: the policy's own probability of the answer."),
        (lambda p, r: -p * (r - p @ r), "The sign is flipped: this is the way down."),
        (lambda p, r: p * (r - r.mean()), "The baseline is the mean under the policy, not the plain mean."),
        (
            lambda p, r: (np.arange(len(r)) == r.argmax()) - p,
            "That is imitation of the best answer, the gradient of supervised fine-tuning.",
        ),
    ],
    [],
)

GIBBS = Exercise(
    _gibbs.log_policy,
    [(p[0], _rng().normal(size=p[0].shape), beta) for p, beta in zip(_distributions(1), (0.5, 2.0, 0.3), strict=True)],
    [
        (
            lambda p, r, b: _log_softmax(p + b * r),
            "You multiply the reward by beta; divide: a high price keeps pi near pi_0.",
        ),
        (lambda p, r, b: _log_softmax(p - r / b), "The sign of the reward is flipped: good answers become rare."),
        (lambda p, r, b: p + r / b, "It is not normalised: subtract log Z, so that the probabilities sum to 1."),
        (lambda p, r, b: _log_softmax((p + r / b).T).T, "You normalised over the batch; normalise over the answers."),
        (
            lambda p, r, b: _log_softmax((p + r / b).ravel()).reshape(p.shape),
            "You normalised over everything at once; each prompt has its own Z.",
        ),
        (lambda p, r, b: np.exp(_gibbs.log_policy(p, r, b)), "You return probabilities; return their logarithms."),
        (lambda p, r, b: _log_softmax(r / b), "You forgot the reference: the optimum is pi_0, tilted by the reward."),
        (lambda p, r, b: _log_softmax(p + r), "You forgot beta: divide the reward by it."),
    ],
    [
        (
            (np.log([[0.25, 0.75]]), np.array([[1e4, 0.0]]), 0.5),
            "Right, but large rewards overflow: subtract the largest exponent before you exponentiate.",
        )
    ],
)
