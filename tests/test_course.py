"""What stands under titles, in the index of exercises, in the routes and in the glossary."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "book/_ext"), str(ROOT / "book")]

import book_index  # noqa: E402
import build  # noqa: E402
import course  # noqa: E402
import hover  # noqa: E402
import page_search  # noqa: E402

CHAPTERS = course.chapters(ROOT)


@pytest.fixture
def page(tmp_path):
    """Return a function that writes a chapter."""

    def write(text):
        (tmp_path / "chapter.md").write_text(text, encoding="utf-8")
        return tmp_path / "chapter.md"

    return write


PENCIL = ":::{exercise} Half of it\n:label: ex-half\n:class: difficulty-2 minutes-15\nShow it.\n:::\n"
CODE = (
    "```{exercise-start} Twice\n:label: ex-twice\n:class: difficulty-1 minutes-5\n```\nWrite it.\n\n"
    "```{code-cell} ipython3\ndef twice(x):\n    return None\n\ncheck.twice(twice)\n```\n\n```{exercise-end}\n```\n"
)


def test_exercises_are_read_from_the_text_of_a_chapter(page):
    numbers = {"ex-half": "Exercise 1.1", "ex-twice": "Exercise 1.2"}
    assert course.exercises(page(PENCIL + CODE), numbers) == [
        course.Exercise("ex-half", "Exercise 1.1", "Half of it", "pencil", 2, 15, ""),
        course.Exercise("ex-twice", "Exercise 1.2", "Twice", "code", 1, 5, "twice"),
    ]


@pytest.mark.parametrize("chapter", CHAPTERS.values(), ids=list(CHAPTERS))
def test_the_index_of_exercises_misses_none(chapter):
    written = chapter.page.read_text(encoding="utf-8")
    assert [exercise.label for exercise in chapter.exercises] == re.findall(r"^:label: (ex-.+)$", written, re.MULTILINE)
    assert {exercise.checker for exercise in chapter.exercises} - {""} == set(
        re.findall(r"^check\.(\w+)\((?!\w+_solution)", written, re.MULTILINE)
    )


def test_every_exercise_has_a_title_a_difficulty_and_minutes():
    every = [exercise for chapter in CHAPTERS.values() for exercise in chapter.exercises]
    assert [exercise for exercise in every if not (exercise.title and exercise.minutes)] == []
    assert {exercise.difficulty for exercise in every} == {1, 2, 3}
    titles = [exercise.title for exercise in every]
    assert len(set(titles)) == len(titles)


WORDS = " ".join(["word"] * 10 * course.WORDS_A_MINUTE)
LINES = "```{{code-cell}} ipython3\n{}{}```\n"


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        (WORDS, 10),
        (WORDS + "\n## Sources\n" + WORDS, 10),
        (WORDS + "\n## Exercises\n" + WORDS + "\n## In the wild\n" + WORDS, 20),
        (WORDS + "\n\n" + LINES.format("", "x = 1\n" * 75), 15),
        (WORDS + "\n\n" + LINES.format(":tags: [hide-input]\n\n", "x = 1\n" * 75), 10),
        (WORDS + "\n\n" + "```{math}\n:label: eq-one\na = b\n```\n" * 15, 15),
        (WORDS + "\n\n" + LINES.format(":tags: [hide-input]\n\n", "plt.show()\n") * 15, 15),
        ("---\n" + WORDS + "\n---\nFew words, and {cite}`a2020long,b2021long`.", 5),
    ],
)
def test_minutes_of_reading_are_counted(text, minutes):
    assert course.reading_minutes(text) == minutes


@pytest.mark.parametrize(
    ("minutes", "told"), [(45, "45 minutes"), (60, "1 hour"), (75, "1½ hours"), (110, "2 hours"), (250, "4 hours")]
)
def test_hours_are_told_in_halves(minutes, told):
    assert course.hours(minutes) == told


def test_chapters_build_on_earlier_ones():
    assert set(course.told(ROOT)["chapters"]) == set(CHAPTERS)
    for chapter in CHAPTERS.values():
        assert chapter.difficulty in (1, 2, 3)
        assert all(CHAPTERS[name].number < chapter.number for name in chapter.builds_on)


def test_a_section_ends_where_the_next_begins():
    fitting = course.section(ROOT, "sec-fitting")
    title = book_index.sections(ROOT)["sec-fitting"][1]
    assert fitting.startswith(f"{title}\n")
    assert "\n# " not in book_index.CELL.sub("", fitting)
    assert "\n## " not in fitting
    page = book_index.sections(ROOT)["sec-fitting"][0]
    whole = course.section(ROOT, "sec-reward-modeling")
    assert fitting in whole
    assert page.read_text(encoding="utf-8").endswith(whole)


def test_routes_pass_chapters_in_the_order_of_the_book_and_an_afternoon_is_one():
    order = list(book_index.sections(ROOT))
    routes = {route.title: route for route in course.routes(ROOT)}
    for route in routes.values():
        labels = [label for label, _, _ in route.stops]
        assert labels == sorted(labels, key=order.index)
        assert route.minutes >= sum(minutes for _, minutes, _ in route.stops)
    assert 150 <= routes["An afternoon"].minutes <= 300


ENTRIES = re.findall(
    r"^((?:\S.*\n)+)  (.+)$",
    (ROOT / "book/glossary.md").read_text(encoding="utf-8").split(":sorted:\n")[1],
    re.MULTILINE,
)


def test_every_entry_of_the_glossary_has_its_chapter():
    chapters = {chapter.page for chapter in CHAPTERS.values()}
    sections = book_index.sections(ROOT)
    assert len(ENTRIES) > 60
    for names, definition in ENTRIES:
        label = re.search(r"\{ref\}`(sec-[\w-]+)`\.$", definition)
        assert label, names
        assert sections[label[1]][0] in chapters, names


def test_no_two_entries_of_the_glossary_share_a_name():
    names = [name.lower() for entry, _ in ENTRIES for name in entry.splitlines()]
    assert sorted(set(names)) == sorted(names)


def linked(text, used=()):
    anchors = {"KL": "kl", "reward model": "rm", "reward": "r"}
    found = hover.linked(text, hover.pattern(anchors), anchors, "glossary.html", set(used))
    return [node.get("refuri", "")[14:] if hasattr(node, "get") else str(node) for node in found]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Reward models, and a reward model.", ["", "rm", ", and a reward model."]),
        ("the KL-regularised kl and KL", ["the KL-regularised kl and ", "kl", ""]),
        ("rewarding", ["rewarding"]),
        ("reward and KL", ["", "r", " and ", "kl", ""]),
    ],
)
def test_the_first_use_of_a_term_is_a_link(text, parts):
    assert linked(text) == parts


def test_a_term_that_was_linked_before_is_left_alone():
    assert linked("a reward and KL", used=["r"]) == ["a reward and ", "kl", ""]


@pytest.mark.parametrize(
    ("tex", "plain"),
    [
        (r"\pi_0", "π_0"),
        (r"\pi_{\mathrm{ref}}", "π_ref"),
        (r"\beta", "β"),
        (r"\pi^*", "π*"),
        (r"\log \pi", "…"),
        (r"\mathbb E_{y \sim \pi}\, f(x, y) + f(y, x)", "…"),
    ],
)
def test_a_short_formula_is_words_in_a_search(tex, plain):
    assert page_search.plain_formula(tex) == plain


def test_the_commit_is_left_out_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert build.commit(tmp_path) == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build.commit(ROOT) == ""
