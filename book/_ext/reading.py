"""The Sphinx side of `course`: what stands under titles, the index of exercises, the routes, and the footer."""

import os
import re
from functools import cache
from pathlib import Path

import course
from docutils import nodes
from sphinx.application import Sphinx
from sphinx_exercise.nodes import exercise_enumerable_node

import rlhf_lab

ROOT = Path(__file__).parents[2]
PLACE = re.compile(r"^```\{(routes|exercise-index)\}\n```$", re.MULTILINE)
DIFFICULTY = {1: "easy", 2: "medium", 3: "hard"}


def footer(app: Sphinx, config) -> None:
    """Say at the foot of each page which version and commit it is made from, and under which licences."""
    made = [f"Version {rlhf_lab.__version__}"]
    if commit := os.environ.get("BOOK_COMMIT"):
        made.append(f"commit {commit}")
    made.append('text and figures <a href="https://creativecommons.org/licenses/by/4.0/">CC BY 4.0</a>, code MIT')
    config.html_theme_options["extra_footer"] = f'<p class="colophon">{" · ".join(made)}</p>'


def page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Write the routes and the index of exercises where a page leaves a place for them."""
    written = {"routes": _routes, "exercise-index": _index}
    source[0] = PLACE.sub(lambda place: written[place[1]](), source[0])


def _routes() -> str:
    cards = []
    for route in course.routes(ROOT):
        stops = "\n".join(f"1. {{ref}}`{label}`, {minutes} minutes. {advice}" for label, minutes, advice in route.stops)
        asked = f", with the {route.kind} exercises of these chapters" if route.kind else ""
        told = f"{route.purpose} About {course.hours(route.minutes)}{asked}."
        cards.append(f"::::{{container}} route\n**{route.title}**\n\n{told}\n\n{stops}\n::::")
    rates = (
        f"Minutes are counted: {course.WORDS_A_MINUTE} words a minute, {course.SECONDS_A_LINE} seconds for a line of "
        f"code, {course.SECONDS_A_SIGHT} for a displayed equation or a figure. Folded code and exercises are left out."
    )
    return "\n\n".join([":::::{container} routes", *cards, ":::::", rates])


def _index() -> str:
    parts = []
    for chapter in _chapters().values():
        minutes = sum(exercise.minutes for exercise in chapter.exercises)
        rows = "\n".join(map(_row, chapter.exercises))
        head = "| exercise | with | difficulty | minutes | checker |\n|---|---|---|---|---|"
        name = chapter.page.relative_to(ROOT).with_suffix("").as_posix()
        told = (
            f"{len(chapter.exercises)} exercises, about {course.hours(minutes)}. {{doc}}`Read the chapter </{name}>`."
        )
        parts.append(
            f"## {chapter.number}. {chapter.title}\n\n{told}\n\n:::{{div}} exercise-index\n{head}\n{rows}\n:::"
        )
    return "\n\n".join(parts)


def _row(exercise: course.Exercise) -> str:
    number = exercise.number.removeprefix("Exercise ")
    link = f"{{ref}}`{number} {exercise.title} <{exercise.label}>`"
    checker = f"{{py:func}}`{exercise.checker} <rlhf_lab.check.{exercise.checker}>`" if exercise.checker else ""
    return f"| {link} | {exercise.kind} | {course.dots(exercise.difficulty)} | {exercise.minutes} | {checker} |"


def facts(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put a line under the title of a chapter, and one under the title of each exercise."""
    if chapter := _pages().get(docname):
        title = doctree.next_node(nodes.title)
        title.parent.insert(title.parent.index(title) + 1, _chapter_line(app, docname, chapter))
    for exercise in doctree.findall(exercise_enumerable_node):
        known = dict(re.findall(r"(difficulty|minutes)-(\d+)", " ".join(exercise["classes"])))
        if known:
            line = nodes.paragraph("", "", *_difficulty(int(known["difficulty"])), classes=["facts"])
            line += nodes.Text(f" · {known['minutes']} minutes")
            exercise.next_node(nodes.section).insert(0, line)


@cache
def _chapters() -> dict[str, course.Chapter]:
    return course.chapters(ROOT)


def _pages() -> dict[str, course.Chapter]:
    return {chapter.page.relative_to(ROOT).with_suffix("").as_posix(): chapter for chapter in _chapters().values()}


def _chapter_line(app: Sphinx, docname: str, chapter: course.Chapter) -> nodes.paragraph:
    line = nodes.paragraph("", f"{chapter.minutes} minutes to read · ", classes=["facts"])
    asked = course.hours(sum(exercise.minutes for exercise in chapter.exercises))
    there = f"{len(chapter.exercises)} exercises"
    line += nodes.reference("", there, internal=True, refuri="#exercises")
    line += nodes.Text(f", {asked} · ")
    line.extend(_difficulty(chapter.difficulty))
    every = _chapters()
    for k, name in enumerate(chapter.builds_on):
        line += nodes.Text(", " if k else " · builds on ")
        uri = app.builder.get_relative_uri(docname, f"notebooks/{name}")
        line += nodes.reference("", f"{every[name].number}. {every[name].title}", internal=True, refuri=uri)
    return line


def _difficulty(level: int) -> list[nodes.Node]:
    """Return dots for the eye, and a word for a screen reader and for who points at the dots."""
    shown = f'<span class="dots" aria-hidden="true">{course.dots(level)}</span> {DIFFICULTY[level]}'
    return [nodes.raw("", shown, format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register everything."""
    app.connect("config-inited", footer)
    app.connect("source-read", page)
    app.connect("doctree-resolved", facts, priority=800)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
