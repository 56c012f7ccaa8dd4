"""Imitation of a teacher on text: counts, labels at the student's own prefixes, and DRIL in closed form."""

import numpy as np
import pytest

from rlhf_lab.methods import distillation
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.tabular import Tabular

MODEL = Tabular(4, 3, ((0, 1), (2, 0)), eos=3)
PROMPTS = np.array(MODEL.prompts)
TEACHER = {"logits": np.random.default_rng(0).normal(size=(2, MODEL.states, 4))}
LEVELS = lm.policy_levels(MODEL, TEACHER, PROMPTS, 3)
ANSWERS = lm.enumerate_responses(4, 3, 3)


def test_counts_by_hand():
    prompt, response = PROMPTS[[0, 0, 1]], np.array([[1, 3, 3], [1, 0, 2], [3, 3, 3]])
    counts = distillation.count(MODEL, prompt, response, response)
    assert counts.shape == (2, MODEL.states, 4)
    assert counts.sum() == 2 + 3 + 1
    assert counts[0, 0].tolist() == [0, 2, 0, 0]  # the empty prefix
    assert counts[0, 1 + 1].tolist() == [1, 0, 0, 1]  # behind the word 1
    assert counts[0, 1 + 3 + 3 * 1 + 0].tolist() == [0, 0, 1, 0]  # behind 1, 0
    assert counts[1, 0].tolist() == [0, 0, 0, 1]
    token = np.array([[2, 0, 1], [0, 1, 3], [2, 1, 1]])
    told = distillation.count(MODEL, prompt, response, token)
    assert told[0, 0].tolist() == [1, 0, 1, 0]
    assert told[0, 1 + 1].tolist() == [1, 1, 0, 0]
    assert told[1].sum() == 1
    with pytest.raises(ValueError, match=r"a token for each prefix: response \(3, 3\), token \(3, 2\)"):
        distillation.count(MODEL, prompt, response, token[:, :2])
    with pytest.raises(ValueError, match="token: token 4 is outside"):
        distillation.count(MODEL, prompt, response, token + 2)


@pytest.mark.equation("eq-count-clone")
def test_a_student_is_counts_plus_a_pseudo_count():
    counts = np.zeros((2, MODEL.states, 4))
    counts[0, 0] = [2, 0, 1, 0]
    p = np.exp(distillation.student(counts, 0.5)["logits"])
    assert p[0, 0] == pytest.approx(np.array([2.5, 0.5, 1.5, 0.5]) / 5, abs=1e-14)
    assert p[1] == pytest.approx(np.full((MODEL.states, 4), 0.25), abs=1e-14)
    with pytest.raises(ValueError, match="pseudo_count must be finite and above 0; got 0"):
        distillation.student(counts, 0)


@pytest.mark.equation("eq-count-clone")
def test_a_student_of_many_texts_is_its_teacher():
    rng = np.random.default_rng(1)
    prompts = np.repeat(PROMPTS, 40_000, axis=0)
    texts = lm.sample(MODEL, TEACHER, prompts, 3, rng)
    pupil = distillation.student(distillation.count(MODEL, prompts, texts, texts), 0.1)
    levels = lm.policy_levels(MODEL, pupil, PROMPTS, 3)
    d = distillation.prefix_occupancy(LEVELS)
    assert distillation.loss_by_position(LEVELS, levels, d, np.array([0.5, 0.5])).max() < 1e-3


def test_a_teacher_labels_each_prefix_with_its_own_next_token():
    rng = np.random.default_rng(2)
    prompts = np.repeat(PROMPTS, 20_000, axis=0)
    response = np.tile([[1, 0, 3]], (40_000, 1))
    tokens = distillation.teacher_tokens(MODEL, TEACHER, prompts, response, rng)
    p = np.exp(lm.log_softmax(MODEL.logits(TEACHER, PROMPTS, response[:2])))
    for k in range(2):
        share = (tokens[20_000 * k : 20_000 * (k + 1), :, None] == np.arange(4)).mean(0)
        assert (np.abs(share - p[k]) <= 4 * np.sqrt(p[k] * (1 - p[k]) / 20_000)).all()


def test_dagger_on_text_labels_what_the_student_writes():
    rng = np.random.default_rng(3)
    first = np.zeros((2, MODEL.states, 4))
    first[:, 0, 2] = 1e9  # a student that begins with the word 2, whatever the teacher says
    prompts = PROMPTS[rng.integers(2, size=3000)]
    counts = distillation.on_policy_counts(MODEL, TEACHER, first, prompts, rounds=3, pseudo_count=0.1, rng=rng)
    new = counts - first
    assert new[:, 0].sum() == pytest.approx(3000)
    behind = new[:, 1:4].sum(-1)  # behind one word: only behind 2
    assert behind[:, :2].sum() == 0
    assert behind[:, 2].sum() == 3000
    share = new[0, 3] / new[0, 3].sum()
    p = np.exp(LEVELS[1][0, 2])
    assert (np.abs(share - p) <= 4 * np.sqrt(p * (1 - p) / new[0, 3].sum())).all()
    for rounds in (0, 3001):
        with pytest.raises(ValueError, match=f"rounds must be from 1 to the 3000 prompts; got {rounds}"):
            distillation.on_policy_counts(MODEL, TEACHER, first, prompts, rounds=rounds, pseudo_count=0.1, rng=rng)


def test_later_rounds_use_what_was_learned():
    def last(rounds):
        rng = np.random.default_rng(4)
        return distillation.on_policy_counts(
            MODEL, TEACHER, np.zeros((2, MODEL.states, 4)), np.repeat(PROMPTS[:1], 400, axis=0), rounds=rounds,
            pseudo_count=1e-3, rng=rng,
        )  # fmt: skip

    one, many = last(1), last(100)
    taught = np.exp(LEVELS[0][0, 0])
    reach = lambda counts: counts[0, 1:4].sum(-1) / 400  # noqa: E731  (how often each first word was written)
    assert np.abs(reach(many) - taught[:3]).sum() < np.abs(reach(one) - taught[:3]).sum()


@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_levels_and_answers_are_the_same_policy(horizon):
    log_pi = lm.answers_of_levels(LEVELS[:horizon], 3)
    for found, level in zip(distillation.levels_of(log_pi, 4, horizon), LEVELS[:horizon], strict=True):
        assert found == pytest.approx(level, abs=1e-10)


def test_answers_of_another_language_are_refused():
    log_pi = lm.answers_of_levels(LEVELS, 3)
    with pytest.raises(ValueError, match=r"a language with 4 tokens and horizon 2 has 13 answers; got \(2, 40\)"):
        distillation.levels_of(log_pi, 4, 2)


@pytest.mark.parametrize("horizon", [1, 3])
def test_the_occupancy_of_prefixes_is_the_chance_to_pass_them(horizon):
    p = np.exp(lm.answers_of_levels(LEVELS, 3))
    d = distillation.prefix_occupancy(LEVELS[:horizon])
    assert len(d) == horizon
    for t, level in enumerate(d):
        assert level.shape == (2, 3**t)
        for i in range(3**t):
            prefix = [i // 3**k % 3 for k in range(t)][::-1]
            passes = (ANSWERS[:, :t] == prefix).all(-1)
            assert level[:, i] == pytest.approx(p[:, passes].sum(-1), abs=1e-12)


@pytest.mark.equation("eq-prefix-loss")
def test_the_loss_at_each_position_by_hand_and_its_sum():
    rng = np.random.default_rng(5)
    pupil = lm.policy_levels(MODEL, {"logits": rng.normal(size=(2, MODEL.states, 4))}, PROMPTS, 3)
    start, own = np.array([0.3, 0.7]), distillation.prefix_occupancy(pupil)
    found = distillation.loss_by_position(LEVELS, pupil, own, start)
    assert found.shape == (3,)
    for t in range(3):
        total = weight = 0.0
        for k in range(2):
            for i in range(3**t):
                w = start[k] * own[t][k, i]
                total += w * sum(np.exp(LEVELS[t][k, i]) * (LEVELS[t][k, i] - pupil[t][k, i]))
                weight += w
        assert found[t] == pytest.approx(total / weight, rel=1e-12)
    taught = distillation.prefix_occupancy(LEVELS)
    losses = distillation.loss_by_position(LEVELS, pupil, taught, start)
    alive = np.array([start @ d.sum(-1) for d in taught])
    whole = start @ lm.kl(lm.answers_of_levels(LEVELS, 3), lm.answers_of_levels(pupil, 3))
    assert losses @ alive == pytest.approx(whole, rel=1e-12)


def test_dril_on_text_is_the_gibbs_policy_of_its_cost():
    rng = np.random.default_rng(6)
    cost = [rng.random(level.shape) for level in LEVELS]
    log_pi = lm.answers_of_levels(LEVELS, 3)
    found = distillation.dril_answers(log_pi, cost, 0.3, 3)
    total = lm.answers_of_levels(cost, 3)
    assert np.exp(found).sum(-1) == pytest.approx(np.ones(2), abs=1e-12)

    def value(q):
        return (np.exp(q) * total).sum(-1) + 0.3 * lm.kl(q, log_pi)

    for _ in range(50):
        other = lm.log_softmax(found + rng.normal(size=found.shape))
        assert (value(other) > value(found)).all()
    steps = distillation.levels_of(found, 4, 3)
    d = distillation.prefix_occupancy(steps)
    by_step = sum((w[..., None] * np.exp(s) * c).sum((-2, -1)) for w, s, c in zip(d, steps, cost, strict=True))
    assert by_step == pytest.approx((np.exp(found) * total).sum(-1), rel=1e-10)
    assert gibbs.gap(found, log_pi, -total, 0.3) == pytest.approx(np.zeros(2), abs=1e-12)


def test_seeds_along_a_leading_axis():
    rng = np.random.default_rng(7)
    pupils = [lm.policy_levels(MODEL, {"logits": rng.normal(size=(2, MODEL.states, 4))}, PROMPTS, 3) for _ in range(3)]
    levels = [np.stack(level) for level in zip(*pupils, strict=True)]
    log_pi = lm.answers_of_levels(levels, 3)
    for found, level in zip(distillation.levels_of(log_pi, 4, 3), levels, strict=True):
        assert found == pytest.approx(level, abs=1e-10)
    d = distillation.prefix_occupancy(levels)
    start = np.array([0.3, 0.7])
    both = distillation.loss_by_position(LEVELS, levels, d, start)
    assert both.shape == (3, 3)
    for k, pupil in enumerate(pupils):
        alone = distillation.loss_by_position(LEVELS, pupil, distillation.prefix_occupancy(pupil), start)
        assert both[k] == pytest.approx(alone, rel=1e-12)
    with pytest.raises(ValueError, match=r"has 40 answers; got \(3, 2, 39\)"):
        distillation.levels_of(log_pi[..., 1:], 4, 3)


def test_unlikely_answers_do_not_underflow():
    levels = [level.copy() for level in LEVELS]
    levels[0][0, 0] = [-2000.0, 0.0, -2000.0, -2000.0]
    for found, level in zip(distillation.levels_of(lm.answers_of_levels(levels, 3), 4, 3), levels, strict=True):
        assert found == pytest.approx(level, abs=1e-8)


def test_there_may_be_as_many_rounds_as_prompts():
    counts = distillation.on_policy_counts(
        MODEL, TEACHER, np.zeros((2, MODEL.states, 4)), PROMPTS, rounds=2, pseudo_count=1.0,
        rng=np.random.default_rng(8),
    )  # fmt: skip
    assert counts[:, 0].sum() == 2


@pytest.mark.equation("eq-chosen-law")
def test_what_is_chosen_of_two_answers_of_the_reference():
    rng = np.random.default_rng(0)
    pi_0, reward = rng.dirichlet(np.ones(4)), rng.normal(size=4)
    p = 1 / (1 + np.exp(reward - reward[:, None]))
    by_hand = [2 * pi_0[y] * sum(pi_0[z] * p[y, z] for z in range(4)) for y in range(4)]
    found = distillation.chosen_law(np.log(pi_0), p)
    assert np.exp(found) == pytest.approx(by_hand, rel=1e-12)
    assert np.exp(found).sum() == pytest.approx(1)
    assert (found - np.log(pi_0) < np.log(2)).all()
    sure = (reward[:, None] > reward) + 0.5 * np.eye(4)  # the better answer always wins: the best of two
    below = np.array([pi_0[reward <= r].sum() for r in reward])
    assert np.exp(distillation.chosen_law(np.log(pi_0), sure)) == pytest.approx(below**2 - (below - pi_0) ** 2)


def test_answers_are_counted_in_lists_as_in_arrays():
    model = Tabular(3, 2, ((0,), (1,)), 2)
    prompt, response = np.array([[0], [1], [1]]), np.array([[0, 2], [1, 0], [2, 2]])
    found = distillation.count(model, prompt.tolist(), response.tolist(), response.tolist())
    assert (found == distillation.count(model, prompt, response, response)).all()
    assert found.sum() == 5
