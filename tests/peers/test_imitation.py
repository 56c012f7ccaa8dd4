"""Cloning and DAgger reach what they reach in PyTorch, from the same demonstrations, within a margin.

The peer that one would want is the package `imitation`. Its newest release, 1.0.1, asks for gymnasium 0.29, this
project for 1.0 or newer, so the two cannot share an environment. What runs here instead is its recipe for behaviour
cloning (`imitation.algorithms.bc.BC` with its defaults) in PyTorch: two layers of 32 tanh units, Adam with a step size
of 0.001, batches of 32, an entropy bonus of 0.001; and DAgger around it. A clone that is not worse by more than
`MARGIN` steps of 500, two standard errors included, passes. Returns are noisy, so a second test trains the same network
from the same start in both, where nothing may differ but rounding.
"""

import numpy as np
import pytest
import torch

from rlhf_lab.experiments import imitation as imitation_study
from rlhf_lab.feedback import demonstrations
from rlhf_lab.feedback.demonstrations import Labels
from rlhf_lab.worlds import control

pytestmark = pytest.mark.peer

SEEDS = range(10)
MARGIN = 50


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the networks are so small that several threads wait longer than they work
    yield
    torch.set_num_threads(threads)


def network():
    return torch.nn.Sequential(
        torch.nn.Linear(4, 32), torch.nn.Tanh(), torch.nn.Linear(32, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2)
    )


def clone(observation, action, epochs, rng):
    torch.manual_seed(int(rng.integers(2**31)))
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    rows, labels = torch.tensor(observation, dtype=torch.float32), torch.tensor(action)
    for _ in range(epochs):
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
    play = control.rollout(imitation_study.WORLD, acting(nets), (len(SEEDS), imitation_study.TESTS), 500, rng)
    return play.returns.mean(-1)


def trained(labels, epochs, rng):
    return [clone(s, a, epochs, r) for s, a, r in zip(*labels[:2], rng.spawn(len(SEEDS)), strict=True)]


def interval(values):
    return values.mean(), 2 * values.std(ddof=1) / len(values) ** 0.5


def test_a_clone_of_the_same_start_is_the_same_in_pytorch():
    labels = imitation_study.demonstrations(5, SEEDS)
    ours = imitation_study.train(labels, SEEDS)
    start = imitation_study.NETWORK.init(imitation_study.chance(imitation_study.START, SEEDS), (len(SEEDS),))
    theirs = {name: torch.tensor(value, requires_grad=True) for name, value in start.items()}
    optimizer = torch.optim.Adam(theirs.values(), lr=imitation_study.TRAINING["step_size"])
    rows = torch.tensor(labels.observation / np.array(imitation_study.WORLD.scale))
    for _ in range(imitation_study.TRAINING["rounds"]):
        hidden = torch.tanh(rows @ theirs["hidden_weights"] + theirs["hidden_bias"][:, None])
        logits = hidden @ theirs["weights"] + theirs["bias"][:, None]
        loss = torch.nn.functional.cross_entropy(logits.mT, torch.tensor(labels.action), reduction="none").mean(1)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    for name, value in ours.items():
        assert value == pytest.approx(theirs[name].detach().numpy(), abs=1e-6)


@pytest.mark.parametrize("count", [1, 5, 20])
def test_a_clone_is_as_good_as_one_of_pytorch(count):
    rng = np.random.default_rng(count)
    labels = imitation_study.demonstrations(count, SEEDS)
    ours = imitation_study.judge(imitation_study.train(labels, SEEDS), SEEDS)
    theirs = returns(trained(labels, 600, rng), rng)  # with 150 epochs, 20 demonstrations do not teach it to balance
    mean, width = interval(ours - theirs)
    print(f"{count} demonstrations: ours {ours.mean():.0f}, PyTorch {theirs.mean():.0f}, {mean:+.0f} +- {width:.0f}")
    assert mean - width > -MARGIN


def test_dagger_is_as_good_as_in_pytorch():
    rng = np.random.default_rng(0)
    labels = imitation_study.demonstrations(1, SEEDS)
    ours = imitation_study.judge(imitation_study.dagger(labels, 9, SEEDS)[-1].params, SEEDS)
    for _ in range(9):
        play = control.rollout(imitation_study.WORLD, acting(trained(labels, 150, rng)), (len(SEEDS), 1), 500, rng)
        new = demonstrations.draw_states(play, imitation_study.KEEP, rng)
        told = control.cartpole_expert(new.observation, rng)
        labels = Labels(
            *(np.concatenate(parts, axis=1) for parts in zip(labels, new._replace(action=told), strict=True))
        )
    theirs = returns(trained(labels, 150, rng), rng)
    mean, width = interval(ours - theirs)
    print(f"DAgger: ours {ours.mean():.0f}, PyTorch {theirs.mean():.0f}, {mean:+.0f} +- {width:.0f}")
    assert mean - width > -MARGIN
