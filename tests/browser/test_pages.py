"""Each page of the site: offline, typeset, no wider than a screen, described, and nothing that axe calls serious."""

import re

import pytest
from browsing import serious

# What the colours of code on their ground have for a contrast, each pair once.
CODE = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => numbers(colour).slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, k) => sum + part * [0.2126, 0.7152, 0.0722][k], 0);
  const ground = (box) => {
    const own = getComputedStyle(box).backgroundColor;
    return numbers(own)[3] === 0 ? ground(box.parentElement) : own;
  };
  const found = {};
  for (const word of document.querySelectorAll("pre, pre span")) {
    const pair = [getComputedStyle(word).color, ground(word)];
    const [dark, bright] = pair.map(light).sort((a, b) => a - b);
    found[pair.join(" on ")] = (bright + 0.05) / (dark + 0.05);
  }
  return found;
}"""

# Numbered formulas that stick out of their box on the left, or run into their number.
TOO_WIDE = """() => [...document.querySelectorAll("div.math > .eqno + mjx-container")].filter((formula) => {
  const [made, box, number] = [formula.querySelector("mjx-math"), formula.parentElement, formula.previousElementSibling]
    .map((part) => part.getBoundingClientRect());
  return made.left < box.left - 1 || made.right > number.left + 1;
}).length"""


def test_a_page_asks_for_nothing_outside_and_has_nothing_to_complain_of(visited):
    assert visited.outside == []
    assert visited.complaints == []


def test_nothing_moves_while_a_page_loads(visited):
    assert visited.page.evaluate("window.shift") < 0.1


def test_every_formula_is_there_and_none_is_wrong(visited):
    raw = "[...document.querySelectorAll('.math')].filter((e) => !e.querySelector('mjx-container')).length"
    assert visited.page.evaluate(raw) == 0
    assert visited.page.evaluate("document.querySelectorAll('mjx-merror').length") == 0


def test_every_picture_is_described_and_has_a_size(visited):
    shown = "[...document.querySelectorAll('article img:not(.toggler)')]"
    bare = f"{shown}.filter((i) => !(i.alt || '').trim() || !i.getAttribute('width')).map((i) => i.src)"
    assert visited.page.evaluate(bare) == []


def test_a_page_says_what_it_is(visited):
    told = visited.page.evaluate("document.querySelector('meta[name=description]').content")
    assert 20 < len(told) <= 200
    assert not re.search(r"[\\$]|\{\w+\}", told)
    assert visited.page.evaluate("document.querySelector('meta[property=\"og:title\"]').content")


@pytest.mark.parametrize("view", ["desk", "phone"])
def test_no_page_is_wider_than_the_screen(visited, view):
    page = visited.look(view)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 1


@pytest.mark.parametrize("view", ["desk", "dark"])
def test_code_can_be_read(visited, view):
    found = visited.look(view).evaluate(CODE)
    assert {pair: contrast for pair, contrast in found.items() if contrast < 4.5} == {}


def test_a_formula_leaves_room_for_its_number(visited):
    assert visited.look("desk").evaluate(TOO_WIDE) == 0


def test_paper_has_no_closed_boxes_and_whole_tables(visited):
    page = visited.look("desk")
    page.set_viewport_size({"width": 700, "height": 1000})
    page.emulate_media(media="print")
    closed = "[...document.querySelectorAll('article details')].filter((box) => !box.open && box.offsetHeight)"
    count = page.evaluate(f"{closed}.length")
    shown = "[...document.querySelectorAll('article :is(table, pre)')].filter((box) => box.offsetHeight)"
    cut = f"{shown}.filter((box) => box.scrollWidth > box.clientWidth + 1)"
    wide = page.evaluate(f"{cut}.map((box) => box.textContent.slice(0, 60))")
    page.emulate_media(media="screen")
    assert count == 0
    assert wide == []


@pytest.mark.parametrize("view", ["desk", "dark"])
def test_axe_finds_nothing_serious(visited, view):
    assert serious(visited.look(view), ["color-contrast", "link-in-text-block"] if view == "dark" else None) == []
