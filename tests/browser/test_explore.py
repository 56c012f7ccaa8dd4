"""The explorables, driven as a reader drives them, show what the package computes."""

import json
import re
from functools import cache

import numpy as np
import pytest
from autograd import grad
from browsing import Visit, serious
from scipy.optimize import brentq

from rlhf_lab.experiments import policy_gradients
from rlhf_lab.feedback import linear_fits
from rlhf_lab.methods import actor_critic, best_of_n, soft_values
from rlhf_lab.models import gibbs, lm
from rlhf_lab.worlds import phrase_world


def unfolded(visit, name):
    """Open the box of an explorable, if it is closed, and return it."""
    box = visit.page.locator(f"#explore-{name}")
    if box.get_attribute("open") is None:
        box.locator("summary").click()
    return box


@pytest.fixture(scope="module")
def opened_box(browser, site):
    """A function that opens the box of an explorable on its page; nothing may go wrong there."""
    made = []

    def load(chapter, name):
        made.append(Visit(browser, site, f"notebooks/{chapter}.html"))
        return made[-1], unfolded(made[-1], name)

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
    prior = visit.page.evaluate("exact.fit([], [], 0.25, 2)")
    assert prior == {"mean": [0, 0], "sd": [2, 2]}
    for count, spread, precision in ((1, 4, 0.25), (20, 1, 0.25), (20, 9, 1e-3), (60, 3, 4)):
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
    numbers = [(float(m), float(s)) for m, s in re.findall(r"(-?\d+\.\d) ± (\d+\.\d)", words)]
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


def test_the_keyboard_walks_through_the_tree_and_finds_exact_values(opened_box):
    _, box = opened_box("soft_values", "tree")
    world = phrase_world
    prior = lm.policy_levels(world.model(), world.pretrained(), world.PROMPTS[:1], world.HORIZON)
    rewards = [level[:1] for level in world.mdp().token_rewards()]
    thanks = box.get_by_role("button", name="thanks: ").first
    thanks.press("Enter")
    assert thanks.get_attribute("aria-expanded") == "true"
    assert "After “yes thanks”" in box.locator(".told").inner_text()
    yes, polite = (world.WORDS.index(word) for word in ("yes", "thanks"))
    state = yes * (world.VOCAB - 1) + polite
    for k in (0, 77, 200):
        told = slide(box, k)
        price = float(box.locator("input[type=range]").evaluate("(s) => s.ariaValueText"))
        g = soft_values.g_values(prior, rewards, price, eos=world.EOS)
        shown = re.findall(r"[\d.-]+", thanks.get_attribute("aria-label").replace("\u2212", "-"))
        optimum = np.exp(prior[1][0, yes, polite] + g.q[1][0, yes, polite] - g.v[1][0, yes])
        exact = 100 * np.exp(prior[1][0, yes, polite]), 100 * optimum, price * g.q[1][0, yes, polite]
        np.testing.assert_allclose([float(number) for number in shown], exact, atol=0.0501)
        value = float(re.search(r"soft value is ([\d.-]+),", told)[1])
        np.testing.assert_allclose(value, price * g.v[2][0, state], atol=0.0051)
    box.get_by_role("button", name="is tea hot").press("Enter")
    assert not thanks.is_visible()


def test_the_slider_of_n_shows_the_exact_law_beside_the_gibbs_policy_of_the_same_divergence(opened_box):
    _, box = opened_box("pipeline", "best-of-n")
    task, _ = policy_gradients.pretrained()
    reference, reward = task.log_pi_0, task.rewards

    def earned(log_pi):
        return task.mean((np.exp(log_pi) * reward).sum(-1))

    for k in (0, 3, 9, 17):
        told = slide(box, k)
        n = int(re.match(r"Best of (\d+) ", told)[1])
        log_pi_n = best_of_n.log_best_of_n(reference, reward, n)
        numbers = [float(number) for number in re.findall(r"-?\d+\.\d+", told)]
        nats, won = task.mean(lm.kl(log_pi_n, reference)), task.mean(best_of_n.win_rate(log_pi_n, reference, reward))
        exact = [earned(log_pi_n), nats, best_of_n.kl_bound(n), won, n / (n + 1)]
        np.testing.assert_allclose(numbers[:5], exact, atol=0.005 + 1e-9)
        top = box.locator("tbody tr").first.inner_text()
        shares = [float(share) for share in re.findall(r"([\d.]+)%", top)]
        best = [task.mean((np.exp(log_pi) * (reward == 3)).sum(-1)) for log_pi in (reference, log_pi_n)]
        np.testing.assert_allclose(shares[:2], 100 * np.array(best), atol=0.05 + 1e-9)
        if n == 512:
            assert "the end of the frontier" in told
            end = np.log(np.sum(np.exp(reference) * (reward == 3), -1))
            assert task.mean(lm.kl(log_pi_n, reference)) == pytest.approx(-task.mean(end), abs=1e-9)
        elif n > 1:

            def apart(price, nats=nats):
                return task.mean(lm.kl(gibbs.log_policy(reference, reward, price), reference)) - nats

            price = brentq(apart, 1e-3, 1e4, rtol=1e-12)
            optimum = gibbs.log_policy(reference, reward, price)
            assert numbers[6] == pytest.approx(earned(optimum) - earned(log_pi_n), abs=0.0005 + 1e-6)
            assert numbers[5] == float(f"{price:.2g}")
            assert shares[2] == pytest.approx(100 * task.mean((np.exp(optimum) * (reward == 3)).sum(-1)), abs=0.0501)
    assert n == 512


def test_the_clip_range_counts_as_the_loss_and_its_gradient_do(opened_box):
    _, box = opened_box("ppo", "clip")
    told = json.loads(box.locator("script").text_content())
    advantage = np.array(told["advantage"])
    sliders = box.locator("input[type=range]")
    for epsilon_step, ratio_step, passes in ((15, 95, 4), (0, 10, 1), (45, 130, 3), (5, 60, 0)):
        for slider, k in zip(sliders.all(), (epsilon_step, ratio_step, passes), strict=True):
            slider.evaluate("(s, k) => { s.value = k; s.dispatchEvent(new Event('input')); }", k)
        epsilon, ratio = (5 + epsilon_step) / 100, (40 + ratio_step) / 100
        words = box.locator(".told").inner_text().replace("\u2212", "-")

        def objective(log_pi, a, epsilon=epsilon):
            one = np.ones((1, len(a)))
            return -actor_critic.ppo_loss(log_pi, 0 * one, a[None], one, epsilon)

        for sign, name in ((1.0, "a good token"), (-1.0, "a bad one")):
            log_u, a = np.log([[ratio]]), np.array([sign])
            count, slope = re.search(rf"{name}(?: counts)? (-?[\d.]+) with slope (-?\d)", words).groups()
            assert float(count) == pytest.approx(float(objective(log_u, a)), abs=0.005 + 1e-9)
            assert float(slope) == pytest.approx(grad(objective)(log_u, a)[0, 0] / ratio)
        log_pi = np.log(told["ratio"][passes])[None]
        one = np.ones(log_pi.shape)
        outside = actor_critic.clip_fraction(log_pi, 0 * one, one, epsilon) * log_pi.size
        flat = (grad(objective)(log_pi, advantage)[0][advantage != 0] == 0).sum()
        found = re.search(r"After (\d) passes, (\d+) of (\d+) tokens .* gradient of (\d+) is zero", words).groups()
        assert [int(number) for number in found] == [passes, round(outside), log_pi.size, flat]
        assert box.locator("svg").nth(1).locator(".hollow").count() == flat


PREDICTIONS = [("overoptimization", "predict-hacking"), ("stale_answers", "predict-lag"), ("dpo", "predict-tenfold")]


@pytest.mark.parametrize(("chapter", "name"), PREDICTIONS)
def test_a_line_is_drawn_with_the_keyboard_before_the_true_one_is_shown(opened_box, chapter, name):
    visit, box = opened_box(chapter, name)
    numbers = json.loads(box.locator("script").text_content())
    covered = visit.page.locator(f"#{numbers['figure']} img")
    assert not covered.is_visible()
    asked, (low, high) = numbers["asked"], numbers["ends"]["y"]
    assert box.locator("polyline.true").count() == 0
    handles = box.locator(".handles input")
    drawn = []
    for handle in handles.all():
        handle.press("Home")
        handle.press("ArrowRight")
        drawn.append(low + (high - low) / 100)
    assert len(drawn) == len(asked["x"]) - 1
    assert "focused" in box.locator("svg circle").last.get_attribute("class")
    box.get_by_role("button", name="show what happens").press("Enter")
    assert covered.is_visible()
    assert box.locator("polyline.true").count() == 1 + len(numbers["more"])
    misses = np.abs(np.array(asked["y"][1:]) - drawn)
    words = box.locator(".told").inner_text().replace("\u2212", "-")
    off, worst, said, true, end = re.findall(r"(?:by|at|say|is) (-?[\d.]*\d)", words)
    digits = len(said.split(".")[1])
    assert float(off) == pytest.approx(misses.mean(), abs=0.51 * 10 ** -(digits + 1))
    assert float(worst) == asked["x"][1 + int(misses.argmax())]
    numbers = [drawn[0], asked["y"][1 + int(misses.argmax())], asked["y"][-1]]
    np.testing.assert_allclose([float(n) for n in (said, true, end)], numbers, atol=0.501 * 10**-digits)
    box.get_by_role("button", name="draw again").press("Enter")
    assert not covered.is_visible()
    visit.page.locator(".veil button").click()
    assert covered.is_visible()


def test_a_line_is_drawn_with_the_pointer(opened_box):
    visit, box = opened_box("overoptimization", "predict-hacking")
    plot = box.locator("svg")
    plot.scroll_into_view_if_needed()
    place = plot.bounding_box()
    before = box.locator(".told").inner_text()
    visit.page.mouse.move(place["x"] + 100, place["y"] + 120)
    visit.page.mouse.down()
    visit.page.mouse.move(place["x"] + place["width"] - 15, place["y"] + 60, steps=30)
    visit.page.mouse.up()
    values = [float(handle.input_value()) for handle in box.locator(".handles input").all()]
    assert values == sorted(values)
    assert values[0] < values[-1]
    assert box.locator(".told").inner_text() != before


def test_who_comes_for_the_figure_sees_it(visit):
    page = visit("notebooks/overoptimization.html#fig-hacking").page
    assert page.locator("#fig-hacking img").is_visible()


BOXES = [
    ("token_mdp", "beta"),
    ("pipeline", "annotator"),
    ("pipeline", "best-of-n"),
    ("soft_values", "tree"),
    ("ppo", "clip"),
    *PREDICTIONS,
]


@pytest.mark.parametrize(("chapter", "name"), BOXES)
def test_an_open_box_fits_on_every_screen_and_axe_finds_nothing(visit, chapter, name):
    loaded = visit(f"notebooks/{chapter}.html")
    box = unfolded(loaded, name)
    box.evaluate("(box) => box.closest('article').replaceChildren(box)")
    loaded.page.evaluate("document.querySelector('#pst-back-to-top').remove()")  # it is the theme's, and other tests'
    for view in ("phone", "dark", "desk"):
        page = loaded.look(view)
        theme = "dark" if view == "dark" else "light"
        page.wait_for_function("(theme) => document.documentElement.dataset.theme === theme", arg=theme)
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 1
        parts = "[...box.querySelectorAll('.explore *')].filter((e) => e.clientWidth > 1)"
        wide = f"{parts}.filter((e) => e.scrollWidth > e.clientWidth + 1)"
        assert box.evaluate(f"(box) => {wide}.map((e) => e.outerHTML.slice(0, 90))") == []
        assert serious(page) == []


@pytest.mark.parametrize(("chapter", "name"), BOXES)
def test_without_scripts_a_sentence_stays(visit, chapter, name):
    box = unfolded(visit(f"notebooks/{chapter}.html", java_script_enabled=False), name)
    assert box.locator(".still").is_visible()
    assert box.locator("input, button, select").count() == 0
