"""The command line: `python -m rlhf_lab`, or `rlhf-lab`, lists the commands."""

import argparse
import importlib
import sys
from collections.abc import Sequence

import rlhf_lab

PROG = "python -m rlhf_lab"
COMMANDS = {  # name: (one line, the module whose `main` runs it; it is imported when it is asked for)
    "rank": ("rank items from comparisons in a file, with intervals", "rlhf_lab.leaderboard.__main__"),
    "audit": ("hear what is wrong with a loss of yours", "rlhf_lab.audit.__main__"),
    "experiments": ("run the studies that are too long for a page of the book", "rlhf_lab.experiments.__main__"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that is named first, with what follows; without one, list them all. Returns the exit code."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in COMMANDS:
        module = importlib.import_module(COMMANDS[name][1])
        return int(module.main(rest, prog=f"{PROG} {name}"))
    lines = [f"  {command:13s}{line}" for command, (line, _) in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog=PROG,
        usage="%(prog)s [-h] [--version] command ...",
        description=rlhf_lab.__doc__.splitlines()[0],
        epilog="\n".join(["commands:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=rlhf_lab.__version__)
    parser.add_argument("command", choices=COMMANDS, help=argparse.SUPPRESS)
    parser.parse_args([name])
    return 0


if __name__ == "__main__":
    sys.exit(main())
