"""Checkers of the exercises: `check.kl(your_function)` runs the answer key and says what is wrong, in words.

The answer keys stand in a module for each chapter, and say with `diagnosis` what is wrong; what is right stands in the
rooms below. To add an exercise, write an `Exercise` in the module of its chapter, and here a public function whose
docstring states it.
"""

from rlhf_lab.check import attention as _attention
from rlhf_lab.check import automata as _automata
from rlhf_lab.check import bug_hunt as _bug_hunt
from rlhf_lab.check import bug_zoo as _bug_zoo
from rlhf_lab.check import dense_rewards as _dense_rewards
from rlhf_lab.check import dialogue as _dialogue
from rlhf_lab.check import dpo as _dpo
from rlhf_lab.check import dril as _dril
from rlhf_lab.check import gpt as _gpt
from rlhf_lab.check import ilhf as _ilhf
from rlhf_lab.check import imitation as _imitation
from rlhf_lab.check import kinds_of_feedback as _kinds_of_feedback
from rlhf_lab.check import nash as _nash
from rlhf_lab.check import objectives as _objectives
from rlhf_lab.check import online as _online
from rlhf_lab.check import overoptimization as _overoptimization
from rlhf_lab.check import pessimism as _pessimism
from rlhf_lab.check import pipeline as _pipeline
from rlhf_lab.check import pluralism as _pluralism
from rlhf_lab.check import policy_gradients as _policy_gradients
from rlhf_lab.check import ppo as _ppo
from rlhf_lab.check import preference_losses as _preference_losses
from rlhf_lab.check import pretraining as _pretraining
from rlhf_lab.check import resets as _resets
from rlhf_lab.check import reward_from_behaviour as _reward_from_behaviour
from rlhf_lab.check import reward_modeling as _reward_modeling
from rlhf_lab.check import soft_values as _soft_values
from rlhf_lab.check import stale_answers as _stale_answers
from rlhf_lab.check import token_mdp as _token_mdp
from rlhf_lab.check import unpaired as _unpaired
from rlhf_lab.check import verifiable as _verifiable
from rlhf_lab.check.diagnosis import CASES, Exercise, Function, diagnose


def _report(exercise: Exercise, function: Function) -> None:
    _told(exercise.name, diagnose(exercise, function), CASES)


def _told(name: str, wrong: str | None, cases: int) -> None:
    print(f"{name}: " + (f"right on all {cases} cases." if wrong is None else f"not yet. {wrong}"))


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
    _report(_pretraining.KL, function)


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
    _report(_pretraining.POLICY_GRADIENT, function)


def loss_floor(function: Function) -> None:
    """Check f(counts): the least loss that a model which sees the prompt can have, nats for each text; its shape is ().

    `counts` (N, A) are how many texts of a corpus have a prompt and an answer; no row is empty.
    """
    _report(_pretraining.LOSS_FLOOR, function)


def temperature_of(function: Function) -> None:
    """Check f(log_pi, cooled): the temperature of each row, shape (N,).

    `log_pi` and `cooled` (N, V) are log-probabilities of the tokens, before and after the temperature.
    """
    _report(_pretraining.TEMPERATURE_OF, function)


def bradley_terry_loss(function: Function) -> None:
    """Check f(first, second, label): the mean Bradley-Terry loss of N comparisons, one number, nats; its shape is ().

    `first` and `second` (N,) are the rewards of two answers to the same prompt; `label` (N,) is 1 where the first was
    preferred, 0 where the second was, 1/2 for a tie. Rewards can be large.
    """
    _report(_reward_modeling.BRADLEY_TERRY_LOSS, function)


def ranking_loss(function: Function) -> None:
    """Check f(reward): minus the log-probability of each ranking under Plackett-Luce, nats, shape (N,).

    `reward` (N, K) holds the rewards of K answers in the order of the ranking, best first. Rewards can be large.
    """
    _report(_kinds_of_feedback.RANKING_LOSS, function)


def misclick_loss(function: Function) -> None:
    """Check f(margin, rate): the loss of the label "first" if a share of labels are coin flips, nats, shape (N,).

    `margin` (N,) is the reward of the first minus that of the second; `rate` is epsilon, a number in (0, 1).
    """
    _report(_kinds_of_feedback.MISCLICK_LOSS, function)


def pooled_borda(function: Function) -> None:
    """Check f(matrix, other, w): the Borda count of each answer among the people of two crowds, shape (A,).

    `matrix` (A, A) holds the share of the first crowd P[a, b] that prefers a to b; P[a, b] + P[b, a] = 1, 1/2 on the
    diagonal. `other` (A,) are the Borda counts of the second crowd, `w` in (0, 1) is the share of the first.
    """
    _report(_kinds_of_feedback.POOLED_BORDA, function)


def expected_calibration_error(function: Function) -> None:
    """Check f(p, label, bins): the expected calibration error, one number; its shape is ().

    `p` (N,) are predicted probabilities, `label` (N,) is 0 or 1, `bins` the number of bins of equal width on [0, 1];
    a prediction of 1 belongs to the last.
    """
    _report(_reward_modeling.EXPECTED_CALIBRATION_ERROR, function)


def cohen_kappa(function: Function) -> None:
    """Check f(first, second): Cohen's kappa of two people, one number; its shape is ().

    `first` and `second` (N,) are the labels 0 and 1 that they gave to the same comparisons.
    """
    _report(_reward_modeling.COHEN_KAPPA, function)


def bradley_terry_gradient(function: Function) -> None:
    """Check f(difference, label, weights): the gradient of the mean Bradley-Terry loss in the weights, shape (D,).

    `difference` (N, D) holds the features of the first answer minus those of the second, `label` (N,) is 0, 1/2 or 1,
    `weights` (D,) are those of a linear reward.
    """
    _report(_reward_modeling.BRADLEY_TERRY_GRADIENT, function)


def data_smoothing(function: Function) -> None:
    """Check f(difference, label, step_size, rate, rounds): the weights after Iterated Data Smoothing, shape (D,).

    `difference` (N, D) and `label` (N,) are the comparisons; the linear reward starts at zero. Each of `rounds` rounds
    takes a step of `step_size` on the mean loss, then moves the labels by the share `rate` towards the predictions from
    before the step.
    """
    _report(_kinds_of_feedback.DATA_SMOOTHING, function)


def overestimate(function: Function) -> None:
    """Check f(learned, reward, log_pi, log_pi_0): how much too high a policy is judged, of shape ().

    Both rewards are to be centred. `learned` and `reward` (A,) of the answers to one prompt, `log_pi` (A,) of the
    policy, `log_pi_0` (A,) of the reference.
    """
    _report(_overoptimization.OVERESTIMATE, function)


def ensemble_minimum(function: Function) -> None:
    """Check f(rewards, log_pi_0): the minimum over the centred members of an ensemble, shape (A,).

    `rewards` (K, A) of K members, not centred, for the answers to one prompt; `log_pi_0` (A,) are the
    log-probabilities of the reference.
    """
    _report(_overoptimization.ENSEMBLE_MINIMUM, function)


def uncertainty_weighted(function: Function) -> None:
    """Check f(rewards, weight): the mean of the members minus lambda times their variance, divided by K, shape (A,).

    `rewards` (K, A) of K members, `weight` is lambda >= 0.
    """
    _report(_overoptimization.UNCERTAINTY_WEIGHTED, function)


def disagreement(function: Function) -> None:
    """Check f(rewards, log_pi): the mean under a policy of the members' standard deviation, of shape ().

    `rewards` (K, A) of K members, `log_pi` (A,) of the policy.
    """
    _report(_overoptimization.DISAGREEMENT, function)


def elliptical_bonus(function: Function) -> None:
    """Check f(features, reference, covariance): ||phi(x, y) - phi(x, pi_0)|| in the norm of Sigma^-1, shape (A,).

    `features` (A, D) of the answers to one prompt, `reference` (D,) is phi(x, pi_0), `covariance` (D, D) is Sigma.
    """
    _report(_pessimism.ELLIPTICAL_BONUS, function)


def lcb_reward(function: Function) -> None:
    """Check f(features, reference, theta, uncertainty, c): the lower confidence bound of each answer, shape (A,).

    `features` (A, D), `reference` (D,) is phi(x, pi_0), `theta` (D,) the fitted weights, `uncertainty` (A,) the
    elliptical bonus, `c` >= 0.
    """
    _report(_pessimism.LCB_REWARD, function)


def coverage_coefficient(function: Function) -> None:
    """Check f(policy, pretrained, features, difference, precision): C* of a problem with one prompt, of shape ().

    `policy` and `pretrained` (A,) are probabilities, `features` (A, D), `difference` (N, D) the compared differences of
    features, `precision` is lambda.
    """
    _report(_pessimism.COVERAGE_COEFFICIENT, function)


def needed_caution(function: Function) -> None:
    """Check f(learned, reward, uncertainty, size): the least c >= 0 with which the lower bound holds, of shape ().

    `learned` and `reward` (A,), both centred, `uncertainty` (A,) is the elliptical bonus, `size` the number of
    features d.
    """
    _report(_pessimism.NEEDED_CAUTION, function)


def uncertain_member(function: Function) -> None:
    """Check f(main, others, features, covariance, radius, beta): which policy to ask about, an index of shape ().

    `main` (A,) holds the probabilities of pi, `others` (M, A) those of M policies, `features` (A, D) of the answers to
    one prompt, `covariance` (D, D) is Sigma, `radius` that of the confidence set and `beta` the price of a nat. -1 if
    no policy is in the set.
    """
    _report(_online.UNCERTAIN_MEMBER, function)


def best_worst_law(function: Function) -> None:
    """Check f(policy, reward, n): P(best = a, worst = b) of n draws from a policy, shape (A, A).

    `policy` (A,) holds probabilities, `reward` (A,) different numbers, `n` is at least 2.
    """
    _report(_online.BEST_WORST_LAW, function)


def predicted_loss(function: Function) -> None:
    """Check f(covariance, information, beta, n): J(pi*) - J(pi) that many labels leave, on average, of shape ().

    `covariance` (D, D) is that of the features under pi*, `information` (D, D) that of one question, `beta` > 0 the
    price of a nat, `n` the number of labels.
    """
    _report(_online.PREDICTED_LOSS, function)


def price_paid(function: Function) -> None:
    """Check f(log_pi, log_pi_0, reward): the price of a nat for which pi is the Gibbs policy of the reward, shape ().

    `log_pi` and `log_pi_0` (A,) are log-probabilities of the answers to one prompt, `reward` (A,) different numbers.
    """
    _report(_online.PRICE_PAID, function)


def lost_reference(function: Function) -> None:
    """Check f(log_pi, reward, beta): log pi_0 of the reference for which pi is the Gibbs policy, shape (N, A).

    `log_pi` (N, A) are the log-probabilities of A answers to each of N prompts, `reward` (N, A) their rewards, each
    row but for a constant, `beta` > 0 the weight of the KL term.
    """
    _report(_dpo.LOST_REFERENCE, function)


def dpo_loss(function: Function) -> None:
    """Check f(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta): DPO's losses, shape (N,).

    `policy_chosen`, `policy_rejected`, `reference_chosen` and `reference_rejected` (N,) are log-probabilities of whole
    answers under policy and reference, `beta` > 0 the weight of the KL term. Margins can be large.
    """
    _report(_dpo.DPO_LOSS, function)


def dpo_weight(function: Function) -> None:
    """Check f(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta): -dL/dh, shape (N,).

    L is the DPO loss and h the margin. `policy_chosen`, `policy_rejected`, `reference_chosen` and `reference_rejected`
    (N,) are log-probabilities of whole answers under policy and reference, `beta` > 0 the weight of the KL term.
    """
    _report(_dpo.DPO_WEIGHT, function)


def ipo_share(function: Function) -> None:
    """Check f(h, tau): the share of people who prefer the first answer, if IPO ends at the margin h, shape (N,).

    `h` (N,) are the margins at which the expected IPO loss is smallest, `tau` > 0 the weight of the KL term.
    """
    _report(_preference_losses.IPO_SHARE, function)


def gpo_loss(function: Function) -> None:
    """Check f(f, h, p, beta): the expected GPO loss of each comparison, shape (N,).

    `f` is a convex function of arrays, `h` (N,) are margins, `p` (N,) the shares of people who prefer the first answer,
    `beta` > 0 the weight of the KL term.
    """
    _report(_preference_losses.GPO_LOSS, function)


def own_loss(function: Function) -> None:
    """Check f(z): a loss of z = beta h, not the logistic one, that ends at the Gibbs policy.

    `f` takes arrays (N,) and returns one number for each z; it is written with autograd's numpy.
    """
    _told("own_loss", _preference_losses.own_loss(function), len(_preference_losses.SHARES))


def dpo_step(function: Function) -> None:
    """Check f(logits, log_pi_0, chosen, rejected, beta, step_size): a table after one step of DPO, shape (A,).

    One prompt and one comparison, one step of gradient descent on its loss. `logits` (A,) are the parameters,
    `log_pi_0` (A,) the log-probabilities of the reference, `chosen` and `rejected` the indices of two answers,
    `beta` > 0 the weight of the KL term, and `step_size` > 0.
    """
    _report(_dpo.DPO_STEP, function)


def robust_loss(function: Function) -> None:
    """Check f(h, beta, flip): the robust DPO loss of each comparison, shape (N,).

    `h` (N,) are margins, `beta` > 0 the weight of the KL term, and `flip` < 1/2 the share of flipped labels.
    """
    _report(_preference_losses.ROBUST_LOSS, function)


def simpo_policy(function: Function) -> None:
    """Check f(reward, length, beta): log pi of each answer where SimPO without gamma ends, shape (A,).

    One prompt: `reward` (A,) are the Bradley-Terry rewards of its answers, `length` (A,) their numbers of tokens,
    `beta` > 0 the scale of the loss. The probabilities sum to 1. Rewards can be large.
    """
    _report(_unpaired.SIMPO_POLICY, function)


def kto_loss(function: Function) -> None:
    """Check f(u, desirable, z_ref, beta): the KTO loss of each answer, weights of 1, shape (N,).

    `u` (N,) are log-ratios to the reference, `desirable` (N,) is 1 or 0, `z_ref` a number, and `beta` > 0. Log-ratios
    can be large.
    """
    _report(_unpaired.KTO_LOSS, function)


def kto_policy(function: Function) -> None:
    """Check f(up, down, desirable_weight, undesirable_weight): the policy that KTO asks for, for beta to 0, shape (A,).

    `up` (A,) and `down` (A,) are the numbers of thumbs that each answer to one prompt got, `desirable_weight` and
    `undesirable_weight` are above 0. At least one answer has an excess above 0; some may have no thumb.
    """
    _report(_unpaired.KTO_POLICY, function)


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
    _report(_ppo.PPO_LOSS, function)


def ppo_passes(function: Function) -> None:
    """Check f(policy, drawn, advantage, clip_range, step_size, passes): probabilities after passes of PPO, shape (A,).

    The logits of a policy over A answers are its parameters. `policy` (A,) are the probabilities with which the answers
    `drawn` (N,) were written, `advantage` (N,) their advantages. Each of `passes` passes is one step of gradient
    descent, `step_size` long, on the clipped loss, a mean over the N answers; its ratios are to `policy`, and
    `clip_range` is epsilon.
    """
    _report(_ppo.PPO_PASSES, function)


def explained_variance(function: Function) -> None:
    """Check f(values, returns): the share of the variance of the returns that a critic foresaw, of shape ().

    `values` (N,) are those of the critic, `returns` (N,) what came; they are not all equal.
    """
    _report(_ppo.EXPLAINED_VARIANCE, function)


def gibbs_gap(function: Function) -> None:
    """Check f(log_pi, log_pi_0, reward, beta): beta KL(pi || pi*) for each prompt, in units of reward, shape (N,).

    `log_pi` (N, A) and `log_pi_0` (N, A) are the log-probabilities of policy and reference, `reward` (N, A) the rewards
    of all answers, `beta` > 0 the price of a nat.
    """
    _report(_pipeline.GIBBS_GAP, function)


def best_of_n_kl(function: Function) -> None:
    """Check f(policy, reward, n): KL(pi_n || pi) of best-of-n for one prompt, nats, one number, of shape ().

    `policy` (A,) are the probabilities of the answers, `reward` (A,) their rewards, no two of them equal; `n` is the
    number of draws, at least 2.
    """
    _report(_pipeline.BEST_OF_N_KL, function)


def cloning_loss(function: Function) -> None:
    """Check f(logits, action, weight): the weighted mean of - log pi(a | s), nats, shape ().

    `logits` (N, A) come before the softmax, `action` (N,) are the expert's actions, `weight` (N,) says how often each
    pair counts; not all are 0.
    """
    _report(_imitation.CLONING_LOSS, function)


def state_occupancy(function: Function) -> None:
    """Check f(transition, policy, start, horizon): d_t(s) for t = 1 ... T, shape (T, S).

    `transition` (S, A, S) holds P(s' | s, a), `policy` (S, A) holds pi(a | s), `start` (S,) is d_1, `horizon` is T.
    """
    _report(_imitation.STATE_OCCUPANCY, function)


def dagger_mixture(function: Function) -> None:
    """Check f(expert, policy, beta, round): the policy of the roll-ins of round i = 1, 2, ..., shape (S, A).

    `expert` and `policy` (S, A) are probabilities of actions, `beta` in [0, 1] is the expert's share in round 1,
    `round` is i.
    """
    _report(_imitation.DAGGER_MIXTURE, function)


def dril_cost(function: Function) -> None:
    """Check f(probs, threshold): +1 where the variance over the members exceeds the threshold, else -1, shape (S, A).

    `probs` (M, S, A) holds pi_m(a | s) for M members of an ensemble, `threshold` is a number.
    """
    _report(_dril.DRIL_COST, function)


def dril_kappa(function: Function) -> None:
    """Check f(ratio, variance): the least max(1, alpha(U)) / v(U) over all sets U of states; its shape is ().

    `ratio` (S,) says how much more often than the expert a policy can be in a state, `variance` (S, A) how much the
    ensemble disagrees, above 0. alpha(U) is the largest ratio inside U, v(U) the least variance outside; U is neither
    empty nor everything.
    """
    _report(_dril.DRIL_KAPPA, function)


def query_probability(function: Function) -> None:
    """Check f(log_pi, b): b / (b + m) for each state, m the margin between its two likeliest actions, shape (N,).

    `log_pi` (N, A) are log-probabilities of actions, `b` > 0 says how soon a policy is sure.
    """
    _report(_imitation.QUERY_PROBABILITY, function)


def moment_gradient(function: Function) -> None:
    """Check f(transition, policy, start, features, shown): m - E_pi[sum_t f(s_t)], shape (D,).

    `transition` (S, A, S), `policy` (T, S, A) with pi_t(a | s) for each step, `start` (S,) the first states, `features`
    (S, D), `shown` (D,) the moments m of the demonstrations.
    """
    _report(_reward_from_behaviour.MOMENT_GRADIENT, function)


def segment_doubt(function: Function) -> None:
    """Check f(difference, theta): Var_m sigmoid(d . theta_m) for each comparison, shape (N,).

    `difference` (N, D) are differences of two segments' visits, `theta` (M, D) the rewards of M members.
    """
    _report(_reward_from_behaviour.SEGMENT_DOUBT, function)


def ilhf_loss(function: Function) -> None:
    """Check f(first, second, label): the mean of - log Q of the chosen answer, one number; its shape is ().

    `first` and `second` (N,) are log-probabilities of the two answers, `label` (N,) is 1 if the first was chosen, else
    0.
    """
    _report(_ilhf.ILHF_LOSS, function)


def ilhf_coin_slope(function: Function) -> None:
    """Check f(p, p_people): the expected ILHF gradient by the log-odds on the coin, shape (N,).

    `p` (N,) are probabilities with which the policy says 1, `p_people` is the share of people who want it.
    """
    _report(_ilhf.ILHF_COIN_SLOPE, function)


def matching_beta(function: Function) -> None:
    """Check f(p_pre, p_people): the KL weights with which the tilted coin is right, shape (N,).

    `p_pre` (N,) are the probabilities with which pretrained models say 1, `p_people` is the share of people who want
    it.
    """
    _report(_ilhf.MATCHING_BETA, function)


def member_losses(function: Function) -> None:
    """Check f(losses, double, phi, start, eta): the loss of each member of an ensemble, shape (M,).

    `losses` (N,) belong to the pairs, `double` (M, N) is True where a member counts a pair twice and False where it
    does not count it, `phi` and `start` (M, D) are readouts and where they began, `eta` is the anchor's weight.
    """
    _report(_ilhf.MEMBER_LOSSES, function)


def inclusive_ratio(function: Function) -> None:
    """Check f(chosen, rejected, chosen_ref, rejected_ref): exp of the difference of inclusive scores, shape ().

    `chosen` and `rejected` (N,) are an agent's log-probabilities of the answers that people chose and rejected,
    `chosen_ref` and `rejected_ref` (N,) those of the agent that it is compared with.
    """
    _report(_ilhf.INCLUSIVE_RATIO, function)


def soft_backup(function: Function) -> None:
    """Check f(log_p, reward, following, price): Psi of each state and token, shape (N, V).

    `log_p` and `reward` (N, V) are those of the tokens, `following` (N, V, V) holds Psi of the state behind each token,
    `price` is c > 0.
    """
    _report(_soft_values.SOFT_BACKUP, function)


def psi_target(function: Function) -> None:
    """Check f(log_p, reward, psi, mask, price): what Psi of each token should be, shape (N, T), 0 behind the end.

    `log_p` (N, T) are log p of the tokens that were written, padding included, `reward` (N,) those of the answers,
    `psi` (N, T, V) belongs to the states before each token, `mask` (N, T) is 1 up to the last token, `price` is c > 0.
    """
    _report(_soft_values.PSI_TARGET, function)


def expectile_value(function: Function) -> None:
    """Check f(q, mu, tau): the expectile of q over a ~ mu for each state, shape (N,).

    `q` and `mu` (N, V) are values and shares of the tokens, `tau` lies in (0, 1).
    """
    _report(_soft_values.EXPECTILE_VALUE, function)


def cql_loss(function: Function) -> None:
    """Check f(q, action, target, alpha): the mean loss of conservative Q-learning, one number; its shape is ().

    `q` (N, V) are values, `action` (N,) the tokens that were taken, `target` (N,) what their values should be, `alpha`
    weighs the penalty.
    """
    _report(_soft_values.CQL_LOSS, function)


def token_cost(function: Function) -> None:
    """Check f(q, log_pi, log_pi_0, price): AggreVaTeD's cost of each token, with its price, shape (N, V).

    `q` (N, V) are values of the teacher, whose mean under pi_0 is V; `log_pi` and `log_pi_0` (N, V) are those of the
    policy and of the prior; `price` is beta > 0.
    """
    _report(_resets.TOKEN_COST, function)


def reset_mixture(function: Function) -> None:
    """Check f(occupancy, share): how often each state is a start state, shape (S,).

    `occupancy` (H, S) says with which probability the teacher is in a state before step t; row 0 is the prompt. An
    answer may have ended, so that a row sums to less than 1. `share` is zeta.
    """
    _report(_resets.RESET_MIXTURE, function)


def lock_wait(function: Function) -> None:
    """Check f(horizon, symbols, teacher): episodes until a lock first opens, on average, shape (N,).

    Each episode begins with h dials that the teacher sets, h drawn from 0 to H - 1, H is `horizon`, each right with
    the chance `teacher` (N,) of N teachers. A uniform learner sets the others, of A `symbols` each.
    """
    _report(_resets.LOCK_WAIT, function)


def teacher_skill(function: Function) -> None:
    """Check f(horizon, symbols, plain, with_resets): the teacher's chance to set a dial right, shape (N,).

    `plain` and `with_resets` (N,) are mean waits of N learners, each with a teacher of its own, at locks of `horizon`
    dials and `symbols` on each: without resets, and with a reset in every episode. A learner explores uniformly, or it
    started as its teacher: find out which.
    """
    _report(_resets.TEACHER_SKILL, function)


def exploitability(function: Function) -> None:
    """Check f(payoff, log_pi, log_pi_0, beta): what the best opponent of a policy earns, shape ().

    `payoff` (A, A) is what the row earns from the column, G[a, b] = -G[b, a]; `log_pi` and `log_pi_0` (A,) are the
    policy and the reference; `beta` is the price of a nat, which both players pay.
    """
    _report(_nash.EXPLOITABILITY, function)


def mirror_step(function: Function) -> None:
    """Check f(payoff, log_pi, log_pi_0, beta, eta): log of pi^(1 - eta) BR(pi)^eta, normalised, shape (A,).

    `payoff` (A, A), `log_pi`, `log_pi_0` (A,) and `beta` as in `exploitability`; BR(pi) is the best response to pi,
    and `eta` in (0, 1] is the share of the way to it.
    """
    _report(_nash.MIRROR_STEP, function)


def circle_equilibrium(function: Function) -> None:
    """Check f(wins): the equilibria of circles of three answers without a price, probabilities, shape (N, 3).

    `wins` (N, 3), all above 1/2, a row for each circle: answer 0 beats 1 with the first of them, 1 beats 2 with the
    second, 2 beats 0 with the third. The payoff is P - 1/2.
    """
    _report(_nash.CIRCLE_EQUILIBRIUM, function)


def largest_step(function: Function) -> None:
    """Check f(payoff, log_pi, beta): the step size eta below which mirror steps converge, shape ().

    `payoff` (A, A) and `beta` as in `exploitability`; `log_pi` (A,) is the equilibrium, near which the steps begin.
    The result may be above 1: then every eta up to 1 converges.
    """
    _report(_nash.LARGEST_STEP, function)


def kl_weights(function: Function) -> None:
    """Check f(log_ratio, mask): weights w_t, shape (N, T), for which E sum_t w_t grad log pi_t is the gradient of KL.

    `log_ratio` (N, T) are log pi(y_t | s_t) / pi_0(y_t | s_t) of tokens drawn from pi; `mask` (N, T) is 1 up to the
    last token of an answer and 0 behind it.
    """
    _report(_nash.KL_WEIGHTS, function)


def shaped_rewards(function: Function) -> None:
    """Check f(rewards, potential, mask, discount): rewards with shaping terms, shape (N, T), 0 behind the end.

    `rewards` (N, T) are those of the tokens, `potential` (N, T) belongs to the states before them, `mask` (N, T) is 1
    up to the last token, `discount` is gamma. Behind the last token, rewards and potential hold padding.
    """
    _report(_dense_rewards.SHAPED_REWARDS, function)


def harmless(function: Function) -> None:
    """Check f(bonus, mask, discount): which bonus leaves every optimum alone, True or False, shape (M,).

    `bonus` (M, A, T) are M process rewards that could be added, token by token, for all A answers to one prompt; `mask`
    (A, T) is 1 up to the last token of each answer, behind which there is padding. `discount` is gamma.
    """
    _report(_dense_rewards.HARMLESS, function)


def step_scores(function: Function) -> None:
    """Check f(written, mask, label, start, weight): scores of the states before each token, shape (N, T), 0 behind.

    `written` (N, T) are answers to one prompt, `mask` (N, T) is 1 up to the last token of each, `label` (N,) are 1 for
    good ones, else 0. `start` is the score h_0 of a state without labels, which counts as `weight` w > 0 labels.
    """
    _report(_dense_rewards.STEP_SCORES, function)


def effective_price(function: Function) -> None:
    """Check f(reward, bonus, mask, beta): the price at which the reward alone has the same optimum, shape (M,), or 0.

    `reward` (A,) is that of all A answers to one prompt, `bonus` (M, A, T) holds M process rewards, one of which is
    added to it, token by token; `mask` (A, T) is 1 up to the last token, behind which there is padding. `beta` is the
    price that is charged for the sum. Where the reward has that optimum at no price, the answer is 0.
    """
    _report(_dense_rewards.EFFECTIVE_PRICE, function)


def value_of_knowing(function: Function) -> None:
    """Check f(log_pi, shares, beta): what it is worth to know who asks, one number; its shape is ().

    `log_pi` (Z, A) are the Gibbs policies of Z kinds of people at the price `beta`, `shares` (Z,) sum to 1.
    """
    _report(_pluralism.VALUE_OF_KNOWING, function)


def worst_off_weight(function: Function) -> None:
    """Check f(log_pi_0, rewards, beta): the weight of the first of two kinds in MaxMin, one number; its shape is ().

    `log_pi_0` (A,) is the reference, `rewards` (2, A) are comparable between the kinds, `beta` is the price. To eight
    digits.
    """
    _report(_pluralism.WORST_OFF_WEIGHT, function)


def em_step(function: Function) -> None:
    """Check f(wins, asked, p, shares): one step of EM, memberships and then new probabilities.

    The result is a list of two arrays, of shapes (N, Z) and (Z, n). `wins` and `asked` (N, n) count labels of N
    annotators for n questions, `p` (Z, n) and `shares` (Z,) are what is believed of the groups before.
    """
    _report(_pluralism.EM_STEP, function)


def consistent_margin(function: Function) -> None:
    """Check f(first, second): the margin of an answer from consistent verdicts, shape (N,).

    `first` and `second` (N, K) are K verdicts on each of N pairs, 1 where the answer wins, when it is shown first and
    when it is shown second; half a verdict is added to wins and to losses.
    """
    _report(_pluralism.CONSISTENT_MARGIN, function)


def from_experts(function: Function) -> None:
    """Check f(log_pi_0, experts, weights): log-probabilities of the optimum for sum_i w_i r_i, shape (A,).

    `log_pi_0` (A,) is the reference, `experts` (k, A) are the optima of rewards r_i at one price, `weights` (k,) are
    any numbers.
    """
    _report(_objectives.FROM_EXPERTS, function)


def floor_price(function: Function) -> None:
    """Check f(log_pi_0, helpful, safe, floor, beta): the price lambda of a floor under E r_s, shape ().

    `log_pi_0`, `helpful` and `safe` (A,) are of all answers to one prompt, `beta` is the price of a nat. A `floor` that
    does not bind costs nothing.
    """
    _report(_objectives.FLOOR_PRICE, function)


def revised_law(function: Function) -> None:
    """Check f(pi_0, revised): the law of revised answers, shape (A,).

    `pi_0` (A,) are probabilities, `revised` (A,) is the place of the answer that each one is rewritten to.
    """
    _report(_objectives.REVISED_LAW, function)


def penalty_price(function: Function) -> None:
    """Check f(share, target, cost): the beta at which a penalty leaves the target of broken answers, shape (N,).

    `share` (N,) of the reference's answers break a rule, and each earns minus `cost`, a number. `target` (N,) is
    smaller.
    """
    _report(_objectives.PENALTY_PRICE, function)


def feedback_round(function: Function) -> None:
    """Check f(pi_0, fault, free, tries): the law of answers after one round of feedback in words, shape (A,).

    `fault` (A,) is the number of the fault that is named, or -1; `free` (F, A) says which answers are free of each;
    of so many `tries` from `pi_0` (A,) the first that is free of the named fault is kept, else the first of all.
    """
    _report(_objectives.FEEDBACK_ROUND, function)


def next_belief(function: Function) -> None:
    """Check f(belief, turn, reply): the belief after one turn, shape (S,).

    `belief` (S,) is that of before, `turn` (S, O, S) the probability of a reply and of the next secret given the
    secret, for the line that was said, `reply` the number of the reply that came.
    """
    _report(_dialogue.NEXT_BELIEF, function)


def two_proposals(function: Function) -> None:
    """Check f(mu, q, tau): how likely each line is said if Q ranks two proposals, shape (N, U).

    Two lines are drawn from `mu` (N, U), one of them is said, drawn from softmax(Q / tau) over the two. `q` (N, U) are
    the values, `tau` is the temperature.
    """
    _report(_dialogue.TWO_PROPOSALS, function)


def level_gap(function: Function) -> None:
    """Check f(log_plan, log_text, reward, price): how much less a manager alone is worth than both levels, shape ().

    `log_plan` (Z,) and `log_text` (Z, Y) are the prior's, `reward` (Z, Y), `price` is that of a nat.
    """
    _report(_dialogue.LEVEL_GAP, function)


def dialogue_loss(function: Function) -> None:
    """Check f(log_p, speaker, weight): the mean over dialogues of weight times the loss of your own words, shape ().

    `log_p` (N, T) are log-probabilities of the words, `speaker` (N, T) is 1 where you speak, 0 for the other side and
    -1 behind the end, `weight` (N,) belongs to the dialogues.
    """
    _report(_dialogue.DIALOGUE_LOSS, function)


def _name_runs(runs: _bug_zoo.Runs, function: Function) -> None:
    _told(runs.name, _bug_zoo.misnamed(runs, function), len(runs.names))


def zoo_dpo_runs(function: Function) -> None:
    """Check f(): the names of the bugs in three runs of DPO, a dictionary {"A": ..., "B": ..., "C": ...}.

    The names are those of the zoo, as the tables of the chapter have them.
    """
    _name_runs(_bug_zoo.DPO_RUNS, function)


def prompt_weight(function: Function) -> None:
    """Check f(p, k, c): what a prompt weighs if advantages are cut off at c from above, shape (P,).

    `p` (P,) are chances to be right, `k` is the number of answers in a group. The advantage of an answer is its reward
    less the mean of its group, and at most `c`.
    """
    _report(_verifiable.PROMPT_WEIGHT, function)


def three_means(function: Function) -> None:
    """Check f(each, mask, constant): losses of tokens as one number, by three means, shape (3,).

    `each` (N, T) are losses, `mask` (N, T) is 0 behind the end of an answer. In this order: the mean over answers of
    their means, the mean over all tokens, and the mean over answers of their sums, divided by `constant`.
    """
    _report(_verifiable.THREE_MEANS, function)


def pass_estimate(function: Function) -> None:
    """Check f(right, n, k): pass@k without bias, the mean over prompts, shape ().

    `right` (P,) says how many of the `n` answers to each prompt are right, and `k` is at most `n`.
    """
    _report(_verifiable.PASS_ESTIMATE, function)


def crossing(function: Function) -> None:
    """Check f(before, after): the first k from which the student passes more often than the trained model, shape ().

    `before` (P,) and `after` (P,) are the chances that an answer to each prompt is right. It is the smallest k, from 1
    to 1000, at which pass@k of `before`, a mean over prompts, is above that of `after`; -1 if there is none.
    """
    _report(_verifiable.CROSSING, function)


def effective_share(function: Function) -> None:
    """Check f(log_pi, log_old): the effective share of weighted answers, (sum w)^2 / (N sum w^2), shape ().

    `log_pi` (N,) are the log-probabilities of N answers now, `log_old` (N,) when they were written; w = pi / pi_old.
    """
    _report(_stale_answers.EFFECTIVE_SHARE, function)


def pulls(function: Function) -> None:
    """Check f(ratio, advantage, low, high): how hard the clipped loss pulls at each token, shape (N,).

    `ratio` (N,) are w = pi / pi_old of N tokens and `advantage` (N,) their advantages; the bounds are 1 - `low` and 1 +
    `high`. The pull is what stands before grad log pi in minus the gradient of the loss.
    """
    _report(_stale_answers.PULLS, function)


def gspo_loss(function: Function) -> None:
    """Check f(log_pi, log_old, advantage, mask, epsilon): the clipped loss of GSPO, the mean over answers, shape ().

    `log_pi` and `log_old` (N, T) are log-probabilities of tokens, `mask` (N, T) is 0 behind the end, `advantage` (N,)
    belongs to answers. Each answer has one ratio, the geometric mean of those of its tokens, clipped to 1 +- `epsilon`.
    """
    _report(_stale_answers.GSPO_LOSS, function)


def zoo_ppo_runs(function: Function) -> None:
    """Check f(): the names of the bugs in four runs of PPO, a dictionary {"A": ..., "B": ..., "C": ..., "D": ...}.

    The names are those of the zoo, as the tables of the chapter have them.
    """
    _name_runs(_bug_zoo.PPO_RUNS, function)


def mended_margin(function: Function) -> None:
    """Check f(chosen, rejected, chosen_0, rejected_0, beta): the DPO loss of each pair, shape (N,).

    `chosen` and `rejected` (N,) are log-probabilities of whole answers under the policy, `chosen_0` and `rejected_0`
    (N,) under the reference, `beta` > 0 the weight of the KL term. Margins can be large.
    """
    _report(_bug_hunt.MENDED_MARGIN, function)


def mended_mask(function: Function) -> None:
    """Check f(log_pi, tokens, mask): the log-probability of the answer in each text, nats, shape (N,).

    `log_pi` (N, L - 1, V) holds at t the log-probabilities of the token at place t + 1, `tokens` (N, L) are prompts,
    answers and padding, `mask` (N, L) is 1 on the answer and its end. No answer stands at place 0.
    """
    _report(_bug_hunt.MENDED_MASK, function)


def mended_clip(function: Function) -> None:
    """Check f(log_pi, log_old, advantage, epsilon): the clipped loss of PPO, one number, of shape ().

    `log_pi` (N,) are the log-probabilities of N tokens now, `log_old` (N,) when they were written, `advantage` (N,)
    their advantages; `epsilon` is the clip range. It is a mean over the tokens.
    """
    _report(_bug_hunt.MENDED_CLIP, function)


def mended_sweep(function: Function) -> None:
    """Check f(rewards, values, mask, gamma, lam): generalised advantages, shape (N, T), 0 behind the end.

    `rewards` and `values` (N, T) are those of N answers, padding included, `mask` (N, T) is 1 up to the last token,
    behind which nothing follows. `gamma` is the discount, `lam` is lambda.
    """
    _report(_bug_hunt.MENDED_SWEEP, function)


def mended_baseline(function: Function) -> None:
    """Check f(rewards): the leave-one-out advantages of k answers to each of G prompts, shape (G, k).

    `rewards` (G, k), k >= 2.
    """
    _report(_bug_hunt.MENDED_BASELINE, function)


def mended_divergence(function: Function) -> None:
    """Check f(log_pi, log_ref): k3, an estimate of KL(pi || pi_ref), for each answer, nats, shape (N,).

    `log_pi` and `log_ref` (N,) are the log-probabilities of N answers drawn from pi.
    """
    _report(_bug_hunt.MENDED_DIVERGENCE, function)


def first_step(function: Function) -> None:
    """Check f(loss): whether a loss of DPO has the right value and slope at the reference, True or False.

    `loss` is a function of chosen, rejected, chosen_0, rejected_0, each (N,), and beta, that returns the losses (N,).
    The slope is that in the chosen log-probability.
    """
    _told("first_step", _bug_hunt.first_step(function), len(_bug_hunt.LOSSES))


def forward_algorithm(function: Function) -> None:
    """Check f(p, following, horizon): how likely a text is in each state after 0 ... T - 1 words, shape (T, S).

    `p` (S, V) are the probabilities of the words in each state, of which the last ends the text, `following` (S, V) the
    states behind them, `horizon` is T. Texts start in state 0. One that has ended is in no state.
    """
    _report(_automata.FORWARD_ALGORITHM, function)


def gibbs_by_dynamic_programming(function: Function) -> None:
    """Check f(log_p, following, final, cost, beta, horizon): values h_t(s) of the Gibbs policy, shape (T + 1, S).

    h_t(s) is the log of the mean of exp(reward / beta) over what may follow t tokens and the state s. `log_p` and
    `following` (S, V) are log-probabilities of the words, of which the last ends the text, and the states behind them.
    A text that ends in s earns `final` (S,), F(s); so does one of T = `horizon` tokens. Each token that follows costs
    `cost`, the last one too. `beta` > 0 is the weight of the KL term. Rewards can be large.
    """
    _report(_automata.GIBBS_BY_DYNAMIC_PROGRAMMING, function)


def causal_attention(function: Function) -> None:
    """Check f(query, key, value, mask): what each token reads of itself and of those before it, shape (T, E).

    `query` and `key` (T, D) and `value` (T, E) belong to T tokens, `mask` (T,) is 0 where a token is padding, which
    nobody reads; the first is none. Scores are divided by the root of D. They can be large.
    """
    _report(_attention.CAUSAL_ATTENTION, function)


def cached_attention(function: Function) -> None:
    """Check f(query, key, value, keys, values): what a new token reads of a cache and of itself, shape (E,).

    `query` and `key` (D,) and `value` (E,) belong to the new token, `keys` (T, D) and `values` (T, E) to the T before
    it. Scores are divided by the root of D. They can be large.
    """
    _report(_attention.CACHED_ATTENTION, function)


def layer_norm_gradient(function: Function) -> None:
    """Check f(x, gain, gradient, eps): the gradient of a loss in the input of a layer norm, shape (N, D).

    The layer returns gain (x - mean) / sqrt(variance + eps) + bias, for each row of `x` (N, D), with the mean and the
    variance of its D features; `gain` (D,), `eps` > 0. `gradient` (N, D) is that of the loss in what the layer returns.
    """
    _report(_gpt.LAYER_NORM_GRADIENT, function)


def per_token_kl(function: Function) -> None:
    """Check f(log_pi, log_ref, response, eos): an estimate of KL(pi || ref) from texts of pi, one number, of shape ().

    It is the mean over N texts of the sum over their tokens of the exact divergence of each choice, in nats. `log_pi`
    and `log_ref` (N, T, V) are the log-probabilities of all tokens at each place, `response` (N, T) are the tokens
    that pi said, `eos` is the one that ends a text, any of the V. The first `eos` counts; what follows it does not.
    """
    _report(_gpt.PER_TOKEN_KL, function)


def weight_tying_gradient(function: Function) -> None:
    """Check f(embed, tokens): the gradient of a loss in an embedding that is the readout, too, shape (V, D).

    The model reads one token x, and the scores of the next are `embed` @ `embed`[x], before the softmax. `embed` is
    (V, D), `tokens` (T,) are a text. The loss is the mean of -log pi(next token | token) over its T - 1 pairs, in nats.
    Scores can be large.
    """
    _report(_gpt.WEIGHT_TYING_GRADIENT, function)
