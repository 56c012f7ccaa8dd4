"""Over-optimisation: kinds of answers lose nothing, and ensembles see what they can see."""

import itertools

import numpy as np
import pytest

from rlhf_lab.feedback import likelihoods, reward_models
from rlhf_lab.methods import best_of_n, overoptimization
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.numerics import optim
from rlhf_lab.worlds import phrase_world

RNG = np.random.default_rng(0)
LOG_PI_0 = np.log(RNG.dirichlet(np.ones(6), size=3))
REWARD = RNG.normal(size=(3, 6))
BETA = 0.3


# Kinds of answers.


@pytest.mark.equation("eq-kinds")
def test_kinds_by_hand():
    log_pi = np.log([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]])
    found = overoptimization.merge(log_pi, np.array([0, 1, 0, 2]))
    assert np.exp(found) == pytest.approx(np.array([[0.4, 0.2, 0.4], [0.8, 0.1, 0.1]]), rel=1e-14)
    assert overoptimization.merge(log_pi[0], np.array([0, 1, 0, 2])) == pytest.approx(found[0])
    assert overoptimization.merge(np.stack([log_pi, log_pi]), np.array([0, 1, 0, 2])).shape == (2, 2, 3)


@pytest.mark.equation("eq-kinds")
def test_optimising_over_kinds_is_optimising_over_answers():
    kind, reward = np.array([0, 2, 1, 2, 0, 1]), np.array([0.3, -1.0, 2.0])
    small = overoptimization.merge(LOG_PI_0, kind)
    best, best_of_kinds = (gibbs.log_policy(p, r, BETA) for p, r in ((LOG_PI_0, reward[kind]), (small, reward)))
    assert overoptimization.merge(best, kind) == pytest.approx(best_of_kinds, abs=1e-12)
    assert lm.kl(best, LOG_PI_0) == pytest.approx(lm.kl(best_of_kinds, small), abs=1e-12)
    value = gibbs.objective(best, LOG_PI_0, reward[kind], BETA)
    assert value == pytest.approx(gibbs.objective(best_of_kinds, small, reward, BETA), abs=1e-12)
    kept, kept_of_kinds = (best_of_n.log_best_of_n(p, r, 4) for p, r in ((LOG_PI_0, reward[kind]), (small, reward)))
    assert overoptimization.merge(kept, kind) == pytest.approx(kept_of_kinds, abs=1e-12)
    assert lm.kl(kept, LOG_PI_0) == pytest.approx(lm.kl(kept_of_kinds, small), abs=1e-12)


@pytest.mark.equation("eq-kinds")
def test_a_policy_that_prefers_one_order_of_words_is_farther_away_than_its_kinds():
    kind, policy = np.array([0, 2, 1, 2, 0, 1]), np.log(np.random.default_rng(18).dirichlet(np.ones(6), size=3))
    apart = lm.kl(policy, LOG_PI_0) - lm.kl(
        overoptimization.merge(policy, kind), overoptimization.merge(LOG_PI_0, kind)
    )
    assert (apart > 0.01).all()


def test_kinds_without_probability_to_speak_of_keep_their_logarithm():
    log_pi = np.array([-800.0, -801.0, 0.0, -np.inf])
    found = overoptimization.merge(log_pi, np.array([0, 0, 1, 2]))
    assert found == pytest.approx([-800 + np.log1p(np.exp(-1)), 0.0, -np.inf], rel=1e-14)


@pytest.mark.equation("eq-kinds")
def test_the_rewards_of_phrase_world_do_not_hear_the_order_of_words():
    answers = lm.enumerate_responses(phrase_world.VOCAB, 3, phrase_world.EOS)
    prompt = np.repeat(phrase_world.PROMPTS[1:2], len(answers), axis=0)
    ordered = np.sort(answers, axis=-1)
    assert phrase_world.reward(prompt, ordered).tolist() == phrase_world.reward(prompt, answers).tolist()
    assert len(np.unique(ordered, axis=0)) == 286  # 13 over 3: three words out of eleven, with repetition


def test_answers_are_drawn_with_their_probabilities():
    log_pi, row = np.log([[0.5, 1e-300, 0.3, 0.2], [0.1, 0.2, 0.3, 0.4]]), np.tile([0, 1], (20_000, 2))
    drawn = overoptimization.draw(log_pi, row, np.random.default_rng(14))
    assert drawn.shape == (20_000, 4)
    for k in (0, 1):
        share = np.bincount(drawn[:, [k, k + 2]].ravel(), minlength=4) / 40_000
        p = np.exp(log_pi[k])
        assert (np.abs(share - p) <= 4 * np.sqrt(p * (1 - p) / 40_000)).all()


def test_a_policy_that_is_drawn_from_need_not_be_normalised():
    row = np.tile([0, 1, 2], 100)
    shifts = (0.0, 3.0, 1e5, -1e5, np.array([[0.0], [1e5], [-1e5]]))
    once, *others = (overoptimization.draw(LOG_PI_0 + shift, row, np.random.default_rng(15)) for shift in shifts)
    assert [drawn.tolist() for drawn in others] == [once.tolist()] * 4
    assert once.max() == 5


def test_no_prompts_draw_no_answers():
    drawn = overoptimization.draw(LOG_PI_0, [], RNG)
    assert (drawn.shape, drawn.dtype) == ((0,), np.intp)


def test_an_answer_without_probability_is_never_drawn():
    class Lowest:
        random = staticmethod(np.zeros)

    with np.errstate(divide="ignore"):
        log_pi = np.log([[0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
    assert overoptimization.draw(log_pi, np.array([0, 1]), Lowest()).tolist() == [1, 2]


@pytest.mark.equation("eq-centred")
def test_centred_rewards_forget_the_constant_and_nothing_else():
    shift = np.array([[3.0], [-1.0], [0.5]])
    found = overoptimization.centred(REWARD, LOG_PI_0)
    assert overoptimization.centred(REWARD + shift, LOG_PI_0) == pytest.approx(found, abs=1e-12)
    assert (np.exp(LOG_PI_0) * found).sum(-1) == pytest.approx(np.zeros(3), abs=1e-12)
    assert np.diff(found) == pytest.approx(np.diff(REWARD), abs=1e-12)
    assert overoptimization.centred(np.array([1.0, 5.0]), np.log([0.75, 0.25])).tolist() == pytest.approx([-1.0, 3.0])
    assert overoptimization.centred(np.stack([REWARD, REWARD]), LOG_PI_0).shape == (2, 3, 6)


# Ensembles.


@pytest.mark.equation("eq-ensemble-minimum", "eq-uncertainty-weighted", "eq-disagreement")
def test_ensembles_by_hand():
    members = np.array([[1.0, 5.0], [3.0, 1.0], [2.0, 0.0]])
    assert overoptimization.minimum(members).tolist() == [1.0, 0.0]
    variance = np.array([2 / 3, 14 / 3])
    assert overoptimization.uncertainty_weighted(members, 0.5) == pytest.approx(np.array([2.0, 2.0]) - 0.5 * variance)
    assert overoptimization.uncertainty_weighted(members, 0.0) == pytest.approx(np.array([2.0, 2.0]))
    found = overoptimization.disagreement(members, np.log([0.25, 0.75]))
    assert found == pytest.approx(0.25 * variance[0] ** 0.5 + 0.75 * variance[1] ** 0.5)


@pytest.mark.equation("eq-ensemble-minimum", "eq-uncertainty-weighted", "eq-disagreement")
def test_members_are_the_first_axis_whatever_stands_between():
    members = RNG.normal(size=(5, 2, 3, 6))
    assert overoptimization.minimum(members).tolist() == members.min(0).tolist()
    assert overoptimization.uncertainty_weighted(members, 1.0).shape == (2, 3, 6)
    found = overoptimization.disagreement(members, LOG_PI_0)
    assert found.shape == (2, 3)
    assert found[1, 2] == pytest.approx(np.exp(LOG_PI_0[2]) @ members[:, 1, 2].std(0))


@pytest.mark.equation("eq-ensemble-minimum", "eq-uncertainty-weighted")
def test_one_member_is_a_single_model_and_a_larger_ensemble_is_never_bolder():
    members = RNG.normal(size=(5, 3, 6))
    assert overoptimization.minimum(members[:1]).tolist() == members[0].tolist()
    assert overoptimization.uncertainty_weighted(members[:1], 7.0).tolist() == members[0].tolist()
    assert (overoptimization.minimum(members) <= overoptimization.minimum(members[:3])).all()


def test_without_centering_the_minimum_is_one_member_with_a_low_constant():
    members = np.stack([REWARD, REWARD[::-1] + 100.0])
    assert overoptimization.minimum(members).tolist() == REWARD.tolist()
    fair = overoptimization.minimum(overoptimization.centred(members, LOG_PI_0))
    assert (fair < overoptimization.centred(REWARD, LOG_PI_0) - 1e-6).any()


def test_an_ensemble_is_independent_draws_stacked_members_first():
    net = reward_models.Network(Recurrent(4, 3, 3))
    params = overoptimization.ensemble(net.init, (5, 2), np.random.default_rng(10))
    assert {name: p.shape for name, p in params.items()} == {
        "recurrent": (5, 2, 3, 3),
        "embed": (5, 2, 4, 3),
        "start": (5, 2, 3),
        "head": (5, 2, 3),
    }
    flat = params["recurrent"].reshape(10, -1)
    assert len(np.unique(flat, axis=0)) == 10
    first = net.init(np.random.default_rng(10).spawn(10)[0])
    assert params["embed"][0, 0].tolist() == first["embed"].tolist()
    again = overoptimization.ensemble(net.init, (5, 2), np.random.default_rng(10))
    assert again["embed"].tolist() == params["embed"].tolist()


def test_an_ensemble_of_one_is_its_member_with_an_axis_in_front():
    def draw(rng):
        return {"theta": rng.normal(size=2), "scale": rng.normal()}

    found = overoptimization.ensemble(draw, (1,), np.random.default_rng(17))
    alone = draw(np.random.default_rng(17).spawn(1)[0])
    assert {name: p.tolist() for name, p in found.items()} == {
        "theta": [alone["theta"].tolist()],
        "scale": [alone["scale"]],
    }


def test_rewards_of_members_may_be_lists_of_whole_numbers():
    lowest = overoptimization.minimum([[1, 5], [3, 1]])
    assert (lowest.tolist(), lowest.dtype) == ([1, 1], float)


def test_a_bootstrap_draws_with_replacement_and_anew_for_each_member():
    index = overoptimization.bootstrap((400, 3, 50), np.random.default_rng(11))
    assert index.shape == (400, 3, 50)
    assert set(np.unique(index)) == set(range(50))
    distinct = np.array([len(np.unique(row)) for row in index.reshape(-1, 50)]) / 50
    expected = 1 - (1 - 1 / 50) ** 50
    assert abs(distinct.mean() - expected) < 4 * distinct.std() / len(distinct) ** 0.5
    assert len(np.unique(index.reshape(-1, 50), axis=0)) == 1200


def test_members_trained_in_one_call_are_members_trained_alone():
    rng = np.random.default_rng(12)
    net = reward_models.Network(Recurrent(4, 3, 3))
    prompt, first, second = (rng.integers(4, size=(8, length)) for length in (1, 3, 3))
    label = rng.integers(2, size=8).astype(float)
    batch = (prompt, first, second, label)
    index = overoptimization.bootstrap((3, 8), rng)
    params = overoptimization.ensemble(net.init, (3,), rng)

    def trained(params, batch):
        loss = likelihoods.preference_loss(net, likelihoods.bradley_terry_loss)
        return optim.fit(loss, params, lambda p, r: [batch], rounds=5, optimizer=optim.adam(0.1), rng=rng)[0]

    together = trained(params, tuple(column[index] for column in batch))
    for k in range(3):
        alone = trained({name: p[k] for name, p in params.items()}, tuple(column[index[k]] for column in batch))
        for name, p in alone.items():
            assert together[name][k] == pytest.approx(p, rel=1e-10)


# Bad input.


def growing():
    sizes = itertools.count(3)
    return lambda rng: {"head": np.zeros(next(sizes))}


BAD = {
    "NaN of a member": (
        lambda: overoptimization.minimum([[1.0, np.nan], [0.0, 1.0]]),
        "^rewards must be finite numbers, without NaN or infinity; got an array of float64$",
    ),
    "NaN of an uncertain member": (
        lambda: overoptimization.uncertainty_weighted([[1.0, np.nan], [0.0, 1.0]], 1.0),
        "^rewards must be finite numbers",
    ),
    "infinite disagreement": (
        lambda: overoptimization.disagreement([[1.0, -np.inf], [0.0, 1.0]], np.log([0.5, 0.5])),
        "^rewards must be finite numbers",
    ),
    "words": (
        lambda: overoptimization.minimum([["a", "b"]]),
        "^rewards must be finite numbers, .*; got an array of <U1$",
    ),
    "members apart": (
        lambda: overoptimization.ensemble(growing(), (2,), RNG),
        r"^init: all members need the same shapes to be stacked; got \{'head': \(3,\)\} and \{'head': \(4,\)\}$",
    ),
    "a number of members": (
        lambda: overoptimization.ensemble(lambda rng: {}, 5, RNG),
        r"^shape is \(M,\) or \(M, seeds\), whole numbers, at least one of each; got 5$",
    ),
    "a number of comparisons": (lambda: overoptimization.bootstrap(5, RNG), r"^shape is \(M, \.\.\., n\), .*; got 5$"),
    "half a member": (lambda: overoptimization.bootstrap((2.5, 4), RNG), r"^shape is .*; got \(2\.5, 4\)$"),
    "no members": (
        lambda: overoptimization.minimum([]),
        r"^rewards must have shape \(M, \.\.\., A\), members first, at least one; got \(0,\)$",
    ),
    "empty": (lambda: overoptimization.minimum(np.zeros((0, 4))), r"members first, at least one; got \(0, 4\)$"),
    "one vector": (
        lambda: overoptimization.disagreement(np.zeros(4), np.log(np.ones(4) / 4)),
        r"at least one; got \(4,\)$",
    ),
    "shapes": (
        lambda: overoptimization.uncertainty_weighted([np.zeros(3), np.zeros(4)], 1.0),
        "^rewards: the members have different shapes; judge the same answers with each$",
    ),
    "weight": (
        lambda: overoptimization.uncertainty_weighted(np.zeros((2, 4)), -1.0),
        "^weight is lambda, how much variance costs, finite and at least 0; got -1.0$",
    ),
    "infinite weight": (lambda: overoptimization.uncertainty_weighted(np.zeros((2, 4)), np.inf), "^weight is lambda"),
    "no ensemble": (
        lambda: overoptimization.ensemble(lambda rng: {}, (0,), RNG),
        r"^shape is \(M,\) or \(M, seeds\), whole numbers, at least one of each; got \(0,\)$",
    ),
    "no shape": (lambda: overoptimization.ensemble(lambda rng: {}, (), RNG), r"^shape is \(M,\) or \(M, seeds\)"),
    "no data": (
        lambda: overoptimization.bootstrap((3, 0), RNG),
        r"^shape is \(M, \.\.\., n\), whole numbers, at least one of each",
    ),
    "no draw": (
        lambda: overoptimization.bootstrap((), RNG),
        r"^shape is \(M, \.\.\., n\), whole numbers, at least one of each; got \(\)$",
    ),
    "kinds": (
        lambda: overoptimization.merge(LOG_PI_0, np.zeros(5, dtype=int)),
        r"^kind \(A,\) must name the kind of each answer of log_pi \(\.\.\., A\), at least one; "
        r"got \(5,\) and \(3, 6\)$",
    ),
    "kind matrix": (
        lambda: overoptimization.merge(LOG_PI_0, np.zeros((3, 6), dtype=int)),
        r"at least one; got \(3, 6\) and \(3, 6\)$",
    ),
    "no kinds": (
        lambda: overoptimization.merge(np.zeros((3, 0)), np.zeros(0, dtype=int)),
        r"at least one; got \(0,\) and \(3, 0\)$",
    ),
    "negative kinds": (
        lambda: overoptimization.merge(LOG_PI_0, np.array([0, 1, 2, 0, 1, -1])),
        f"^kind must hold integers, .* got 4 different ones of type {np.dtype(int)}, -1 to 2",
    ),
    "a kind beyond all answers": (
        lambda: overoptimization.merge(LOG_PI_0, np.array([0, 1, 2, 0, 1, 2**40])),
        "^kind must hold integers, .* got 4 different ones of type int64, 0 to 1099511627776",
    ),
    "kinds as floats": (
        lambda: overoptimization.merge(LOG_PI_0, np.array([0.0, 1.0, 0.0, 0.0, 1.0, 1.0])),
        "^kind must hold integers, .* got 2 different ones of type float64, 0.0 to 1.0",
    ),
    "NaN in a policy": (
        lambda: overoptimization.merge(np.full(2, np.nan), np.array([0, 1])),
        "^log_pi: log-probabilities are at most 0; got nan",
    ),
    "prompts as floats": (
        lambda: overoptimization.draw(LOG_PI_0, np.array([0.5]), RNG),
        "^row must be integers, the numbers of prompts; got float64$",
    ),
    "NaN to draw from": (
        lambda: overoptimization.draw(np.array([[0.0, np.nan], [0.0, 0.0]]), np.array([1]), RNG),
        "^log_pi: each prompt needs an answer with some probability, and none that is NaN or infinite$",
    ),
    "nothing to draw": (
        lambda: overoptimization.draw(np.full((1, 2), -np.inf), np.array([0]), RNG),
        "^log_pi: each prompt needs an answer with some probability",
    ),
    "rows": (
        lambda: overoptimization.draw(LOG_PI_0, np.array([0, 3]), RNG),
        "^row: there are 3 prompts, counted from 0; got 3$",
    ),
    "negative row": (lambda: overoptimization.draw(LOG_PI_0, np.array([-1, 2]), RNG), "counted from 0; got -1$"),
    "missing kind": (
        lambda: overoptimization.merge(LOG_PI_0, np.array([0, 0, 2, 2, 2, 2])),
        rf"^kind must hold integers, each from 0 to G - 1 at least once; got 2 different ones of type {np.dtype(int)}, "
        r"0 to 2\. Number them with np\.unique\(\.\.\., return_inverse=True\)$",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_bootstrap_of_one_comparison_is_that_comparison():
    assert overoptimization.bootstrap((1,), RNG).tolist() == [0]
