"""The explorables, driven as a reader drives them, show what the package computes."""

import re

import numpy as np
import pytest
from test_pages import ASK, AXE

from rlhf_lab.models import gibbs, lm
from rlhf_lab.worlds import phrase_world


@pytest.fixture(scope="module")
def opened_box(browser, site):
    """A function that opens the box of an explorable on its page; nothing may go wrong there."""
    from browsing import Visit

    made = []

    def load(chapter, name, **context):
        made.append(Visit(browser, site, f"notebooks/{chapter}.html", **context))
        box = made[-1].page.locator(f"#explore-{name}")
        if box.get_attribute("open") is None:
            box.locator("summary").click()
        return made[-1], box

    yield load
    for visit in made:
        assert visit.outside == visit.complaints == []
        visit.context.close()


def slide(box, k):
    """Put the slider at step k, as its keys do, and return what is told."""
    box.locator("input[type=range]").first.evaluate(
        "(input, k) => { input.value = k; input.dispatchEvent(new Event('input')); }", k
    )
    return box.locator(".told").inner_text().replace("\u2212", "-")


@pytest.mark.parametrize("row", [0, 2])
def test_the_slider_of_beta_shows_exact_optima(opened_box, row):
    _, box = opened_box("token_mdp", "beta")
    box.locator("select").select_option(str(row))
    world = phrase_world
    answers = [world.decode(y) for y in lm.enumerate_responses(world.VOCAB, world.HORIZON, world.EOS)]
    log_pi_0 = lm.answer_log_probs(world.model(), world.pretrained(), world.PROMPTS, world.HORIZON)[row]
    reward = world.mdp().answer_rewards()[row]
    seen = set()
    for k in (0, 40, 77, 130, 200):
        told = slide(box, k)
        beta = float(re.search(r"At β = ([\d.]+)", told)[1])
        log_pi = gibbs.log_policy(log_pi_0, reward, beta)
        earned, nats, value = (
            float(re.search(p, told)[1]) for p in (r"earns (\S+)", r"is (\S+) nats", r"J = .* = (.+)\. A")
        )
        np.testing.assert_allclose(earned, np.exp(log_pi) @ reward, atol=0.005 + 1e-9)
        np.testing.assert_allclose(nats, lm.kl(log_pi, log_pi_0), atol=0.005 + 1e-9)
        np.testing.assert_allclose(value, gibbs.objective(log_pi, log_pi_0, reward, beta), atol=0.005 + 1e-9)
        shown = box.locator("tbody tr").evaluate_all(
            "(rows) => rows.map((row) => [row.cells[0].textContent, row.innerText])"
        )
        for name, text in shown[:-1]:
            before, after = map(float, re.findall(r"([\d.]+)%", text))
            place = answers.index(name)
            np.testing.assert_allclose(
                [before, after], 100 * np.exp([log_pi_0[place], log_pi[place]]), atol=0.05 + 1e-9
            )
        seen.add(beta)
    assert {min(seen), max(seen), len(seen)} == {0.05, 20, 5}


def test_an_arrow_key_moves_beta_and_a_voice_says_where_it_is(opened_box):
    visit, box = opened_box("token_mdp", "beta")
    slider = box.locator("input[type=range]")
    before, words = slider.evaluate("(s) => s.ariaValueText"), box.locator(".told").inner_text()
    slider.press("ArrowRight")
    assert float(slider.evaluate("(s) => s.ariaValueText")) > float(before)
    visit.page.wait_for_timeout(600)
    assert box.locator("[role=status]").text_content() == box.locator(".told").inner_text() != words


BOXES = [("token_mdp", "beta")]


@pytest.mark.parametrize(("chapter", "name"), BOXES)
@pytest.mark.parametrize("view", ["desk", "dark", "phone"])
def test_an_open_box_fits_and_axe_finds_nothing(opened_box, chapter, name, view):
    visit, _ = opened_box(chapter, name)
    page = visit.look(view)
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 1
    page.evaluate(AXE)
    page.evaluate(f"document.body.replaceChildren(document.querySelector('#explore-{name}').closest('main') ?? '')")
    assert page.evaluate(ASK, None) == []


@pytest.mark.parametrize(("chapter", "name"), BOXES)
def test_without_scripts_a_sentence_stays(opened_box, chapter, name):
    _, box = opened_box(chapter, name, java_script_enabled=False)
    assert box.locator(".still").is_visible()
    assert box.locator("input, button, select").count() == 0
