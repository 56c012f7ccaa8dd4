"""What losses of PPO and GRPO are asked, with answers by hand."""

from functools import partial

import numpy as np
import pytest

from rlhf_lab.audit import grpo, policies
from rlhf_lab.audit.binding import Input
from rlhf_lab.audit.functions import Subject
from rlhf_lab.audit.zoo import grpo as zoo_grpo
from rlhf_lab.audit.zoo.policies import bfloat16, ppo_loss

PPO, GRPO = policies.cases_of(grpo=False), policies.cases_of(grpo=True)
ASKED = {identity.name: identity.look for identity in policies.RATIOS}


def each(case, ratio=lambda log_pi, log_old: np.exp(log_pi - log_old)):
    """The loss of each token, 0 on padding."""
    u, e = ratio(case["log_pi"], case["log_old"]), case["clip_range"]
    return -np.minimum(u * case["advantage"], np.clip(u, 1 - e, 1 + e) * case["advantage"]) * case["mask"]


def of_tokens(case):
    return each(case).sum() / case["mask"].sum()


def of_answers(case):
    return np.mean(each(case).sum(1) / case["mask"].sum(1))


def holds(shown):
    shown = list(shown)
    return bool(shown) and all(np.allclose(s.found, s.wanted, 1e-9, 1e-12) for s in shown)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("-A where the policy is the old one", [-0.4, -0.7, -0.9, 0.8, 1.1, 0.3, -0.6]),
        ("-u A inside the clip range", [-0.4 * np.exp(0.1), 0.3 * np.exp(-0.1), -0.6 * np.exp(0.15)]),
        ("clipped where the ratio went too far", [-0.7 * 1.1, 1.1 * 0.9]),
        ("-u A where it went the wrong way", [-0.9 * np.exp(-0.5), 0.8 * np.exp(0.6)]),
    ],
)
def test_single_tokens_beside_numbers_by_hand(name, wanted):
    shown = list(ASKED[name](of_tokens, PPO))
    assert [float(s.wanted) for s in shown] == pytest.approx(wanted)
    assert [float(s.found) for s in shown] == pytest.approx(wanted)
    assert all(any(s.case["log_pi"] is case["log_pi"] for case in PPO) for s in shown)
    bare = list(ASKED[name](lambda case: 5.0 + 2 * of_tokens(case), PPO))  # what does not depend on A is left out
    assert [float(s.found) for s in bare] == pytest.approx([2 * w for w in wanted])
    if name.startswith("-A"):
        assert all(s.case["log_old"] is s.case["log_pi"] for s in shown)


def test_a_ratio_is_inside_below_and_above_up_to_the_bound_itself():
    for u, a, wanted in (
        (1.1, 1.0, (True, False, False)),
        (0.9, 1.0, (True, False, False)),
        (1.25, 1.0, (False, False, False)),  # at the bound itself, all three give the same
        (0.75, -1.0, (False, False, False)),
        (0.75, 1.0, (False, False, False)),
        (1.25, -1.0, (False, False, False)),
        (1.5, 1.0, (False, True, False)),
        (0.5, -1.0, (False, True, False)),
        (0.5, 1.0, (False, False, True)),
        (1.5, -1.0, (False, False, True)),
    ):
        assert tuple(f(u, a, 0.25) for f in (policies._inside, policies._too_far, policies._wrong_way)) == wanted


UNLIKELY = "an unlikely token is as exact as a likely one"


def test_a_ratio_of_rounded_numbers_is_seen_at_an_unlikely_token():
    def rounded(case):
        return np.sum(each(case, lambda p, o: np.exp(bfloat16(p) - bfloat16(o))))

    (shown,) = ASKED[UNLIKELY](rounded, PPO)
    assert shown.case["log_pi"].tolist() == [[-40.375]]
    assert shown.case["log_old"].tolist() == [[-40.5]]
    assert shown.wanted == pytest.approx(-0.4 * np.exp(0.125))
    (again,) = ASKED[UNLIKELY](lambda case: 1.005 * rounded(case), PPO)  # beside a small number in a denominator
    assert again.found == pytest.approx(1.005 * shown.found)
    apart = -float(shown.found) / 0.4
    assert min(abs(apart - np.exp(step)) for step in (0.0, 0.25)) < 1e-9  # steps of a quarter at 40
    other = lambda case: of_tokens(case) * (2 if case["log_pi"].min() < -10 else 1)  # noqa: E731
    assert list(ASKED[UNLIKELY](other, PPO)) == []  # wrong, and not by a step of a quarter
    large = lambda case: -case["advantage"].sum() * (1.0 if case["log_pi"].min() < -10 else 1.5)  # noqa: E731
    assert list(ASKED[UNLIKELY](large, PPO)) == []
    up = lambda case: -case["advantage"].sum() * np.exp(0.25 if case["log_pi"].min() < -10 else 0.125)  # noqa: E731
    assert [bool(np.allclose(s.found, s.wanted)) for s in ASKED[UNLIKELY](up, PPO)] == [False]
    assert len(list(ASKED[UNLIKELY](of_tokens, PPO))) == 1
    nowhere = [lambda case: 3.0 * of_tokens(case), lambda case: np.sum(case["log_pi"] * case["advantage"])]
    for loss in (of_tokens, *nowhere, lambda case: np.sum(each(case, lambda p, o: np.exp(p / 2)))):
        shown = list(ASKED[UNLIKELY](loss, PPO))
        assert all(np.allclose(s.found, s.wanted) for s in shown)


def test_an_answer_is_the_mean_or_the_sum_of_its_tokens_or_all_of_them():
    for loss in (of_tokens, lambda case: each(case).sum(), each, lambda case: each(case).sum(1)):
        (shown,) = policies.tokens(loss, PPO)
        assert shown.case is PPO[8]
        assert np.shape(shown.found) == np.shape(loss(PPO[8]))
        np.testing.assert_allclose(shown.found, shown.wanted)
    two = PPO[8] | {name: value[:, :2] for name, value in PPO[8].items() if np.ndim(value) == 2}
    (shown,) = policies.tokens(of_tokens, [two])
    assert float(shown.found) == pytest.approx(float(shown.wanted))
    (shown,) = policies.tokens(lambda case: of_tokens(case) ** 2, PPO)
    values = each(PPO[8]).ravel()
    wholes = [(values**2).mean(), (values**2).sum()]
    assert float(shown.wanted) == pytest.approx(min(wholes, key=lambda whole: abs(whole - shown.found)))
    assert not np.allclose(shown.found, shown.wanted)


def test_a_batch_is_the_mean_or_the_sum_of_its_answers_or_weighs_them_by_length():
    every = (of_tokens, of_answers, lambda c: each(c).sum(), lambda c: np.mean(each(c).sum(1)))
    for loss in (*every, each, lambda c: each(c).sum(1), lambda c: np.squeeze(each(c).sum(1))):
        shown = list(policies.answers(loss, PPO))
        assert [s.case is case for s, case in zip(shown, PPO[9:], strict=True)] == [True] * 3
        assert holds(shown)
    for loss in (lambda c: each(c).sum() / c["mask"].size ** 0.5, lambda c: each(c).sum() ** 2):
        assert not holds(policies.answers(loss, PPO))
    last = policies.answers(lambda c: each(c)[::-1], PPO)
    assert not holds(last)


def test_what_stands_on_padding_is_changed_and_only_that():
    padded = [case for case in PPO if not case["mask"].all()]
    for loss in (of_tokens, each, lambda c: each(c) / np.where(c["mask"] > 0, 1, 0.5) + (1 - c["mask"]) * c["log_pi"]):
        shown = list(policies.padding(loss, PPO))
        assert len(shown) == len(padded)
        assert holds(shown)
        for s, case in zip(shown, padded, strict=True):
            for name in ("log_pi", "log_old", "advantage"):
                np.testing.assert_array_equal((s.case[name] != case[name]), case["mask"] == 0)
    for shown, case in zip(policies.padding(lambda c: each(c).sum(1), PPO), padded, strict=True):
        assert shown.found.shape == shown.wanted.shape == (len(case["mask"]),)
        np.testing.assert_allclose(shown.found, shown.wanted)
    for name in ("log_pi", "log_old"):
        assert not holds(policies.padding(lambda case, name=name: np.sum(case[name]), PPO))
    assert not holds(policies.padding(lambda case: np.sum(case["log_ref"]), GRPO))


def test_an_answer_costs_as_much_without_its_padding():
    assert len(list(policies.unpadded(of_tokens, PPO))) == 2  # one answer with padding, and minus its advantages
    assert holds(policies.unpadded(of_tokens, PPO))
    assert holds(policies.unpadded(each, PPO))
    assert holds(policies.unpadded(lambda c: each(c) + (1 - c["mask"]) * c["log_pi"], PPO))  # whatever stands there
    two = PPO[8] | {"mask": np.array([[1.0, 1.0, 0.0]])}
    shown = list(policies.unpadded(of_tokens, [two]))
    assert holds(shown)
    assert [np.sign(s.case["advantage"] * two["advantage"]).tolist() for s in shown] == [[[1.0] * 3], [[-1.0] * 3]]
    assert holds(policies.unpadded(lambda c: of_tokens(c) * np.mean(c["mask"]), PPO))  # divided by all places

    def floor(case):
        """Padding costs something where its advantage is negative, whatever the policy does."""
        return of_tokens(case) + np.sum(np.maximum(0.0, -case["advantage"]) * (1 - case["mask"]))

    assert not holds(policies.unpadded(floor, PPO))


def test_a_single_token_beside_the_nearest_of_what_right_functions_give():
    rights = [r for r in grpo.GRPO_RIGHTS if r.name]
    for right in rights:
        shown = list(
            policies.key(
                rights, lambda case, f=right.function: f(**{k: v for k, v in case.items() if k != "clip_high"}), GRPO
            )
        )
        assert len(shown) == 7
        assert holds(shown)
    assert not holds(policies.key(rights, lambda case: 1.0 + 0 * case["log_pi"], GRPO))


INPUTS = tuple(Input(name) for name in ("log_pi", "log_old", "advantage", "mask"))


@pytest.mark.parametrize(
    ("clip", "told"),
    [(0.25, 0.25), (0.1, 0.1), (5.0, 5.0), (0.0015, 0.0015), (0.0005, None), (10.5, None), (20.0, None)],
)
@pytest.mark.parametrize("size", [1.0, -3.0])
def test_a_clip_range_inside_is_worked_out_if_it_is_one(clip, told, size):
    subject = Subject(
        lambda log_pi, log_old, advantage, mask: size * ppo_loss(log_pi, log_old, advantage, mask, clip), INPUTS, PPO
    )
    assert policies.fixed_clip(subject, PPO[-1]) == policies.fixed_clip(subject, PPO[0])
    assert policies.fixed_clip(subject, PPO[0]) == pytest.approx(told or 0.2, rel=1e-5)
    words = f"no parameter for the clip range: {clip:.4g}, worked out from its values, is fixed inside it"
    assert subject.notes == ([words] if told else [])


def test_a_loss_that_nothing_moves_has_the_usual_clip_range():
    subject = Subject(lambda log_pi, log_old, advantage, mask: 0.0 * log_pi, INPUTS, PPO)
    assert policies.fixed_clip(subject, PPO[0]) == 0.2
    assert subject.notes == []
    assert policies.upper(subject, {"clip_range": 0.3}) == 0.3


def weighed(beta, kl):
    def loss(log_pi, log_old, log_ref, advantage, mask):
        u = np.exp(log_pi - log_old)
        a = advantage[:, None]
        return np.mean((-np.minimum(u * a, np.clip(u, 0.8, 1.2) * a) + beta * kl(log_pi - log_ref, u)) * mask)

    return loss


@pytest.mark.parametrize(
    "kl",
    [lambda d, u: np.exp(-d) - 1 + d, lambda d, u: d**2 / 2, lambda d, u: d * u, lambda d, u: (np.exp(-d) - 1 + d) * u],
    ids=["k3", "k2", "k1", "k3 times the ratio"],
)
@pytest.mark.parametrize("beta", [0.04, 0.5])
def test_a_weight_inside_is_worked_out_from_each_estimate(kl, beta):
    inputs = tuple(Input(name) for name in ("log_pi", "log_old", "log_ref", "advantage", "mask"))
    subject = Subject(weighed(beta, kl), inputs, GRPO)
    assert grpo._weight(subject, GRPO[-1]) == pytest.approx(beta, rel=1e-4)
    assert subject.notes == [
        f"no parameter for the KL weight: {beta:.4g}, worked out from its values, is fixed inside it"
    ]


def test_what_a_loss_does_without_is_told():
    subject = Subject(lambda log_pi, advantage: log_pi, (Input("log_pi"), Input("advantage")), GRPO)
    assert grpo._weight(subject, GRPO[0]) == 0.0
    assert subject.notes == []
    for absent, told in (
        (
            grpo._no_step,
            "takes no old log-probabilities: right for one step on fresh answers, where they are those of now",
        ),
        (grpo._same_reference, "takes no reference: no KL term in this loss"),
    ):
        found = absent(subject, GRPO[-1])
        assert found.tolist() == GRPO[-1]["log_pi"].tolist()
        assert found is not GRPO[-1]["log_pi"]
        assert subject.notes.pop() == told


def plain(case):
    return {name: value for name, value in case.items() if name != "clip_high"}


def test_leaving_the_reference_costs_beta_times_the_divergence():
    look = next(
        identity.look for identity in grpo.GRPO.identities if identity.name == "leaving the reference costs beta KL"
    )
    for right in grpo.GRPO_RIGHTS[:-1]:
        (shown,) = look(lambda case, f=right.function: f(**plain(case)), GRPO)
        assert float(shown.found) == float(shown.wanted) == 1.0
        assert shown.case["log_pi"].tolist() == [[np.log(0.5)]] == shown.case["log_old"].tolist()
    (shown,) = look(lambda case: zoo_grpo.grpo_loss(**plain(case | {"beta": 3 * case["beta"]})), GRPO)
    assert float(shown.found) == pytest.approx(3, rel=1e-2)
    (shown,) = look(lambda case: zoo_grpo.grpo_loss(**plain(case | {"log_ref": case["log_pi"]})), GRPO)
    assert float(shown.found) == pytest.approx(0, abs=1e-9)
    assert list(look(of_tokens, [GRPO[0] | {"beta": 0.0}])) == []


def test_a_ratio_of_the_whole_answer_is_the_geometric_mean():
    """By hand: log-ratios 0.2 and 0.4 of an answer whose advantage is 1, clipped at 1.3 and at 1.5."""
    old, new = np.array([[-1.0, -2.0]]), np.array([[-0.8, -1.6]])
    case = {"log_pi": new, "log_old": old, "log_ref": new, "mask": np.ones((1, 2))}
    case |= {"advantage": np.ones(1), "clip_range": 0.5, "beta": 0.3}
    gspo = grpo.GSPO_RIGHTS[0].function
    assert gspo(**case) == pytest.approx(-np.exp(0.3))
    assert gspo(**case | {"clip_range": 0.3}) == pytest.approx(-1.3)
    half = np.array([[1.0, 0.0]])
    assert gspo(**case | {"mask": half}) == pytest.approx(-np.exp(0.2))
    assert grpo.GRPO_RIGHTS[0].function(**case) == pytest.approx(-(np.exp(0.2) + np.exp(0.4)) / 2)
    look = next(i.look for i in grpo.GSPO.identities if i.name == "-min(s A, clip(s) A) + beta KL, s of the answer")
    for right in grpo.GSPO_RIGHTS:
        for size in (1, 3):
            (shown,) = look(lambda case, f=right.function, n=size: n * f(**plain(case)), GRPO)
            assert shown.case is GRPO[8]
            assert float(shown.found) == pytest.approx(float(shown.wanted))
    assert not holds(look(lambda case: 2 * gspo(**plain(case)), GRPO))


KL = {
    "KL by k3: ": lambda d, u: np.exp(-d) - 1 + d,
    "KL by k2: ": lambda d, u: d**2 / 2,
    "KL by k3 times the ratio: ": lambda d, u: (np.exp(-d) - 1 + d) * u,
    "KL by k1 times the ratio: ": lambda d, u: d * u,
    "KL by k3 with the gradient of k2: ": lambda d, u: np.exp(-d) - 1 + d,
}


@pytest.mark.parametrize("words", KL)
@pytest.mark.parametrize("name", ["", "the ratio is that of the whole answer, a geometric mean (GSPO)"])
def test_each_right_loss_of_grpo_is_what_its_name_says(words, name):
    rights = grpo.GSPO_RIGHTS if name else grpo.GRPO_RIGHTS
    (right,) = [r for r in rights if r.name.startswith(f"{name}; {words}" if name else words)]
    case = GRPO[-1]
    step = case["log_pi"] - case["log_old"]
    if name:
        step = (step * case["mask"]).sum(1, keepdims=True) / case["mask"].sum(1, keepdims=True) + 0 * step
    u, a, e = np.exp(step), case["advantage"][:, None], case["clip_range"]
    tokens = -np.minimum(u * a, np.clip(u, 1 - e, 1 + e) * a) + case["beta"] * KL[words](
        case["log_pi"] - case["log_ref"], u
    )
    wanted = np.mean((tokens * case["mask"]).sum(1) / case["mask"].sum(1))
    assert right.function(**plain(case)) == pytest.approx(wanted)
    free = rights[-1]
    assert free.name == name
    assert free.function(**plain(case)) == pytest.approx(right.function(**plain(case | {"beta": 0.0})))


def test_a_right_loss_with_a_divergence_is_for_those_that_take_a_reference():
    takes, does_not = (Subject(f, i, GRPO) for f, i in (
        (lambda log_ref: log_ref, (Input("log_ref"),)), (lambda log_pi: log_pi, (Input("log_pi"),))))  # fmt: skip
    for rights in (grpo.GRPO_RIGHTS, grpo.GSPO_RIGHTS):
        assert [r.when(takes) for r in rights] == [True] * 5 + [False]
        assert [r.when(does_not) for r in rights] == [False] * 5 + [True]


def test_a_term_is_what_depends_on_the_advantage():
    loss = lambda case: case["advantage"] * 2 + 5.0  # noqa: E731
    assert policies.term(loss, {"advantage": np.array([1.0, 3.0])}) == 8.0
    assert policies.total(loss, {"advantage": np.array([1.0, 3.0])}) == 18.0
    assert policies.single(PPO) == list(PPO[:7])
    assert partial(policies.held, clip_range=0.2)(np.log(2), 0.0, 3.0) == pytest.approx(-3.6)


def test_advantages_of_grpo_come_one_for_each_answer_or_for_each_token():
    case = {"advantage": np.array([1.0, 2.0]), "log_pi": np.array([[0.0, -1.0], [-2.0, -3.0]])}
    plain, of_tokens, columns = (layout.into(case) for layout in grpo.GRPO.layouts)
    assert plain["advantage"].tolist() == [1, 2]
    assert of_tokens["advantage"].tolist() == [[1, 1], [2, 2]]
    assert columns["advantage"].tolist() == [[1], [2]]
    assert all(each["log_pi"] is case["log_pi"] for each in (plain, of_tokens, columns))


def test_the_ratio_of_an_answer_is_asked_for_in_place_of_its_tokens_and_must_be_recognised():
    names = [[identity.name for identity in contract.identities] for contract in (grpo.GRPO, grpo.GSPO)]
    assert names[1] == [
        "-min(s A, clip(s) A) + beta KL, s of the answer" if name == "an answer is made of its tokens" else name
        for name in names[0]
    ]
    assert names[0] != names[1]
    assert (grpo.GRPO.strict, grpo.GSPO.strict) == (False, True)
    assert grpo.GRPO.general
