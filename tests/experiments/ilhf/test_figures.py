"""The figures of the ILHF paper show the stored numbers: every line, its place and its name."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from rlhf_lab import experiments, plots
from rlhf_lab.experiments.ilhf import figures as ilhf_figures
from rlhf_lab.experiments.ilhf import verdicts
from rlhf_lab.experiments.ilhf.study import ALONE, FIGURES, STUDIES, coin_kl

STORED = {name: experiments.stored(f"ilhf {name}") for name in STUDIES}
COIN, TAU64 = STORED["coin"]["p"], STORED["tau64"]["kl"]
BIG = ["reinforce 0", "reinforce 1", "reinforce 10", "reinforce 100", "ilhf", "ensemble 50"]


@pytest.fixture
def axes():
    def draw(figure):
        return getattr(ilhf_figures, figure)(STORED.__getitem__).axes

    yield draw
    plt.close("all")


def named(ax):
    """The lines of a panel that have a name of their own."""
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


@pytest.mark.parametrize(
    ("figure", "panels", "episodes"),
    [
        ("fig1", [COIN], 1500),
        ("fig3", [{name: coin_kl(p) for name, p in COIN.items()}], 1500),
        ("table1", [*STORED["didactic"].values()], 4500),
        ("fig4a", [{name: TAU64[name] for name in BIG}], 100),
        ("fig5", [{name: TAU64[name] for name in ["ilhf"] + [f"ensemble {m}" for m in (10, 15, 30, 50)]}], 100),
        ("narrow", [STORED["narrow"]["kl"]], 100),
        ("fig6", [STORED["tau128"]["kl"]], 150),
        ("fig7", [STORED["tau256"]["kl"]], 150),
        ("alone", [{agent: STORED[name]["kl"][agent] for agent in BIG} for name in ALONE], 100),
        ("scales", [{name: STORED[study]["kl"][name] for name in BIG} for study in ("scale1", "scale3")], 100),
    ],
)
def test_curves_are_means_of_what_is_stored(axes, figure, panels, episodes):
    found = axes(figure)
    assert len(found) == len(panels)
    for ax, runs in zip(found, panels, strict=True):
        lines = named(ax)
        assert list(lines) == list(runs)
        for name, values in runs.items():
            x, y = lines[name].get_data()
            assert x == pytest.approx(np.linspace(0, episodes, values.shape[1]))
            assert y == pytest.approx(values.mean(0))
            assert lines[name].get_color() == plots.COLORS[ilhf_figures.method(name)]
        assert ax.get_xlabel() == "episodes"
    assert [text.get_text() for text in found[-1].get_legend().get_texts()] == list(panels[-1])
    assert [ax.get_ylabel() for ax in found[1:]] == [""] * len(found[1:])
    units = dict.fromkeys(("fig1", "table1"), "probability of saying 1") | {"fig3": "KL(people || agent), nats"}
    assert found[0].get_ylabel() == units.get(figure, "KL(ideal || agent), nats")


def test_figure_1_shows_what_people_want(axes):
    (ax,) = axes("fig1")
    people = ax.lines[-1]
    assert list(people.get_ydata()) == [1 / 3, 1 / 3]
    assert people.get_color() == ax.texts[0].get_color() == plots.COLORS["human"]
    assert [(text.get_text(), *text.get_position()) for text in ax.texts] == [("people", 0, 1 / 3)]


def test_the_other_readings_are_told_apart(axes):
    assert [ax.get_title() for ax in axes("table1")] == ["on the answers", "on whole texts"]
    assert [list(ax.lines[-1].get_ydata()) for ax in axes("table1")] == [[1 / 3, 1 / 3]] * 2
    assert [ax.get_title() for ax in axes("alone")] == [*ALONE]
    assert [ax.get_title() for ax in axes("scales")] == ["s = 1", "s = 3"]


def test_figure_2_shows_four_curves_for_each_temperature(axes):
    found = axes("fig2")
    assert [ax.get_title() for ax in found] == ["s = 0.333", "s = 1", "s = 3"]
    assert [ax.get_xlabel() for ax in found] == ["lag"] * 3
    assert found[0].get_ylabel() == "autocorrelation"
    assert len({ax.get_ylim() for ax in found}) == 1
    for ax, kinds in zip(found, STORED["memory"]["alpha"].values(), strict=True):
        lines = named(ax)
        assert set(lines) == set(kinds)
        assert len({line.get_color() for line in lines.values()}) == 4
        for kind, values in kinds.items():
            assert lines[kind].get_xdata().tolist() == list(range(41))
            assert lines[kind].get_ydata() == pytest.approx(values.mean(0))
    assert [text.get_text() for text in found[-1].get_legend().get_texts()] == list(named(found[-1]))


def points(ax):
    """Rows of a panel from top to bottom: name, and for each mark its place and half the length of its error bar."""
    names = [text.get_text() for text in ax.get_yticklabels()]
    found = {name: [] for name in names}
    for bar in ax.containers:
        mark, _, ends = bar.lines
        (x,), (row,) = mark.get_data()
        assert mark.get_color() == plots.COLORS[ilhf_figures.method(names[int(row)])]
        assert mark.get_marker() == ("o" if ends else "|")
        length = ends[0].get_segments()[0][:, 0] if ends else [x, x]
        found[names[int(row)]].append((x, (length[1] - length[0]) / 2))
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first on top
    return found


@pytest.mark.parametrize(("figure", "reference"), [("fig4b", "ensemble 50"), ("table3", "ilhf")])
def test_ratios_are_drawn_with_their_errors(axes, figure, reference):
    (ax,) = axes(figure)
    duels = {name: duel["geometric"] for name, duel in STORED["tau64"]["duels"].items()}
    found = points(ax)
    assert [f"{name} vs {reference}" for name in found] == [name for name in duels if name.endswith(f" {reference}")]
    for name, marks in found.items():
        ratio = duels[f"{name} vs {reference}"]
        assert marks == [pytest.approx((ratio.mean(), ratio.std(ddof=1) / 20**0.5))]
    assert list(ax.lines[-1].get_xdata()) == [1, 1]  # where neither wins
    assert ax.get_xlabel() == f"inclusive score ratio against {reference}"


def test_controls_are_drawn_before_and_after(axes):
    (ax,) = axes("controls")
    runs, found = STORED["controls"]["kl"] | STORED["readings"]["kl"], points(ax)
    assert list(found) == list(runs)
    for name, (before, after) in found.items():
        first, last = runs[name][:, 0], runs[name][:, -1]
        assert before == pytest.approx((first.mean(), 0))
        assert after == pytest.approx((last.mean(), last.std(ddof=1) / 20**0.5))
    assert ax.get_xlim()[0] == 0
    assert ax.get_xlabel() == "KL(ideal || agent), nats"


def test_speed_is_drawn_less_that_of_plain_ilhf(axes):
    found = axes("joint")
    assert [ax.get_title() for ax in found] == ["s = 1/3", "s = 1"]
    names = [text.get_text() for text in found[0].get_yticklabels()]
    for ax, study in zip(found, ("joint", "joint1"), strict=True):
        runs = STORED[study]["kl"]
        assert names == [name for name in runs if name != "ilhf"]
        assert len(ax.containers) == len(names)
        for name, bar in zip(names, ax.containers, strict=True):
            mark, _, (ends,) = bar.lines
            less = verdicts.area(runs[name]) - verdicts.area(runs["ilhf"])
            assert mark.get_xdata() == pytest.approx([less.mean()])
            half = np.ptp(ends.get_segments()[0][:, 0]) / 2
            assert half == pytest.approx(verdicts.error(less))
            assert mark.get_color() == plots.COLORS["ilhf" if name.startswith("ilhf") else "ensemble"]
            assert (mark.get_markerfacecolor() == "white") == name.endswith("no diversity")
        assert list(ax.lines[-1].get_xdata()) == [0, 0]
        assert ax.get_xlabel() == "mean KL less ILHF's, nats"
    assert found[0].get_ylim()[0] > found[0].get_ylim()[1]


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_is_drawn_from_the_stored_numbers(figure, tmp_path):
    before, style = plt.get_fignums(), dict(plt.rcParams)
    ilhf_figures.draw(figure, STORED.__getitem__, tmp_path / "new" / "place")
    files = sorted((tmp_path / "new" / "place").iterdir())
    assert [path.name for path in files] == [f"{figure}.png", f"{figure}.svg"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    text = files[1].read_text(encoding="utf-8")
    assert "<svg" in text
    assert "<dc:date>" not in text  # the same numbers make the same file
    assert plt.get_fignums() == before
    assert dict(plt.rcParams) == style


def test_a_figure_that_is_drawn_anew_takes_the_place_of_the_old_one(tmp_path):
    for path in (tmp_path / "table3.svg", tmp_path / "table3.png"):
        path.write_text("old")
    ilhf_figures.draw("table3", STORED.__getitem__, tmp_path)
    assert "<svg" in (tmp_path / "table3.svg").read_text(encoding="utf-8")


def test_agents_of_one_kind_have_one_colour_and_lines_of_their_own():
    assert ilhf_figures.method("all: one torso, eta 0") == "ensemble"
    assert ilhf_figures.method("all: ilhf") == "ilhf"
    assert ilhf_figures.method("reinforce 100") == "reinforce"
    fig, ax = plt.subplots()
    names = ("reinforce 0", "reinforce 1", "ilhf", "reinforce 10", "reinforce 100", "ensemble 10", "reinforce 1000")
    runs = dict(zip(names, np.random.default_rng(0).random((7, 3, 5)), strict=True))
    ilhf_figures.curves(ax, np.arange(5), runs, "y")
    first, second, third, *_ = ax.lines
    assert first.get_color() == second.get_color() != third.get_color()
    assert [line.get_linestyle() for line in ax.lines] == ["-", "--", "-", "-.", ":", "-", "-"]
    assert first.get_ydata() == pytest.approx(runs["reinforce 0"].mean(0))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("episodes", "y")
    plt.close(fig)
