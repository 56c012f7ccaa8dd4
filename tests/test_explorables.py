"""What readers explore in their browser are the numbers of the package."""

import json
import re
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from autograd import grad

from rlhf_lab.experiments import policy_gradients as studies
from rlhf_lab.methods import actor_critic, best_of_n, soft_values
from rlhf_lab.models import gibbs, lm
from rlhf_lab.worlds import phrase_world

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "book/_ext")]

import explorable_worlds  # noqa: E402
import explorables  # noqa: E402
import explore  # noqa: E402

NUMBERS = {name: known.numbers() for name, known in explorables.EXPLORABLES.items()}


@pytest.mark.parametrize("name", NUMBERS)
def test_an_explorable_is_light_and_stands_in_the_page_as_it_was_computed(name):
    html = explore.figure(name)
    assert len(html) < 100_000
    stored = json.loads(re.search(r'<script type="application/json">(.*)</script>', html)[1])
    assert stored == json.loads(json.dumps(NUMBERS[name]))
    assert (ROOT / "book/_static/explore" / explorables.EXPLORABLES[name].script).exists()


@cache
def phrase_policies():
    log_pi_0 = lm.answer_log_probs(
        phrase_world.model(), phrase_world.pretrained(), phrase_world.PROMPTS, phrase_world.HORIZON
    )
    return log_pi_0, phrase_world.mdp().answer_rewards()


def test_levels_give_the_optimum_of_all_answers():
    for before, reward, told in zip(*phrase_policies(), NUMBERS["beta"]["questions"], strict=True):
        mass, worth = np.array(told["levels"]["mass"]), np.array(told["levels"]["reward"])
        assert mass.sum() == pytest.approx(1, abs=1e-12)
        assert (np.diff(worth) > 0).all()
        assert len(worth) == len(set(reward))
        for price in (0.05, 0.5, 20):
            log_pi, few = gibbs.log_policy(before, reward, price), gibbs.log_policy(np.log(mass), worth, price)
            assert np.exp(few) @ worth == pytest.approx(np.exp(log_pi) @ reward, abs=1e-10)
            assert lm.kl(few, np.log(mass)) == pytest.approx(lm.kl(log_pi, before), abs=1e-10)


def test_the_answers_shown_are_the_likeliest_and_one_that_is_worth_as_much_and_is_no_english():
    answers = explorable_worlds._answers()
    assert len(answers) == NUMBERS["beta"]["count"]
    for before, reward, told in zip(*phrase_policies(), NUMBERS["beta"]["questions"], strict=True):
        places = [answers.index(row["text"]) for row in told["answers"]]
        assert len(places) == len(set(places))
        assert [row["reward"] for row in told["answers"]] == reward[places].tolist()
        np.testing.assert_allclose([row["before"] for row in told["answers"]], np.exp(before[places]), rtol=1e-12)
        assert set(np.argsort(-before)[:7]) <= set(places)
        *_, salad = places
        assert reward[salad] == reward.max()
        assert before[salad] == before[reward == reward.max()].min()


def test_no_other_policy_lies_above_a_line_through_an_optimum():
    for before, reward, told in zip(*phrase_policies(), NUMBERS["beta"]["questions"], strict=True):
        kl, earned = np.transpose(told["others"])
        assert len(kl) == 20
        for price in (0.05, 0.3, 2):
            value = price * gibbs.log_normaliser(before, reward, price)
            assert (earned - price * kl < value).all()


def test_the_sentence_without_scripts_tells_the_optimum_at_the_start():
    before, reward = (found[0] for found in phrase_policies())
    log_pi = gibbs.log_policy(before, reward, explorable_worlds.PRICE)
    told = explorables.EXPLORABLES["beta"].still(NUMBERS["beta"])
    best = np.argmax(log_pi)
    assert f"“{explorable_worlds._answers()[best]}” in {100 * np.exp(log_pi[best]):.0f}% of the cases" in told
    assert f"in {100 * np.exp(before[best]):.0f}%. It earns {np.exp(log_pi) @ reward:.2f}" in told
    assert f"{np.exp(before) @ reward:.2f}, at {lm.kl(log_pi, before):.2f} nats".replace("-", "\u2212") in told


def parts_of(texts):
    answers = np.stack([phrase_world.encode(text, phrase_world.HORIZON) for text in texts])
    prompt = np.repeat(phrase_world.PROMPTS[:1], len(answers), axis=0)
    return np.stack(list(phrase_world.reward_parts(prompt, answers).values()), axis=-1)


def test_an_annotator_compares_answers_that_differ_in_their_parts():
    told = NUMBERS["annotator"]
    assert told["question"] == phrase_world.QUESTIONS[0]
    assert len(told["pairs"]) == len(told["labels"]) == 20
    for pair in told["pairs"]:
        np.testing.assert_array_equal(parts_of(pair["texts"]), pair["parts"])
        assert pair["parts"][0] != pair["parts"][1]
    assert set(told["labels"]) == {0, 1}


def test_groups_of_answers_give_the_policy_of_any_annotator_over_all_answers():
    told, (log_pi_0, reward) = NUMBERS["annotator"], (found[0] for found in phrase_policies())
    parts, mass = (np.array([group[name] for group in told["groups"]]) for name in ("parts", "mass"))
    np.testing.assert_allclose(parts.sum(-1) @ mass, np.exp(log_pi_0) @ reward, atol=1e-10)
    answers = lm.enumerate_responses(phrase_world.VOCAB, phrase_world.HORIZON, phrase_world.EOS)
    prompt = np.repeat(phrase_world.PROMPTS[:1], len(answers), axis=0)
    weights = np.array([0.3, 2.0, -1.0, -0.4, 0.8])  # of somebody who is rude, wordy, and keeps to the subject
    learned = np.stack(list(phrase_world.reward_parts(prompt, answers).values()), axis=-1) @ weights
    log_pi = gibbs.log_policy(log_pi_0, learned, 0.5)
    few = gibbs.log_policy(np.log(mass), parts @ weights, 0.5)
    assert lm.kl(few, np.log(mass)) == pytest.approx(lm.kl(log_pi, log_pi_0), abs=1e-10)
    listed = [(before, group) for group, each in enumerate(told["groups"]) for _, before in each["answers"]]
    shown = sorted((before * np.exp(few[group]) / mass[group] for before, group in listed), reverse=True)
    np.testing.assert_allclose(shown[:8], np.sort(np.exp(log_pi))[::-1][:8], rtol=1e-9)


def test_the_tree_has_the_prior_the_soft_values_and_the_optimum_of_each_likely_prefix():
    world = phrase_world
    prior = lm.policy_levels(world.model(), world.pretrained(), world.PROMPTS[:1], world.HORIZON)
    rewards, root, seen = world.mdp().token_rewards(), NUMBERS["tree"]["root"], 0
    assert root["word"] == world.QUESTIONS[0]
    for price in (0.05, 0.5, 20):
        g = soft_values.g_values(prior, [level[:1] for level in rewards], price, eos=world.EOS)
        waiting = [(root, 0, 0)]
        while waiting:
            node, length, state = waiting.pop()
            for child in node.get("next", []):
                token, seen = world.WORDS.index(child["word"]), seen + 1
                mass, worth = np.array(child["levels"]["mass"]), np.array(child["levels"]["reward"])
                assert mass.sum() == pytest.approx(1, abs=1e-10)
                assert child["reach"] / node["reach"] == pytest.approx(np.exp(prior[length][0, state, token]), rel=1e-9)
                value = gibbs.log_normaliser(np.log(mass), worth, price)
                assert value == pytest.approx(g.q[length][0, state, token], abs=1e-8)
                waiting.append((child, length + 1, state * (world.VOCAB - 1) + token))
    assert seen > 100


def test_the_levels_of_the_network_give_what_best_of_n_earns_and_how_often_it_wins():
    task, _ = studies.pretrained()
    told = NUMBERS["best-of-n"]
    assert told["start"] == task.mdp.start.tolist()
    for n in (1, 4, 64, 512):
        for few, before, reward in zip(told["questions"], task.log_pi_0, task.rewards, strict=True):
            mass, worth = np.log(few["mass"]), np.array(few["reward"])
            best, exact = best_of_n.log_best_of_n(mass, worth, n), best_of_n.log_best_of_n(before, reward, n)
            assert np.exp(best) @ worth == pytest.approx(np.exp(exact) @ reward, abs=1e-9)
            assert lm.kl(best, mass) == pytest.approx(lm.kl(exact, before), abs=1e-9)
            won = best_of_n.win_rate(best, mass, worth), best_of_n.win_rate(exact, before, reward)
            assert won[0] == pytest.approx(won[1], abs=1e-9)
    earned = told["start"] @ (np.exp(best_of_n.log_best_of_n(task.log_pi_0, task.rewards, 4)) * task.rewards).sum(-1)
    assert f"Best of 4 earns {earned:.2f} at" in explorables.EXPLORABLES["best-of-n"].still(told)


def test_the_batch_of_ppo_begins_at_a_ratio_of_1_and_moves_away_with_each_pass():
    told = NUMBERS["clip"]
    ratio, advantage = np.array(told["ratio"]), np.array(told["advantage"])
    assert ratio.shape == (5, len(advantage))
    np.testing.assert_allclose(ratio[0], 1, atol=1e-6)
    apart = np.abs(np.log(ratio)).mean(-1)
    assert (np.diff(apart) > 0).all()
    one = np.ones((1, len(advantage)))

    def objective(log_pi):
        return -actor_critic.ppo_loss(log_pi, 0 * one, advantage[None], one, 0.2)

    slope = grad(objective)(np.log(ratio[-1:]))[0]
    outside = actor_critic.clip_fraction(np.log(ratio[-1:]), 0 * one, one, 0.2) * len(advantage)
    told = explorables.EXPLORABLES["clip"].still(told)
    assert f"the ratios of {outside:.0f} of {len(advantage)} tokens lie outside" in told
    assert f"The gradient of {(slope == 0).sum()} of them is zero" in told


PREDICTIONS = {"predict-hacking": "overoptimization", "predict-lag": "stale_answers", "predict-tenfold": "dpo"}


@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_line_that_is_asked_for_lies_on_the_true_one_within_the_plot(name):
    told = NUMBERS[name]
    asked, truth = told["asked"], told["truth"]
    assert len(asked["x"]) >= 5
    for x, y in zip(asked["x"], asked["y"], strict=True):
        assert truth["y"][truth["x"].index(x)] == y
    for line in (asked, truth, *told["given"], *told["more"]):
        for axis in "xy":
            low, high = told["ends"][axis]
            assert low <= min(line[axis]) < max(line[axis]) <= high
    text = (ROOT / f"notebooks/{PREDICTIONS[name]}.md").read_text(encoding="utf-8")
    assert f"```{{explore}} {name}\n" in text
    assert f"name: {told['figure']}\n" in text


def printed(chapter):
    notebook = json.loads((ROOT / f"notebooks/{chapter}.ipynb").read_text(encoding="utf-8"))
    return "".join("".join(out.get("text", "")) for cell in notebook["cells"] for out in cell.get("outputs", []))


def test_what_an_optimiser_gets_is_what_its_chapter_prints():
    words, truth = printed("overoptimization"), NUMBERS["predict-hacking"]["truth"]
    turn, top = map(float, re.search(r"what you get is highest at ([\d.]+) nats, with (\S+)", words).groups())
    at_3 = float(re.search(r"what you get at 3 nats (\S+)", words)[1])
    highest = int(np.argmax(truth["y"]))
    assert truth["x"][highest] == pytest.approx(turn)
    assert truth["y"][highest] == pytest.approx(top, abs=0.005 + 1e-4)
    assert truth["y"][truth["x"].index(3)] == pytest.approx(at_3, abs=0.005 + 1e-4)


def test_what_a_lag_costs_is_what_its_chapter_prints():
    words, told = printed("stale_answers"), NUMBERS["predict-lag"]
    for row, line in (("none", told["truth"]), ("token", told["more"][0]), ("answer", told["more"][1])):
        found = re.search(rf"^{row} +([\d. ]+)$", words, re.MULTILINE)[1].split()
        np.testing.assert_allclose(line["y"], [float(number) for number in found], atol=0.0005 + 1e-4)


def test_the_paths_of_dpo_end_where_its_chapter_prints_them():
    words, told = printed("dpo"), NUMBERS["predict-tenfold"]
    for row, line in (("dpo", told["given"][0]), ("dpo, tenfold", told["truth"])):
        found = re.search(rf"^{row} +([\d.]+) ", words, re.MULTILINE)[1]
        assert line["y"][-1] == pytest.approx(float(found), abs=0.5 * 10 ** -len(found.split(".")[1]) + 1e-4)
