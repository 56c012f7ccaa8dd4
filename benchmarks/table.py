"""The page of the book that shows the ratios: a pure function of the stored results."""

from typing import Any

HEAD = """# Speed

How long does `rlhf_lab` take, next to the same mathematics in PyTorch, JAX and choix? Each row is a contest. Every
repetition times all contestants in shuffled order, each one warm, as in a training loop; a ratio is the time of the
other library divided by ours in the same repetition. **Above 1, `rlhf_lab` is faster.** All contestants compute in
float64, and are checked to find the same numbers before they are timed, iterative ones to 1e-6. Ours uses one thread;
PyTorch stands in the table with one and with two. "PyTorch eager" is tuned by hand (time first, one matrix product
for the inputs of all steps), "PyTorch plain" is the loop that most people would write. JAX is compiled before it is
timed; the network has {hidden} hidden units.

| contest | against | median | min | max |
|---|---|---:|---:|---:|
"""

TAIL = """
The cost of ours grows with the length of the texts to the power {slope_length:.2f}, and with the size of the batch to
the power {slope_batch:.2f}; 1 is linear, and below 1 some of the time is spent once, whatever the size.

{slower}

The networks are as small as those of this book; other sizes were not measured. Measured with {versions} on Python
{python} ({machine}, two cores). To measure on your machine, run `make bench`; it writes this page anew.
"""


def page(data: dict[str, Any]) -> str:
    """Return the page as MyST text."""
    text, last = HEAD.format(hidden=10), None
    for row in data["rows"]:
        name = row["contest"] if row["contest"] != last else ""
        numbers = " | ".join(f"{row[key]:.1f}" for key in ("median", "min", "max"))
        text += f"| {name} | {row['against']} | {numbers} |\n"
        last = row["contest"]
    lost = [f"- {row['contest']}, against {row['against']}" for row in data["rows"] if row["median"] < 1]
    slower = "Ours is the slower one in:\n\n" + "\n".join(lost) if lost else "Ours is the slower one in no contest."
    versions = ", ".join(f"{name} {number}" for name, number in data["versions"].items())
    return text + TAIL.format(**(data | {"versions": versions, "slower": slower}))
