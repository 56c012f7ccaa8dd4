"""What ensembles and replications cost, in one call: `python -m benchmarks.ensembles`; no other library is needed.

An ensemble of five against one model of the same size, trained on the same comparisons, and 1,000 replications of the
experiment with a linear reward: fit, covariance, lower bound at every kind of answer.
"""

import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from rlhf_lab.feedback import likelihoods, linear_fits, reward_models
from rlhf_lab.methods import overoptimization, pessimism
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.numerics import optim

REPEATS = 15
HIDDEN = 10


def training(members: int, pairs: int, hidden: int) -> Callable[[], object]:
    """Return a function that trains `members` reward models at once, 20 steps of Adam on `pairs` comparisons."""
    rng = np.random.default_rng(0)
    net = reward_models.Network(Recurrent(11, hidden, 10))
    batch = (*(rng.integers(10, size=(pairs, length)) for length in (3, 5, 5)), np.ones(pairs))
    params = overoptimization.ensemble(net.init, (members,), rng)
    loss = likelihoods.preference_loss(net, likelihoods.bradley_terry_loss)
    adam = optim.adam(0.01)
    return lambda: optim.fit(loss, params, lambda p, r: [batch], rounds=20, optimizer=adam, rng=rng)


def replications(times: int = 1000, pairs: int = 100, size: int = 5, kinds: int = 195) -> None:
    """Run the linear experiment `times` times."""
    rng = np.random.default_rng(0)
    features, difference = rng.normal(size=(4, kinds, size)), rng.normal(size=(times, pairs, size))
    label = (rng.random((times, pairs)) < 0.5).astype(float)
    theta = linear_fits.fit_linear(difference, label, precision=1.0).mean
    covariance = pessimism.offline_covariance(difference, precision=1.0)
    reference = pessimism.expected_features(np.full((4, kinds), -np.log(kinds)), features)
    pessimism.lower_confidence_bound(features, reference, theta[:, None], covariance[:, None], 1.0)


def seconds(function: Callable[[], object]) -> float:
    """Return how long one call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def main() -> None:
    """Print the ratios, medians of interleaved runs, and the time of the replications."""
    with threadpool_limits(limits=1):
        for pairs in (100, 1000):
            one, five = training(1, pairs, HIDDEN), training(5, pairs, HIDDEN)
            one(), five()
            ratios = sorted(seconds(five) / seconds(one) for _ in range(REPEATS))
            low, middle, high = ratios[0], ratios[REPEATS // 2], ratios[-1]
            print(f"five members against one, {pairs:5,d} pairs: {middle:.2f} times ({low:.2f} to {high:.2f})")
        print(f"1,000 replications of the linear experiment: {seconds(replications):.2f} s")


if __name__ == "__main__":
    main()
