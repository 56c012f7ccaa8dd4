"""The ledger: its page says what the package finds, and its verdicts change with the numbers that they rest on."""

import ast
import copy
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from turned import LOAD, NO, ONLY, PARTLY, YES, by_computed, by_stored, verdict

from rlhf_lab import experiments
from rlhf_lab.experiments.ilhf import scoreboard as ilhf_scoreboard
from rlhf_lab.experiments.ledger import (
    brantley,
    brantley_resets,
    cs188,
    cs188_preferences,
    cs188_tables,
    ilhf,
    ilhf_ends,
    rates,
    sources,
    survey,
    survey_review,
    survey_theory,
    xiong,
    xiong_asking,
    xiong_people,
)
from rlhf_lab.experiments.ledger.claims import ELSEWHERE
from rlhf_lab.feedback import linear_fits
from rlhf_lab.numerics.autodiff import log_softmax

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "book"))

import ledger  # noqa: E402

CHAPTERS = {path: path.read_text(encoding="utf-8") for path in ROOT.glob("notebooks/*.md")}
PAGES = "".join([*CHAPTERS.values(), *(p.read_text(encoding="utf-8") for p in ROOT.glob("book/*.md"))])
LABELS = set(re.findall(r"^\((sec-[\w-]+)\)=$", PAGES, re.MULTILINE))


@pytest.fixture(scope="module")
def found():
    return sources.rows(LOAD)


def page():
    return (ROOT / "book/ledger.md").read_text(encoding="utf-8")


def test_the_page_of_the_book_shows_what_the_package_finds(found, monkeypatch):
    monkeypatch.setattr(sources, "rows", {experiments.stored: found}.__getitem__)
    text = page()
    assert ledger.page(text) == text
    assert ledger.page(re.sub('reproduced(?=<|")', "wrong", text)) == text


def test_every_mark_of_the_strip_leads_to_its_row_and_says_the_same(found):
    text = page()
    marks = re.findall(r'<a class="verdict (\w+)" href="#([\w-]+)" .*?>(.)</a>', text)
    row = r'^\| <span id="([\w-]+)"></span>.*?<span class="verdict (\w+)">(.) '
    assert marks == [(kind, name, mark) for name, kind, mark in re.findall(row, text, re.MULTILINE)]
    assert [name for _, name, _ in marks] == [f"{s}-{k}" for s, rows in found.items() for k in range(1, 1 + len(rows))]


def test_a_claim_stands_once_and_every_row_has_all_that_it_needs(found):
    for rows in found.values():
        assert len({(row.place, row.claim) for row in rows}) == len(rows)
        assert all(row.place and row.claim and row.printed and row.here for row in rows)
        assert all(bool(row.where) != (row.verdict == ELSEWHERE) for row in rows)


def test_every_section_that_a_row_names_exists(found):
    named = {row.where for rows in found.values() for row in rows if row.where}
    named |= {label for rows in found.values() for row in rows for label in re.findall(r"{ref}`(.*?)`", row.here)}
    assert named <= LABELS, named - LABELS


def test_what_a_chapter_decides_it_asserts_in_the_section_that_the_row_names(found):
    decided = [row for rows in found.values() for row in rows if row.assertion]
    assert len(decided) > 10
    for row in decided:
        (chapter,) = (text for text in CHAPTERS.values() if f"({row.where})=" in text)
        cells = re.findall(r"^```\{code-cell\}.*?^```$", chapter, re.MULTILINE | re.DOTALL)
        assert any(f"{row.assertion}\n" in cell for cell in cells), row.claim


def calls(name):
    for path in (ROOT / "rlhf_lab/experiments/ledger").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name:
                yield path.name, node


def test_no_verdict_is_typed_in():
    """What `measured` is told to have held is computed, and nobody but it and `shown` makes a row with a verdict."""
    for _, call in calls("measured"):
        tests = [*call.args[5:], *(keyword.value for keyword in call.keywords if keyword.arg == "readings")]
        tests = [value for test in tests for value in (test.values if isinstance(test, ast.Dict) else [test])]
        assert tests
        for test in tests:
            assert any(isinstance(part, ast.Name) for part in ast.walk(test)), ast.unparse(test)
    assert {name for name, _ in calls("Claim")} == {"claims.py", "ilhf.py"}


def test_the_rows_of_the_ilhf_figures_are_those_of_the_scoreboard(found):
    theirs = {row.claim + row.where: row for row in ilhf_scoreboard.rows(lambda name: LOAD(f"ilhf {name}"))}
    rows = found["ilhf"][: len(theirs)]
    assert {row.claim + row.place for row in rows} == set(theirs)
    assert all(row.verdict == theirs[row.claim + row.place].verdict for row in rows)
    there = dict(re.findall(r'id="claim-(\d+)"></span>\*\*(.*?)\*\*', (ROOT / "book/scoreboard.md").read_text("utf-8")))
    linked = re.findall(r"id=\"ilhf-\d+\"></span>\*\*(.*?)\*\*.*?scoreboard\.html#claim-(\d+)", page())
    assert [there[number] for _, number in linked] == [claim for claim, _ in linked]
    assert len(linked) == len(theirs) == len(there)


@pytest.mark.parametrize(
    ("part", "claim", "before", "after", "place", "change"),
    [
        (survey_review.training, "a reward model gen", NO, YES, "dpo networks/dpo + sft/far", lambda x: x + 1),
        (survey_review.training, "clipping", YES, NO, "knobs/hardly any clipping/gap", lambda x: x - 1),
        (survey_review.training, "RLHF is highly", PARTLY, NO, "knobs/plain PPO/gap", lambda x: x + 9),
        (survey_review.training, "iterated RLHF", PARTLY, YES, "online/table/offline/regret", lambda x: x + 9),
        (survey_review.training, "iterated RLHF", PARTLY, NO, "online/table/offline/regret", lambda x: x - 9),
        (xiong_asking.asking, "asking about new", PARTLY, NO, "online/table/offline/regret", lambda x: x - 9),
        (xiong_asking.asking, "with optimism", YES, NO, "online/linear/option 1/regret", lambda x: x + 1),
        (brantley.imitating, "DRIL does better", PARTLY, YES, "imitation/dril", lambda x: x + 99),
        (brantley.imitating, "DRIL does better", PARTLY, NO, "imitation/dril", lambda x: x - 99),
        (brantley_resets.starting_anywhere, "PPO++", PARTLY, NO, "resets/lock/PPO", lambda x: 0 * x),
        (brantley_resets.starting_anywhere, "perplexity", PARTLY, NO, "resets/described/PPO", lambda x: x - 9),
        (brantley_resets.starting_anywhere, "win rate", PARTLY, NO, "resets/described/PPO", lambda x: x - 9),
        (cs188.kl_control, "KL control is", PARTLY, YES, "dialogue/diluted/KL control", lambda x: x + 1),
        (cs188.kl_control, "KL control is", PARTLY, NO, "dialogue/diluted/KL control", lambda x: x - 1),
        (cs188_preferences.preferences, "assuming 10%", NO, PARTLY, "cartpole/10% wrong", lambda x: x + 50),
        (cs188_preferences.preferences, "an ensemble", NO, PARTLY, "cartpole/one model", lambda x: x - 50),
        (cs188_preferences.preferences, "a reward from", NO, YES, "cartpole/true reward", lambda x: x - 99),
        (cs188_preferences.preferences, "few labels", YES, NO, "segments/pays_1/recipe", lambda x: x + 1),
        (cs188_tables.printed, "CQL closes", YES, NO, "dialogue/sellers/CQL, public", lambda x: x - 1),
        (cs188_tables.printed, "no clear winner", YES, PARTLY, "dialogue/sellers/proposals", lambda x: x - 1),
        (cs188_tables.printed, "supervised learning on", PARTLY, YES, "dialogue/sellers/filtered", lambda x: x + 1),
        (cs188_tables.printed, "offline RL earns", YES, NO, "dialogue/sellers/clone", lambda x: x + 1),
        (ilhf.agents, "a larger agent", PARTLY, NO, "ilhf tau64/shadow kl", lambda x: 2 * x),
    ],
)
def test_a_verdict_turns_with_the_stored_numbers(part, claim, before, after, place, change):
    assert by_stored(part, claim, place, change) == (before, after)


PLAIN = linear_fits.iterated_data_smoothing


def flat(policy, *rest, **others):
    return np.full(np.shape(policy), -np.log(np.shape(policy)[-1]))


def smoothing_at(rate):
    return lambda difference, label, **of: PLAIN(difference, label, **of | {"rate": rate})


def noise(size):
    return SimpleNamespace(noise=size)


def gap_as_printed(log_pi_0, reward, learned, beta, start, seen):
    apart = abs(np.exp(reward / beta) - np.exp(learned / beta))
    return SimpleNamespace(seen=0.0, unseen=start @ np.sum(np.exp(log_pi_0) * apart * reward, axis=1))


def arrives_by(word):
    """Ascent that is at the best answer at once if its slope knows `word`, and never if not."""

    def path(slope, *rest):
        known = word in slope.keywords
        return [np.eye(27)[slope.keywords[word].argmax()] if known else np.zeros(27)] * 61

    return path


@pytest.mark.parametrize(
    ("part", "claim", "before", "after", "name", "wrong"),
    [
        (
            survey.equations,
            "the probability of a text",
            ONLY,
            YES,
            "small.answers",
            lambda levels: np.log(np.full(27, 1 / 27)),
        ),
        (survey.equations, "minimising KL", YES, NO, "lm.cross_entropy", lambda p, q: 2.0),
        (survey.equations, "|C| |O|", ONLY, YES, "lm.count_responses", lambda v, h, eos: v**h),
        (survey.equations, "J over", YES, NO, "token_mdp.performance", lambda p, r, s: 1.0),
        (survey.equations, "three forms", YES, NO, "annotators.bradley_terry", lambda m: m / 2),
        (survey_theory.rewards, "the maximum-likelihood", YES, PARTLY, "rates.rankings", lambda: rates.Rate(-0.5, 2.0)),
        (survey_theory.rewards, "an averaged", YES, NO, "gibbs.log_policy", lambda p, r, b: p + 0 * r),
        (survey_theory.optimisation, "the KL-reg", YES, NO, "gibbs.log_policy", lambda p, r, b: flat(p)),
        (survey_theory.optimisation, "a larger β lowers", YES, NO, "gibbs.log_policy", lambda p, r, b: p),
        (
            survey_review.training,
            "potential-based",
            YES,
            NO,
            "shaping.shaping",
            lambda phi, v: [p[..., None] for p in phi],
        ),
        (survey_review.models, "RLHF lowers", YES, NO, "gibbs.log_policy", flat),
        (xiong.objective, "DPO skips", YES, NO, "direct.dpo_target", lambda p, b: p),
        (xiong.objective, "DPO, SLiC", YES, PARTLY, "margins.info_nca", lambda h, w, b: 0.0),
        (xiong.imperfect_rewards, "J(π*)", YES, NO, "pessimism.guarantee", lambda r, c, n: 1e-9 * c),
        (xiong.imperfect_rewards, "so large", PARTLY, NO, "ratios.log_mean_ratio", lambda p, q, n: min(n, 79)),
        (xiong_asking.hybrid, "with offline data", YES, NO, "regret.regret", lambda world, theta: np.full(20, 9.0)),
        (
            xiong_asking.hybrid,
            "online data may",
            YES,
            NO,
            "pessimism.offline_covariance",
            lambda d, p: np.eye(d.shape[-1])[None],
        ),
        (xiong_people.general_preferences, "it has a unique", YES, PARTLY, "nash.mirror_step", lambda g, p, s: p),
        (xiong_people.general_preferences, "for small η", NO, YES, "nash.worst_win_rate", lambda m, p: 0.6),
        (xiong_people.general_preferences, "with Bradley", YES, NO, "gibbs.gap", lambda *a: 1.0),
        (
            xiong_people.estimated_games,
            "with general",
            YES,
            NO,
            "annotators.sample_labels",
            lambda p, rng: 1.0 * (p < 0.5),
        ),
        (xiong_people.people, "agreement of", PARTLY, YES, "judges.forced_choice_excess", lambda a: a + 1),
        (xiong_people.people, "a scalar", YES, NO, "pluralism.value_of_knowing", lambda p, s, b: 0.0),
        (
            brantley.imitating,
            "its performance gap is O(ε H²)",
            YES,
            PARTLY,
            "imitation.cliff_clone_gap",
            lambda e, h: e * h,
        ),
        (
            brantley.imitating,
            "its performance gap is O(ε H)",
            YES,
            NO,
            "imitation.cliff_dagger_gap",
            lambda e, h: h**2,
        ),
        (brantley.imitating, "J(π*)", ONLY, YES, "dril.kappa_bound", lambda k, *rest: 64.0),
        (brantley_resets.starting_anywhere, "J(π*)", PARTLY, YES, "resets.printed_bound", lambda h, c, e: 2.0),
        (cs188.why_rl, "labels of", NO, YES, "direct.dpo_target", lambda p, b: p),
        (cs188.why_rl, "a pretrained", YES, NO, "lm.answer_log_probs", lambda *a: np.full((4, 50), -np.log(50))),
        (cs188.kl_control, "so does", ONLY, NO, "soft_values.greedy", lambda q: np.zeros((1, 3), int)),
        (cs188.kl_control, "a classifier", YES, NO, "principles.penalised_share", lambda s, b: s),
        (cs188_preferences.preferences, "a mis-click", YES, NO, "annotators.with_misclicks", lambda p, rate: p),
        (cs188_preferences.trends, "the ordinary", YES, NO, "hidden_context.borda", lambda m: -m.mean(1)),
        (
            cs188_preferences.trends,
            "it trusts",
            YES,
            NO,
            "linear_fits.iterated_data_smoothing",
            smoothing_at(0.0),
        ),
        (cs188_preferences.trends, "RLHF may", PARTLY, NO, "pluralism.distributional", lambda *a: 1.0),
        (
            ilhf.formulas,
            "the formula of",
            ONLY,
            YES,
            "token_process.autocorrelation_as_printed",
            lambda v, k: v[:, :k] * 0 + 1,
        ),
        (ilhf.formulas, "the softmax", YES, NO, "ilhf.choice_log_probs", lambda a, b: (a, b)),
        (ilhf.agents, "some agent", YES, NO, "_padded", lambda: 0.1),
        (ilhf.agents, "a degenerate", YES, PARTLY, "ilhf.coin_slope", lambda p, q: p**0.1),
        (ilhf.formulas, "RLHF max", ONLY, YES, "annotators.bradley_terry", lambda m: np.exp(np.minimum(m, 0))),
        (ilhf.formulas, "RLHF max", ONLY, NO, "annotators.bradley_terry", lambda m: 0 * m + 0.4),
        (ilhf.agents, "some optimal", YES, NO, "small.answers", lambda levels: np.ones(27)),
        (ilhf.agents, "a degenerate", YES, NO, "ilhf.coin_slope", lambda p, q: 1.0),
        (survey.equations, "its first", ONLY, YES, "lm.entropy", lambda p: np.exp(p) @ p),
        (survey.equations, "its first", ONLY, NO, "lm.entropy", lambda p: 9.0),
        (
            survey.equations,
            "the reward of",
            PARTLY,
            YES,
            "token_mdp.performance_by_token",
            lambda p, r, s: p[2][0, 0, 0],
        ),
        (survey.equations, "the reward of", PARTLY, NO, "token_mdp.performance_by_token", lambda p, r, s: 1.0),
        (survey.equations, "PPO's", ONLY, YES, "_performance", lambda logits, reward: 9.0),
        (survey.equations, "PPO's", ONLY, NO, "_performance", lambda logits, reward: -9.0),
        (survey_theory.rewards, "ranking N", PARTLY, YES, "_ranking_information", lambda n: 1.0),
        (survey_theory.rewards, "the model that", NO, YES, "coin.PEOPLE", 0.0),
        (
            survey_theory.rewards,
            "denser",
            PARTLY,
            YES,
            "shaping.gradient_noise",
            lambda *of: noise(1 / (1 + of[3][1].std())),
        ),
        (survey_theory.rewards, "denser", PARTLY, NO, "shaping.gradient_noise", lambda *of: noise(1 + of[3][1].std())),
        (
            survey_theory.optimisation,
            "the KL-reg",
            YES,
            PARTLY,
            "small.left_on_the_table",
            lambda b: np.eye(2, 20)[:, :1],
        ),
        (survey_theory.optimisation, "a KL pen", YES, NO, "small.left_on_the_table", lambda b: np.eye(2, 20)[:, :1]),
        (survey_theory.optimisation, "ΔJ", NO, YES, "evaluation.performance_gap", gap_as_printed),
        (
            survey_theory.optimisation,
            "a larger β mit",
            PARTLY,
            YES,
            "_harm",
            lambda t, seed: np.linspace(1 + seed, 0, 25),
        ),
        (
            survey_theory.optimisation,
            "a larger β mit",
            PARTLY,
            NO,
            "_harm",
            lambda t, seed: np.linspace(0, 1 + seed, 25),
        ),
        (survey_theory.optimisation, "updates of", PARTLY, YES, "token_mdp.follow", arrives_by("reward")),
        (survey_theory.optimisation, "updates of", PARTLY, NO, "token_mdp.follow", arrives_by("target")),
        (survey_review.training, "a poor", YES, NO, "lock.chance_to_open", lambda dials, p: 0.5),
        (survey_review.training, "a reward model of one", YES, PARTLY, "evaluation.common_scale", lambda *of: 2.0),
        (
            survey_review.models,
            "RLHF low",
            YES,
            PARTLY,
            "gibbs.log_policy",
            lambda p, r, b: log_softmax((9 - 8.1 * (r[0] < 0)) * p),
        ),
        (
            survey_review.models,
            "sampling",
            PARTLY,
            YES,
            "token_mdp.with_temperature",
            lambda p, t: log_softmax(p / max(t, 1 / t)),
        ),
        (survey_review.models, "sampling", PARTLY, NO, "token_mdp.with_temperature", lambda p, t: p),
        (
            survey_review.models,
            "best-of",
            PARTLY,
            YES,
            "best_of_n.log_best_of_n",
            lambda p, r, n: np.where(r == r.max(), -p.max(), -700),
        ),
        (survey_review.models, "best-of", PARTLY, NO, "token_mdp.with_temperature", lambda p, t: p),
        (survey_review.models, "fine-tuning", YES, NO, "gibbs.gap", lambda *of: 0.0),
        (cs188.why_rl, "10,000", YES, NO, "lm.count_responses", lambda *of: 5),
        (cs188.why_rl, "RL opt", YES, NO, "token_mdp.policy_gradient", lambda pi, metric: 0 * pi),
        (cs188.kl_control, "Ψ", YES, NO, "soft_values.psi_values", lambda p, r, b: SimpleNamespace(advantage=p)),
        (cs188.kl_control, "so does", ONLY, YES, "gibbs.log_policy", lambda p, r, b: 0 * p),
        (cs188.kl_control, "L(q)", ONLY, YES, "gibbs.log_policy", lambda p, r, b: np.where(r == r.max(), 0.0, -700)),
        (cs188.kl_control, "L(q)", ONLY, NO, "lm.kl", lambda p, q: 99.0),
        (cs188_preferences.preferences, "loss =", ONLY, YES, "expit", lambda x: x - 9),
        (cs188_preferences.preferences, "loss =", ONLY, NO, "expit", lambda x: 0 * x),
        (cs188_preferences.trends, "RLHF over", YES, NO, "gibbs.objective", lambda *of: 1.0),
        (cs188_preferences.trends, "if a pair", YES, PARTLY, "linear_fits.iterated_data_smoothing", smoothing_at(0.0)),
        (cs188_preferences.trends, "if a pair", YES, PARTLY, "linear_fits.iterated_data_smoothing", smoothing_at(0.1)),
        (xiong.objective, "the optimum", YES, PARTLY, "small.left_on_the_table", lambda b: np.eye(2, 20)[:, :1]),
        (
            xiong.imperfect_rewards,
            "the reward less",
            ONLY,
            YES,
            "pessimism.uncertainty",
            lambda *of: np.full((200, 27), 99.0),
        ),
        (
            xiong.imperfect_rewards,
            "the reward less",
            ONLY,
            NO,
            "pessimism.uncertainty",
            lambda *of: np.full((200, 27), 1e-3),
        ),
        (xiong_people.general_preferences, "its pref", YES, PARTLY, "nash.log_odds", lambda p: 0 * p),
        (brantley.imitating, "training and", YES, NO, "gridworlds.occupancy", lambda *of: np.full((2, 2), 0.5)),
        (brantley.imitating, "κ is", YES, NO, "dril.kappa", lambda *of: SimpleNamespace(kappa=11.0)),
        (brantley.rlhf, "r̂", ONLY, YES, "expit", lambda x: x - 9),
        (brantley.rlhf, "r̂", ONLY, NO, "expit", lambda x: 0 * x),
        (brantley.rlhf, "E[r̂]", ONLY, YES, "_objective", lambda law, *of: float(law.max() < 0)),
        (brantley.rlhf, "E[r̂]", ONLY, NO, "_objective", lambda law, *of: 0.0),
        (
            brantley_resets.starting_anywhere,
            "AggreVaTeD",
            NO,
            YES,
            "token_mdp.policy_evaluation",
            lambda *of: SimpleNamespace(v=[np.zeros(1)]),
        ),
        (ilhf_ends.ends, "ILHF learns", PARTLY, YES, "lm.kl", lambda p, q: np.zeros(20)),
        (ilhf.agents, "ILHF converges", PARTLY, YES, "lm.kl", lambda p, q: 0.0),
    ],
)
def test_a_verdict_turns_with_what_is_computed(monkeypatch, part, claim, before, after, name, wrong):
    assert by_computed(monkeypatch, part, claim, name, wrong) == (before, after)


def test_tables_that_contradict_their_sentences_are_told_by_their_numbers(monkeypatch):
    assert verdict(cs188_tables.printed(LOAD), "DaVinci3") == NO
    leaning = cs188_tables.LEANING
    farther = leaning | {"DaVinci3": (9.0,) * 9}
    monkeypatch.setattr(cs188_tables, "LEANING", farther)
    assert verdict(cs188_tables.printed(LOAD), "DaVinci3") == YES
    assert verdict(cs188_tables.printed(LOAD), "bold numbers") == NO
    away = {name: row[3:] + row[:3] for name, row in leaning.items()}
    monkeypatch.setattr(cs188_tables, "LEANING", away)
    assert verdict(cs188_tables.printed(LOAD), "anonymous") == NO
    monkeypatch.setattr(cs188_tables, "LENGTHS", {"one": 1.0})
    assert verdict(cs188_tables.printed(LOAD), "average length") == YES
    monkeypatch.setattr(cs188_tables, "PALM", {"one": (700, 100)})
    assert verdict(cs188_tables.printed(LOAD), "PaLM") == PARTLY
    monkeypatch.setattr(cs188_tables, "RATED", {"one": ((1.0, 2.0), 4.0)})
    assert verdict(cs188_tables.printed(LOAD), "totals") == NO


def test_tables_that_were_typed_in_sum_to_what_the_slides_sum_to():
    """No row shows each of their numbers: a slip of the fingers would stay unseen."""
    sums = {name: pytest.approx(sum(row)) for name, row in cs188_tables.LEANING.items()}
    assert sums == {"DaVinci3": 25.3176, "DaVinci2": 26.112, "Curie": 42.653, "Babbage": 41.182, "PaLM": 21.335}
    assert sum(cs188_tables.LENGTHS.values()) == pytest.approx(78.12)
    assert sum(brantley_resets.PERPLEXITY.values()) == pytest.approx(55.91)


def test_farther_means_in_more_than_half_of_the_groups(monkeypatch):
    first, second = (np.array(cs188_tables.LEANING[name]) for name in ("DaVinci3", "DaVinci2"))
    for farther, found in ((4, NO), (5, PARTLY)):
        row = tuple(np.where(np.arange(9) < farther, second + 0.1, 0 * first))
        monkeypatch.setattr(cs188_tables, "LEANING", cs188_tables.LEANING | {"DaVinci3": row})
        assert verdict(cs188_tables.printed(LOAD), "DaVinci3") == found


def test_perplexities_are_measured_on_texts_of_the_kind_that_the_row_names():
    numbers = copy.deepcopy(LOAD("resets"))
    numbers["described"]["PPO"][:, 0] -= 99
    (row,) = (row for row in brantley_resets.starting_anywhere(lambda name: numbers) if row.claim.startswith("perp"))
    assert "on texts of SFT's own kind PPO < " in row.here
    assert "on those of a better writer PPO < " not in row.here
