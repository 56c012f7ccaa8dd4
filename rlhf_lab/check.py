"""Checkers of the exercises: `check.kl(your_function)` runs the answer key and says what is wrong, in words.

To add an exercise, write an `Exercise` (see `diagnosis`) in the module of its chapter, `exercises_<chapter>`, and here
a public function whose docstring states it.
"""

from . import exercises_policy_gradients as _policy_gradients
from . import exercises_token_mdp as _token_mdp
from .diagnosis import CASES, Exercise, Function, diagnose


def _report(exercise: Exercise, function: Function) -> None:
    wrong = diagnose(exercise, function)
    print(f"{exercise.name}: " + (f"right on all {CASES} cases." if wrong is None else f"not yet. {wrong}"))


def log_prob(function: Function) -> None:
    """Check f(logits, response, eos): log pi(y | x) of each response, nats, shape (N,).

    `logits` (N, T, V) come before the softmax; `response` (N, T) are integers in [0, V); `eos` is the token that ends
    a response, any of the V. The first `eos` counts; what follows it does not.
    """
    _report(_token_mdp.LOG_PROB, function)


def return_to_go(function: Function) -> None:
    """Check f(rewards, discount): the returns G_t = r_t + gamma G_(t+1) of an episode, shape (T,).

    `rewards` (T,) are r_0 ... r_(T-1); `discount` is gamma, a number in (0, 1].
    """
    _report(_token_mdp.RETURN_TO_GO, function)


def state_values(function: Function) -> None:
    """Check f(policy, rewards, discount): the value of each state of a tree, a list over t of arrays (W^t,).

    One prompt, a language of W words without `eos`. `policy[t]` (W^t, W) are the log-probabilities of the words after
    each prefix of t words, `rewards[t]` (W^t, W) what they pay, `discount` is gamma; word a leads from prefix i of
    level t to prefix i * W + a of level t + 1. Nothing is paid after the last level.
    """
    _report(_token_mdp.STATE_VALUES, function)


def kl(function: Function) -> None:
    """Check f(log_p, log_q): KL(p || q) of each row, nats, shape (N,).

    `log_p` and `log_q` (N, A) are the log-probabilities of A answers to each of N prompts.
    """
    _report(_token_mdp.KL, function)


def gibbs(function: Function) -> None:
    """Check f(log_pi_0, reward, beta): log pi* of every answer, pi* = pi_0 exp(reward / beta) / Z, shape (N, A).

    `log_pi_0` (N, A) are the log-probabilities of the reference, `reward` (N, A) the rewards of A answers to each of N
    prompts, `beta` > 0 the weight of the KL term. Rewards can be large.
    """
    _report(_token_mdp.GIBBS, function)


def policy_gradient(function: Function) -> None:
    """Check f(policy, reward): the gradient of E_pi[R] in the logits of the answers, shape (A,).

    `policy` (A,) are the probabilities of the answers, `reward` (A,) their rewards.
    """
    _report(_token_mdp.POLICY_GRADIENT, function)


def reinforce_gradient(function: Function) -> None:
    """Check f(policy, drawn, advantage): the REINFORCE estimate of the gradient in the logits, shape (A,).

    One prompt: `policy` (A,) are the probabilities of its answers, a softmax of the logits; `drawn` (N,) are the
    indices of the answers that were drawn, `advantage` (N,) their advantages. The estimate points up.
    """
    _report(_policy_gradients.REINFORCE_GRADIENT, function)


def rloo_advantages(function: Function) -> None:
    """Check f(f): the leave-one-out advantages of k answers to each of G prompts, shape (G, k).

    `f` (G, k) are the regularised rewards, k >= 2.
    """
    _report(_policy_gradients.RLOO_ADVANTAGES, function)


def gae(function: Function) -> None:
    """Check f(rewards, values, gamma, lam): the generalised advantages of the tokens of one answer, shape (T,).

    `rewards` (T,) and `values` (T,) stand before each token; behind the last one there is no value. `gamma` is the
    discount, `lam` is lambda.
    """
    _report(_policy_gradients.GAE, function)


def ppo_loss(function: Function) -> None:
    """Check f(log_pi, log_old, advantage, clip_range): the clipped loss of PPO, one number, of shape ().

    `log_pi` (N,) are the log-probabilities of N tokens now, `log_old` (N,) when they were written, `advantage` (N,)
    their advantages; `clip_range` is epsilon. It is a mean over the tokens.
    """
    _report(_policy_gradients.PPO_LOSS, function)


def gibbs_gap(function: Function) -> None:
    """Check f(log_pi, log_pi_0, reward, beta): beta KL(pi || pi*) for each prompt, in units of reward, shape (N,).

    `log_pi` (N, A) and `log_pi_0` (N, A) are the log-probabilities of policy and reference, `reward` (N, A) the rewards
    of all answers, `beta` > 0 the price of a nat.
    """
    _report(_policy_gradients.GIBBS_GAP, function)


def best_of_n_kl(function: Function) -> None:
    """Check f(policy, reward, n): KL(pi_n || pi) of best-of-n for one prompt, nats, one number, of shape ().

    `policy` (A,) are the probabilities of the answers, `reward` (A,) their rewards, no two of them equal; `n` is the
    number of draws, at least 2.
    """
    _report(_policy_gradients.BEST_OF_N_KL, function)
