"""What losses of comparisons are asked, and how they are laid out, with answers by hand."""

from functools import partial

import numpy as np
import pytest

from rlhf_lab import audit
from rlhf_lab.audit import pair_identities, pair_inputs, pairs, rewards
from rlhf_lab.audit.binding import Input, meant
from rlhf_lab.audit.contracts import Right
from rlhf_lab.audit.functions import Subject
from rlhf_lab.audit.zoo import ZOO, Bug
from rlhf_lab.audit.zoo import pairs as zoo

DPO = {identity.name: identity.look for identity in pairs.DPO.identities}
IPO = {identity.name: identity.look for identity in pairs.IPO.identities}
RM = {identity.name: identity.look for identity in rewards.REWARD_MODEL.identities}
ONE = pair_inputs.one(-1.0, -2.0, -1.5, -2.2, 0.5)  # h = 0.5 - 0.2
FOUR = pair_inputs.FOUR
OF_TAU = {name: ONE[name] for name in FOUR} | {"tau": 0.25}


def margin(case):
    return case["policy_chosen"] - case["policy_rejected"] - case["reference_chosen"] + case["reference_rejected"]


def dpo(case):
    return np.logaddexp(0, -case["beta"] * margin(case))


def ipo(case):
    return (margin(case) - 0.5 / case["tau"]) ** 2


def bt(case):
    return np.logaddexp(0, case["rejected_rewards"] - case["chosen_rewards"])


KINDS = {
    "dpo": (DPO, pairs.DPO, dpo),
    "ipo": (IPO, pairs.IPO, ipo),
    "reward model": (RM, rewards.REWARD_MODEL, bt),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("add", [lambda x: x, np.mean, np.sum], ids=["each", "mean", "sum"])
def test_what_is_asked_holds_of_what_is_right(kind, add):
    asked, contract, right = KINDS[kind]
    for name, look in asked.items():
        shown = list(look(lambda case: add(right(case)), contract.cases))
        assert all(np.allclose(s.found, s.wanted, 1e-9, 1e-12) for s in shown), name
        assert shown or name.startswith("far")  # where a loss is clipped, if it is


def shows(look, loss, case=ONE):
    """What is found and wanted of one comparison."""
    return [(float(s.found), float(s.wanted)) for s in look(loss, [case])]


def near(*pairs_of_numbers):
    return [pytest.approx(pair) for pair in pairs_of_numbers]


def test_each_question_about_a_margin_by_hand():
    """Of a loss that is the sum of 1, 10, 100 and 1000 times its four numbers."""
    sums = lambda case: sum(10**k * case[name] for k, name in enumerate(FOUR))  # noqa: E731
    at = -1.0 - 20.0 - 150.0 - 2200.0
    same = -1.5 - 22.0 - 150.0 - 2200.0
    assert shows(DPO["log 2 where the policy is the reference"], sums) == near((same, np.log(2)))
    assert shows(IPO["1 / (2 tau)^2 where the policy is the reference"], sums, OF_TAU) == near((same, 4.0))
    assert shows(DPO["only the margin matters"], sums) == near((at - 0.7 * 11, at), (at - 0.7 * 1100, at))
    wanted = near((at - 80, at + 0.8), (at - 800, at + 8))
    assert shows(DPO["the reference counts as much as the policy"], sums) == wanted
    turned = -2.0 - 10.0 - 220.0 - 1500.0
    assert shows(DPO["exchanging the answers changes it by beta h"], sums) == near((at - turned, -0.5 * 0.3))
    assert shows(DPO["twice beta is twice the margin"], lambda case: sums(case) * case["beta"]) == near(
        (at / 2, at / 2)
    )
    assert shows(DPO["twice beta is twice the margin"], lambda case: case["beta"]) == near((1.0, 0.5))
    # 1 / (2 tau) = 2 is 1.7 more than the margin
    assert shows(IPO["0 where the margin is 1 / (2 tau)"], sums, OF_TAU) == near((at + 1.7, 0.0))
    assert shows(DPO["log(1 + exp(-beta h))"], sums) == near((at, np.log1p(np.exp(-0.15))))
    assert shows(IPO["(h - 1 / (2 tau))^2"], sums, OF_TAU) == near((at, 1.7**2))


@pytest.mark.parametrize(("asked", "loss", "case"), [(DPO, dpo, ONE), (IPO, ipo, OF_TAU)])
def test_the_case_that_is_shown_is_the_one_in_which_it_was_found(asked, loss, case):
    for name, look in asked.items():
        if not name.startswith("exchanging"):  # two cases beside each other
            assert all(np.allclose(loss(s.case), s.found) for s in look(loss, [case])), name


def test_each_question_about_rewards_by_hand():
    both = {"chosen_rewards": np.array([2.0]), "rejected_rewards": np.array([0.5])}
    sums = lambda case: case["chosen_rewards"] + 10 * case["rejected_rewards"]  # noqa: E731
    assert shows(RM["log 2 for equal rewards"], sums, both) == near((22.0, np.log(2)))
    assert shows(RM["a constant in all rewards cancels"], sums, both) == near((7 + 7.7, 7.0))
    found = shows(RM["exchanging the answers changes it by their difference"], sums, both)
    assert found == near((7.0 - 20.5, -1.5))
    found = shows(RM["-log sigmoid of the difference"], sums, both)
    assert found == near((7.0, np.log1p(np.exp(-1.5))), (-36.0, np.log1p(np.exp(-8))), (36.0, np.log1p(np.exp(8))))
    coarse = lambda case: bt(case) + 0.005  # noqa: E731
    found = shows(RM["-log sigmoid of the difference"], coarse, both)
    assert [a == b for a, b in found] == [False, True, True]  # far away a small number is no bug


def test_margins_of_2000_nats_are_asked_for():
    look = DPO["finite at far margins"]
    assert shows(look, dpo) == near((1000.0, 1000.0), (0.0, 0.0))
    with np.errstate(over="ignore"):
        assert shows(look, lambda case: np.log(1 + np.exp(-case["beta"] * margin(case))))[0][0] == np.inf
    assert [margin(s.case).item() for s in look(dpo, [ONE, ONE])] == [-2000.0, 2000.0]


def test_a_batch_is_the_mean_or_the_sum_or_all_of_its_comparisons():
    look, case = DPO["a batch is made of its comparisons"], pairs.DPO.cases[-1]
    for add in (np.mean, np.sum, lambda x: x):
        (shown,) = look(lambda c, add=add: add(dpo(c)), [case])
        np.testing.assert_allclose(shown.found, shown.wanted)
    for wrong in (
        lambda c: dpo(c).sum() / len(dpo(c)) ** 0.5,
        lambda c: dpo(c)[::-1],
        lambda c: dpo(c) - dpo(c).mean(),
    ):
        (shown,) = look(wrong, [case])
        assert not np.allclose(shown.found, shown.wanted)


@pytest.mark.parametrize("far", [1.0, 10.0, 39.0])
def test_a_loss_that_is_clipped_is_shown_at_45(far):
    look = partial(pair_identities.clipped, zoo.dpo_loss, pair_identities.with_margin)
    loss = lambda case: np.logaddexp(0, -case["beta"] * np.clip(margin(case), -far, far))  # noqa: E731
    (shown,) = look(loss, [ONE])
    assert margin(shown.case).item() == -45.0
    assert shown.case["beta"] == 0.5
    assert float(shown.found) == pytest.approx(np.logaddexp(0, far / 2))
    assert float(shown.wanted) == pytest.approx(np.logaddexp(0, 22.5))
    for other in (lambda case: 1e-4 * loss(case), lambda case: loss(case) + 1e5):  # of any size, with any constant
        assert len(list(look(other, [ONE]))) == 1


@pytest.mark.parametrize(
    "loss",
    [
        dpo,
        lambda case: np.tanh(margin(case)) ** 3 + dpo(case),
        lambda case: 1 / (1 + np.exp(-margin(case))),  # bounded, not clipped
        lambda case: -np.tanh(margin(case)),  # flat far out in 64 bits, with no slope where that begins
        lambda case: 0 * margin(case) + 3.0,
        lambda case: np.logaddexp(0, -case["beta"] * np.clip(margin(case), -50, 50)),
        lambda case: np.maximum(margin(case), 0.0) ** 2 + np.exp(margin(case) / 10),
    ],
)
def test_a_loss_that_is_not_clipped_is_not_shown(loss):
    assert list(pair_identities.clipped(zoo.dpo_loss, pair_identities.with_margin, loss, [ONE])) == []


def test_a_case_with_a_margin():
    for h in (-3.0, 0.0, 2.0):
        case = pair_identities.with_margin(h, ONE)
        assert margin(case).tolist() == [h]
        assert all(case[name].item() <= 0 for name in FOUR)
        assert case["beta"] == 0.5
        assert pair_identities.with_margin(h, {"tau": 0.3})["tau"] == 0.3
    assert pair_identities.margin_of(pairs.DPO.cases[-1]) == pytest.approx(margin(pairs.DPO.cases[-1]).sum())
    assert pair_identities.singles(pairs.DPO.cases) == list(pairs.DPO.cases[:3])
    assert pair_identities.moved_by(ONE, policy_chosen=0.5)["policy_chosen"] == -0.5


def layout_of(name):
    return next(layout for layout in pair_inputs.layouts(pair_inputs.BETA) if layout.name == name)


TWO = {name: np.array([first, first + 1]) for name, first in zip(FOUR, (-1.0, -4.0, -2.0, -8.0), strict=True)}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("takes the margin h", {"margin": [-3.0, -3.0]}),
        (
            "takes the log-ratio of the answers under policy and reference",
            {"policy_ratio": [3.0, 3.0], "reference_ratio": [6.0, 6.0]},
        ),
        (
            "takes the log-ratio of each answer between policy and reference",
            {"chosen_ratio": [1.0, 1.0], "rejected_ratio": [4.0, 4.0]},
        ),
        (
            "takes all answers in one array, and their places",
            {
                "policy": [-1.0, 0.0, -4.0, -3.0],
                "reference": [-2.0, -1.0, -8.0, -7.0],
                "chosen_places": [0, 1],
                "rejected_places": [2, 3],
            },
        ),
    ],
)
def test_layouts_by_hand(name, given):
    case = layout_of(name).into(TWO | {"beta": 0.3})
    assert {key: case[key].tolist() for key in given} == given
    assert [i.name for i in layout_of(name).inputs] == [*given, "beta"]
    assert case["beta"] == 0.3


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        ("takes the margin h", "h margin margins delta deltas logits logratio_diff log_ratio_diff"),
        (
            "takes the log-ratio of the answers under policy and reference",
            "pi_logratios:policy_ratio ref_logratios:reference_ratio policy_ratio model_log_ratio:policy_ratio "
            "reference_ratios:reference_ratio",
        ),
        (
            "takes the log-ratio of each answer between policy and reference",
            "chosen_logratios:chosen_ratio rejected_logratios:rejected_ratio chosen_rewards:chosen_ratio "
            "rejected_reward:rejected_ratio w_ratio:chosen_ratio loser_logratio:rejected_ratio",
        ),
        (
            "takes all answers in one array, and their places",
            "pi_logps:policy ref_logps:reference yw_idxs:chosen_places yl_idxs:rejected_places policy_logps:policy "
            "pi_ref:reference chosen_index:chosen_places rejected_indices:rejected_places w_inds:chosen_places "
            "chosen_idx:chosen_places y_w_idxs:chosen_places y_l_idxs:rejected_places",
        ),
    ],
)
def test_names_that_layouts_understand(layout, names):
    inputs = layout_of(layout).inputs
    for each in names.split():
        given, _, wanted = each.partition(":")
        wanted = wanted or {"takes the margin h": "margin"}.get(layout, given)
        assert meant(given, inputs) == wanted, given
    assert meant("somewhere", inputs) == ""


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("policy_chosen_logps pi_w chosen_logps logp_w actor_logp_chosen pw lpw", "policy_chosen"),
        ("policy_rejected_logps pi_l rejected_logps logp_l pl lpl", "policy_rejected"),
        ("reference_chosen_logps ref_w ref_chosen_logps logp_ref_w ref_logps_chosen rw logrefw", "reference_chosen"),
        ("reference_rejected_logps ref_l ref_rejected_logps logp_ref_l rl", "reference_rejected"),
    ],
)
def test_names_that_people_give_to_the_four(names, wanted):
    for name in names.split():
        assert meant(name, pair_inputs.FOUR_INPUTS) == wanted, name


@pytest.mark.parametrize("beta", [0.1, 0.25, 3.0])
def test_a_weight_of_dpo_is_worked_out_from_its_slopes(beta):
    inputs = tuple(Input(name) for name in FOUR)
    smoothed = lambda h: 0.9 * np.logaddexp(0, -beta * h) + 0.1 * np.logaddexp(0, beta * h)  # noqa: E731
    for loss in (lambda h: np.logaddexp(0, -beta * h), smoothed):
        subject = Subject(lambda a, b, c, d, loss=loss: loss(a - b - c + d), inputs, pairs.DPO.cases)
        assert pair_inputs._beta(subject, ONE) == pytest.approx(beta)
        assert subject.notes == [f"no parameter beta: {beta:.4g}, worked out from its slope, is fixed inside it"]


@pytest.mark.parametrize("loss", [lambda h: 0 * h, lambda h: np.log(1 + np.exp(-h)), lambda h: np.sin(h) * 1e-9])
def test_a_loss_without_slopes_has_no_weight(loss):
    inputs = (Input("policy_chosen"), Input("policy_rejected"))
    with np.errstate(over="ignore"):
        subject = Subject(
            lambda policy_chosen, policy_rejected: loss(policy_chosen - policy_rejected), inputs, pairs.DPO.cases
        )
        assert pair_inputs._beta(subject, ONE) == 1.0
    assert subject.notes == []


@pytest.mark.parametrize(
    ("start", "tau"), [(25.0, 0.1), (1.0, 0.5), (-1.0, 0.5), (0.0, None), (np.inf, None), (np.nan, None)]
)
def test_a_weight_of_ipo_is_worked_out_from_its_start(start, tau):
    subject = Subject(lambda policy_chosen: start + policy_chosen, (Input("policy_chosen"),), pairs.IPO.cases)
    assert pair_inputs._tau(subject, ONE) == (pytest.approx(tau) if tau else 1.0)
    told = f"no parameter tau: {tau:.4g}, worked out from its value at margin 0, is fixed inside it" if tau else ""
    assert subject.notes == [told] * bool(tau)


def test_the_start_of_a_loss_of_ipo_is_where_all_log_probabilities_are_0():
    inputs = tuple(Input(name) for name in pair_inputs.FOUR)
    subject = Subject(lambda a, b, c, d: (a + 3 * b + 4 * c + 8 * d - 1) ** 2, inputs, pairs.IPO.cases)
    assert pair_inputs._tau(subject, ONE) == 0.5


def fitted(contract, loss):
    with np.errstate(all="ignore"):
        return [found for found in contract.fitted(loss, contract.cases) if isinstance(found, Right)]


def test_a_bug_that_looks_otherwise_on_differences_is_known_so_too():
    listed = [bug.name for bug in ZOO if bug.audit == "reward_model_loss"]
    more = [bug.name for bug in ZOO if bug.function is rewards.zoo.softmax_over_batch]
    assert [bug.name for bug in rewards.REWARD_MODEL.bugs] == listed + more
    assert np.sign(
        [float(case["chosen_rewards"][0] - case["rejected_rewards"][0]) for case in rewards.FAR]
    ).tolist() == [
        1,
        -1,
    ]


def test_weights_that_people_write_are_tried_where_one_is_fixed_inside():
    for weight in (pair_inputs.BETA, pair_inputs.TAU):
        assert {0.01, 0.05, 0.1, 0.2, 0.3, 0.5} <= set(weight.usual)


def test_losses_of_dpo_and_ipo_have_gradients_in_the_policy_alone():
    for contract in (pairs.DPO, pairs.IPO):
        assert contract.trained == ("policy_chosen", "policy_rejected")


def test_bugs_of_ipo_are_known_times_tau_squared_and_with_a_number_in_the_wrong_place():
    found = list(pairs.IPO.fitted(lambda case: 0.0, pairs.IPO.cases))
    listed = [bug for bug in ZOO if bug.audit == "ipo_loss"]
    assert [bug.name for bug in found[: len(listed)]] == [bug.name for bug in listed]
    given = {name: value for name, value in pairs.IPO.cases[-1].items() if name != "tau"}
    for bug, plain in zip(found, listed, strict=False):
        np.testing.assert_allclose(bug.function(**given, tau=0.3), 0.09 * plain.function(**given, tau=0.3))
    assert {bug.right for bug in found[len(listed) :]} == {zoo.ipo_loss}


SFT = "0.5 times minus the log-probability of the chosen answer is added, an SFT term"


@pytest.mark.parametrize(
    ("smooth", "sft", "name"),
    [
        (0.1, 0.0, "label smoothing of 0.1"),
        (0.4, 0.0, "label smoothing of 0.4"),
        (-0.125, 0.0, "robust to labels of which 0.1 are flipped"),
        (0.0, 0.5, SFT),
        (0.1, 0.5, f"label smoothing of 0.1; {SFT}"),
        (0.0, 0.0, None),
        (5e-5, 5e-5, None),
        (0.0, -0.5, None),
        (0.5, 0.0, None),
        (0.7, 0.2, None),
        (1.5, 0.0, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("size", "add"), [(1.0, np.sum), (-200.0, np.mean), (0.01, np.mean)])
def test_smoothing_and_terms_of_sft_are_worked_out(smooth, sft, name, size, add):
    def loss(case):
        h = case["beta"] * margin(case)
        return size * add(np.logaddexp(0, -h) + smooth * h - sft * case["policy_chosen"])

    found = fitted(pairs.DPO, loss)
    assert [right.name for right in found] == [name] * bool(name)
    case = pairs.DPO.cases[-1]
    for right in found:
        np.testing.assert_allclose(size * add(right.function(**case)), loss(case))
    reversed_ = [
        bug for bug in pairs.DPO.fitted(loss, pairs.DPO.cases) if getattr(bug, "name", "") == "smoothing reversed"
    ]
    assert len(reversed_) == (0.5 < smooth <= 1 and not sft)


def test_smoothing_that_is_reversed_is_a_bug_of_any_size():
    for smooth in (0.6, 1.0):
        loss = lambda case, c=smooth: np.sum(dpo(case) + c * case["beta"] * margin(case))  # noqa: E731
        bug = next(iter(pairs.DPO.fitted(loss, pairs.DPO.cases)))
        assert bug.name == "smoothing reversed"
        np.testing.assert_allclose(np.sum(bug.function(**pairs.DPO.cases[-1])), loss(pairs.DPO.cases[-1]))


def test_what_is_not_finite_or_no_loss_of_dpo_has_no_smoothing():
    for loss in (lambda case: np.nan, lambda case: 0.0, lambda case: case["beta"] * np.sum(margin(case))):
        assert fitted(pairs.DPO, loss) == []
    assert fitted(rewards.REWARD_MODEL, lambda case: np.nan) == []


def test_losses_of_ipo_in_other_units():
    """With tau times the margin inside the square, a loss is tau^2 times as large."""
    case = pairs.IPO.cases[-1]
    tau = case["tau"]
    square = ipo(case)
    wanted = {"": square, "times tau squared: a matter of the step size": tau**2 * square}
    wanted["without its constant, 1 / (4 tau^2), which has no gradient"] = square - 0.25 / tau**2
    assert {right.name for right in pairs.IPO.rights} == set(wanted)
    for right in pairs.IPO.rights:
        np.testing.assert_allclose(right.function(**case), wanted[right.name])
    bugs = {bug.name: bug for bug in pairs.IPO.fitted(ipo, pairs.IPO.cases) if not isinstance(bug, Right)}
    for bug in pairs.IPO.known():
        np.testing.assert_allclose(bugs[bug.name].function(**case), tau**2 * bug.function(**case))
    over = next(right for right in pairs.DPO.rights if right.name)
    case = pairs.DPO.cases[-1]
    np.testing.assert_allclose(over.function(**case), dpo(case) / case["beta"])


def of_rewards(units=1.0, margin=0.0, smooth=0.0, centre=0.0, small=0.0, size=1.0):
    def loss(case):
        chosen, rejected = case["chosen_rewards"], case["rejected_rewards"]
        each = np.logaddexp(0, margin - units * (chosen - rejected)) + smooth * (chosen - rejected)
        return size * np.sum(each + centre * (chosen + rejected) ** 2 + small * (chosen**2 + rejected**2))

    return loss


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"units": 0.5}, "rewards are multiplied by 0.5, which only changes their unit"),
        ({"margin": 0.5}, "a margin of 0.5 is asked for"),
        ({"units": 2.0, "margin": 1.0},
         "rewards are multiplied by 2, which only changes their unit; a margin of 1 is asked for"),
        ({"smooth": 0.1}, "label smoothing of 0.1"),
        ({"smooth": 0.3, "size": 2.0}, "label smoothing of 0.3"),
        ({"centre": 0.01}, "0.01 times the squared sum of the rewards keeps them centred"),
        ({"small": 0.001, "size": -1.0}, "0.001 times the squared rewards keeps them small"),
    ],
)  # fmt: skip
def test_numbers_inside_a_loss_of_rewards_are_worked_out(options, name):
    contract, loss = rewards.REWARD_MODEL, of_rewards(**options)
    found = [right for right in fitted(contract, loss) if right.name == name]
    assert len(found) == 1
    case = contract.cases[-1]
    plain = of_rewards(**options | {"size": 1.0})
    np.testing.assert_allclose(np.sum(found[0].function(**case)), plain(case), rtol=1e-5)


@pytest.mark.parametrize("options", [{"margin": -1.0}, {"units": 2.0, "margin": -0.5}])
def test_a_margin_that_is_added_is_a_bug(options):
    loss = of_rewards(**options)
    found = [bug for bug in rewards.REWARD_MODEL.fitted(loss, rewards.REWARD_MODEL.cases) if isinstance(bug, Bug)]
    assert [bug.name for bug in found] == ["margin on the wrong side"]
    case = rewards.REWARD_MODEL.cases[-1]
    np.testing.assert_allclose(np.sum(found[0].function(**case)), loss(case), rtol=1e-5)


def test_what_a_plain_loss_of_rewards_has_inside_is_nothing():
    (right,) = fitted(rewards.REWARD_MODEL, bt)
    assert right.name == ""
    np.testing.assert_allclose(right.function(**rewards.REWARD_MODEL.cases[-1]), bt(rewards.REWARD_MODEL.cases[-1]))
    for size in (1.0, 1e-3):
        assert [
            r.name for r in fitted(rewards.REWARD_MODEL, of_rewards(smooth=0.6, size=size)) if "smoothing" in r.name
        ] == []
    for loss in (lambda case: np.nan, lambda case: 0.0, lambda case: np.sum(case["chosen_rewards"] ** 2) * 0):
        assert fitted(rewards.REWARD_MODEL, loss) == []


def test_labels_of_which_half_are_turned_teach_nothing():
    def half(a, b, c, d, beta):
        return np.logaddexp(0, -beta * (a - b - c + d)) / 2 + np.logaddexp(0, beta * (a - b - c + d)) / 2

    assert audit.dpo_loss(half).verdict == "wrong"
    assert (
        audit.reward_model_loss(lambda c, r: np.logaddexp(0, r - c) / 2 + np.logaddexp(0, c - r) / 2).verdict == "wrong"
    )


def test_a_loss_of_ipo_that_is_infinite_is_told():
    assert audit.ipo_loss(lambda a, b, c, d: a + np.inf).verdict == "not finite"


def overflowing(case):
    return np.sum(np.log(1 + np.exp(2 * (case["rejected_rewards"] - case["chosen_rewards"]))))


def test_units_of_a_loss_that_overflows_far_out_are_worked_out_nearer():
    names = [right.name for right in fitted(rewards.REWARD_MODEL, overflowing)]
    assert names == ["rewards are multiplied by 2, which only changes their unit"]
