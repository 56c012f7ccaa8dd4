"""The study of the tiny GPT: what is stored is what the chapter says, and a small one goes the whole way."""

import numpy as np
import pytest
from autograd import value_and_grad

from rlhf_lab import experiments
from rlhf_lab.experiments.gpt import measures, stages, study
from rlhf_lab.feedback.reward_models import Network
from rlhf_lab.methods import best_of_n, ilhf
from rlhf_lab.models import estimates, lm
from rlhf_lab.models.critics import ReaderCritic
from rlhf_lab.models.gpt import GPT
from rlhf_lab.numerics.optim import outcome
from rlhf_lab.worlds import shop

STORED = experiments.stored("gpt")
WAYS = study.STAGES[4:]
ON_THE_WAY = ("PPO", "PPO, true reward", "PPO, a tenth of the price", "GRPO", "DPO, own answers", "ILHF, own answers")


def shapes(found):
    return {k: shapes(v) for k, v in found.items()} if isinstance(found, dict) else np.shape(found)


def wanted(seeds):
    numbers = ("gap", "error", "left", "left_error", "back", "back_error", "reward", "length")
    end = dict.fromkeys(numbers, (seeds,)) | {"said": (seeds, 12 * measures.SHOWN, shop.HORIZON)}
    look = dict.fromkeys(("gap", "error", "reward"), (seeds, study.LOOKS))
    kept = dict.fromkeys(("gap", "reward", "error"), (seeds, len(measures.DRAWS)))
    judge = ("loss", "accuracy", "loss_of_truth", "accuracy_of_truth")
    return {
        "ends": dict.fromkeys(("after talk", "after answers", *WAYS, "language"), end),
        "cooler": dict.fromkeys(("after talk", "after answers", *WAYS), dict.fromkeys(numbers, (seeds,))),
        "ways": {k: look | ({"paid": (seeds, study.LOOKS)} if "own" not in k else {}) for k in ON_THE_WAY},
        "best of n": {"learned": kept, "true": kept},
        "reward": dict.fromkeys(judge, (seeds,)),
    }


def test_what_is_stored_has_every_way_and_ten_seeds():
    assert shapes(STORED) == wanted(10)
    assert study.LOOKS >= 8 <= len(measures.DRAWS)


def test_the_language_judged_anew_is_what_is_stored():
    for seed in (0, 3):
        language, params = stages.world().language
        made = measures.judged(params, study.MANY, np.random.default_rng([seed, 99]), language)
        for name, value in made.items():
            np.testing.assert_allclose(value[0], STORED["ends"]["language"][name][seed], rtol=1e-5, atol=1e-12)


def test_distances_are_estimates_of_the_same_texts():
    own, params = brief()
    shown, rng = stages.world(), np.random.default_rng(0)
    found = measures.judged(params, 5, np.random.default_rng(0), own)
    policy = own, params
    for names, here, there, scale in (
        (("gap", "error"), policy, shown.best, shop.BETA),
        (("left", "left_error"), policy, shown.language, 1.0),
        (("back", "back_error"), shown.best, policy, 1.0),
    ):
        rng = np.random.default_rng(0)
        if here is shown.best:  # drawn behind the texts of the policy
            lm.sample(*policy, np.repeat(shown.task.mdp.prompts, 5, axis=0), shop.HORIZON, rng)
        each = estimates.token_kl_estimate(here, there, shown.task.mdp.prompts, shop.HORIZON, 5, rng)
        errors = scale * np.hypot.reduce(each.standard_error) / 12
        np.testing.assert_allclose([found[name][0] for name in names], [scale * each.mean.mean(), errors], rtol=1e-12)


@pytest.mark.parametrize("name", ["after answers", *WAYS])
def test_a_distance_is_what_the_value_lacks(name):
    end, texts = STORED["ends"][name], 12 * study.MANY
    value = end["reward"] - shop.BETA * end["left"]
    # Rewards lie within 8 of each other, so that their deviation is below 4. The same texts tell all three: whatever
    # they share, the deviation of a sum is at most the sum of deviations.
    error = end["error"] + shop.BETA * end["left_error"] + 4 / texts**0.5
    assert (np.abs(stages.world().worth.mean() - value - end["gap"]) < 4 * error).all()


def test_what_was_said_is_text_of_the_shop():
    for end in STORED["ends"].values():
        said = end["said"].astype(int)
        assert (said == end["said"]).all()
        assert said.min() >= 0
        assert said.max() == shop.EOS
        behind = lm.response_mask(said, shop.EOS) == 0
        assert (said[behind] == shop.EOS).all()


def test_a_small_gpt_goes_the_whole_way(monkeypatch):
    small = {"TALK": 24, "ANSWERS": 24, "PAIRS": 32, "WRITTEN": 32, "FEW": 2, "MANY": 2, "LOOKS": 2, "ROUNDS": 2}
    for name, value in small.items():
        monkeypatch.setattr(study, name, value)
    monkeypatch.setattr(measures, "CROWD", 64)
    monkeypatch.setattr(stages, "GPT_SIZE", {"width": 8, "layers": 1, "heads": 2})
    made = study.everything([5])
    assert shapes(made) == wanted(1)
    ends = [end["gap"][0] for end in made["ends"].values()]
    assert np.isfinite(ends).all()
    assert len(set(ends)) == len(ends), "each stage and each way does something"


def test_every_way_was_tuned_with_as_many_tries():
    settings = study.SETTINGS
    assert settings["chosen"].keys() == settings["tried"].keys() < set(study.STAGES)
    for name, tried in settings["tried"].items():
        assert np.prod([len(values) for values in tried.values()]) == 4, name
        assert settings["chosen"][name].keys() == tried.keys()
        assert all(settings["chosen"][name][knob] in values for knob, values in tried.items()), name


def test_a_cooler_gpt_has_logits_over_the_temperature():
    own = stages.model()
    params = own.init(np.random.default_rng(0))
    prompt = stages.world().task.mdp.prompts
    said = lm.sample(own, params, prompt, shop.HORIZON, np.random.default_rng(1))
    logits = own.logits(params, prompt, said)
    np.testing.assert_allclose(own.logits(measures.cooled(params), prompt, said) * measures.COOLER, logits, atol=1e-5)


def test_an_anchor_is_what_the_loss_of_ilhf_gains_away_from_the_start(monkeypatch):
    monkeypatch.setattr(stages, "GPT_SIZE", {"width": 8, "layers": 1, "heads": 2})
    own = stages.model()
    start = own.init(np.random.default_rng(0))
    batch = stages.asked(start, 8, shop.reward, np.random.default_rng(1)).batch
    moved = start | {"norm": start["norm"] + np.float32(0.5)}
    plain, held = (study.ilhf_loss(start, weight) for weight in (0, 0.1))
    assert held(start, batch) == pytest.approx(plain(start, batch))
    # Eight gains, each half a unit away: 0.1 * 8 / 4.
    assert held(moved, batch) - plain(moved, batch) == pytest.approx(0.2, rel=1e-4)


def test_step_sizes_are_those_of_the_settings_many_times(monkeypatch):
    # The first step of Adam moves every number that has a gradient by the step size.
    monkeypatch.setattr(stages, "GPT_SIZE", {"width": 8, "layers": 1, "heads": 2})
    monkeypatch.setattr(study, "STEP_SIZES", {"pairs": [0.01]})
    monkeypatch.setattr(study, "IN_ROUNDS", [0.02])
    for name, value in {"ROUNDS": 1, "LOOKS": 1, "FEW": 2}.items():
        monkeypatch.setattr(study, name, value)
    start = stages.model().init(np.random.default_rng(0))
    compared = stages.asked(start, 8, shop.reward, np.random.default_rng(1))
    loss = study.ilhf_loss(start, 0)
    at_hand = study.by_pairs(loss, start, compared, np.random.default_rng(2), 3)
    asking, _ = study.by_rounds(loss, lambda params, rng: [compared.batch], start, np.random.default_rng(2), 4)
    for end, step_size in ((at_hand, 0.03), (asking, 0.08)):
        moved = max(np.abs(end[name] - start[name]).max() for name in start)
        assert moved == pytest.approx(step_size, rel=1e-3)


def test_the_best_of_n_among_all_answers_of_a_list():
    rng, draws = np.random.default_rng(0), 50
    chosen_by, reward, left = (rng.normal(size=(12, draws)) for _ in range(3))
    gap, earned = measures._kept(chosen_by, reward, left, np.ones((12, draws)))
    even = np.full((12, draws), -np.log(draws))
    for k, n in enumerate(measures.DRAWS):
        log_kept = best_of_n.log_best_of_n(even, chosen_by, n)
        paid = np.sum(np.exp(log_kept) * reward, axis=1)
        kl = lm.kl(log_kept, even) + np.sum(np.exp(log_kept) * left, axis=1)
        assert earned[k] == pytest.approx(paid.mean())
        assert gap[k] == pytest.approx((stages.world().worth - paid + shop.BETA * kl).mean())
    count = np.zeros((12, draws))
    count[:, 3] = draws  # one answer alone
    gap, earned = measures._kept(chosen_by, reward, left, count)
    np.testing.assert_allclose(earned, reward[:, 3].mean())
    np.testing.assert_allclose(gap, (stages.world().worth - reward[:, 3] + shop.BETA * left[:, 3]).mean())


def test_people_prefer_what_they_value():
    own = stages.model()
    params = own.init(np.random.default_rng(0))
    found = stages.asked(params, 64, lambda prompt, said: -100.0 * stages.length(said), np.random.default_rng(1))
    shorter = stages.length(found.batch.chosen) <= stages.length(found.batch.rejected)
    assert shorter.all()
    cut = found.some(np.array([0, 5]), 7)
    assert cut.chosen.shape == cut.rejected.shape == (2, 7)
    np.testing.assert_array_equal(cut.reference_chosen, found.batch.reference_chosen[[0, 5]])


def test_overheard_answers_do_not_tell_who_asked():
    prompt, response = stages.overheard(24_000, np.random.default_rng(0))
    tea = (response == shop.encode("tea")[0]).any(1)
    asked = np.array([(prompt[:, 2] == shop.encode(item)[0])[tea].mean() for item in ("tea", "soap")])
    # Of the answers with "tea", as many stand behind a question for tea as behind one for soap.
    error = np.sqrt(0.25 * 0.75 / tea.sum())
    assert (np.abs(asked - 0.25) < 4 * error).all()
    prompt, response = stages.heard(2400, np.random.default_rng(0))
    tea = (response == shop.encode("tea")[0]).any(1)
    assert (prompt[:, 2] == shop.encode("tea")[0])[tea].mean() > 0.7


def brief():
    """A small GPT in float64, and parameters with which it soon ends: its states lie along the embedding of `<eos>`."""
    own = GPT(shop.VOCAB, width=8, layers=1, heads=2, context=35, eos=shop.EOS, dtype="float64")
    params = ReaderCritic(own).head(own.init(np.random.default_rng(0)))
    along = np.array([1, -1] * 4) / 8**0.5
    params["position"] += 3 * along
    params["embed"][-1] += 1.2 * along
    params["value"] += 0.5
    return own, params


@pytest.mark.parametrize("way", ["proximal", "rloo"])
def test_batches_that_end_with_their_longest_answer_train_as_those_of_the_whole_horizon(way, monkeypatch):
    own, params = brief()
    monkeypatch.setattr(study, "model", lambda: own)
    monkeypatch.setattr(study, "WRITTEN", 32)
    loss, collect = getattr(study, way)(stages.world().task)
    short = list(collect(params, np.random.default_rng(1)))
    monkeypatch.setattr(study, "cut", lambda batch: batch)
    whole = list(collect(params, np.random.default_rng(1)))
    assert len(short) == len(whole) == 4
    for batch, full in zip(short, whole, strict=True):
        assert batch.mask.any(0).all(), "somebody still speaks in the last place"
        assert batch.mask.sum() == full.mask.sum()
        (found, grads), (wanted, slopes) = (
            value_and_grad(lambda p, b=b: outcome(loss(p, b)).loss)(params) for b in (batch, full)
        )
        assert found == pytest.approx(wanted, rel=1e-12)
        for name, value in grads.items():
            np.testing.assert_allclose(value, slopes[name], rtol=1e-9, atol=1e-12)
    assert min(batch.mask.shape[1] for batch in short) < shop.HORIZON


def test_a_reward_read_a_few_answers_at_a_time_is_that_of_the_network(monkeypatch):
    own, params = brief()
    monkeypatch.setattr(study, "model", lambda: own)
    params["head"] = np.random.default_rng(3).normal(size=8)
    for size in (study.BATCH, 2 * study.BATCH + 7):
        prompt = stages.world().task.mdp.prompts[np.arange(size) % 12]
        said = lm.sample(own, params, prompt, shop.HORIZON, np.random.default_rng(2))
        found, wanted = study._judge(params)(prompt, said), Network(own).reward(params, prompt, said)
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)
    assert np.ptp(stages.length(said)) > 0 < np.ptp(wanted)


@pytest.mark.parametrize("label", [1.0, 0.25])
def test_the_loss_of_ilhf_is_that_of_two_answers_read_apart(label, monkeypatch):
    own, params = brief()
    monkeypatch.setattr(study, "model", lambda: own)
    monkeypatch.setattr(stages, "model", lambda: own)
    batch = stages.asked(params, 8, shop.reward, np.random.default_rng(1)).batch
    batch = batch._replace(label=np.full(8, label))
    first, second = (lm.log_prob(own, params, batch.prompt, y) for y in (batch.chosen, batch.rejected))
    assert study.ilhf_loss(params, 0)(params, batch) == pytest.approx(ilhf.loss(first, second, batch.label), rel=1e-12)


def test_pairs_of_own_answers_end_with_the_longer_answer(monkeypatch):
    own, params = brief()
    monkeypatch.setattr(stages, "model", lambda: own)
    monkeypatch.setattr(study, "WRITTEN", 16)
    compared = stages.asked(params, 8, shop.reward, np.random.default_rng(1))
    found = list(study.own_answers(shop.reward)(params, np.random.default_rng(1)))
    for k, batch in enumerate(found):
        wanted = compared.some(np.arange(2 * k, 2 * k + 2), shop.HORIZON)
        ends = max(stages.length(wanted.chosen).max(), stages.length(wanted.rejected).max())
        assert batch.chosen.shape == batch.rejected.shape == (2, ends)
        for column, full in zip(batch, wanted, strict=True):
            np.testing.assert_array_equal(column, full[:, :ends] if np.shape(full) == (2, shop.HORIZON) else full)
    assert len(found) == 4
    assert min(batch.chosen.shape[1] for batch in found) < shop.HORIZON
