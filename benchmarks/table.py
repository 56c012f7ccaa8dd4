"""The page of the book that shows the ratios: a pure function of the stored results."""

from typing import Any

HEAD = """# Speed

How long does `rlhf_lab` take, next to the same mathematics in PyTorch, JAX and choix? Each row is a contest. Every
repetition times all contestants in shuffled order, each one warm, as in a training loop; a ratio is the time of the
other library divided by ours in the same repetition. **Above 1, `rlhf_lab` is faster.** The table shows the median of
the repetitions, and the smallest and the largest. All contestants compute in float64, and are checked to find the
same numbers before they are timed, iterative ones to 1e-6. Ours uses one thread, the others one or two; JAX is not
limited, and it is compiled before it is timed (it runs in the first contests only). "PyTorch eager" is tuned by hand
(time first, one matrix product for the inputs of all steps), "PyTorch plain" is the loop that most people would
write. The network has {hidden} hidden units.

| contest | against | one thread | two threads |
|---|---|---:|---:|
"""

TAIL = """
The cost of ours grows with the length of the texts to the power {slope_length:.2f} (batch 1,280), and with the size
of the batch to the power {slope_batch:.2f} (length 128). 1 is linear; below 1, some of the time is spent once,
whatever the size.

{slower}

We had set out to be three times as fast as PyTorch eager in DPO and PPO, and four times in ILHF. Against the tuned
loops of this page that is not reached: a step is the same few matrix products and the same tanh in either library,
and only what lies between them can be saved.

The networks are as small as those of this book; other sizes were not measured. Measured with {versions} on Python
{python} ({machine}, two cores). To measure on your machine, run `make bench`; it writes this page anew. `python -m
benchmarks.ensembles` (in the environment `.venv-peers`) tells what five reward models cost beside one, `python -m
benchmarks.feedback` how long ten runs of PPO take to the optimum, `python -m benchmarks.ilhf` how long the ILHF
experiment takes.
"""


def page(data: dict[str, Any]) -> str:
    """Return the page as MyST text."""
    cells: dict[tuple[str, str], list[str]] = {}
    for row in data["rows"]:
        who, _, threads = row["against"].partition(", ")
        pair = cells.setdefault((row["contest"], who), ["", ""])
        pair[threads == "2 threads" or who == "jax.jit"] = "{median:.1f} ({min:.1f} to {max:.1f})".format(**row)
    text, last = HEAD.format(hidden=10), None
    for (contest, who), (one, two) in cells.items():
        text += f"| {contest if contest != last else ''} | {who} | {one} | {two} |\n"
        last = contest
    lost = [f"- {row['contest']}, against {row['against']}" for row in data["rows"] if row["median"] < 1]
    slower = "Ours is the slower one in:\n\n" + "\n".join(lost) if lost else "Ours is the slower one in no contest."
    versions = ", ".join(f"{name} {number}" for name, number in data["versions"].items())
    return text + TAIL.format(**(data | {"versions": versions, "slower": slower}))
