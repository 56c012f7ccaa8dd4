"""Where the agents of the ILHF paper end in settings that were not trained as printed: exact, without a run."""

from collections.abc import Iterator

import numpy as np
from scipy.special import logit

from rlhf_lab.experiments.ilhf.study import BETAS, Load
from rlhf_lab.experiments.ilhf.verdicts import brief
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, measured
from rlhf_lab.methods import ilhf
from rlhf_lab.models import lm
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import coin, token_process
from rlhf_lab.worlds.token_process import TokenProcess

TOKENS, WORLDS = 8, 20


def ends(load: Load) -> Iterator[Claim]:
    """Yield the rows on table 1's network and on a temperature that not all share."""
    yield _table_1()
    yield _temperatures()


def _table_1() -> Claim:
    model, sizes, off = TokenProcess(2), [], []
    for rng in np.random.default_rng(12).spawn(WORLDS):
        params = model.init(rng)
        state = model.start(params, coin.PROMPTS)[0][0]
        sizes.append(float(np.linalg.norm(state)))
        readout = logit(coin.PEOPLE) * state / (state @ state)
        said = lm.log_prob(model, params | {"readout": readout}, coin.PROMPTS, np.array([[1]]))
        off.append(abs(float(np.exp(said[0])) - coin.PEOPLE))
    slopes = [float(ilhf.coin_slope(p, coin.PEOPLE)) for p in (coin.PRETRAINED, coin.PEOPLE)]
    tilted = [float(ilhf.tilted_coin(coin.PRETRAINED, coin.PEOPLE, beta)) for beta in BETAS[1:]]
    return measured(
        "app. B, table 1",
        "with a prompt of ten tokens and two hidden units ILHF learns the votes, REINFORCE does not",
        "a sentence",
        f"ten ones leave {WORLDS} random networks in states at least {min(sizes):.2f} long, so readouts tune "
        "a coin: exactly, ILHF is at rest at 1/3, and REINFORCE at 0, "
        + ", ".join(f"{p:.2f}" for p in tilted)
        + " (β = 0, 1, 10, 100). The run itself was not made",
        "sec-agglomerative",
        min(sizes) > 0.01 and max(off) < EXACT and slopes[0] < 0 and abs(slopes[1]) < EXACT,
        max(tilted) < coin.PRETRAINED,
    )


def _temperatures() -> Claim:
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
    return measured(
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
