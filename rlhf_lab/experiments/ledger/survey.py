"""What the survey of Chaudhari and co-authors claims (DEC), section by section, its equations first."""

from collections.abc import Iterator

import numpy as np

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ledger import small
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, measured, rounded
from rlhf_lab.feedback import annotators
from rlhf_lab.models import lm
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import phrase_world, token_mdp

SIGN = "with a minus sign"


def equations(load: Load) -> Iterator[Claim]:
    """Yield the rows on what the survey writes as equations, in its sections 2 to 6."""
    tree = small.trees()[0]
    total = float(np.exp(small.answers([0 * tree.prior[0], *tree.prior[1:]])).sum())
    yield measured(
        "sec. 2, eq. 3",
        "the probability of a text is the product over its tokens from the second on",
        "a product",
        f"over all texts of a tree it sums to {total:.0f}: the first of {small.VOCAB} tokens is left out",
        "sec-pretraining",
        abs(total - 1) < EXACT,
        readings={"given the first token": abs(total - small.VOCAB) < EXACT},
    )
    pairs = [(tree.log_pi_0, small.answers(small.other(seed))) for seed, tree in enumerate(small.trees())]
    kl, cross, entropy = np.transpose([(lm.kl(p, q), lm.cross_entropy(p, q), lm.entropy(p)) for p, q in pairs])
    off = abs(kl - (cross - entropy)).max()
    yield measured(
        "eq. 1-3",
        "minimising KL(data || model) is minimising the cross-entropy",
        "an identity",
        f"off by {rounded(off)} on 20 pairs of laws",
        "sec-pretraining",
        off < EXACT,
    )
    first = np.array([np.exp(p) @ p for p, _ in pairs])
    yield measured(
        "eq. 1",
        "its first term, E log P, represents the entropy",
        "H(P)",
        f"{first[0]:.2f} for a law whose entropy is {entropy[0]:.2f}",
        "sec-pretraining",
        bool((abs(first - entropy) < EXACT).all()),
        readings={SIGN: bool((abs(first + entropy) < EXACT).all())},
    )
    yield _table_1()
    texts = lm.count_responses(phrase_world.VOCAB, phrase_world.HORIZON, phrase_world.EOS)
    power = phrase_world.VOCAB**phrase_world.HORIZON
    fixed = lm.count_responses(phrase_world.VOCAB, phrase_world.HORIZON, None)
    yield measured(
        "sec. 5",
        "|C| |O| = |V|^T: how many texts there are",
        "|V|^T",
        f"PhraseWorld has {texts:,} answers; {phrase_world.VOCAB}^{phrase_world.HORIZON} is {power:,}",
        "sec-token-mdp",
        texts == power,
        readings={"all texts have T tokens": fixed == power},
    )
    r, s = np.random.default_rng(0).normal(size=(2, 50))
    three = np.array([np.exp(r) / (np.exp(r) + np.exp(s)), 1 / (1 + np.exp(s - r)), annotators.bradley_terry(r - s)])
    yield measured(
        "eq. 8-10, 18",
        "three forms of Bradley-Terry are one",
        "an identity",
        f"differ by {rounded(np.ptp(three, axis=0).max())}",
        "sec-reward-modeling",
        np.ptp(three, axis=0).max() < EXACT,
    )
    both = [
        (
            token_mdp.performance(t.log_pi_0[None], t.reward[None], small.START),
            token_mdp.performance_by_token(t.prior, t.paid, small.START),
        )
        for t in small.trees()
    ]
    off = abs(np.subtract(*np.transpose(both))).max()
    yield measured(
        "eq. 12, 13",
        "J over answers is J summed over tokens",
        "an identity",
        f"differ by {rounded(off)} on 20 trees",
        "sec-token-mdp",
        off < EXACT,
    )
    yield _ppo_sign()


def _table_1() -> Claim:
    tree = small.trees()[0]
    text = token_mdp.performance_by_token(tree.prior, tree.paid, small.START)
    before = [np.zeros((1, 3**t, 3)) + np.arange(3**t)[None, :, None] for t in range(3)]  # R([c, o_1 ... o_t-1])
    last = [*tree.prior[:2], small.other(0)[2]]
    table = [token_mdp.performance_by_token(policy, before, small.START) for policy in (tree.prior, last)]
    told = [token_mdp.performance_by_token(policy, tree.paid, small.START) for policy in (tree.prior, last)]
    return measured(
        "table 1",
        "the reward of step t is R([c, o_1 ... o_(t-1)]), in the text R(s_t, a_t)",
        "two forms",
        f"as in the table, two policies that differ in the last token earn the same: {table[1] - table[0]:.2f} apart; "
        f"as in the text {told[1] - told[0]:.2f}",
        "sec-token-mdp",
        abs(table[1] - table[0]) > EXACT,
        abs(told[1] - told[0]) > EXACT and abs(text - told[0]) < EXACT,
    )


def _ppo_sign() -> Claim:
    tree = small.trees()[0]
    pi = np.exp(tree.log_pi_0)
    advantage = tree.reward - pi @ tree.reward
    gradient = pi * advantage  # of (16) and of J in the logits of the answers, at the old policy
    step = 1e-3
    change = [_performance(tree.log_pi_0 + sign * step * gradient, tree.reward) - pi @ tree.reward for sign in (-1, 1)]
    return measured(
        "eq. 16",
        "PPO's objective as a loss, to be minimised",
        "no minus sign",
        f"a step of 0.001 down its gradient changes J by {change[0]:.1e}, up by {change[1]:+.1e}",
        "sec-ppo",
        change[0] > 0,
        readings={SIGN: change[1] > 0},
    )


def _performance(logits: Array, reward: Array) -> float:
    p = np.exp(logits - logits.max())
    return float(p @ reward / p.sum())
