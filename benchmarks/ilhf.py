"""Ensemble-ILHF in five worlds, with this package and with PyTorch: the contestants of two contests."""

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from rlhf_lab import ilhf, ilhf_agents, ilhf_worlds
from rlhf_lab.ilhf_worlds import Setting


def ours(setting: Setting, members: int, episodes: int):
    """Return a function that runs episodes of Ensemble-ILHF in five worlds with this package: the last readouts."""
    worlds, agent, seeds = _worlds(setting), _agent(members), range(5)
    short = replace(worlds, setting=replace(setting, episodes=episodes, every=episodes + 1))
    return lambda: [ilhf_agents.finetune(agent, short, seeds)[0]["readout"]]


def eager(setting: Setting, members: int, episodes: int):
    """Return a function that does the same in PyTorch, with loops over time, frozen states and autograd for readouts.

    Chance comes from the same generators, so that both meet the same prompts, coins and votes.
    """
    worlds, agent, seeds, s = _worlds(setting), _agent(members), range(5), setting.scale
    start = torch.tensor(ilhf_agents.start(agent, worlds, seeds)["readout"])
    ideal, shadow, torso = (_tensors(params) for params in (worlds.ideal, worlds.shadow, worlds.pretrained))

    def roll(params, state, readout=None, chance=None, tokens=None):
        length, states, written = (tokens if chance is None else chance).shape[1], [], []
        for t in range(length):
            states.append(state)
            if tokens is None:
                x = (chance[:, t] < torch.sigmoid(s * (readout * state).sum(1))).double()
                written.append(x)
            else:
                x = tokens[:, t]
            drive = params["embed"][..., None] * (2 * x[:, None] - 1)
            state = torch.tanh(torch.baddbmm(drive, params["recurrent"], state))
        return torch.stack(states, 2), torch.stack(written, 1) if written else tokens, state

    def log_prob(phi, states, tokens):
        z = s * torch.einsum("smd,sdtb->smtb", phi, states)
        return (tokens[:, None] * z - torch.nn.functional.softplus(z)).sum(2)

    def begin(params, count):
        return params["start"][..., None].expand(-1, -1, count).contiguous()

    def run():
        luck = [[np.random.default_rng([seed, stream]) for seed in seeds] for stream in (1, 2)]
        phi = start.clone().requires_grad_()
        adam = torch.optim.Adam([phi], lr=agent.step_size)
        n, length = setting.pairs, setting.length

        def draw(*shape):
            return torch.tensor(ilhf_worlds.uniform(luck[0], *shape))

        for _ in range(episodes):
            with torch.no_grad():
                mean = shadow["readout"][..., None]
                _, prompt, after = roll(shadow, begin(shadow, n), mean, chance=draw(length, n))
                member = (members * draw(n)).long()
                chance = draw(length, 2 * n)
                both = torch.cat([member, member], 1)
                readout = torch.take_along_dim(phi, both[..., None], 1).swapaxes(1, 2)
                _, _, state = roll(torso, begin(torso, 2 * n), tokens=torch.cat([prompt, prompt], 2))
                states, answer, _ = roll(torso, state, readout, chance=chance)
                seen, _, _ = roll(ideal, torch.cat([after, after], 2), tokens=answer)
                reward = log_prob(ideal["readout"][:, None], seen, answer)[:, 0]
                label = (draw(n) < torch.sigmoid(reward[:, :n] - reward[:, n:])).double()
                coins = [ilhf.double_or_nothing((members, n), rng) for rng in luck[1]]
                weight = torch.tensor(np.stack(coins))
            log_pi = log_prob(phi, states, answer)
            margin = (log_pi[..., :n] - log_pi[..., n:]) * (2 * label[:, None] - 1)
            loss = (weight * torch.nn.functional.softplus(-margin)).mean(-1).sum()
            loss = loss + agent.eta * ((phi - start) ** 2).sum()
            adam.zero_grad()
            loss.backward()
            adam.step()
        return [phi.detach().numpy().copy()]

    return run


def _agent(members: int) -> ilhf_agents.Agent:
    return ilhf_agents.Agent(members=members, prior=0.01, eta=1.0, perturb=True)


@cache
def _worlds(setting: Setting) -> ilhf_worlds.Worlds:
    return ilhf_worlds.prepare(setting, range(5))


def _tensors(params: dict) -> dict:
    return {name: torch.tensor(value) for name, value in params.items()}
