"""The house style: one colour for each method in the whole book, and the figures that come back."""

import json
from html import escape
from typing import TYPE_CHECKING, Any, NewType

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

if TYPE_CHECKING:
    Array = Any
else:
    Array = NewType("Array", object)  # help() and the reference say Array
DRIVE = 14  # seconds that an animated car takes

COLORS = {
    "pretrained": "#777777",
    "exact": "#0072B2",
    "monte_carlo": "#369BD6",
    "human": "#197D32",
    "learned": "#6633EE",
    "sft": "#CD8400",
    "reinforce": "#CE5A00",
    "rloo": "#C86464",
    "grpo": "#1E5AD2",
    "a2c": "#1E002D",
    "ppo": "#7D194B",
    "best_of_n": "#969632",
    "dpo": "#009E73",
    "ipo": "#B40000",
    "slic": "#C34BFF",
    "nca": "#2D1EC3",
    "simpo": "#4B0096",
    "orpo": "#C30FB4",
    "kto": "#A51E4B",
    "reward_model": "#000000",
    "ilhf": "#CC79A7",
    "ensemble": "#AF3296",
    "pessimism": "#32197D",
    "dagger": "#7C92C0",
    "dril": "#641900",
}


def use_style() -> None:
    """Set matplotlib's defaults to the style of the book: large type, few lines, sharp on any screen."""
    plt.rcParams.update(
        {
            "figure.dpi": 200,
            "figure.facecolor": "white",
            "font.size": 12,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": False,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "svg.hashsalt": "rlhf_lab",
        }
    )


def mean_band(ax: Axes, x: Array, runs: Array, method: str, label: str | None = None) -> None:
    """Draw the mean of `runs` (seeds, len(x)) over its seeds, with a band of one standard error."""
    mean, error = runs.mean(0), runs.std(0, ddof=1) / len(runs) ** 0.5
    ax.plot(x, mean, color=COLORS[method], label=label)
    ax.fill_between(x, mean - error, mean + error, color=COLORS[method], alpha=0.25, linewidth=0)


def paired_bars(ax: Axes, labels: list[str], heights: dict[str, Array]) -> None:
    """Draw one group of horizontal bars for each label, one bar for each method of `heights`, first label on top."""
    thickness = 0.8 / len(heights)
    for k, (method, values) in enumerate(heights.items()):
        ax.barh(np.arange(len(labels)) + k * thickness, values, thickness, color=COLORS[method], label=method)
    ax.set_yticks(np.arange(len(labels)) + (len(heights) - 1) * thickness / 2, labels)
    ax.invert_yaxis()
    ax.legend()


def token_strips(ax: Axes, strips: list[tuple[list[str], Array]], totals: list[str]) -> None:
    """Draw texts as rows of words, each word on a tile whose colour is its value, with a total behind each row."""
    scale = max(float(np.abs(values).max()) for _, values in strips)
    width = max(len(words) for words, _ in strips)
    for row, ((words, values), total) in enumerate(zip(strips, totals, strict=True)):
        for column, (word, value) in enumerate(zip(words, values, strict=True)):
            color = colormaps["RdBu"](0.5 + 0.35 * value / scale)
            ax.add_patch(Rectangle((column + 0.03, row + 0.05), 0.94, 0.9, color=color))
            ax.text(column + 0.5, row + 0.38, word, ha="center", va="center", color="black")
            ax.text(column + 0.5, row + 0.72, f"{value:+.2f}", ha="center", va="center", color="black", fontsize=10)
        ax.text(width + 0.5, row + 0.5, total, ha="center", va="center")
    ax.set(xlim=(0, width + 1), ylim=(len(strips), 0))
    ax.set_axis_off()


def on_simplex(pi: Array) -> tuple[Array, Array]:
    """Return where policies over three answers, (..., 3), lie in `simplex`: x and y."""
    return pi[..., 1] + pi[..., 2] / 2, pi[..., 2] * 0.75**0.5


def simplex(ax: Axes, names: str) -> None:
    """Draw the triangle of all policies over three answers: the first is left, the second right, the third on top."""
    ax.plot(*on_simplex(np.eye(3)[[0, 1, 2, 0]]), color="0.6", linewidth=1)
    for name, corner, (right, up) in zip(names, np.eye(3), ((-0.05, 0), (0.05, 0), (0, 0.05)), strict=True):
        x, y = on_simplex(corner)
        ax.text(x + right, y + up, name, ha="center", va="center")
    ax.set(xlim=(-0.1, 1.1), ylim=(-0.06, 0.96), aspect="equal")
    ax.set_axis_off()


def prefix_tree(ax: Axes, levels: list[Array], words: tuple[str, ...], root: str, shown: float) -> None:
    """Draw the tree of prefixes of one prompt as far as paths have a probability of at least `shown`.

    `levels[t]` (W^t, V) holds the log-probabilities of the next token; the last of `words` ends an answer. Lines are
    as thick as their token is likely; the probability of a whole answer stands behind it.
    """
    patch = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
    height = 0.0

    def grow(t: int, state: int, mass: float) -> float:
        nonlocal height
        children = []
        for token, chance in enumerate(np.exp(levels[t][state])):
            if mass * chance >= shown:
                ended = token == len(words) - 1 or t + 1 == len(levels)
                child = state * (len(words) - 1) + token
                children.append((leaf(t, mass * chance) if ended else grow(t + 1, child, mass * chance), token, chance))
        if not children:
            return leaf(t - 1, mass)
        middle = float(np.mean([y for y, *_ in children]))
        for y, token, chance in children:
            line = {"color": COLORS["pretrained"], "linewidth": 0.6 + 5 * chance, "zorder": 1}
            ax.plot([t + 0.1, t + 0.5, t + 1.0], [middle, y, y], **line)
            ax.text(t + 1.0, y, words[token], va="center", ha="center", bbox=patch, zorder=2)
        return middle

    def leaf(t: int, mass: float) -> float:
        nonlocal height
        height += 1
        ax.text(t + 1.5, height - 1, f"{mass:.2f}", va="center", ha="left", fontsize=10, color="0.35")
        return height - 1

    middle = grow(0, 0, 1.0)
    ax.text(0.05, middle, root, va="center", ha="right", bbox=patch)
    ax.set(xlim=(-1.0, len(levels) + 0.9), ylim=(height - 0.5, -0.5))
    ax.set_axis_off()


def bar_slider(labels: list[str], frames: Array, captions: list[str], key: Array, method: str) -> str:
    """Return a page fragment: bars (F, B) that a slider takes through F frames, each beside the bar of a `key` (B,).

    Heights are probabilities. It needs no server and no library, and is white like the figures, on any page.
    """
    percent = [[round(100 * float(value), 1) for value in frame] for frame in frames]
    bar = "height:0.6em;width:{width}%;background:{color}"
    rows = "".join(
        f'<span style="text-align:right">{escape(label)}</span><div>'
        f'<div data-bar style="{bar.format(width=now, color=COLORS[method])}"></div>'
        f'<div style="{bar.format(width=round(100 * float(best), 1), color=COLORS["exact"])}"></div></div>'
        f'<span style="text-align:right"><span data-told>{now:.1f}%</span> '
        f'<span style="color:{COLORS["exact"]}">{100 * float(best):.1f}%</span></span>'
        for label, now, best in zip(labels, percent[0], key, strict=True)
    )
    move = (
        "const s=JSON.parse(this.dataset.all),p=this.closest('figure'),now=s.frames[this.value];"
        "p.querySelectorAll('[data-bar]').forEach((b,i)=>{b.style.width=now[i]+'%'});"
        "p.querySelectorAll('[data-told]').forEach((b,i)=>{b.textContent=now[i].toFixed(1)+'%'});"
        "this.ariaValueText=p.querySelector('output').textContent=s.captions[this.value]"
    )
    data = escape(json.dumps({"frames": percent, "captions": captions}), quote=True)
    return (
        '<figure style="margin:0;padding:0.8em;background:white;color:black">'
        f'<b style="color:{COLORS["exact"]}">exact</b> '
        f'<label><b style="border-bottom:3px solid {COLORS[method]}">{escape(method)}</b> '
        f'<input type="range" min="0" max="{len(percent) - 1}" value="0" data-all="{data}" oninput="{escape(move)}" '
        f'aria-label="training" aria-valuetext="{escape(captions[0])}"></label> <output>{escape(captions[0])}</output>'
        '<div style="display:grid;grid-template-columns:max-content 1fr max-content;gap:0.3em 0.8em;'
        'align-items:center">'
        f"{rows}</div></figure>"
    )


def occupancy_map(ax: Axes, d: Array, method: str) -> None:
    """Draw the distribution (T, S) of a car on the track: a column for each step, a row for each offset."""
    width = d.shape[1] // 2
    shades = LinearSegmentedColormap.from_list(method, ["#ffffff", COLORS[method]])
    ax.imshow(
        d.T**0.5, cmap=shades, vmin=0, vmax=1, aspect="auto", extent=(0.5, len(d) + 0.5, -width - 0.5, width + 0.5)
    )
    for edge in (-0.5, 0.5):
        ax.axhline(edge, color="0.6", linewidth=0.7, linestyle=":")
    ax.set_title(method)


def road_animation(drives: dict[str, Array], methods: list[str]) -> str:
    """Return an animation as HTML: one road for each name, and on it cars whose offsets are given, (cars, T) each.

    It is a drawing that drives once when it is clicked, without scripts, and the same text on every machine.
    """
    length, left, wide, high = 640, 70, 7.0, 150
    parts = []
    for row, ((name, offsets), method) in enumerate(zip(drives.items(), methods, strict=True)):
        x = np.linspace(left, length - 10, offsets.shape[1])
        middle = high * (row + 0.5) + 18 * np.sin((x - left) / 70)
        road = " ".join(f"{a:.0f},{b:.0f}" for a, b in zip(x, middle, strict=True))
        parts.append(
            f'<text x="4" y="{high * (row + 0.5):.0f}" font-size="14" fill="#777777">{name}</text>'
            f'<polyline points="{road}" fill="none" stroke="#bbbbbb" stroke-width="{wide + 4:g}"/>'
        )
        for car in middle + wide * np.asarray(offsets):
            moves = "".join(
                f'<animate attributeName="{axis}" dur="{DRIVE}s" begin="road.click" fill="freeze" '
                f'values="{";".join(f"{v:.0f}" for v in where)}"/>'
                for axis, where in (("cx", x), ("cy", car))
            )
            start = f'cx="{x[0]:.0f}" cy="{car[0]:.0f}"'
            parts.append(f'<circle {start} r="5" fill="{COLORS[method]}" fill-opacity="0.7">{moves}</circle>')
    told = f"Cars on winding roads, which drive when clicked: {', '.join(drives)}"
    box = f'id="road" viewBox="0 0 {length} {high * len(drives)}" style="max-width: 100%; cursor: pointer"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label="{told}">{"".join(parts)}</svg>'
