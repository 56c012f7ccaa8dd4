"""What the CS 188 lecture claims on why text needs RL, and on control by a KL term."""

from collections.abc import Iterator

import numpy as np

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ilhf.verdicts import PARTLY, above, brief
from rlhf_lab.experiments.ledger import small
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, measured, rounded, shown
from rlhf_lab.feedback import annotators
from rlhf_lab.methods import direct, principles, soft_values
from rlhf_lab.models import gibbs, lm
from rlhf_lab.worlds import phrase_world, token_mdp

PRICE = 0.5


def why_rl(load: Load) -> Iterator[Claim]:
    """Yield the rows on why text needs RL, and what goes wrong with it."""
    yield measured(
        "three-word sentences",
        "10,000 words make 10^12 sentences of three words, a trillion",
        "1 trillion",
        f"{lm.count_responses(10_000, 3, None):,}",
        "sec-token-mdp",
        lm.count_responses(10_000, 3, None) == 10**12,
    )
    log_pi_0 = lm.answer_log_probs(
        phrase_world.model(), phrase_world.pretrained(), phrase_world.PROMPTS, phrase_world.HORIZON
    )
    mass = np.cumsum(np.sort(np.exp(log_pi_0), axis=1)[:, ::-1], axis=1)
    needed, there = int(np.sum(mass < 0.9, axis=1).max()) + 1, log_pi_0.shape[1]
    yield measured(
        "three-word sentences",
        "a pretrained model restricts the search to few of them",
        "millions of a trillion",
        f"in PhraseWorld at most {needed} of {there:,} answers carry 90% of the probability",
        "sec-token-mdp",
        needed < 0.01 * there,
    )
    tree = small.trees()[0]
    p = annotators.bradley_terry(tree.reward[:, None] - tree.reward)
    ratio = gibbs.log_policy(tree.log_pi_0, tree.reward, PRICE) - tree.log_pi_0
    off = abs(direct.dpo_target(p, PRICE) - (ratio[:, None] - ratio)).max()
    yield measured(
        "training with human feedback",
        "labels of sentences cannot be learned from by supervised learning",
        "cannot",
        f"the supervised loss of DPO on such labels has its minimum at the regularised optimum, to {rounded(off)}",
        "sec-dpo",
        off > EXACT,
    )
    pi, metric, step = np.exp(tree.log_pi_0), 1.0 * (tree.reward > 1), 1e-5
    slope = token_mdp.policy_gradient(pi, metric)
    moved = [np.exp(tree.log_pi_0 + step * np.eye(27)[k]) for k in range(27)]
    change = np.array([(law @ metric / law.sum() - pi @ metric) / step for law in moved])
    yield measured(
        "how is RL different",
        "RL optimises metrics that have no derivative",
        "a sentence",
        f"for a reward of 0 or 1 the policy gradient is the derivative of J, to {abs(slope - change).max():.0e}",
        "sec-policy-gradients",
        abs(slope - change).max() < 1e-4,
    )
    yield shown(
        "problems with naive RL",
        "RL exploits a simple reward (questions), KL control stays realistic",
        "dialogues",
        "batch Q-learning of five implicit rewards ends more than 3 below the language model in rating, and for three "
        "of them earns less of the reward itself than KL control. The reward for questions lowers the rating with KL "
        "control, too",
        "sec-dialogue-implicit",
        'assert (gained["naive"].mean(0)[:, 1] < -3).all() and more.min() > 0.3',
        PARTLY,
    )
    yield shown(
        "problems with naive RL",
        "RL forgets what it learned before",
        "catastrophic",
        "reward on tea makes answers about ice worse by more than 0.5; a little of the old text prevents it",
        "sec-pipeline",
        'assert on_ice["PPO"] < on_ice["pretrained"] - 0.5 < on_ice["PPO-ptx"] - 0.2, "stays"',
    )


def kl_control(load: Load) -> Iterator[Claim]:
    """Yield the rows on Sequence Tutor and on learning from logs."""
    off, mode, lost = [], [], []
    for tree in small.trees():
        best = gibbs.log_policy(tree.log_pi_0, tree.reward, PRICE)
        psi = soft_values.psi_values(tree.prior, tree.paid, PRICE).advantage
        g = soft_values.g_values(tree.prior, tree.paid, PRICE).q
        by_g = [p + each for p, each in zip(tree.prior, g, strict=True)]
        by_g = [each - np.logaddexp.reduce(each, axis=-1, keepdims=True) for each in by_g]
        off += [abs(small.answers(policy) - best).max() for policy in (psi, by_g)]
        said = soft_values.greedy(soft_values.prior_q_values(tree.prior, tree.paid, PRICE).q)
        place = int(lm.answer_index(said, small.VOCAB, None)[0])
        mode.append(place == best.argmax())
        lost.append(-PRICE * best[place])
    yield measured(
        "Sequence Tutor",
        "Ψ- and G-learning reach the KL-regularised optimum",
        "two recursions",
        f"both give the Gibbs policy over answers, to {rounded(max(off))} on 20 trees (without discount)",
        "sec-soft-values",
        max(off) < EXACT,
    )
    yield measured(
        "Sequence Tutor",
        "so does Q-learning with a log prior",
        "a recursion",
        f"it says one answer, the likeliest of the optimum on {sum(mode)} of 20 trees, and loses {min(lost):.2f} to "
        f"{max(lost):.2f}",
        "sec-soft-values",
        max(lost) < EXACT,
        readings={"to find the optimum's likeliest answer": all(mode)},
    )
    tree = small.trees()[0]
    best = gibbs.log_policy(tree.log_pi_0, tree.reward, PRICE)
    top = float(tree.reward.max())
    with_kl = [np.exp(best) @ tree.reward - PRICE * lm.kl(best, tree.log_pi_0), top + PRICE * tree.log_pi_0[_top(tree)]]
    yield measured(
        "Sequence Tutor",
        "L(q) = E_q[r] / c: the objective of KL control, without a divergence",
        "no KL term",
        f"its best policy says one answer, {top:.2f} against {np.exp(best) @ tree.reward:.2f} for KL control's; less "
        f"c KL, as a later slide has it, {with_kl[1]:.2f} against {with_kl[0]:.2f}",
        "sec-policy-gradients",
        float(np.exp(best) @ tree.reward) >= top,
        readings={"with the KL term": with_kl[0] > with_kl[1]},
    )
    logs = load("dialogue")["diluted"]
    success = {name: runs[..., 1] for name, runs in logs.items()}
    over = {name: (success["KL control"] - success[name]).mean(1) for name in ("naive", "clone", "filter by success")}
    yield measured(
        "same technique for offline RL",
        "KL control is effective from a log, without exploring",
        "a figure",
        f"word guessing, eight mixtures of logs: success {brief(over['naive'])} above batch Q, "
        f"{brief(over['clone'])} above cloning, {brief(over['filter by success'])} above a filtered clone",
        "sec-dialogue-logs",
        above(over["naive"]),
        above(over["clone"]),
        above(over["filter by success"]),
    )
    share = np.array([principles.penalised_share(0.3, b) for b in (10.0, 1.0, 0.1)])
    yield measured(
        "reducing toxicity",
        "a classifier's score as a negative reward reduces toxicity",
        "reduce",
        f"of 30% toxic answers the optimum keeps {share[0]:.0%}, {share[1]:.0%} and {share[2]:.2%} at prices of 10, 1 "
        "and 0.1",
        "sec-objectives",
        bool((np.diff([0.3, *share]) < 0).all()),
    )


def _top(tree: small.Tree) -> int:
    return int(tree.reward.argmax())
