"""Ensemble-ILHF in five worlds, with this package and with PyTorch: the contestants of three contests.

`python -m benchmarks.ilhf` says how long the experiment takes with all parameters tuned, and how much is won where
only readouts are.
"""

import time
from dataclasses import replace
from functools import cache, partial

import numpy as np
import torch
from joblib import Parallel, delayed

from rlhf_lab.experiments.ilhf import agents as ilhf_agents
from rlhf_lab.experiments.ilhf import study as ilhf_study
from rlhf_lab.experiments.ilhf import worlds as ilhf_worlds
from rlhf_lab.experiments.ilhf.worlds import Setting
from rlhf_lab.methods import ilhf


def ours(setting: Setting, members: int, episodes: int, tuned: str = "readout"):
    """Return a function that runs episodes of Ensemble-ILHF in five worlds with this package: the last parameters.

    With `tuned` "all", there is one member.
    """
    worlds, agent, seeds = _worlds(setting), _agent(members, tuned), range(5)
    short = replace(worlds, setting=replace(setting, episodes=episodes, every=episodes))

    def run():
        params = ilhf_agents.finetune(agent, short, seeds)[0]
        return [params[name] for name in (("readout",) if tuned == "readout" else ("readout", *ilhf_agents.TORSO))]

    return run


def eager(setting: Setting, members: int, episodes: int, tuned: str = "readout"):
    """Return a function that does the same in PyTorch, with loops over time, and autograd for what is tuned.

    States are frozen where only readouts are. Chance comes from the same generators, so that both meet the same
    prompts, coins and votes.
    """
    worlds, agent, seeds, s = _worlds(setting), _agent(members, tuned), range(5), setting.scale
    start = torch.tensor(ilhf_agents.start(agent, worlds, seeds)["readout"])
    ideal, shadow, pretrained = (_tensors(params) for params in (worlds.ideal, worlds.shadow, worlds.pretrained))

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
        torso = {name: pretrained[name].clone().requires_grad_(tuned == "all") for name in ilhf_agents.TORSO}
        moving = [phi, *torso.values()] if tuned == "all" else [phi]
        adam = torch.optim.Adam(moving, lr=agent.step_size)
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
            if tuned == "all":
                texts = torch.cat([torch.cat([prompt, prompt], 2), answer], 1)
                states = roll(torso, begin(torso, 2 * n), tokens=texts)[0][:, :, length:]
            log_pi = log_prob(phi, states, answer)
            margin = (log_pi[..., :n] - log_pi[..., n:]) * (2 * label[:, None] - 1)
            loss = (weight * torch.nn.functional.softplus(-margin)).mean(-1).sum()
            for now, first in ((phi, start), *((torso[name], pretrained[name]) for name in torso)):
                loss = loss + agent.eta * ((now - first) ** 2).sum()
            adam.zero_grad()
            loss.backward()
            adam.step()
        return [part.detach().numpy().copy() for part in moving]

    return run


def _agent(members: int, tuned: str) -> ilhf_agents.Agent:
    return ilhf_agents.Agent(members=members, prior=0.01, eta=1.0, perturb=True, tuned=tuned, anchored=tuned)


@cache
def _worlds(setting: Setting) -> ilhf_worlds.Worlds:
    return ilhf_worlds.prepare(setting, range(5))


def _tensors(params: dict) -> dict:
    return {name: torch.tensor(value) for name, value in params.items()}


def seconds(function) -> float:
    """Return how long one call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def main() -> None:
    """Print the time of ILHF and four REINFORCE agents in 20 worlds on two processes, and a ratio for each agent."""
    plain = {name: agent for name, agent in ilhf_study.PAPER.items() if agent.members == 1}
    blocks = [range(first, first + 5) for first in range(0, 20, 5)]
    for tuned in ("all", "readout"):
        agents = {name: replace(agent, tuned=tuned) for name, agent in plain.items()}
        run = delayed(ilhf_study.on_tokens)
        tasks = [run(block, ilhf_study.THIRD, agents) for block in blocks]
        took = seconds(partial(Parallel(n_jobs=2), tasks))
        print(f"{len(agents)} agents, 20 seeds, 100 episodes, tuned {tuned}: {took:.0f} s with pretraining")
    setting = replace(ilhf_study.THIRD, evaluation=10)
    short = replace(_worlds(setting), setting=replace(setting, episodes=10))
    for name, agent in plain.items():
        both = replace(agent, tuned="all"), agent
        pairs = [[seconds(partial(ilhf_agents.finetune, one, short, range(5))) for one in both] for _ in range(5)]
        ratios = [slow / fast for slow, fast in pairs]
        print(
            f"{name}: readouts alone are {np.median(ratios):.1f} times faster ({min(ratios):.1f} to {max(ratios):.1f})"
        )


if __name__ == "__main__":
    main()
