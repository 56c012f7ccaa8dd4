"""Losses without a reference or without pairs: SimPO, ORPO and KTO, and the policy that each of them asks for.

    pi policy    pi_0 reference    |y| tokens of an answer    m mean log-probability of a token, log pi(y) / |y|
    r reward    beta scale    gamma margin    lambda weight of the odds    alpha weight of SFT    c what makes the sum 1
    w{y, y'} chance that a pair is compared    P share that prefers the first    q law of chosen answers    D net wins
    u log-ratio log pi(y) / pi_0(y)    z_ref where gains begin    p share that likes an answer    a excess    mu data

Losses are numbers in, numbers out, one for each comparison or answer. Ends are those of a table with unlimited data:
answers to one prompt on the last axis. Matrices (A, A) of pairs are symmetric, each pair stands twice, the diagonal is
0; of one half of them the chances sum to 1.
"""

from collections.abc import Callable

import autograd.numpy as np
from autograd.tracer import getval

from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax

ROUNDS, STILL = 3_000, 1e-12


def simpo(chosen: Array, rejected: Array, beta: float, gamma: float) -> Array:
    """-log sigmoid(beta (m_w - m_l) - gamma), from mean log-probabilities of a token (..., N) (eq-simpo).

    Meng et al. 2024, eq. 6.
    """
    checks.not_negative("gamma", gamma, "the margin that is asked for")
    return np.logaddexp(0.0, gamma - checks.positive("beta", beta) * (chosen - rejected))


def simpo_target(p: Array, gamma: float) -> Array:
    """Return the beta (m_1 - m_2) that minimises expected SimPO if a share p prefers the first (eq-simpo-target).

    The logit of p without gamma, infinite at p = 0 and 1.
    """
    p = checks.share("p", np.asarray(p))
    checks.not_negative("gamma", gamma, "the margin that is asked for")
    lead, rest = np.abs(2 * p - 1), np.minimum(p, 1 - p)
    with np.errstate(divide="ignore", invalid="ignore"):
        far = gamma + np.log(lead + np.hypot(lead, 2 * np.sqrt(rest * (1 - rest)) * np.exp(-gamma))) - np.log(2 * rest)
        return np.where(lead > 0, np.sign(p - 0.5) * far, 0.0)


def net_wins(score: Array, matrix: Array, chance: Array) -> Array:
    """D(y) = sum_y' w{y, y'} (P(y, y') - sigmoid(s_y - s_y')): wins beyond what scores say, (..., A) (eq-net-wins).

    Minus the gradient, in the scores, of the mean logistic loss of comparisons. They sum to 0.
    """
    said = np.exp(-np.logaddexp(0.0, score[..., None, :] - score[..., :, None]))
    return np.sum(chance * (matrix - said), axis=-1)


def simpo_end(reward: Array, length: Array, beta: float) -> Array:
    """log pi(y) = |y| (r(y) - c) / beta: where SimPO without gamma ends if people follow Bradley-Terry (eq-simpo-end).

    Rewards and numbers of tokens (..., A). No reference enters; c makes the sum 1.
    """
    checks.positive("beta", beta)
    return _summing_to_one(reward, length, lambda x: x / beta, lambda m: beta * m)


def log_odds(mean_log_prob: Array) -> Array:
    """log P / (1 - P), P = exp(m) the geometric mean of a token's probability (eq-token-odds). Hong et al. 2024, eq. 4.

    Raises `ValueError` where P is 1 or more.
    """
    given = getval(mean_log_prob)
    if not np.less(given, 0).all():
        raise ValueError(
            f"odds need probabilities below 1; the mean log-probability of a token is {np.max(given):g}: divide log pi "
            "by the number of tokens"
        )
    return mean_log_prob - np.log(-np.expm1(mean_log_prob))


def orpo(chosen: Array, rejected: Array, weight: float) -> Array:
    """-m_w - lambda log sigmoid(log odds_w - log odds_l), arguments as `simpo` (eq-orpo). Hong et al. 2024, eq. 6."""
    odds = log_odds(chosen) - log_odds(rejected)
    return -chosen + checks.positive("weight", weight) * np.logaddexp(0.0, -odds)


def orpo_rest(log_pi: Array, length: Array, matrix: Array, chance: Array, weight: float) -> Array:
    """pi(y) prop. to (q(y) + lambda D(y) / (1 - P(y))) / |y|: equal to pi where ORPO is at rest, (A,) (eq-orpo-rest).

    D are `net_wins` of log-odds, P(y) is exp(m).
    """
    m = log_pi / length
    wins = net_wins(log_odds(m), matrix, chance)
    pull = (np.sum(chance * matrix, axis=1) - checks.positive("weight", weight) * wins / np.expm1(m)) / length
    return pull / np.sum(pull)


def odds_end(reward: Array, length: Array) -> Array:
    """log pi(y) = |y| log sigmoid(r(y) - c): where ORPO's odds ratio alone ends; as `simpo_end` (eq-odds-end).

    Raises `ValueError` if there is only one answer: its odds are infinite.
    """
    if np.shape(reward)[-1:] == (1,):
        raise ValueError("a single answer has probability 1 and infinite odds; give two answers or more")
    return _summing_to_one(reward, length, lambda x: -np.logaddexp(0.0, -x), log_odds)


def _summing_to_one(
    reward: Array, length: Array, rate: Callable[[Array], Array], inverse: Callable[[Array], Array]
) -> Array:
    """|y| rate(r - c), c between the values at which every and no answer has more than its even share."""
    checks.answer_rewards(reward, np.shape(length))
    if not np.greater(length, 0).all():
        raise ValueError(f"length is the number of tokens of an answer, its end included; got {np.min(length)}")
    even = reward - inverse(-np.log(np.shape(reward)[-1]) / length)
    low, high = np.min(even), np.max(even)
    for _ in range(80):
        middle = (low + high) / 2
        above = np.sum(np.exp(length * rate(reward - middle)), axis=-1, keepdims=True) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return length * rate(reward - high)


def sft_rest(log_ratio: Array, matrix: Array, chance: Array, beta: float, alpha: float) -> Array:
    """q(y) + (beta / alpha) D(y): equal to pi where DPO with an SFT term is at rest, (A,) (eq-sft-rest).

    D are `net_wins` of the implicit rewards beta u.
    """
    wins = net_wins(checks.positive("beta", beta) * log_ratio, matrix, chance)
    return np.sum(chance * matrix, axis=1) + beta / checks.positive("alpha", alpha) * wins


def kto(
    log_ratio: Array,
    desirable: Array,
    z_ref: float,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Array:
    """p lambda_D sigmoid(beta (z_ref - u)) + (1 - p) lambda_U sigmoid(beta (u - z_ref)), one for each answer (eq-kto).

    `desirable` is 1, 0 or the share p that likes the answer; `z_ref` is a number, without a gradient. Ethayarajh et al.
    2024, section 4.1: lambda less the value v.
    """
    _weights(desirable_weight, undesirable_weight)
    checks.share("desirable", desirable)
    gain = checks.positive("beta", beta) * (log_ratio - z_ref)
    missed, felt = np.exp(-np.logaddexp(0.0, gain)), np.exp(-np.logaddexp(0.0, -gain))
    return desirable * desirable_weight * missed + (1 - np.asarray(desirable)) * undesirable_weight * felt


def kto_reference(log_ratio: Array) -> Array:
    """max(0, mean u) over answers to other prompts, (..., N) to (...): KTO's estimate of KL(pi || pi_0), no gradient.

    (eq-kto-reference) Ethayarajh et al. 2024, section 4.1.
    """
    return np.maximum(0.0, np.mean(getval(log_ratio), axis=-1))


def excess(p: Array, desirable_weight: float = 1.0, undesirable_weight: float = 1.0) -> Array:
    """a = p lambda_D - (1 - p) lambda_U: above 0 where KTO wants more of an answer (eq-kto-excess)."""
    _weights(desirable_weight, undesirable_weight)
    p = checks.share("p", np.asarray(p))
    return p * desirable_weight - (1 - p) * undesirable_weight


def _weights(desirable_weight: float, undesirable_weight: float) -> None:
    checks.positive("desirable_weight", desirable_weight)
    checks.positive("undesirable_weight", undesirable_weight)


def kto_end(log_pi_0: Array, law: Array, wanted: Array, beta: float, z_ref: float) -> Array:
    """pi(y) prop. to mu(y) max(a(y), 0) sigmoid'(beta (u - z_ref)): log pi where KTO ends, (A,) (eq-kto-end).

    `law` (A,) is mu, the share of the data that shows an answer, `wanted` (A,) is a, as `excess` gives it, and `z_ref`
    stays. Raises `ValueError` if no excess is above 0, if pi_0 is 0 where one is, or for beta >= 1: what is rare then
    pulls too weakly to come back, and the end depends on the start.
    """
    if not checks.positive("beta", beta) < 1:
        raise ValueError(f"from beta = 1 on the end of KTO depends on the start; got {beta}: train, or take less")
    pull = checks.probabilities("law", law) * np.maximum(wanted, 0.0)
    if not pull.any():
        raise ValueError("no answer in the data has an excess above 0: KTO wants less of each")
    kept = pull > 0
    log_pull, log_0 = np.log(pull[kept]), log_pi_0[kept]
    if not np.isfinite(log_0).all():
        raise ValueError("log_pi_0 must be finite for each answer with an excess above 0: log-ratios need it")
    found = log_softmax(log_pull)
    for _ in range(ROUNDS):
        gain = beta * (found - log_0 - z_ref)
        before, found = found, log_softmax(log_pull - np.logaddexp(0.0, gain) - np.logaddexp(0.0, -gain))
        if np.max(np.abs(found - before)) <= STILL * np.max(np.abs(found)):
            break
    else:
        raise ValueError(f"not at rest in {ROUNDS} rounds, which beta = {beta} makes slow: take one further below 1")
    log_pi = np.full(pull.shape, -np.inf)
    log_pi[kept] = found
    return log_pi
