"""The figures of the ILHF paper from stored numbers, for the book and for the command line."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlhf_lab import plots
from rlhf_lab.experiments.ilhf import verdicts
from rlhf_lab.experiments.ilhf.coin_claims import PRETRAINED
from rlhf_lab.experiments.ilhf.didactic import TABLE_1
from rlhf_lab.experiments.ilhf.study import ALONE, BEST, THIRD, Load, coin_kl
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.files import whole
from rlhf_lab.worlds import coin


def method(name: str) -> str:
    """Return the name of an agent's colour in `plots.COLORS`."""
    if name.startswith(("own", "joint")) or "one torso" in name:
        return "ensemble"
    return next(known for known in ("reinforce", "ensemble", "ilhf") if known in name)


def curves(ax: Axes, x: Array, runs: dict[str, Array], ylabel: str) -> None:
    """Draw the mean and one standard error of each agent's curves (S, K); agents of one kind differ by their lines."""
    styles = dict.fromkeys(("reinforce", "ensemble", "ilhf"), 0)
    for name, values in runs.items():
        kind = method(name)
        before = len(ax.lines)
        plots.mean_band(ax, x, values, kind, name)
        ax.collections[-1].set_alpha(0.12)
        ax.lines[before].set_linestyle(("-", "--", "-.", ":")[styles[kind] % 4])
        styles[kind] += 1
    ax.set(xlabel="episodes", ylabel=ylabel)


def fig1(load: Load) -> Figure:
    """Figure 1: the probability of the token that people want in one case of three."""
    figure = _lines(load("coin")["p"], 1500, "probability of saying 1")
    (ax,) = figure.axes
    ax.axhline(coin.PEOPLE, color=plots.COLORS["human"], linewidth=1)
    ax.text(0, coin.PEOPLE, "people", color=plots.COLORS["human"], va="bottom", fontsize=10)
    return figure


def fig2(load: Load) -> Figure:
    """Figure 2: autocorrelation of the logits, as printed and as usual, and what shuffled logits give."""
    found = load("memory")["alpha"]
    figure, axes = _sheet(len(found), 7, 3.4, sharey=True)
    colors = {"long": "exact", "pearson": "monte_carlo", "printed": "learned", "independent": "pretrained"}
    for ax, (scale, kinds) in zip(axes, found.items(), strict=True):
        for kind, color in colors.items():
            plots.mean_band(ax, np.arange(kinds[kind].shape[1]), kinds[kind], color, kind)
        ax.set(title=scale.replace("scale ", "s = "), xlabel="lag")
    axes[0].set_ylabel("autocorrelation")
    axes[-1].legend(fontsize=9)
    return figure


def table1(load: Load) -> Figure:
    """Figure 1 with the network of table 1, pretrained on the answers and on whole texts."""
    found = load("didactic")
    figure, axes = _sheet(2, 7, 3.6, sharey=True)
    for ax, (loss, runs) in zip(axes, found.items(), strict=True):
        curves(ax, _episodes(runs, TABLE_1.episodes), runs, "")
        ax.set_title(PRETRAINED[loss].removeprefix("pretrained "))
        ax.axhline(coin.PEOPLE, color=plots.COLORS["human"], linewidth=1)
    axes[0].set_ylabel("probability of saying 1")
    _legend(axes[1])
    return figure


def fig3(load: Load) -> Figure:
    """Figure 3: the divergence from people on the coin, exact."""
    runs = {name: coin_kl(p) for name, p in load("coin")["p"].items()}
    return _lines(runs, 1500, "KL(people || agent), nats")


def fig4a(load: Load) -> Figure:
    """Figure 4a: the divergence from the ideal, REINFORCE, ILHF and the largest ensemble."""
    runs = load("tau64")["kl"]
    return _divergences({name: run for name, run in runs.items() if "ensemble" not in name or name == BEST}, 100)


def fig4b(load: Load) -> Figure:
    """Figure 4b: inclusive score ratio of each agent against the largest ensemble."""
    return _ratios(load("tau64")["duels"], BEST)


def fig5(load: Load) -> Figure:
    """Figure 5: the divergence from the ideal for ILHF and for ensembles of four sizes."""
    return _divergences({name: run for name, run in load("tau64")["kl"].items() if "reinforce" not in name}, 100)


def table3(load: Load) -> Figure:
    """Table 3, as a figure: inclusive score ratio of ensembles against ILHF."""
    return _ratios(load("tau64")["duels"], "ilhf")


def fig6(load: Load) -> Figure:
    """Figure 6: texts of 128 tokens."""
    return _divergences(load("tau128")["kl"], 150)


def fig7(load: Load) -> Figure:
    """Figure 7: texts of 256 tokens."""
    return _divergences(load("tau256")["kl"], 150)


def scales(load: Load) -> Figure:
    """Figure 4a with other readings of the temperature."""
    figure, axes = _sheet(2, 7, 3.6)
    for ax, name, title in zip(axes, ("scale1", "scale3"), ("s = 1", "s = 3"), strict=True):
        runs = {agent: run for agent, run in load(name)["kl"].items() if agent != "ensemble 10"}
        curves(ax, _episodes(runs, THIRD.episodes), runs, "")
        ax.set_title(title)
    axes[0].set_ylabel("KL(ideal || agent), nats")
    _legend(axes[1])
    return figure


def alone(load: Load) -> Figure:
    """Figure 4a with a temperature of 3 for the process, the agents or the people alone."""
    figure, axes = _sheet(len(ALONE), 7.6, 3.4)
    for ax, name in zip(axes, ALONE, strict=True):
        runs = {agent: run for agent, run in load(name)["kl"].items() if agent != "ensemble 10"}
        curves(ax, _episodes(runs, THIRD.episodes), runs, "")
        ax.set_title(name)
    axes[0].set_ylabel("KL(ideal || agent), nats")
    _legend(axes[-1])
    return figure


def controls(load: Load) -> Figure:
    """Divergence from the ideal before and after 100 episodes, for every reading of the ensemble and its controls."""
    runs = load("controls")["kl"] | load("readings")["kl"]
    figure, (ax,) = _sheet(1, 7, 6)
    for row, (name, run) in enumerate(runs.items()):
        for column, marker in ((0, "|"), (-1, "o")):
            error = run[:, column].std(ddof=1) / len(run) ** 0.5
            color = plots.COLORS[method(name)]
            xerr = None if column == 0 else error
            ax.errorbar(run[:, column].mean(), row, xerr=xerr, fmt=marker, markersize=7, color=color)
    ax.set_yticks(range(len(runs)), list(runs))
    ax.invert_yaxis()
    ax.set(xlabel="KL(ideal || agent), nats", xlim=(0, None))
    return figure


def narrow(load: Load) -> Figure:
    """Figure 4a for agents whose first token weights are uniform within 0.316 instead of 1."""
    return _divergences(load("narrow")["kl"], 100)


def joint(load: Load) -> Figure:
    """Mean divergence over 100 episodes less that of plain ILHF: ensembles with one Adam each or one for all."""
    figure, axes = _sheet(2, 7, 5.4, sharey=True)
    for ax, name, title in zip(axes, ("joint", "joint1"), ("s = 1/3", "s = 1"), strict=True):
        areas = {agent: verdicts.area(run) for agent, run in load(name)["kl"].items()}
        plain = areas.pop("ilhf")
        for row, (agent, found) in enumerate(areas.items()):
            less, color = found - plain, plots.COLORS[method(agent)]
            fill = "white" if "diversity" in agent else color
            ax.errorbar(less.mean(), row, xerr=verdicts.error(less), fmt="o", color=color, mfc=fill)
        ax.axvline(0, color="0.6", linewidth=1)
        ax.set(title=title, xlabel="mean KL less ILHF's, nats")
    axes[0].set_yticks(range(len(areas)), list(areas))
    axes[0].invert_yaxis()
    return figure


def draw(figure: str, load: Load, folder: Path) -> None:
    """Write one figure of `FIGURES` to `folder`, as SVG and PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    with plt.rc_context():
        plots.use_style()
        drawn = globals()[figure](load)
        for kind in ("svg", "png"):
            with whole(folder / f"{figure}.{kind}", overwrite=True) as path:
                drawn.savefig(path, format=kind, metadata={"Date": None})
        plt.close(drawn)


def _divergences(runs: dict[str, Array], episodes: int) -> Figure:
    return _lines(runs, episodes, "KL(ideal || agent), nats")


def _lines(runs: dict[str, Array], episodes: int, ylabel: str) -> Figure:
    figure, (ax,) = _sheet(1, 6, 3.8)
    curves(ax, _episodes(runs, episodes), runs, ylabel)
    _legend(ax)
    return figure


def _ratios(duels: dict[str, Any], reference: str) -> Figure:
    found = {key.split(" vs ")[0]: duel["geometric"] for key, duel in duels.items() if key.endswith(f"vs {reference}")}
    figure, (ax,) = _sheet(1, 6, 0.9 + 0.36 * len(found))
    for row, (name, ratio) in enumerate(found.items()):
        error = ratio.std(ddof=1) / len(ratio) ** 0.5
        ax.errorbar(ratio.mean(), row, xerr=error, fmt="o", color=plots.COLORS[method(name)])
    ax.axvline(1, color="0.6", linewidth=1)
    ax.set_yticks(range(len(found)), list(found))
    ax.margins(y=0.15)
    ax.invert_yaxis()
    ax.set_xlabel(f"inclusive score ratio against {reference}")
    return figure


def _episodes(runs: dict[str, Array], last: int) -> Array:
    return np.linspace(0, last, next(iter(runs.values())).shape[1])


def _sheet(columns: int, width: float, height: float, sharey: bool = False) -> tuple[Figure, Array]:
    figure, axes = plt.subplots(1, columns, figsize=(width, height), sharey=sharey, squeeze=False, layout="constrained")
    return figure, axes[0]


def _legend(ax: Axes) -> None:
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
