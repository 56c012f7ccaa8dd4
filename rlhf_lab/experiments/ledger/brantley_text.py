"""What the lecture of Brantley says beside its main claims: on text, on tuning, and on ensembles and experts."""

from collections.abc import Iterator

import numpy as np

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ledger import small
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, measured, rounded, shown
from rlhf_lab.methods import dril
from rlhf_lab.models import lm
from rlhf_lab.worlds import phrase_world


def text(load: Load) -> Iterator[Claim]:
    """Yield the rows on text and its MDP."""
    off, sums = [], []
    for tree in small.trees():
        every = lm.enumerate_responses(small.VOCAB, small.HORIZON, None)
        by_token = sum(tree.prior[t][0, _place(every[:, :t]), every[:, t]] for t in range(small.HORIZON))
        off.append(float(abs(by_token - tree.log_pi_0).max()))
        sums.append(float(np.exp(by_token).sum()))
    yield measured(
        "foundational models",
        "p(y) is the product of p(y_i | y_1 ... y_(i-1)), so -log p(y | x) is a sum over tokens",
        "an identity",
        f"to {rounded(max(off))} for all texts of 20 trees, whose probabilities sum to {max(sums):.0f}",
        "sec-pretraining",
        max(off) < EXACT,
        max(abs(np.array(sums) - 1)) < EXACT,
    )
    words = [lm.count_responses(phrase_world.VOCAB, length, phrase_world.EOS) for length in range(1, 6)]
    yield measured(
        "RLHF, problem",
        "text generation is a large combinatorial search",
        "large",
        f"in PhraseWorld, with eleven tokens, {words[0]} answers of one token and {words[-1]:,} of five",
        "sec-token-mdp",
        words[-1] > 1000 * words[0],
    )
    gaps = {name: run["gap"] for name, run in load("knobs").items()}
    plain = gaps["plain PPO"]
    worst = max(gaps, key=lambda name: float(gaps[name].mean()))
    times = float(gaps[worst].mean() / plain.mean())
    yield measured(
        "RLHF, problem",
        "RL algorithms are unstable, and hard to tune",
        "challenging",
        f"plain PPO ends {plain.min():.3f} to {plain.max():.3f} from the optimum with {len(plain)} seeds, and "
        f"{times:.0f} times as far with one of {len(gaps) - 1} changes ({worst})",
        "sec-ppo",
        plain.max() > 2 * np.median(plain),
        times > 2,
    )
    law = [np.exp(small.answers([0 * tree.prior[0] + _one(), *tree.prior[1:]])) for tree in small.trees()]
    told = [np.exp(t.log_pi_0) * (np.arange(27) < 9) / np.exp(t.log_pi_0)[:9].sum() for t in small.trees()]
    off = [float(abs(reset - part).max()) for reset, part in zip(law, told, strict=True)]
    yield measured(
        "reset property",
        "you can roll out a policy from partial sentences",
        "a property",
        f"started behind a first token, it writes the rest as the whole texts with this token have it, to "
        f"{rounded(max(off))} on 20 trees",
        "sec-resets",
        max(off) < EXACT,
    )


def _place(prefix: np.ndarray) -> np.ndarray:
    """Return the place of prefixes (N, t) in their level."""
    place: np.ndarray = prefix @ (small.VOCAB ** np.arange(prefix.shape[1])[::-1])
    return place


def _one() -> np.ndarray:
    """Return log-probabilities of a first token that is always token 0."""
    return np.array([0.0, -1e3, -1e3])


def experts(load: Load) -> Iterator[Claim]:
    """Yield the rows on asking experts, and on members of an ensemble."""
    yield shown(
        "DAgger, active",
        "asking the expert only where the policy is not confident saves labels",
        "a condition",
        "on the track it needs less than a tenth of the questions, and loses no more",
        "sec-asking",
        'assert asked["DAgger"][-1].min() > 10 * asked["only if unsure"][-1].max()',
    )
    members, rng = 2 ** np.arange(5, 11), np.random.default_rng(21)
    off = []
    for count in members:
        probs = dril.posterior_ensemble(np.zeros((400, 1, 2)), int(count), rng)
        off.append(float(np.sqrt(np.mean((1 / (12 * dril.disagreement(probs)[..., 0]) - 1) ** 2))))
    slope = float(np.polyfit(np.log(members), np.log(off), 1)[0])
    yield measured(
        "covariate shift revisited",
        "κ is 12, but for an error of order 1 / √E with E members",
        "O(1 / √E)",
        f"in 400 ensembles its error falls as E^{slope:.2f} from 32 to 1,024 members, to {12 * off[-1]:.1f}",
        "sec-dril",
        abs(slope + 0.5) < 0.1,
    )
