import numpy as np
import pytest
from small_trees import tree

from rlhf_lab.methods import principles
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics.autodiff import log_softmax
from rlhf_lab.numerics.optim import adam, fit
from rlhf_lab.worlds import phrase_world
from rlhf_lab.worlds.phrase_world import EOS, HORIZON, PROMPTS, VOCAB, WORDS

FOOL, THANKS = WORDS.index("fool"), WORDS.index("thanks")


def phrase_rules():
    return (
        principles.never("Do not insult.", FOOL, THANKS),
        principles.say_once("Do not repeat a word.", EOS),
        principles.finish("Come to an end.", EOS),
    )


def small(seed=0, vocab=4, horizon=3):
    """log pi_0 (2, A), rules over tokens 0, 1, 2 and eos 3, and their world."""
    prior, rewards, _ = tree(seed, vocab, horizon, vocab - 1)
    rules = (
        principles.never("Not 1.", 1, 0),
        principles.say_once("Once.", vocab - 1),
        principles.finish("End.", vocab - 1),
    )
    found = principles.enumerate_rules(rules, np.array([[0], [1]]), horizon, vocab, vocab - 1)
    return lm.answers_of_levels(prior, vocab - 1), rewards, rules, found


def said(*texts):
    return np.stack([phrase_world.encode(text, HORIZON) for text in texts])


@pytest.mark.equation("eq-clean")
def test_a_critique_names_the_rules_that_an_answer_breaks():
    answers = said("yes thanks", "no fool", "it is it", "tea is hot thanks fool …", "fool fool")
    broken = principles.critique(phrase_rules(), PROMPTS[[0] * 5], answers)
    assert [rule.words for rule in phrase_rules()] == ["Do not insult.", "Do not repeat a word.", "Come to an end."]
    assert broken.tolist() == [
        [False, True, False, True, True],
        [False, False, True, False, True],
        [False, False, False, True, False],
    ]
    with pytest.raises(ValueError, match=r"^a constitution needs at least one rule; got none"):
        principles.critique((), PROMPTS[:1], answers[:1])
    counting = principles.Rule("Few.", lambda x, y: (y == FOOL).sum(-1), lambda x, y: y)
    assert principles.critique((counting,), PROMPTS[[0] * 5], answers).dtype == bool


@pytest.mark.equation("eq-revision")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("yes thanks", "yes thanks"),
        ("no fool", "no thanks"),
        ("fool", "thanks"),
        ("no fool fool", "no thanks"),
        ("it is it is it …", "it is"),
        ("yes yes no yes", "yes no"),
        ("tea is hot thanks fool …", "tea is hot thanks"),
        ("tea is hot it cold …", "tea is hot it"),
    ],
)
def test_a_revision_breaks_no_rule_and_is_its_own_revision(before, after):
    found = principles.revise(phrase_rules(), PROMPTS[:1], said(before), VOCAB, EOS)
    assert phrase_world.decode(found[0]) == after
    assert not principles.critique(phrase_rules(), PROMPTS[:1], found).any()
    assert (principles.revise(phrase_rules(), PROMPTS[:1], found, VOCAB, EOS) == found).all()


def test_the_first_rule_that_is_broken_rewrites_and_the_order_matters():
    polite = principles.never("a", 1, 0)
    plain = principles.never("b", 0, 2)
    answer = np.array([[0, 1, 3]])
    assert principles.revise((polite, plain), np.array([[0]]), answer, 4, 3).tolist() == [[2, 2, 3]]
    cut = principles.Rule("c", lambda x, y: (y == 1).any(-1), lambda x, y: np.where(y == 1, 3, y))
    assert principles.revise((cut, polite), np.array([[0]]), answer, 4, 3).tolist() == [[0, 3, 3]]
    assert principles.revise((polite, cut), np.array([[0]]), answer, 4, 3).tolist() == [[0, 0, 3]]


def test_a_rule_may_look_at_the_prompt_and_does_not_touch_what_it_was_given():
    rule = principles.Rule(
        "Do not echo.",
        lambda x, y: (y == x).any(-1),
        lambda x, y: np.where(y == x, 2, y),
    )
    answers = np.array([[0, 1, 3], [0, 1, 3], [2, 2, 3]])
    found = principles.revise((rule,), np.array([[0], [1], [0]]), answers, 4, 3)
    assert found.tolist() == [[2, 1, 3], [0, 2, 3], [2, 2, 3]]
    assert answers.tolist() == [[0, 1, 3], [0, 1, 3], [2, 2, 3]]


def test_a_rule_that_leaves_the_language_is_told():
    def rule(out):
        return principles.Rule("Shout.", lambda x, y: (y == 0).any(-1), lambda x, y: out)

    x, y = np.array([[0]]), np.array([[0, 3, 3]])
    with pytest.raises(ValueError, match=r"^'Shout.' rewrites \[0, 3, 3\] to \[4, 3, 3\], which is outside the lang"):
        principles.revise((rule(np.array([[4, 3, 3]])),), x, y, 4, 3)
    with pytest.raises(ValueError, match=r"rewrites \[0, 3, 3\] to \[-1, 3, 3\], which is outside the language"):
        principles.revise((rule(np.array([[-1, 3, 3]])),), x, y, 4, 3)
    later = principles.Rule("Shout.", lambda x, y: y[:, 0] == 0, lambda x, y: np.where(y == 2, 9, y))
    with pytest.raises(ValueError, match=r"^'Shout.' rewrites \[0, 2, 2\] to \[0, 9, 9\]"):
        principles.revise((later,), np.array([[0], [0]]), np.array([[0, 1, 1], [0, 2, 2]]), 4, 3)
    with pytest.raises(ValueError, match=r"tokens are 0 to 3, and only eos, 3, follows eos"):
        principles.revise((rule(np.array([[3, 1, 3]])),), x, y, 4, 3)
    with pytest.raises(ValueError, match=r"^'Shout.' rewrites answers of shape \(1, 3\) to \(1, 4\): pad with eos"):
        principles.revise((rule(np.array([[1, 1, 1, 1]])),), x, y, 4, 3)
    with pytest.raises(ValueError, match=r"^response: token 4 is outside the vocabulary"):
        principles.revise(phrase_rules(), x, np.array([[4, 3, 3]]), 4, 3)
    with pytest.raises(ValueError, match="eos must be the last token"):
        principles.revise(phrase_rules(), x, y, 4, 2)


def test_rules_that_undo_each_other_are_told():
    there, back = principles.never("Not 0.", 0, 1), principles.never("Not 1.", 1, 0)
    with pytest.raises(ValueError, match=r"^after 20 revisions answer 1, now \[0, 3\], breaks 'Not 0.': a revis"):
        principles.revise((there, back), np.array([[0], [0]]), np.array([[2, 3], [0, 3]]), 4, 3)
    both = (principles.never("Not 0.", 0, 0), principles.never("No 1.", 1, 0))
    with pytest.raises(ValueError, match=r"breaks 'Not 0.' and 'No 1.'"):
        principles.revise(both, np.array([[0]]), np.array([[0, 1]]), 4, 3)


def test_twenty_revisions_are_enough_for_an_answer_that_needs_twenty():
    down = principles.Rule("Down.", lambda x, y: (y > 0).any(-1), lambda x, y: y - 1)
    assert principles.revise((down,), np.array([[0]]), np.array([[20]]), 31, 30).tolist() == [[0]]
    with pytest.raises(ValueError, match="after 20 revisions"):
        principles.revise((down,), np.array([[0]]), np.array([[21]]), 31, 30)


@pytest.mark.equation("eq-push-forward")
def test_fine_tuning_on_revisions_is_the_push_forward_against_enumeration():
    log_pi_0, _, rules, world = small()
    answers = lm.enumerate_responses(4, 3, 3)
    by_hand = np.zeros(log_pi_0.shape)
    for x in range(2):
        for a, answer in enumerate(answers):
            revised = principles.revise(rules, np.array([[x]]), answer[None], 4, 3)
            place = int(np.flatnonzero((answers == revised).all(-1))[0])
            assert world.revised[x, a] == place
            assert (world.broken[:, x, a] == principles.critique(rules, np.array([[x]]), answer[None])[:, 0]).all()
            by_hand[x, place] += np.exp(log_pi_0[x, a])
    found = principles.push_forward(log_pi_0, world.revised)
    assert np.exp(found) == pytest.approx(by_hand, abs=1e-12)
    assert np.exp(found).sum(-1) == pytest.approx(1)
    assert (found[world.broken.any(0)] == -np.inf).all()
    function = np.random.default_rng(1).normal(size=log_pi_0.shape)
    moved = np.take_along_axis(function, world.revised, axis=-1)
    assert np.sum(np.exp(found) * function, -1) == pytest.approx(np.sum(np.exp(log_pi_0) * moved, -1))


def test_every_answer_is_looked_at_with_its_prompt_and_revised_inside_the_language():
    echo = principles.Rule("No echo.", lambda x, y: (y[:, :1] == x).any(-1), lambda x, y: np.full(y.shape, 3))
    found = principles.enumerate_rules((echo,), np.array([[0, 0], [1, 2]]), 2, 4, 3)
    answers = lm.enumerate_responses(4, 2, 3)
    assert found.broken.shape == (1, 2, len(answers))
    for x, said_first in enumerate(([0], [1, 2])):
        at_fault = np.isin(answers[:, 0], said_first)
        assert (found.broken[0, x] == at_fault).all()
        assert (found.revised[x] == np.where(at_fault, 0, np.arange(len(answers)))).all()
    beyond = principles.Rule("Go on.", lambda x, y: y[:, 0] == 3, lambda x, y: np.array([[3, 0]]))
    with pytest.raises(ValueError, match="is outside the language"):
        principles.enumerate_rules((beyond,), np.array([[0]]), 2, 4, 3)


def test_laws_of_one_prompt_and_of_several_seeds_are_those_of_each_alone():
    log_pi_0, score, _, world = small(9)
    broken, rng = world.broken.any(0), np.random.default_rng(9)
    several = np.stack([log_pi_0, log_softmax(rng.normal(size=log_pi_0.shape))])
    both = np.stack([world.revised, world.revised])
    for make, more in (
        (principles.push_forward, world.revised),
        (principles.conditioned, broken),
        (principles.clean_mass, broken),
        (principles.penalty_limit, np.round(score)),
    ):
        together = make(several, both if make is principles.push_forward else np.stack([more, more]))
        for seed in range(2):
            for x in range(2):
                assert make(several[seed, x], more[x]) == pytest.approx(together[seed, x])
    free = np.stack([~broken, broken])[:, 0]
    fault = np.where(broken[0], 0, -1)
    one = principles.refined(several[0, 0], several[1, 0], fault, free, 2)
    two = principles.refined(several[0, :1], several[1, :1], fault[None], free[:, None], 2)
    assert one == pytest.approx(two[0])


def test_the_cross_entropy_of_revised_texts_is_least_at_the_push_forward():
    log_pi_0, _, _, world = small(vocab=3, horizon=2)
    target = np.exp(principles.push_forward(log_pi_0, world.revised))
    model = Tabular(3, 2, ((0,), (1,)), 2)

    def loss(params, _):
        log_pi = lm.answer_log_probs(model, params, np.array([[0], [1]]), 2)
        return -(target * log_pi).sum()

    params, _ = fit(
        loss, model.init(None), lambda p, r: [None], rounds=300, optimizer=adam(0.1), rng=np.random.default_rng(0)
    )
    found = np.exp(lm.answer_log_probs(model, params, np.array([[0], [1]]), 2))
    assert found == pytest.approx(target, abs=5e-3)


def test_places_of_revisions_are_places_of_answers():
    log_pi_0 = np.log(np.full((1, 3), 1 / 3))
    with pytest.raises(ValueError, match=r"^revised holds places of answers, 0 to 2; got 3"):
        principles.push_forward(log_pi_0, np.array([[0, 1, 3]]))
    with pytest.raises(ValueError, match=r"^revised holds places of answers, 0 to 2; got -1"):
        principles.push_forward(log_pi_0, np.array([[0, -1, 2]]))
    with pytest.raises(ValueError, match=r"^there must be one revision for each answer, \(1, 3\); got \(3,\)"):
        principles.push_forward(log_pi_0, np.array([0, 1, 2]))


@pytest.mark.equation("eq-conditioned")
def test_conditioning_keeps_the_odds_of_clean_answers():
    log_pi_0, _, _, world = small()
    broken = world.broken.any(0)
    found = principles.conditioned(log_pi_0, broken)
    assert np.exp(found).sum(-1) == pytest.approx(1)
    assert (found[broken] == -np.inf).all()
    for x in range(2):
        odds = (found - log_pi_0)[x][~broken[x]]
        assert odds == pytest.approx(odds[0])
        assert odds[0] == pytest.approx(-np.log(np.exp(log_pi_0[x][~broken[x]]).sum()))


@pytest.mark.equation("eq-cheapest")
@pytest.mark.equation("eq-clean-kl")
def test_no_clean_policy_is_nearer_than_conditioning_and_the_rest_is_the_distance_to_it():
    log_pi_0, _, _, world = small(1)
    broken, rng = world.broken.any(0), np.random.default_rng(2)
    nearest, least = principles.conditioned(log_pi_0, broken), -principles.clean_mass(log_pi_0, broken)
    assert lm.kl(nearest, log_pi_0) == pytest.approx(least, abs=1e-12)
    others = [principles.push_forward(log_pi_0, world.revised)]
    others += [principles.conditioned(log_softmax(log_pi_0 + rng.normal(size=log_pi_0.shape)), broken) for _ in "abc"]
    for log_pi in others:
        far = lm.kl(log_pi, log_pi_0)
        assert (far > least).all()
        assert far == pytest.approx(least + lm.kl(log_pi, nearest), abs=1e-12)
    assert (lm.kl(log_pi_0, nearest) == np.inf).all()


def test_verdicts_are_true_or_false_and_something_clean_is_possible():
    log_pi_0 = np.log(np.array([[0.5, 0.5], [0.25, 0.75]]))
    for call in (principles.conditioned, principles.clean_mass):
        with pytest.raises(ValueError, match=r"^broken must say true or false of each answer, \(2, 2\); got int64 of"):
            call(log_pi_0, np.zeros((2, 2), dtype="int64"))
        with pytest.raises(ValueError, match=r"got bool of shape \(2,\)"):
            call(log_pi_0, np.zeros(2, dtype=bool))
        with pytest.raises(ValueError, match=r"^the reference writes no clean answer to prompt 1: there is nothing to"):
            call(log_pi_0, np.array([[False, True], [True, True]]))


@pytest.mark.equation("eq-penalty")
def test_a_penalty_takes_one_over_beta_off_the_log_odds():
    log_pi_0, _, _, world = small(3)
    broken = world.broken.any(0)
    share = np.sum(np.exp(log_pi_0) * broken, -1)
    for beta in (0.1, 1.0, 5.0):
        log_pi = gibbs.log_policy(log_pi_0, -1.0 * broken, beta)
        left = np.sum(np.exp(log_pi) * broken, -1)
        assert principles.penalised_share(share, beta) == pytest.approx(left)
        assert np.log(left / (1 - left)) == pytest.approx(np.log(share / (1 - share)) - 1 / beta)
    with pytest.raises(ValueError, match="beta must be finite and above 0"):
        principles.penalised_share(share, 0)
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\]"):
        principles.penalised_share(1.5, 1)


def test_no_policy_that_breaks_as_few_rules_is_nearer_than_a_penalty():
    log_pi_0, _, _, world = small(4)
    broken, rng = world.broken.any(0), np.random.default_rng(5)
    for beta in (0.3, 1.0):
        log_pi = gibbs.log_policy(log_pi_0, -1.0 * broken, beta)
        left = np.sum(np.exp(log_pi) * broken, -1)
        other = log_softmax(log_pi_0 + rng.normal(size=log_pi_0.shape))
        parts = [np.where(side, other, -np.inf) for side in (broken, ~broken)]
        shares = [np.log(np.exp(part).sum(-1, keepdims=True)) for part in parts]
        same = np.where(
            broken, parts[0] - shares[0] + np.log(left)[:, None], parts[1] - shares[1] + np.log1p(-left)[:, None]
        )
        assert np.exp(same).sum(-1) == pytest.approx(1)
        assert (lm.kl(same, log_pi_0) > lm.kl(log_pi, log_pi_0)).all()


@pytest.mark.equation("eq-penalty-limit")
def test_the_penalty_tends_to_conditioning():
    log_pi_0, _, _, world = small(6)
    broken = world.broken.any(0)
    limit = principles.conditioned(log_pi_0, broken)
    far = [lm.kl(limit, gibbs.log_policy(log_pi_0, -1.0 * broken, beta)).max() for beta in (1, 0.3, 0.1, 0.03)]
    assert (np.diff(far) < 0).all()
    assert far[-1] < 1e-12
    counted = gibbs.log_policy(log_pi_0, -world.broken.sum(0).astype(float), 0.02)
    assert lm.kl(limit, counted) == pytest.approx(0, abs=1e-12), "counting faults has the same limit"


@pytest.mark.equation("eq-graded-limit")
def test_a_graded_score_keeps_only_the_answers_with_the_least():
    log_pi_0 = np.log(np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]]))
    score = np.array([[0.0, 0.1, 0.0, 1.0], [0.2, 0.2, 0.9, 0.5]])
    found = principles.penalty_limit(log_pi_0, score)
    assert np.exp(found) == pytest.approx(np.array([[0.25, 0, 0.75, 0], [4 / 7, 3 / 7, 0, 0]]))
    assert lm.kl(found, gibbs.log_policy(log_pi_0, -score, 0.003)) == pytest.approx(0, abs=1e-9)
    same = principles.penalty_limit(log_pi_0, score == 1.0)
    assert same[0] == pytest.approx(principles.conditioned(log_pi_0, score == 1.0)[0])
    never = np.log(np.array([[0.0, 0.5, 0.0, 0.5]]), out=np.full((1, 4), -np.inf), where=np.array([[0, 1, 0, 1]]) > 0)
    assert np.exp(principles.penalty_limit(never, score[:1])) == pytest.approx(np.array([[0, 1, 0, 0]]))
    with pytest.raises(ValueError, match="rewards must be finite"):
        principles.penalty_limit(log_pi_0, np.where(score == 0.9, np.inf, score))


FAULT = np.array([[0, 1, -1, 0, -1], [1, 1, -1, 0, -1]])
FREE = np.array([[[0, 1, 1, 0, 1]] * 2, [[1, 0, 1, 1, 1], [0, 0, 1, 1, 1]]], dtype=bool)


@pytest.mark.equation("eq-refinement")
@pytest.mark.parametrize("tries", [1, 3])
def test_the_law_of_a_refinement_is_what_people_and_draws_make_of_it(tries):
    rng = np.random.default_rng(7)
    log_pi_0 = log_softmax(rng.normal(size=(2, 5)))
    log_pi = log_softmax(rng.normal(size=(2, 5)))
    law = np.exp(principles.refined(log_pi, log_pi_0, FAULT, FREE, tries))
    assert law.sum(-1) == pytest.approx(1)
    assert np.exp(principles.refined(log_pi, log_pi_0, FAULT, FREE.astype(int), tries)) == pytest.approx(law)
    count = 40_000
    for x in range(2):
        before = rng.choice(5, count, p=np.exp(log_pi[x]))
        drawn = rng.choice(5, (count, tries), p=np.exp(log_pi_0[x]))
        found = FREE[FAULT[x, before][:, None], x, drawn]
        kept = drawn[np.arange(count), found.argmax(-1)]
        after = np.where(FAULT[x, before] < 0, before, kept)
        share = np.bincount(after, minlength=5) / count
        assert (np.abs(share - law[x]) < 5 * np.sqrt(law[x] / count)).all()


@pytest.mark.equation("eq-refinement-limit")
def test_round_after_round_a_refinement_tends_to_pi_0_without_faults():
    log_pi_0 = log_softmax(np.random.default_rng(8).normal(size=(2, 5)))
    fine = principles.conditioned(log_pi_0, FAULT >= 0)
    for tries in (1, 4):
        log_pi, far = log_pi_0, []
        for _ in range(200):
            far.append(lm.kl(fine, log_pi).max())
            log_pi = principles.refined(log_pi, log_pi_0, FAULT, FREE, tries)
        assert (np.diff(far[:10]) < 0).all()
        assert lm.kl(fine, log_pi) == pytest.approx(0, abs=1e-10)


def test_what_nobody_writes_stays_unwritten():
    log_pi_0 = np.log([[0.5, 0.25, 0.25, 1, 1]]) + np.array([0, 0, 0, -np.inf, -np.inf])
    found = principles.refined(log_pi_0, log_pi_0, FAULT[:1], FREE[:, :1], 2)
    assert (found[0, 3:] == -np.inf).all()
    assert np.exp(found).sum() == pytest.approx(1)


def test_faults_and_their_cures_belong_together():
    log_pi_0 = log_softmax(np.zeros((2, 5)))
    with pytest.raises(
        ValueError, match=r"^there must be one fault for each answer, \(2, 5\), and for each fault whic"
    ):
        principles.refined(log_pi_0, log_pi_0, FAULT[:, :4], FREE, 1)
    with pytest.raises(ValueError, match=r"got \(2, 5\) and \(2, 2, 4\)"):
        principles.refined(log_pi_0, log_pi_0, FAULT, FREE[..., :4], 1)
    with pytest.raises(ValueError, match=r"^fault is 0 to 1, or -1 for none; got 2"):
        principles.refined(log_pi_0, log_pi_0, np.array([[0, 1, -1, 0, 2], FAULT[1]]), FREE, 1)
    with pytest.raises(ValueError, match=r"^fault is 0 to 1, or -1 for none; got -2"):
        principles.refined(log_pi_0, log_pi_0, np.where(FAULT == 1, -2, FAULT), FREE, 1)
    with pytest.raises(ValueError, match=r"^tries is how many new answers are drawn for each that is found fault with"):
        principles.refined(log_pi_0, log_pi_0, FAULT, FREE, 0)
