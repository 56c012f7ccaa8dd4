"""What the lecture of Brantley says beside its main claims: on text, on tuning, and on ensembles and experts."""

from collections.abc import Iterator

import numpy as np

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ledger.claims import Claim, measured, shown
from rlhf_lab.methods import dril
from rlhf_lab.models import lm
from rlhf_lab.worlds import phrase_world


def text(load: Load) -> Iterator[Claim]:
    """Yield the rows on what makes RL on text hard."""
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


def experts(load: Load) -> Iterator[Claim]:
    """Yield the rows on asking experts, and on members of an ensemble."""
    yield shown(
        "DAgger, active",
        "the expert need only be asked where the policy is not confident",
        "a condition",
        "on the track this takes less than a tenth of the questions of DAgger, and costs less than 0.05 of 64 steps",
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
        "κ is 12, but for an error that falls as 1 / √E with E members",
        "O(εH / √E)",
        f"in 400 ensembles its error falls as E^{slope:.2f} from 32 to 1,024 members, to {12 * off[-1]:.1f}",
        "sec-dril",
        abs(slope + 0.5) < 0.1,
    )
