"""The house style can be told apart, and the recurring figures draw what they are given."""

import itertools
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from rlhf_lab import plots


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context():
        plots.use_style()
        yield
    plt.close("all")


def linear(color):
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast_with_white(color):
    return 1.05 / (linear(color) @ [0.2126, 0.7152, 0.0722] + 0.05)


# Viénot, Brettel and Mollon 1999: linear RGB as seen without one kind of cone
DICHROMATS = {
    "everyone": np.eye(3),
    "protanopia": [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]],
    "deuteranopia": [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]],
}


def lab(rgb):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(rgb, 0, 1)
    f = np.cbrt(xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", DICHROMATS)
def test_no_two_methods_look_alike(eye):
    seen = {name: lab(np.array(DICHROMATS[eye]) @ linear(color)) for name, color in plots.COLORS.items()}
    closest = min(itertools.combinations(seen, 2), key=lambda pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]))
    distance = np.linalg.norm(seen[closest[0]] - seen[closest[1]])
    assert distance > (15 if eye == "everyone" else 9), (closest, distance)


def test_every_colour_stands_out_from_the_page():
    assert min(contrast_with_white(color) for color in plots.COLORS.values()) > 3  # as WCAG asks


def test_a_mean_has_a_band_of_one_standard_error():
    _, ax = plt.subplots()
    runs = np.array([[1.0, 2.0], [3.0, 2.0], [2.0, 5.0]])
    plots.mean_band(ax, np.arange(2), runs, "exact", label="runs")
    assert ax.lines[0].get_ydata() == pytest.approx([2, 3])
    corners = ax.collections[0].get_paths()[0].vertices
    assert [corners[:, 1].min(), corners[:, 1].max()] == pytest.approx([2 - 1 / 3**0.5, 3 + 3**0.5 / 3**0.5])
    assert ax.lines[0].get_color() == plots.COLORS["exact"]
    assert ax.lines[0].get_label() == "runs"


def test_bars_stand_in_pairs_first_label_on_top():
    _, ax = plt.subplots()
    plots.paired_bars(ax, ["a", "b", "c"], {"pretrained": [1, 2, 3], "exact": [4, 5, 6]})
    assert [bar.get_width() for bar in ax.patches] == [1, 2, 3, 4, 5, 6]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b", "c"]
    bottom, top = ax.get_ylim()
    assert bottom > top
    overlaps = [a.get_y() + a.get_height() - b.get_y() for a, b in zip(ax.patches[:3], ax.patches[3:], strict=True)]
    assert overlaps == pytest.approx([0] * 3, abs=1e-12)


def test_a_simplex_has_an_answer_in_each_corner_and_policies_between_them():
    _, ax = plt.subplots()
    plots.simplex(ax, "abc")
    corners = np.array(plots.on_simplex(np.eye(3))).T
    assert [np.linalg.norm(corners[k] - corners[k - 1]) for k in range(3)] == pytest.approx([1, 1, 1])
    assert np.array(plots.on_simplex(np.full(3, 1 / 3))) == pytest.approx(corners.mean(0))
    drawn = np.array(ax.lines[0].get_data()).T
    assert drawn == pytest.approx(corners[[0, 1, 2, 0]])
    assert [text.get_text() for text in ax.texts] == ["a", "b", "c"]
    for text, corner in zip(ax.texts, corners, strict=True):
        outside = np.array(text.get_position()) - corner
        assert outside @ (corner - corners.mean(0)) > 0


def test_a_strip_tells_every_word_its_value_and_the_total():
    _, ax = plt.subplots()
    plots.token_strips(ax, [(["no", "it"], np.array([-2.0, 0.5])), (["yes"], np.array([1.0]))], ["-1.50", "+1.00"])
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["no", "-2.00", "it", "+0.50", "-1.50", "yes", "+1.00", "+1.00"]
    red, blue = ax.patches[0].get_facecolor(), ax.patches[2].get_facecolor()
    assert red[0] > red[2]
    assert blue[2] > blue[0]


def test_the_tree_shows_all_paths_that_are_likely_enough():
    _, ax = plt.subplots()
    first = np.log([[0.5, 0.3, 0.2]])
    second = np.log([[0.1, 0.1, 0.8], [0.6, 0.2, 0.2]])
    plots.prefix_tree(ax, [first, second], ("a", "b", "<eos>"), root="x", shown=0.15)
    texts = [text.get_text() for text in ax.texts]
    assert sorted(texts) == sorted(["0.40", "<eos>", "0.18", "a", "0.20", "a", "b", "<eos>", "x"])
    widths = sorted(round(float(line.get_linewidth()), 3) for line in ax.lines)
    assert widths == pytest.approx(sorted(0.6 + 5 * p for p in (0.5, 0.3, 0.2, 0.8, 0.6)), abs=1e-3)


def test_a_path_whose_continuations_are_all_unlikely_ends_with_its_own_probability():
    _, ax = plt.subplots()
    plots.prefix_tree(ax, [np.log([[0.9, 0.1]]), np.log([[0.5, 0.5]])], ("a", "<eos>"), root="x", shown=0.6)
    assert [text.get_text() for text in ax.texts] == ["0.90", "a", "x"]


def test_a_slider_holds_every_frame_and_starts_with_the_first():
    import html
    import json
    import re

    frames = np.array([[0.1234, 0.5], [0.3, 0.6]])
    page = plots.bar_slider(["a < b", "c"], frames, ["0 answers", "9 answers"], np.array([0.25, 0.75]), "ppo")
    data = json.loads(html.unescape(re.search(r'data-all="(.*?)"', page)[1]))
    assert data == {"frames": [[12.3, 50.0], [30.0, 60.0]], "captions": ["0 answers", "9 answers"]}
    assert re.findall(r"width:([\d.]+)%", page) == ["12.3", "25.0", "50.0", "75.0"]
    told = re.findall(r"data-told>([\d.]+%)</span> <span [^>]*>([\d.]+%)<", page)
    assert told == [("12.3%", "25.0%"), ("50.0%", "75.0%")]
    assert "a &lt; b" in page
    assert "<output>0 answers</output>" in page
    assert 'aria-valuetext="0 answers"' in page
    assert 'max="1"' in page
    assert page.count(plots.COLORS["exact"]) == 5
    assert page.count(plots.COLORS["ppo"]) == 3  # two bars and the line below its name:
    assert f"color:{plots.COLORS['ppo']}" not in page.replace("background-color", "")  # not all colours are dark enough
    assert re.findall(r"<b [^>]*>(\w+)</b>", page) == ["exact", "ppo"]


def test_an_occupancy_map_has_a_column_for_each_step_and_a_row_for_each_offset():
    _, ax = plt.subplots()
    d = np.array([[0.0, 1.0, 0.0], [0.25, 0.5, 0.25]])
    plots.occupancy_map(ax, d, "dril")
    (image,) = ax.images
    assert np.asarray(image.get_array()) == pytest.approx(d.T**0.5)
    assert image.get_extent() == [0.5, 2.5, -1.5, 1.5]
    assert to_rgb(image.cmap(1.0)[:3]) == pytest.approx(to_rgb(plots.COLORS["dril"]), abs=0.01)
    assert to_rgb(image.cmap(0.0)[:3]) == (1, 1, 1)
    assert image.get_clim() == (0, 1)
    assert [line.get_ydata()[0] for line in ax.lines] == [-0.5, 0.5]


def test_a_road_animation_drives_each_car_along_its_offsets():
    drives = {"clone": np.array([[0, 1, 2, 3], [0, -1, -1, 0]]), "home": np.zeros((1, 4))}
    text = plots.road_animation(drives, ["sft", "dril"])
    assert text == plots.road_animation(drives, ["sft", "dril"])
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    circles = root.findall(f"{space}circle")
    assert [c.get("fill") for c in circles] == [plots.COLORS["sft"]] * 2 + [plots.COLORS["dril"]]
    paths = []
    for circle in circles:
        across, down = circle.findall(f"{space}animate")
        assert (across.get("attributeName"), down.get("attributeName"), across.get("dur")) == ("cx", "cy", "14s")
        assert {move.get("begin") for move in (across, down)} == {"road.click"}, "nothing moves unasked"
        assert across.get("values") == "70;257;443;630"
        paths.append(np.array(down.get("values").split(";"), dtype=float))
        assert (circle.get("cx"), float(circle.get("cy"))) == ("70", paths[-1][0])
    assert paths[0] - paths[2] + 150 == pytest.approx(7 * np.arange(4), abs=1)
    assert paths[1] - paths[2] + 150 == pytest.approx([0, -7, -7, 0], abs=1)
    assert [t.text for t in root.findall(f"{space}text")] == ["clone", "home"]
    assert root.get("aria-label") == "Cars on winding roads, which drive when clicked: clone, home"
    assert root.get("id") == "road"
