"""What the chapters ask of a reader: minutes of reading, exercises, what they build on, and routes through them.

Pure functions of a project's root. Exercises and minutes are read from the texts; `book/chapters.yml` says the rest.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import book_index
import yaml

WORDS_A_MINUTE = 200
SECONDS_A_LINE = 4  # of code that is not folded
SECONDS_A_SIGHT = 20  # a displayed equation, a figure
EXERCISE = re.compile(
    r"^(?P<fence>`{3}|:{3,})\{(?P<kind>exercise(?:-start)?)\}(?P<title>[^\n]*)\n"
    r":label: (?P<label>[^\n]+)\n(?::class:(?P<classes>[^\n]*)\n)?(?P<body>.*?)^(?:```\{exercise-end\}|:{3,}$)",
    re.MULTILINE | re.DOTALL,
)
LEFT_OUT = ("Exercises", "Sources")


@dataclass(frozen=True)
class Exercise:
    """An exercise: `difficulty` is 1, 2 or 3, and `checker` a function of `rlhf_lab.check`, if it has one."""

    label: str
    number: str
    title: str
    kind: str
    difficulty: int
    minutes: int
    checker: str


@dataclass(frozen=True)
class Chapter:
    """What stands under a chapter's title."""

    page: Path
    number: int
    title: str
    minutes: int
    difficulty: int
    builds_on: list[str]
    exercises: list[Exercise]


@dataclass(frozen=True)
class Route:
    """A way through the book. A stop is the label of a chapter or section, its minutes of reading, and advice."""

    title: str
    purpose: str
    minutes: int
    kind: str
    stops: list[tuple[str, int, str]]


def exercises(page: Path, numbers: dict[str, str]) -> list[Exercise]:
    """Return the exercises of a chapter."""
    found = []
    for written in EXERCISE.finditer(page.read_text(encoding="utf-8")):
        classes = dict(re.findall(r"(difficulty|minutes)-(\d+)", written["classes"] or ""))
        checker = re.search(r"^check\.(\w+)\(", written["body"], re.MULTILINE)
        found.append(
            Exercise(
                label=written["label"],
                number=numbers[written["label"]],
                title=written["title"].strip(),
                kind="code" if written["kind"] == "exercise-start" else "pencil",
                difficulty=int(classes.get("difficulty", 0)),
                minutes=int(classes.get("minutes", 0)),
                checker=checker[1] if checker else "",
            )
        )
    return found


def reading_minutes(text: str) -> int:
    """Return the minutes that a piece of a chapter takes to read, at the rates above, in steps of five.

    Folded code, exercises with their solutions, and sources are not counted.
    """
    for title in LEFT_OUT:
        text = re.sub(rf"^## {title}\n.*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    shown = [cell["code"] for cell in book_index.CELL.finditer(text) if "hide-input" not in cell[0]]
    lines = sum(bool(line.strip()) and line[0] != ":" for cell in shown for line in cell.splitlines())
    figures = text.count("plt.show()")
    prose = book_index.CELL.sub("", re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL))
    prose, equations = re.subn(r"^[`:]{3,}\{math\}\n.*?^[`:]{3,}$", "", prose, flags=re.MULTILINE | re.DOTALL)
    words = len(re.findall(r"[^\W\d_][\w'-]*", re.sub(r"\$[^$]+\$|\{[\w:]+\}`[^`]*`", "x", prose)))
    seconds = 60 * words / WORDS_A_MINUTE + SECONDS_A_LINE * lines + SECONDS_A_SIGHT * (figures + equations)
    return max(5, 5 * round(seconds / 300))


def told(root: Path) -> dict:
    """Return what `book/chapters.yml` says."""
    return yaml.safe_load((root / "book/chapters.yml").read_text(encoding="utf-8"))


def chapters(root: Path) -> dict[str, Chapter]:
    """Return the numbered chapters by the stem of their files, in the order of the book."""
    numbers, titles, written = book_index.numbers(root), book_index.titles(root), told(root)["chapters"]
    found = {}
    for number, (page, *_) in book_index.numbered(root).items():
        facts = written[page.stem]
        minutes = reading_minutes(page.read_text(encoding="utf-8"))
        found[page.stem] = Chapter(
            page, number, titles[page], minutes, facts["difficulty"], facts["builds on"], exercises(page, numbers)
        )
    return found


def section(root: Path, label: str) -> str:
    """Return the text of the chapter or the section with this label."""
    page, title = book_index.sections(root)[label]
    text = page.read_text(encoding="utf-8")
    start = text.index(f"{title}\n", text.index(f"({label})=\n"))
    level = len(text[:start].rsplit("\n", 1)[-1].strip())
    end = re.compile(rf"^#{{1,{level}}} ", re.MULTILINE).search(book_index.CELL.sub(_blank, text), start)
    return text[start : end.start() if end else None]


def _blank(cell: re.Match) -> str:
    return " " * len(cell[0])  # a comment in code is not a heading


def routes(root: Path) -> list[Route]:
    """Return the routes through the book; their minutes include the exercises that belong to them."""
    found, sections = [], book_index.sections(root)
    every = {chapter.page: chapter.exercises for chapter in chapters(root).values()}
    for title, route in told(root)["routes"].items():
        stops = [
            (label, reading_minutes(section(root, label)), advice)
            for stop in route["stops"]
            for label, advice in stop.items()
        ]
        kind = route.get("exercises", "")
        passed = {sections[label][0] for label, _, _ in stops}
        asked = [exercise for page in passed for exercise in every[page] if exercise.kind == kind]
        minutes = sum(minutes for _, minutes, _ in stops) + sum(exercise.minutes for exercise in asked)
        found.append(Route(title, route["for"], minutes, kind, stops))
    return found


def hours(minutes: int) -> str:
    """Return minutes in words: 45 minutes, 1 hour, 2½ hours."""
    if minutes < 60:
        return f"{minutes} minutes"
    halves = (minutes + 15) // 30
    return f"{halves // 2}{'½' if halves % 2 else ''} hour{'s' if halves != 2 else ''}"


def dots(difficulty: int) -> str:
    """Return a difficulty from 1 to 3 as dots."""
    return "●" * difficulty + "○" * (3 - difficulty)
