"""The front page shows what the package computes, and what a checker says."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from rlhf_lab import check
from rlhf_lab.models import lm
from rlhf_lab.worlds import phrase_world

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "book/_ext")]

import book_index  # noqa: E402
import front_page  # noqa: E402

HTML = front_page.figure()
DATA = json.loads(re.search(r'<script type="application/json">(.*)</script>', HTML)[1])


def gibbs(beta):
    """The optimum by its definition: answers, pi_0, pi* and reward of the question "is tea hot"."""
    answers = lm.enumerate_responses(phrase_world.VOCAB, phrase_world.HORIZON, phrase_world.EOS)
    asked = np.repeat(phrase_world.PROMPTS[:1], len(answers), axis=0)
    before = np.exp(lm.log_prob(phrase_world.model(), phrase_world.pretrained(), asked, answers))
    reward = phrase_world.reward(asked, answers)
    weight = before * np.exp((reward - reward.max()) / beta)
    return [phrase_world.decode(row) for row in answers], before, weight / weight.sum(), reward


@pytest.mark.parametrize("beta", [0.1, 0.5, 10])
def test_the_slider_goes_through_the_exact_optima(beta):
    names, before, best, reward = gibbs(beta)
    k = DATA["beta"].index(beta)
    *shown, others = DATA["answers"]
    places = [names.index(name) for name in shown]
    assert before[places].min() == np.sort(before)[-len(shown)]
    assert others == f"{len(names) - len(shown):,} others"
    *percent, rest = DATA["percent"][k]
    np.testing.assert_allclose(percent, 100 * best[places], atol=0.05 + 1e-9)
    np.testing.assert_allclose(rest, 100 * (1 - best[places].sum()), atol=0.05 + 1e-9)
    np.testing.assert_allclose(DATA["expected"][k], best @ reward, atol=0.005 + 1e-9)
    np.testing.assert_allclose(DATA["kl"][k], best @ np.log(best / before), atol=0.005 + 1e-9)


def test_without_scripts_the_figure_shows_one_optimum_and_what_was_before():
    names, before, _, reward = gibbs(0.5)
    k = DATA["beta"].index(0.5)
    assert "<output>0.5</output>" in HTML
    assert f'value="{k}"' in HTML
    told = [float(number) for number in re.findall(r'<span class="exact">([\d.]+)%', HTML)]
    assert told == DATA["percent"][k]
    widths = [float(number) for number in re.findall(r"width:([\d.]+)%", HTML)]
    assert widths[1::2] == told
    places = [names.index(name) for name in DATA["answers"][:-1]]
    np.testing.assert_allclose(widths[:-2:2], 100 * before[places], atol=0.05 + 1e-9)
    points = [float(text.replace("&minus;", "-")) for text in re.findall(r"</th><td>([^<]+)</td>", HTML)]
    np.testing.assert_array_equal(points, reward[places])
    assert f'<tspan class="exact">{DATA["expected"][k]:.2f}</tspan>' in HTML
    assert f'<tspan class="exact">{DATA["kl"][k]:.2f}</tspan>' in HTML


def test_the_dot_moves_along_the_frontier_that_is_drawn():
    line = [[float(x) for x in pair.split(",")] for pair in re.search('polyline points="([^"]*)"', HTML)[1].split()]
    x, y = np.transpose(line)
    assert (np.diff(x) <= 0).all()
    assert (np.diff(y) >= 0).all()
    fine = np.linspace(0, len(line) - 1, 5000)
    x, y = (np.interp(fine, np.arange(len(line)), axis) for axis in (x, y))
    (x_0, x_1), (y_0, y_1) = (map(float, re.search(f'data-{axis}="([^"]*)"', HTML)[1].split()) for axis in "xy")
    dots = [(x_0 + x_1 * kl, y_0 + y_1 * reward) for kl, reward in zip(DATA["kl"], DATA["expected"], strict=True)]
    assert max(np.hypot(x - a, y - b).min() for a, b in dots) < 0.5
    drawn = re.search('circle cx="([^"]*)" cy="([^"]*)"', HTML).groups()
    np.testing.assert_allclose([float(number) for number in drawn], dots[DATA["beta"].index(0.5)], atol=0.06)


def test_the_talk_with_the_checker_ends_well(capsys):
    first, second, third_hand = (
        cell["code"] for cell in book_index.cells((ROOT / "book/preface.md").read_text(encoding="utf-8"))
    )
    names: dict = {}
    for code, told in (
        (first, "You forgot the reference: "),
        (second, "It is right for small margins, but large ones"),
    ):
        exec(re.sub("^:tags:.*$", "", code, flags=re.MULTILINE), names)
        assert capsys.readouterr().out.startswith(f"dpo_loss: not yet. {told}")
    third = second.replace("np.log(1 + np.exp(-beta * margin))", "np.logaddexp(0, -beta * margin)")
    assert third != second
    exec(re.sub("^:tags:.*$", "", third, flags=re.MULTILINE), names)
    assert capsys.readouterr().out == f"dpo_loss: right on all {check.CASES} cases.\n"
    assert check.CASES == 50  # the page says so
    exec(re.sub("^:tags:.*$", "", third_hand, flags=re.MULTILINE), names)
    assert capsys.readouterr().out.startswith("beta twice\nYou multiply the margin by beta twice")


def test_the_front_page_asks_the_question_of_each_chapter():
    rows = re.findall(
        r"^\| (\d+) \| \{doc\}`.+\? <\.\./notebooks/(\w+)>` \| \{minutes\}`(\w+)` \|$",
        (ROOT / "book/preface.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    chapters = {k: pages[0].stem for k, pages in book_index.numbered(ROOT).items()}
    assert rows == [(str(k), name, name) for k, name in chapters.items()]
