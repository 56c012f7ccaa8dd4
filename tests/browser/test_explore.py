"""The explorables, driven as a reader drives them, show what the package computes."""

import json
import re
from functools import cache

import numpy as np
import pytest
from test_pages import ASK, AXE

from rlhf_lab.feedback import linear_fits
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


@cache
def answers():
    """Return the tokens of all answers."""
    return lm.enumerate_responses(phrase_world.VOCAB, phrase_world.HORIZON, phrase_world.EOS)


def parts():
    """Return the parts of the reward of all answers to the first question."""
    prompt = np.repeat(phrase_world.PROMPTS[:1], len(answers()), axis=0)
    return np.stack(list(phrase_world.reward_parts(prompt, answers()).values()), axis=-1)


@cache
def pretrained(question):
    """Return log pi_0 and reward of all answers."""
    world = phrase_world
    log_pi_0 = lm.answer_log_probs(world.model(), world.pretrained(), world.PROMPTS, world.HORIZON)
    return log_pi_0[question], world.mdp().answer_rewards()[question]


@pytest.mark.parametrize("row", [0, 2])
def test_the_slider_of_beta_shows_exact_optima(opened_box, row):
    _, box = opened_box("token_mdp", "beta")
    box.locator("select").select_option(str(row))
    names = [phrase_world.decode(y) for y in answers()]
    (log_pi_0, reward), seen = pretrained(row), set()
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
            place = names.index(name)
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


def test_the_fit_in_the_page_is_that_of_the_package(opened_box):
    visit, _ = opened_box("pipeline", "annotator")
    rng = np.random.default_rng(3)
    for count, spread, precision in ((0, 1, 0.25), (1, 4, 0.25), (20, 1, 0.25), (20, 9, 1e-3), (60, 3, 4)):
        differences = spread * rng.normal(size=(count, 5))
        labels = rng.choice([0, 0.5, 1], size=count)
        asked = [differences.tolist(), labels.tolist(), precision]
        told = visit.page.evaluate("([d, l, precision]) => exact.fit(d, l, precision, 5)", asked)
        expected = linear_fits.fit_linear(differences, labels, precision)
        np.testing.assert_allclose(told["mean"], expected.mean, atol=1e-9)
        np.testing.assert_allclose(told["sd"], np.sqrt(np.diagonal(expected.covariance)), atol=1e-9)


def test_twenty_clicks_cause_the_policy_of_their_fit(opened_box):
    _, box = opened_box("pipeline", "annotator")
    told = json.loads(box.locator("script").text_content())
    choices = box.locator(".pair button")
    labels = [1, 0.5, 0, 0, 1, 1, 0, 1, 0.5, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 0]
    box.get_by_role("button", name="no difference").click()
    box.get_by_role("button", name="undo").click()
    for label in labels:
        button = box.get_by_role("button", name="no difference") if label == 0.5 else choices.nth(1 - label)
        button.press("Enter")
    assert choices.nth(0).is_disabled()
    slider = box.locator("input[type=range]")
    assert slider.evaluate("(s) => s.ariaValueText") == "0.5"
    pairs = np.array([pair["parts"] for pair in told["pairs"]])
    fit = linear_fits.fit_linear(pairs[:, 0] - pairs[:, 1], np.array(labels), told["precision"])
    words = box.locator(".told").inner_text().replace("\u2212", "-")
    numbers = [(float(m), float(s)) for m, s in re.findall(r"(-?[\d.]+) ± ([\d.]+)", words)]
    half = 1.959964 * np.sqrt(np.diagonal(fit.covariance))
    np.testing.assert_allclose(numbers, np.stack([fit.mean, half], -1), atol=0.05 + 1e-6)
    log_pi_0, reward = pretrained(0)
    learned = parts() @ fit.mean
    log_pi = gibbs.log_policy(log_pi_0, learned, 0.5)
    nats, earned = (float(re.search(p, words)[1]) for p in (r"is (\S+) nats", r"earns (\S+) of the oracular"))
    np.testing.assert_allclose([nats, earned], [lm.kl(log_pi, log_pi_0), np.exp(log_pi) @ reward], atol=0.005 + 1e-9)
    rows = box.locator("tbody tr").all_inner_texts()
    shown = [[float(share) for share in re.findall(r"([\d.]+)%", row)][1] for row in rows]
    np.testing.assert_allclose(shown, 100 * np.sort(np.exp(log_pi))[::-1][: len(shown)], atol=0.05 + 1e-9)


BOXES = [("token_mdp", "beta"), ("pipeline", "annotator")]


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
