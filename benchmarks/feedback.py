"""Bradley-Terry strengths of many items, with ours and with choix: the contestants of one contest.

`python -m benchmarks.feedback` tells how long ten runs of PPO take from the pretrained model to near the optimum.
"""

import time
from collections.abc import Callable

import choix
import numpy as np

from rlhf_lab.leaderboard import ranking
from rlhf_lab.methods import ppo, rollouts
from rlhf_lab.models import lm
from rlhf_lab.models.critics import ReaderCritic
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.numerics import optim
from rlhf_lab.worlds import phrase_world

ITEMS, COMPARISONS = 100, 100_000


def contestants() -> dict[str, Callable[[], np.ndarray]]:
    """Return functions that all find the strengths, with mean 0, from the same comparisons.

    Each gets the data in the form that it wants: arrays for ours, a list of pairs for choix.
    """
    rng = np.random.default_rng(0)
    truth, first = rng.normal(size=ITEMS), rng.integers(ITEMS, size=COMPARISONS)
    second = (first + rng.integers(1, ITEMS, size=COMPARISONS)) % ITEMS
    upset = rng.random(COMPARISONS) > 1 / (1 + np.exp(truth[second] - truth[first]))
    winner, loser = np.where(upset, second, first), np.where(upset, first, second)
    pairs = list(zip(winner.tolist(), loser.tolist(), strict=True))
    return {
        "ours": lambda: ranking.fit(winner, loser, items=ITEMS).strength,
        "choix.opt_pairwise": lambda: _centred(choix.opt_pairwise(ITEMS, pairs, tol=1e-9)),
        "choix.ilsr_pairwise": lambda: _centred(choix.ilsr_pairwise(ITEMS, pairs)),
    }


def _centred(strength: np.ndarray) -> np.ndarray:
    return strength - strength.mean()


def main() -> None:
    """Train ten networks at once on PhraseWorld with PPO, 60 rounds; print the time and the distance reached."""
    network, corpus = Recurrent(phrase_world.VOCAB, 16, phrase_world.EOS), phrase_world.corpus()
    pretrained, _ = optim.fit(
        lambda params, batch: lm.negative_log_likelihood(network, params, *batch),
        network.init(np.random.default_rng(4)),
        optim.minibatches(corpus, 149),
        rounds=150,
        optimizer=optim.adam(0.02),
        rng=np.random.default_rng(5),
    )
    task, critic = rollouts.Task(phrase_world.mdp(), (network, pretrained), 0.5), ReaderCritic(network)
    loss, collect = ppo.ppo(task, critic, prompts=512, minibatch=256, epochs=4, value_weight=0.1)
    starts, rng = critic.head(rollouts.stack([pretrained] * 10)), np.random.default_rng(1)
    began = time.perf_counter()
    params, _ = optim.fit(loss, starts, collect, rounds=60, optimizer=optim.adam(0.01), rng=rng)
    seconds = time.perf_counter() - began
    distance = task.each(network, params, task.gap).mean()
    print(f"PPO on PhraseWorld, ten runs at once: {distance:.3f} from the optimum in {seconds:.1f} s")


if __name__ == "__main__":
    main()
