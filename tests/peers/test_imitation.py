"""Cloning and DAgger reach at least what they reach in PyTorch, from the same demonstrations and the same labels.

The peer that one would want is the package `imitation`. Its newest release, 1.0.1, asks for gymnasium 0.29, this
project for 1.0 or newer, so the two cannot share an environment. What runs here instead is its recipe for behaviour
cloning (`imitation.algorithms.bc.BC` with its defaults) in PyTorch: two layers of 32 tanh units, Adam with a step size
of 0.001, batches of 32, an entropy bonus of 0.001; and DAgger around it.
"""

import numpy as np
import pytest
import torch

from rlhf_lab import control, imitation_study
from rlhf_lab.policies import Labels

pytestmark = pytest.mark.peer

SEEDS, EPOCHS = 10, 150


def network():
    return torch.nn.Sequential(
        torch.nn.Linear(4, 32), torch.nn.Tanh(), torch.nn.Linear(32, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2)
    )


def clone(observation, action, rng):
    torch.manual_seed(int(rng.integers(2**31)))
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    rows, labels = torch.tensor(observation, dtype=torch.float32), torch.tensor(action)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(rows)).split(32):
            chosen = torch.distributions.Categorical(logits=net(rows[batch]))
            loss = -chosen.log_prob(labels[batch]).mean() - 1e-3 * chosen.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net


def acting(nets):
    """Ten networks as one policy: the first axis of the observations is the seed."""

    def act(seen, rng):
        with torch.no_grad():
            logits = torch.stack([net(torch.tensor(s, dtype=torch.float32)) for net, s in zip(nets, seen, strict=True)])
        p = torch.softmax(logits, -1).numpy()[..., 1]
        return (rng.random(p.shape) < p).astype(int)

    return act


def returns(nets, rng):
    play = control.rollout(imitation_study.WORLD, acting(nets), (SEEDS, imitation_study.TESTS), 500, rng)
    return play.returns.mean(-1)


def trained(labels, rng):
    return [clone(s, a, r) for s, a, r in zip(*labels[:2], rng.spawn(SEEDS), strict=True)]


def interval(values):
    return values.mean(), 2 * values.std(ddof=1) / len(values) ** 0.5


@pytest.mark.parametrize("count", [1, 5, 20])
def test_a_clone_is_as_good_as_one_of_pytorch(count):
    rng = np.random.default_rng(count)
    labels = imitation_study.demonstrations(count, SEEDS, rng)
    ours = imitation_study.judge(imitation_study.train({}, labels, rng), SEEDS, rng)
    theirs = returns(trained(labels, rng), rng)
    mean, width = interval(ours - theirs)
    print(f"{count} demonstrations: ours {ours.mean():.0f}, PyTorch {theirs.mean():.0f}, {mean:+.0f} +- {width:.0f}")
    assert mean + width >= 0


def test_dagger_is_as_good_as_in_pytorch():
    rng = np.random.default_rng(0)
    ours = imitation_study.interactive((10,), SEEDS, rng)["dagger"][0]
    labels = imitation_study.demonstrations(1, SEEDS, rng)
    for _ in range(9):
        play = control.rollout(imitation_study.WORLD, acting(trained(labels, rng)), (SEEDS, 1), 500, rng)
        new = control.draw_states(play, imitation_study.KEEP, rng)
        told = control.cartpole_expert(new.observation, rng)
        labels = Labels(*(np.concatenate(parts, axis=1) for parts in zip(labels, new._replace(action=told), strict=True)))
    mean, width = interval(ours - returns(trained(labels, rng), rng))
    assert mean + width >= 0
