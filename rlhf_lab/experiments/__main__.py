"""Run the studies of the book: `python -m rlhf_lab.experiments ilhf fig4a --jobs 2`, say."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rlhf_lab.experiments import (
    cartpole,
    dialogue,
    frontier,
    imitation,
    knobs,
    mistakes,
    objectives,
    online,
    pluralism,
    policy_gradients,
    resets,
    runner,
    segments,
    soft_values,
    verifiable,
)
from rlhf_lab.experiments.bug_zoo import study as bug_zoo
from rlhf_lab.experiments.dpo import fall, networks
from rlhf_lab.experiments.dpo import online as dpo_online
from rlhf_lab.experiments.gpt import study as gpt
from rlhf_lab.experiments.ilhf import study as ilhf

ALONE = {  # studies with a command of their own, how many runs the book shows, and what they are about
    "imitation": (imitation.STUDY, 50, "how many demonstrations CartPole needs: clone, DAgger and DRIL"),
    "online": (online.STUDY, 20, "how many labels each way of asking needs"),
    "segments": (segments.STUDY, 200, "what each ingredient of learning from compared segments buys"),
    "cartpole": (cartpole.STUDY, 20, "what each part of learning from compared segments buys on CartPole"),
    "policy_gradients": (
        policy_gradients.STUDY,
        40,
        "what PPO gains by using answers again: equal answers and equal steps",
    ),
    "soft_values": (soft_values.STUDY, 10, "whether a network learns soft values, and from whose answers"),
    "resets": (resets.STUDY, 20, "episodes to the first reward of a lock, and learning with other start states"),
    "dialogue": (dialogue.STUDY, 20, "learning from logs of dialogues: critics, dilution, sellers, implicit rewards"),
    "mistakes": (mistakes.STUDY, 10, "where policy-gradient code with one wrong line goes"),
    "knobs": (knobs.STUDY, 10, "what each knob of PPO does to the distance from the optimum"),
    "pluralism": (pluralism.STUDY, 20, "when annotators can be sorted into groups, and whom that helps"),
    "objectives": (objectives.STUDY, 10, "soups of networks beside the Pareto front, and what a gate learns"),
    "frontier": (frontier.STUDY, 10, "what a nat buys: RLOO at four prices, RAFT and RRHF"),
    "verifiable": (verifiable.STUDY, 10, "GRPO and its children on answers that are no longer fresh"),
    "gpt": (gpt.STUDY, 10, "a tiny GPT from nothing to each kind of alignment, in a language with a known optimum"),
    "bug_zoo": (bug_zoo.STUDY, 20, "what each bug of the zoo looks like in training, and what it does"),
}
DPO = {  # and those of DPO
    "online": (dpo_online.STUDY, 20),
    "prior": (dpo_online.PRIOR, 200),
    "networks": (networks.STUDY, 20),
    "fall": (fall.STUDY, 20),
}
WORLDS = 20  # of each study of the ILHF paper


def studies() -> dict[str, tuple[runner.Study, int]]:
    """Return every study whose numbers come with the package, by name, and the number of its seeds."""
    alone = {name.replace("_", " "): (study, seeds) for name, (study, seeds, _) in ALONE.items()}
    dpo = {f"dpo {name}": each for name, each in DPO.items()}
    return alone | dpo | {f"ilhf {name}": (study, WORLDS) for name, study in ilhf.STUDIES.items()}


def main(arguments: Sequence[str] | None = None, prog: str = "python -m rlhf_lab.experiments") -> int:
    """Run the studies that are asked for, and return the exit code."""
    parser = _parser(prog)
    given = parser.parse_args(arguments)
    if given.seeds is not None and given.seeds < 2:
        parser.error(f"a standard error needs at least 2 seeds; got --seeds {given.seeds}")
    if given.jobs < 1:
        parser.error(f"--jobs is a number of processes, at least 1; got {given.jobs}")
    # Short trainings inside would draw bars of their own, here and in the processes that inherit this.
    before, os.environ["TQDM_DISABLE"] = os.environ.get("TQDM_DISABLE"), "1"
    try:
        asked = _asked(given)
        for name, (study, seeds) in asked.items():
            runner.check_place(name, study, seeds, given.out, overwrite=given.overwrite)
        if given.experiment == "ilhf" and given.draw:
            runner.check_folder(given.draw)
        for name, (study, seeds) in asked.items():
            began = time.perf_counter()
            settings = {"jobs": given.jobs, "dask": given.dask, "overwrite": given.overwrite}
            path = runner.run(name, study, seeds, given.out, **settings)
            print(f"{name}: {time.perf_counter() - began:.0f} s, stored in {path}")
        if given.experiment == "ilhf" and given.draw:
            _draw(given)
    except KeyboardInterrupt:
        told = "begins anew" if given.overwrite else "goes on from what was finished"
        print(f"\nstopped; the same command {told}", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (ArithmeticError, RuntimeError) as error:  # a run diverged, or a process was lost
        print(f"error: {error}; what was finished is kept", file=sys.stderr)
        return 1
    finally:
        os.environ.pop("TQDM_DISABLE") if before is None else os.environ.update(TQDM_DISABLE=before)
    return 0


def _figures(given: argparse.Namespace) -> list[str]:
    return list(ilhf.FIGURES) if given.figure == "all" else [given.figure]


def _asked(given: argparse.Namespace) -> dict[str, tuple[runner.Study, int]]:
    every = studies()
    return {name: (every[name][0], given.seeds or every[name][1]) for name in _names(given)}


def _names(given: argparse.Namespace) -> list[str]:
    if given.experiment == "all":
        return list(studies())
    if given.experiment in ALONE:
        return [given.experiment.replace("_", " ")]
    if given.experiment == "dpo":
        return [f"dpo {given.study}"]
    return list(dict.fromkeys(f"ilhf {name}" for figure in _figures(given) for name in ilhf.FIGURES[figure]))


def _draw(given: argparse.Namespace) -> None:
    from rlhf_lab.experiments.ilhf import figures  # only who draws waits for matplotlib

    for figure in _figures(given):
        figures.draw(figure, lambda name: runner.load(f"ilhf {name}", given.out), given.draw)


def _parser(prog: str) -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--jobs", type=int, default=1, help="processes on this machine (default: 1)")
    common.add_argument("--dask", metavar="ADDRESS", help="run on the Dask cluster with this scheduler instead")
    common.add_argument("--out", type=Path, default=Path("results"), help="folder of the results (default: results)")
    common.add_argument("--overwrite", action="store_true", help="replace results that are there")
    parser = argparse.ArgumentParser(prog=prog, description="Studies that are too long for a page of the book.")
    kinds = parser.add_subparsers(required=True, metavar="experiment", dest="experiment")

    def add(name: str, told: str, seeds: str, what: str = "runs") -> argparse.ArgumentParser:
        one = kinds.add_parser(name, parents=[common], help=told, description=told)
        one.add_argument("--seeds", type=int, help=f"number of {what}, at least 2 (default: {seeds})")
        return one

    for name, (_, seeds, told) in ALONE.items():
        add(name, told, str(seeds))
    each = ", ".join(f"{name} {seeds}" for name, (_, seeds) in DPO.items())
    dpo = add("dpo", "DPO beside its remedies, online and on networks, and why chosen answers fall", each)
    dpo.add_argument("study", choices=DPO)
    paper = add("ilhf", "the ILHF paper, figure by figure", str(WORLDS), "worlds")
    paper.add_argument("figure", choices=[*ilhf.FIGURES, "all"])
    paper.add_argument("--draw", type=Path, metavar="FOLDER", help="draw the figures there, as SVG and PNG")
    told = "every study, with as many seeds as the book shows: all that is stored with the package"
    kinds.add_parser("all", parents=[common], help=told, description=told).set_defaults(seeds=None)
    return parser


if __name__ == "__main__":
    sys.exit(main())
