"""Exercises that are answered on their page: by Python in Chromium, with nothing from outside."""

import re

import pytest
from answered import EXERCISES, wrong_answers
from browsing import CHAPTERS, HTML, LABEL, Answering, serious

LABELS = {
    chapter: [
        label
        for label in re.findall(r'id="(ex-[\w-]+)"', (HTML / chapter).read_text(encoding="utf-8"))
        if label in EXERCISES
    ]
    for chapter in CHAPTERS
}
DPO = "notebooks/dpo.html"


def test_every_exercise_of_a_chapter_takes_the_solution_and_names_what_is_wrong(lived):
    for label in LABELS[lived.name]:
        exercise, asked = Answering(lived.page, f"#{label}"), EXERCISES[label]
        code, sentences = wrong_answers(asked.checker)
        said = re.split(rf"^(?={asked.checker}: )", exercise.answer(code), flags=re.MULTILINE)[1:]
        assert len(said) == len(sentences) >= 2, label
        for told, sentence in zip(said, sentences, strict=True):
            assert told.startswith(f"{asked.checker}: not yet. {sentence}"), label
        assert exercise.box.locator(".live-mark").is_hidden(), label
        said = exercise.answer(asked.solution)
        assert re.fullmatch(rf"{asked.checker}: right on all \d+ cases\.\n?", said), label
        assert exercise.box.locator(".live-mark").is_visible(), label
    count = len(LABELS[lived.name])
    assert f"{count} of {count} code exercises answered here" in lived.page.locator("p.facts").first.inner_text()
    assert lived.outside == lived.complaints == []


def test_every_code_exercise_of_the_book_is_on_a_page():
    assert sorted(label for labels in LABELS.values() for label in labels) == sorted(EXERCISES)


@pytest.fixture(scope="module")
def loaded(browser, site):
    """A page on which Python runs, for the tests that leave it running."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(site + DPO)
    yield page
    page.close()


@pytest.fixture
def exercise(loaded):
    found = Answering(loaded)
    found.press("Reset")
    return found


def test_the_starter_is_in_the_editor_and_is_told_where_the_code_goes(exercise):
    assert exercise.editor.inner_text().startswith("def step(logits, log_pi_0")
    exercise.press("Run")
    assert exercise.told().startswith(
        "dpo_step: not yet. It returns None: your code goes where the starter returns None."
    )


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def step(\n    return 1", "This is not Python yet. Line 1: '(' was never closed.\ndef step(\n        ^\n"),
        ("x = 1\nx.y", "Line 2 raises AttributeError: 'int' object has no attribute 'y'\n"),
        ("print('so far')", "so far\nNothing was checked: the last line is to be check.dpo_step(step)"),
        ("while True:\n    print('x' * 999)", "Stopped: it printed more than 100,000 characters."),
        ("import sys\nsys.exit()", "Line 2 raises SystemExit"),
    ],
)
def test_what_is_no_answer_is_told_in_words(exercise, code, told):
    assert told in exercise.answer(code)


def test_answers_know_nothing_of_each_other(exercise):
    exercise.answer("left_over = 1")
    assert "NameError: name 'left_over'" in exercise.answer("left_over")


def test_another_exercise_waits_while_one_runs_and_an_endless_loop_is_stopped(exercise, loaded):
    exercise.editor.fill("while True:\n    pass")
    exercise.press("Run")
    exercise.page.wait_for_function(f"document.querySelector('#{LABEL} .live-note').textContent.startsWith('Running')")
    other = Answering(loaded, "#ex-dpo-loss")
    other.press("Run")
    assert other.note.inner_text() == "Python is busy elsewhere on this page."
    exercise.press("Stop")
    assert exercise.note.inner_text() == "Stopped. Python starts anew."
    assert exercise.answer(EXERCISES[LABEL].solution).startswith("dpo_step: right on all 50 cases.")


def test_an_answer_is_run_with_the_keyboard_and_tab_leaves_the_editor(exercise):
    exercise.editor.focus()
    exercise.page.keyboard.press("Control+Enter")
    assert "not yet" in exercise.told()
    exercise.editor.focus()
    exercise.page.keyboard.press("Tab")
    assert exercise.page.evaluate("document.activeElement.textContent") == "Run"


@pytest.mark.parametrize("view", ["desk", "dark", "phone"])
def test_an_answered_exercise_is_for_everybody(visit, view):
    visited = visit(DPO)
    page = visited.page
    page.evaluate(
        "localStorage.setItem('answer to ex-dpo-step', JSON.stringify({ code: 'x = 1  # one', right: true }))"
    )
    page.reload()
    visited.look(view)
    exercise = Answering(page)
    page.evaluate("window.LIVE.pyodide = ''")
    exercise.press("Run")
    exercise.said.evaluate("(box) => box.append('A long line of what was printed.\\n'.repeat(99))")
    assert exercise.box.locator(".live-mark").is_visible()
    page.locator(".solution", has_text="Solution to Exercise 11.2").locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 1
    assert serious(page) == []


def test_the_index_of_exercises_marks_those_that_are_answered(visit):
    page = visit("book/exercises.html").page
    assert page.locator(".live-mark").count() == 0
    page.evaluate(f"localStorage.setItem('answer to {LABEL}', JSON.stringify({{ right: true }}))")
    page.reload()
    assert page.locator(f"td:has(a[href$='#{LABEL}'])").inner_text().endswith("✓ answered")
    assert page.locator(".live-mark").count() == 1


def test_work_is_kept_and_the_starter_comes_back_on_demand(visit):
    page = visit(DPO).page
    Answering(page).editor.fill("mine = 1")
    page.reload()
    again = Answering(page)
    assert again.editor.inner_text() == "mine = 1"
    again.press("Reset")
    page.reload()
    assert Answering(page).editor.inner_text().startswith("def step(")


def test_a_solution_waits_for_a_first_run_or_for_who_asks_twice(visit):
    page = visit(DPO).page
    solution = page.locator(".solution", has_text="Solution to Exercise 11.2")
    Answering(page)
    solution.locator("summary").click()
    assert solution.locator("section").is_hidden()
    page.get_by_role("button", name="Show it now").click()
    assert solution.locator("section").is_visible()


NO_STORAGE = """() => {
  Storage.prototype.setItem = Storage.prototype.getItem = () => { throw new DOMException("no", "SecurityError"); };
}"""


def test_a_browser_that_keeps_nothing_says_so(visit):
    page = visit(DPO).page
    page.evaluate(NO_STORAGE)
    exercise = Answering(page)
    exercise.editor.fill("mine = 1")
    assert "keeps nothing" in exercise.note.inner_text()
    assert exercise.editor.inner_text() == "mine = 1"
    solution = page.locator(".solution", has_text="Solution to Exercise 11.2")
    solution.locator("summary").click()
    page.get_by_role("button", name="Show it now").click()
    for shown in (False, True):
        solution.locator("summary").click()
        assert solution.locator("section").is_visible() == shown


def test_a_browser_without_webassembly_is_told_where_answers_run(visit):
    page = visit(DPO).page
    page.evaluate("delete window.WebAssembly")
    exercise = Answering(page)
    exercise.press("Run")
    assert re.match(r"This browser has no WebAssembly.*make lab", exercise.told())


def test_without_scripts_the_cell_stays_a_cell(visit):
    page = visit(DPO, java_script_enabled=False).page
    box = page.locator(f"#{LABEL}")
    assert box.locator(".cell pre").first.is_visible()
    assert box.locator(".cm-editor").count() == 0


LOST = {
    "pyodide.js": "pyodide.js",
    "packages.zip*": "packages.zip?",
    "*.wasm": "pyodide.asm.wasm: 404",
    "numpy*": "ModuleNotFoundError: No module named 'numpy'",
    "live_worker.js": "the worker did not start",
}


@pytest.mark.parametrize(("lost", "words"), LOST.items())
def test_what_is_missing_for_python_is_told(visit, lost, words):
    page = visit(DPO).page
    page.route(f"**/{lost}", lambda route: route.fulfill(status=404, body="no"))
    exercise = Answering(page)
    exercise.press("Run")
    told = exercise.told()
    assert told.startswith("Python could not go on: ")
    assert words in told
    assert "make lab" in told


def test_a_book_without_python_says_how_to_run_an_answer_and_shows_solutions(visit):
    page = visit(DPO).page
    page.route("**/live/settings.js", lambda route: route.fulfill(body="window.LIVE = { pyodide: '' };"))
    exercise = Answering(page)
    exercise.press("Run")
    assert re.match(r"This copy of the book has no Python in it.*make lab", exercise.told())
    solution = page.locator(".solution", has_text="Solution to Exercise 11.2")
    solution.locator("summary").click()
    assert solution.locator("section").is_visible()


def test_a_page_opened_as_a_file_says_that_it_needs_an_address(browser):
    page = browser.new_page()
    page.goto((HTML / DPO).as_uri())
    exercise = Answering(page)
    exercise.press("Run")
    assert re.match(r"Browsers run no Python on pages that are opened as files", exercise.told())
    page.close()


def test_paper_has_the_cell_and_no_editor(visit):
    page = visit(DPO).page
    exercise = Answering(page)
    page.emulate_media(media="print")
    assert not exercise.editor.is_visible()
    assert exercise.box.locator(".cell pre").first.is_visible()
