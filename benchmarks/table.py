"""The page of the book that shows the ratios, as dots and as a table: a pure function of the stored results."""

from html import escape
from math import log
from typing import Any

TICKS = (0.5, 1, 2, 5, 10, 20)
ENDS = 0.4, 40.0  # of the scale of the dots
NAMED_AT_RIGHT = 8  # up to this ratio there is room to the right of it
REPETITIONS = 15  # of a contest that is not cut
LANE = 18  # pixels that a library takes of a contest's row

HEAD = """# Speed

How long does `rlhf_lab` take, next to the same mathematics in PyTorch, JAX and choix? Each row is a contest. Every
repetition times all contestants in shuffled order, each one warm, as in a training loop; a ratio is the time of the
other library divided by ours in the same repetition. **Above 1, `rlhf_lab` is faster.** A dot is the median of the
repetitions, and its line reaches from the smallest to the largest. All contestants compute in float64, if the contest
does not say float32, and are checked to find the same numbers before they are timed, iterative ones to 1e-6, single
precision to 1e-4. Ours uses one thread, the others one or two; JAX is not limited, and it is compiled before it is
timed (it does not run in all contests). "PyTorch eager" is tuned by hand (time first, one matrix product for the
inputs of all steps; its own fused kernels in the GPT), "PyTorch plain" is the loop that most people would write. The
recurrent network has {hidden} hidden units.

A contest has a budget of time; where fewer repetitions fitted into it than planned, their number is told. On a busy
machine two threads wait for each other: ratios of ten and more against two threads say that, and not what two free
cores can do.{note}

{dots}

:::{{dropdown}} The numbers
| contest | against | one thread | two threads |
|---|---|---:|---:|
"""

TAIL = """:::

The cost of ours grows with the length of the texts to the power {slope_length:.2f} (batch 1,280), and with the size
of the batch to the power {slope_batch:.2f} (length 128). That of the GPT grows with its width to the power
{width:.2f}, with the length of the texts to the power {context:.2f}, with its layers to the power {layers:.2f} (half
and twice the sizes of the contest). 1 is linear; below 1, some of the time is spent once,
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
    contests = _contests(data["rows"])
    text = HEAD.format(hidden=10, dots=_dots(contests), note=data.get("note", ""))
    for contest, rivals in contests.items():
        for k, (who, found) in enumerate(rivals.items()):
            one, two = (_cell(row) if row else "" for row in found)
            text += f"| {contest if k == 0 else ''} | {who} | {one} | {two} |\n"
    lost = [f"- {row['contest']}, against {row['against']}" for row in data["rows"] if row["median"] < 1]
    slower = "Ours is the slower one in:\n\n" + "\n".join(lost) if lost else "Ours is the slower one in no contest."
    versions = ", ".join(f"{name} {number}" for name, number in data["versions"].items())
    return text + TAIL.format(**(data | data["gpt_slopes"] | {"versions": versions, "slower": slower}))


def _cell(row: dict[str, Any]) -> str:
    cut = f", cut after {row['repetitions']}" if row.get("repetitions", REPETITIONS) < REPETITIONS else ""
    return f"{row['median']:.1f} ({row['min']:.1f} to {row['max']:.1f}{cut})"


def _contests(rows: list[dict[str, Any]]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return, for each contest and library, the row of one thread and that of two; {} where there is none."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        who, _, threads = row["against"].partition(", ")
        pair = found.setdefault(row["contest"], {}).setdefault(who, [{}, {}])
        pair[threads == "2 threads" or who == "jax.jit"] = row
    return found


def _dots(contests: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """Return the drawing as HTML: a row a contest, in it a lane a library, on a logarithmic scale."""
    ticks = "".join(f'<text x="{_x(tick)}" y="28">{tick:g}</text>' for tick in TICKS)
    sides = (
        f'<text class="end" x="{_x(1)}" dx="-8" y="12">← slower</text><text x="{_x(1)}" dx="30" y="12">faster →</text>'
    )
    axis = f'<span></span><svg height="32" aria-hidden="true">{sides}{ticks}</svg>'
    dot = '<svg width="10" height="10" aria-hidden="true"><circle class="{}" cx="5" cy="5" r="4"/></svg>'
    legend = (
        '<div class="legend"><span>how many times as fast as the others ours is, on a logarithmic scale</span> '
        f"<span>{dot.format('one')} one thread</span> <span>{dot.format('two')} two threads</span></div>"
    )
    rows = [f"<span>{escape(contest)}</span>{_lanes(rivals)}" for contest, rivals in contests.items()]
    return "\n".join(['<div class="contests">', legend, axis, *rows, axis, "</div>"])


def _lanes(rivals: dict[str, list[dict[str, Any]]]) -> str:
    ticks = "".join(
        f'<line class="tick{" even" * (tick == 1)}" x1="{_x(tick)}" x2="{_x(tick)}" y2="100%"/>' for tick in TICKS
    )
    medians = {who: [f"{row['median']:.1f}" for row in found if row] for who, found in rivals.items()}
    told = "; ".join(f"{who} {' and '.join(numbers)}" for who, numbers in medians.items())
    lanes = "".join(_lane(who, found, LANE * k + LANE // 2) for k, (who, found) in enumerate(rivals.items()))
    return f'<svg height="{LANE * len(rivals)}" role="img" aria-label="{escape(told)}">{ticks}{lanes}</svg>'


def _lane(who: str, found: list[dict[str, Any]], middle: int) -> str:
    """Draw the dots of one library, and its name where there is room; what is off the scale is told in words."""
    there = [
        (kind, y, row) for kind, y, row in zip(("one", "two"), (middle - 3, middle + 3), found, strict=True) if row
    ]
    low, high = min(row["min"] for *_, row in there), max(row["max"] for *_, row in there)
    if low > ENDS[1]:
        far = " and ".join(f"{row['median']:,.0f}" for *_, row in there)
        return f'<text class="end" x="100%" y="{middle + 4}">{escape(who)}: {far} →</text>'
    drawn = "".join(
        f'<line x1="{_x(row["min"])}" x2="{_x(row["max"])}" y1="{y}" y2="{y}"/>'
        f'<circle class="{kind}" cx="{_x(row["median"])}" cy="{y}" r="4"/>'
        for kind, y, row in there
    )
    place = f'x="{_x(high)}" dx="8"' if high < NAMED_AT_RIGHT else f'class="end" x="{_x(low)}" dx="-8"'
    return f'{drawn}<text {place} y="{middle + 4}">{escape(who)}</text>'


def _x(ratio: float) -> str:
    low, high = ENDS
    return f"{100 * log(min(max(ratio, low), high) / low) / log(high / low):.1f}%"
