"""What the survey of Chaudhari and co-authors (DEC) claims in its review of methods, section 7."""

from collections.abc import Iterator

import numpy as np

from rlhf_lab.experiments.dpo.lines import tuned
from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ilhf.verdicts import PARTLY, above, brief, error
from rlhf_lab.experiments.ledger import small
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, measured, rounded, shown
from rlhf_lab.experiments.ledger.survey_theory import BETA
from rlhf_lab.feedback import annotators, evaluation
from rlhf_lab.methods import best_of_n, shaping, soft_values
from rlhf_lab.models import gibbs, lm
from rlhf_lab.worlds import lock, token_mdp


def training(load: Load) -> Iterator[Claim]:
    """Yield the rows on training, sections 7.4 to 7.7."""
    dials, symbols, teacher = 6, 10, 0.8
    waits = [float(1 / lock.chance_to_open(dials, p)) for p in (1 / symbols, teacher)]
    yield measured(
        "sec. 7.4, 7.8",
        "a poor start and sparse rewards make exploration hopeless; SFT repairs it",
        "a sentence",
        f"a lock of {dials} dials and {symbols} symbols pays after {waits[0]:,.0f} episodes, and after {waits[1]:.1f} "
        f"if SFT is right with {teacher} a dial",
        "sec-resets",
        waits[0] > 1000 * waits[1],
    )
    networks = load("dpo networks")
    direct, learned = (tuned(networks[name])["far"][:, -1] for name in ("dpo + sft", "reinforce, network"))
    yield measured(
        "sec. 4.2",
        "a reward model generalises from fewer labels than a policy",
        "a premise",
        f"one size, 300 comparisons: the distance from the optimum is, by a reward network {brief(learned, 2)}, by DPO "
        f"with an SFT term, on the same pairs, {brief(direct, 2)}",
        "sec-two-roads",
        above(direct - learned),
    )
    margin = np.random.default_rng(3).normal(size=400)
    scale = evaluation.common_scale(margin, np.array([0.5, 2.0]), np.array([0.5, 0.5]))
    alone = evaluation.common_scale(margin, np.array([2.0]), np.array([1.0]))
    top, kept, same = (annotators.bradley_terry(k * abs(margin[abs(margin) > 2])).mean() for k in (2.0, scale, alone))
    yield measured(
        "sec. 7.5",
        "a reward model of one dataset is calibrated, one of two mixed datasets underconfident (Bai et al.)",
        "a figure elsewhere",
        f"two tasks with scales 0.5 and 2 are fitted by {scale:.2f}: on the clearer task's large margins it says "
        f"{kept:.2f}, and people agree with {top:.2f}. Fitted to this task alone it says {same:.2f}",
        "sec-calibration",
        kept < top - 0.02,
        abs(same - top) < 1e-6,
    )
    moved = []
    for tree in small.trees():
        phi = token_mdp.policy_evaluation(tree.prior, tree.paid).v
        paid = [r + f for r, f in zip(tree.paid, shaping.shaping(phi, small.VOCAB), strict=True)]
        plain, shaped = (soft_values.psi_values(tree.prior, each, BETA).advantage for each in (tree.paid, paid))
        moved.append(lm.kl(small.answers(plain), small.answers(shaped)))
    yield measured(
        "sec. 7.5, 7.8",
        "potential-based shaping rewards prefixes, too",
        "no optimum changes",
        f"the optimum moves on 20 trees by {rounded(max(moved))}",
        "sec-dense-rewards",
        max(moved) < EXACT,
    )
    yield _variance()
    knobs = load("knobs")
    plain = knobs["plain PPO"]["gap"]
    times = {name: run["gap"].mean() / plain.mean() for name, run in knobs.items() if name != "plain PPO"}
    matter = [name for name, run in knobs.items() if _beyond(run["gap"], plain) > 3]
    free = knobs["hardly any clipping"]["gap"]
    yield measured(
        "sec. 6.1, 7.6.2",
        "clipping stabilises training",
        "a sentence",
        f"distance from the optimum {brief(plain)} with it and {brief(free)} with hardly any",
        "sec-ppo",
        _beyond(free, plain) > 2,
    )
    yield measured(
        "sec. 7.6.4, 7.9",
        "RLHF is highly sensitive to hyperparameters",
        "a sentence",
        f"of {len(times)} changes to PPO {len(matter)} end farther away ({', '.join(matter)}), at most "
        f"{max(times.values()):.0f} times as far",
        "sec-ppo",
        max(times.values()) > 2,
        len(matter) > len(times) / 2,
    )
    tables = load("online")["table"]
    asked, fixed = (tables[name]["regret"][:, -1] for name in ("on policy", "offline"))
    best = tables["ensemble"]["regret"][:, -1]
    yield measured(
        "sec. 7.6.4",
        "iterated RLHF, with new labels on the policy's answers, is effective",
        "a sentence",
        f"regret after 1,024 labels, tables: {brief(fixed)} offline, {brief(asked)} on policy, {brief(best)} where an "
        "ensemble asks",
        "sec-online",
        above(fixed - asked),
        above(fixed - best),
    )


def _beyond(one: np.ndarray, other: np.ndarray) -> float:
    return float((one.mean() - other.mean()) / np.hypot(error(one), error(other)))


def _variance() -> Claim:
    less = []
    for tree in small.trees():
        pi = np.exp(tree.log_pi_0)
        length = 1 - 2 * pi + pi @ pi  # |score|^2 of each answer
        plain, advantage = (pi @ (length * f**2) for f in (tree.reward, tree.reward - pi @ tree.reward))
        less.append(advantage / plain)
    lower = int(np.sum(np.array(less) < 1))
    return measured(
        "sec. 6.1, 7.6.2",
        "advantages have a lower variance than action values",
        "lower",
        f"the second moment of the gradient is lower on {lower} of 20 trees; the ratio is {np.min(less):.2f} to "
        f"{np.max(less):.2f}",
        "sec-policy-gradients",
        np.median(less) < 1,
        lower == small.COUNT,
    )


def models(load: Load) -> Iterator[Claim]:
    """Yield the rows on what RLHF does to models, and on methods without RL, sections 7.7 and 7.9."""
    laws = [
        (gibbs.log_policy(tree.log_pi_0, reward, BETA), tree.log_pi_0)
        for seed, tree in enumerate(small.trees())
        for reward in (tree.reward, small.mistaken(seed))
    ]
    shift = np.reshape([float(lm.entropy(best) - lm.entropy(first)) for best, first in laws], (-1, 2))
    yield measured(
        "sec. 7.7",
        "RLHF lowers the entropy of answers, seen or unseen",
        "low",
        f"lower on {np.sum(shift[:, 0] < 0)} of 20 trees, by {-shift[:, 0].mean():.2f} nats on average; with a reward "
        f"whose errors are as large as itself on {np.sum(shift[:, 1] < 0)}, by {-shift[:, 1].mean():.2f}",
        "sec-pipeline",
        shift.mean() < 0,
        shift.max() < 0,
    )
    yield shown(
        "sec. 7.7",
        "RLHF models lose their calibration",
        "may lose",
        "the calibration error of words grows with SFT, and by more than 1.4 times once more with PPO",
        "sec-pipeline",
        'assert after[3] > 1.4 * tuned[3] > 7 * before[3], "calibration is lost at each stage"',
    )
    yield shown(
        "sec. 7.7",
        "RLHF has an alignment tax, and pretraining gradients reduce it",
        "substantially",
        "PPO loses more than 1 nat on what was not asked, PPO-ptx less than a fifth of it",
        "sec-pipeline",
        'assert taxes["PPO"][:, 2].mean() > 1 > 5 * taxes["PPO-ptx"][:, 2].mean(), "a tax"',
    )
    yield shown(
        "sec. 7.7",
        "over-optimising a reward model makes it a bad measure (Goodhart)",
        "a sentence",
        "at 3 nats what you get is lower than where it turns, for each of twenty seeds; the learned reward is higher",
        "sec-overoptimization",
        'assert (got[:, at_3] < got[:, turn]).all(), "and what you get falls, for each seed"',
    )
    yield shown(
        "sec. 7.7",
        "reward models pay for length",
        "higher for longer",
        "if people pay 0.4 for a word, a reward that sees length learns it, and answers grow; if they pay nothing, "
        "answers get shorter",
        "sec-length",
        "assert (np.diff(wordy[2:]) > 0).all() and (wordy[2:] > usual).all()",
        PARTLY,
    )
    cold = []
    for tree in small.trees():
        levels = soft_values.psi_values(tree.prior, tree.paid, BETA).advantage
        at = (small.answers([token_mdp.with_temperature(level, t) for level in levels]) for t in (0.5, 1.0, 2.0))
        cold.append([np.exp(law) @ tree.reward for law in at])
    lower, _, higher = np.transpose(cold) - np.array(cold)[:, 1]
    yield measured(
        "sec. 7.7",
        "sampling with other settings than in training yields poor results",
        "poor",
        f"a temperature of 2 costs the optimum {-higher.mean():.2f} in reward, on {np.sum(higher < 0)} of 20 trees; "
        f"0.5 gains {lower.mean():.2f}, on {np.sum(lower > 0)}",
        "sec-pipeline",
        bool((higher < 0).all()),
        bool((lower < 0).all()),
    )
    yield _warm_best_of_n()
    yield _chosen_only()


def _warm_best_of_n() -> Claim:
    gain = {2: [], 64: []}  # type: dict[int, list[float]]
    for tree in small.trees():
        for n, found in gain.items():
            laws = (token_mdp.with_temperature(tree.log_pi_0, t) for t in (1.0, 1.5))
            one, warm = (np.exp(best_of_n.log_best_of_n(law, tree.reward, n)) @ tree.reward for law in laws)
            found.append(warm - one)
    few, many = (np.array(found) for found in gain.values())
    return measured(
        "sec. 7.9.1",
        "best-of-n needs diverse answers, by a higher temperature",
        "important",
        f"a temperature of 1.5 changes the reward of best-of-2 by {brief(few)} and of best-of-64 by {brief(many)}, "
        f"and raises them on {np.sum(few > 0)} and {np.sum(many > 0)} of 20 trees",
        "sec-pipeline",
        above(few),
        above(many),
    )


def _chosen_only() -> Claim:
    away = []
    for tree in small.trees():
        pi = np.exp(tree.log_pi_0)
        beats = annotators.bradley_terry(tree.reward[:, None] - tree.reward)
        chosen = np.log(2 * pi * (beats @ pi))
        away.append(float(gibbs.gap(chosen, tree.log_pi_0, tree.reward, BETA)))
    start = np.mean([gibbs.gap(t.log_pi_0, t.log_pi_0, t.reward, BETA) for t in small.trees()])
    return measured(
        "sec. 7.4, 7.9.2",
        "fine-tuning on preferred outputs alone is limited: it ignores the rejected",
        "a sentence",
        f"it ends at 2 π_0(y) P(y beats π_0), {np.mean(away):.2f} below the optimum on average, from {start:.2f}",
        "sec-chosen-only",
        min(away) > 0.001,
    )
