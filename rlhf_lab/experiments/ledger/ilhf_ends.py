"""Where ILHF ends if the process, the agents and the people have temperatures of their own: exact, without a run."""

from collections.abc import Iterator

import numpy as np

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ilhf.verdicts import brief
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, measured
from rlhf_lab.models import lm
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import token_process
from rlhf_lab.worlds.token_process import TokenProcess

TOKENS, WORLDS = 8, 20


def ends(load: Load) -> Iterator[Claim]:
    """Yield the row on a temperature that not all share."""
    rngs = np.random.default_rng(13).spawn(WORLDS)
    drawn = [token_process.draw(rng).ideal for rng in rngs]
    worlds = {name: np.stack([one[name] for one in drawn]) for name in drawn[0]}
    hot, cold = (_law(worlds, scale) for scale in (1 / 3, 1.0))
    rest = {  # KL from the process to the law by which people judge, where ILHF is at rest
        "all": lm.kl(hot, hot),
        "the process alone": lm.kl(hot, cold),
        "the agents alone": lm.kl(cold, cold),
        "people alone": lm.kl(cold, hot),
    }
    yield measured(
        "table 2",
        "ILHF learns the ideal process with a softmax temperature of 3.0",
        "3.0",
        f"ILHF is at rest at the law by which people judge. Exactly, in texts of {TOKENS} tokens, that is "
        + ", ".join(f"{brief(kl)} ({who})" for who, kl in rest.items())
        + " nats from the process, if the temperature is that of these",
        "sec-small-token-process",
        *(float(kl.mean()) < EXACT for kl in rest.values()),
    )


def _law(worlds: dict[str, Array], scale: float) -> Array:
    """Return log p of all texts of each world, (S, 2^T)."""
    law: Array = lm.answer_log_probs(TokenProcess(2, scale), worlds, np.zeros((1, 0), dtype=int), TOKENS)[:, 0]
    return law
