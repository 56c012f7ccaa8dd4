"""A small contract of its own, by which each step of an audit is seen by itself."""

import autograd.numpy as np
import numpy as onp
import pytest
from autograd.tracer import getval

from rlhf_lab.audit import changes, exchanges, recognition, twists
from rlhf_lab.audit.auditing import audit
from rlhf_lab.audit.binding import Input, Trouble
from rlhf_lab.audit.contracts import Contract, Form, Function, Identity, Right, Shown
from rlhf_lab.audit.functions import Subject
from rlhf_lab.audit.zoo import Bug

NAMES = ("log_pi", "log_ref", "advantage", "mask", "beta", "clip_range")


def toy(log_pi, log_ref, advantage, mask, beta, clip_range):
    """Neither even nor odd nor straight in any of its inputs."""
    return (np.sin(log_pi) + advantage * np.exp(log_ref) + beta**2 * advantage**2 + clip_range * log_ref**3) * mask


def case_of(seed, mask, beta, clip_range):
    rng = np.random.default_rng(seed)
    arrays = {name: np.round(rng.normal(size=np.shape(mask)), 2) for name in NAMES[:3]}
    return arrays | {"mask": np.array(mask), "beta": beta, "clip_range": clip_range}


CASES = [case_of(0, [[1.0]], 0.3, 0.2), case_of(1, [[1.0, 1, 0], [1, 1, 1]], 0.7, 0.1)]
CASES.append(case_of(2, [[1.0, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]], 0.4, 0.3))
EACH, SUM = Form("one for each", lambda v, c: v), Form("their sum", lambda v, c: np.sum(v))
LOSS = Contract(
    "toy",
    tuple(Input(name) for name in NAMES),
    "what a toy returns",
    (Right("", toy), Right("of cosines", lambda log_pi, mask: np.cos(log_pi) * mask)),
    tuple(CASES),
    (EACH, SUM),
    (),
    ("log_pi",),
    bugs=(),
)
NUMBER = LOSS._replace(loss=False)


def asked(contract, function):
    """What an audit is told of a function, before it judges."""
    subject = Subject(function, contract.inputs, CASES)
    return subject, recognition.see(contract, subject, CASES)


def of_other_inputs(contract, function):
    subject, seen = asked(contract, function)
    return exchanges.exchanged(contract, contract.rights, subject, seen, CASES)


def with_other(name, change):
    """The toy with something else in place of an input."""

    def function(log_pi, log_ref, advantage, mask, beta, clip_range):
        given = dict(zip(NAMES, (log_pi, log_ref, advantage, mask, beta, clip_range), strict=True))
        return toy(**given | change(given) if name is None else given | {name: change(given)})

    return function


def called(words, name):
    return words.format(name.replace("_", " "))


@pytest.mark.parametrize("contract", [LOSS, NUMBER], ids=["a loss", "a number"])
@pytest.mark.parametrize("name", ["beta", "clip_range"])
def test_another_number_in_place_of_one(name, contract):
    for words, turn in changes.NUMBERS.items():
        found = of_other_inputs(contract, with_other(name, lambda given, turn=turn: turn(given[name])))
        if found is None:
            assert name == "beta"  # which is squared
            assert words == "minus {}"
            continue
        what, where = called(words, name), name.replace("_", " ")
        assert found.candidate.name == f"{what} in place of {where}"
        assert found.candidate.told == f"It is right but for its input {where}: there it uses {what}."
        assert (found.candidate.function, found.candidate.right, found.candidate.audit) == (toy, toy, "toy")
        assert found.candidate.seen == ""
        assert (found.candidate.where, found.form, found.factor, found.shift) == ("", EACH, 1.0, 0.0)


def test_one_number_in_place_of_another():
    found = of_other_inputs(LOSS, with_other("beta", lambda given: given["clip_range"]))
    assert found.candidate.name == "clip range in place of beta"
    found = of_other_inputs(LOSS, with_other("clip_range", lambda given: given["beta"]))
    assert found.candidate.name == "beta in place of clip range"


def test_a_number_that_is_not_taken_is_not_changed():
    def fixed(log_pi, log_ref, advantage, mask, beta, clip_range=0.0):
        return toy(log_pi, log_ref, advantage, mask, 1 / beta, 0.2)

    contract = LOSS._replace(inputs=tuple(Input(name) for name in NAMES[:5]))
    cases = [case | {"clip_range": 0.2} for case in CASES]
    subject = Subject(fixed, contract.inputs, cases)
    names = [told for _, told, _ in exchanges._exchanges(contract, subject, cases[-1])]
    assert "beta" in names
    assert "clip range" not in names


def test_a_loss_may_be_twice_as_large_or_turned_and_a_number_may_not():
    for contract, factors in ((LOSS, [1.0, 2.0, -1.0]), (NUMBER, [1.0])):
        _, seen = asked(contract, toy)
        assert exchanges._fitting(contract, contract.rights[0], seen, CASES) == [(EACH, factor) for factor in factors]


def test_what_stands_in_place_of_a_difference_is_called_by_its_name():
    subject, _ = asked(LOSS, toy)
    found = [
        what for what, told, _ in exchanges._exchanges(LOSS, subject, CASES[-1]) if told == "log ratio to the reference"
    ]
    assert "minus log ratio to the reference" in found


@pytest.mark.parametrize("words", changes.MASKS)
def test_another_mask_changes_a_loss(words):
    function = with_other("mask", lambda given: changes.MASKS[words](given["mask"]))
    found = of_other_inputs(LOSS, function)
    assert found.candidate.name == f"{words} in place of mask"
    assert of_other_inputs(NUMBER, function) is None  # it is no loss: there its zeros are part of the result


def test_what_needs_padding_is_tried_where_the_largest_case_has_some():
    words = "{} less its mean, over the batch with 0 for padding"
    change = dict(changes.changed(CASES[2]["advantage"], CASES[2]["mask"]))[words]
    function = with_other("advantage", lambda given: change(given["advantage"], given["mask"]))
    cases = [CASES[0], CASES[1] | {"mask": np.ones((2, 3))}, CASES[2]]
    subject = Subject(function, LOSS.inputs, cases)
    seen = recognition.see(LOSS, subject, cases)
    found = exchanges.exchanged(LOSS, LOSS.rights, subject, seen, cases)
    assert found.candidate.name == "advantage less its mean, over the batch with 0 for padding in place of advantage"


def test_another_mask_is_not_tried_where_none_is_taken_and_none_of_one_row():
    def unmasked(log_pi, log_ref, advantage, beta, clip_range):
        return toy(log_pi, log_ref, advantage, np.ones(np.shape(log_pi)), beta, clip_range)

    contract = LOSS._replace(inputs=tuple(Input(name) for name in NAMES if name != "mask"))
    subject = Subject(unmasked, contract.inputs, CASES)
    assert "mask" not in [told for _, told, _ in exchanges._exchanges(contract, subject, CASES[-1])]
    row = {name: x[0] if np.ndim(x) else x for name, x in CASES[-1].items()}
    subject, _ = asked(LOSS, toy)
    assert "mask" not in [told for _, told, _ in exchanges._exchanges(LOSS, subject, row)]


WORDS = ["minus {}", "the exponential of {}", "{} one place early", "{} of the row before", "{} clipped to 0.5"]
WORDS += [
    "{} over the length",
    "the mean of {}",
    "{} whitened, over each answer by itself",
    "the sum of {}, over the batch",
]
WORDS += [
    "{} less its mean, over the batch, padding with it",
    "{} over its deviation, over the batch with 0 for padding",
]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("name", ["log_pi", "log_ref", "advantage"])
def test_an_array_that_is_changed(name, words):
    change = dict(changes.changed(CASES[-1][name], CASES[-1]["mask"]))[words]
    with np.errstate(all="ignore"):
        found = of_other_inputs(LOSS, with_other(name, lambda given: change(given[name], given["mask"])))
    assert found.candidate.name == f"{called(words, name)} in place of {name.replace('_', ' ')}"


def test_an_array_in_place_of_another_of_its_shape():
    found = of_other_inputs(LOSS, with_other("log_ref", lambda given: given["log_pi"]))
    assert found.candidate.name == "log pi in place of log ref"
    found = of_other_inputs(LOSS, with_other("advantage", lambda given: given["log_ref"]))
    assert found.candidate.name == "log ref in place of advantage"


def test_a_difference_that_is_changed():
    ratio = "log ratio to the reference"

    def clipped(given):
        return {"log_ref": given["log_pi"] - np.clip(given["log_pi"] - given["log_ref"], -0.5, 0.5)}

    def centred(given):
        h = given["log_pi"] - given["log_ref"]
        return {"log_ref": given["log_pi"] - h + np.sum(h * given["mask"]) / np.sum(given["mask"])}

    found = of_other_inputs(LOSS, with_other(None, clipped))
    assert found.candidate.name == f"{ratio} clipped to 0.5 in place of {ratio}"
    found = of_other_inputs(LOSS, with_other(None, centred))
    assert found.candidate.name == f"{ratio} less its mean, over the batch in place of {ratio}"


def test_inputs_of_one_kind_that_are_changed_alike():
    def exponentials(given):
        return {name: np.exp(given[name]) for name in ("log_pi", "log_ref")}

    def centred(given):
        mask = given["mask"]
        mean = np.sum((given["log_pi"] + given["log_ref"]) * mask) / np.sum(2 * mask)
        return {name: given[name] - mean for name in ("log_pi", "log_ref")}

    found = of_other_inputs(LOSS, with_other(None, exponentials))
    assert found.candidate.name == "exponentials in place of logarithms"
    found = of_other_inputs(LOSS, with_other(None, centred))
    assert found.candidate.name == "logarithms less its mean, over the batch in place of logarithms"


def test_inputs_of_one_kind_are_at_least_two():
    four = ["policy_chosen", "policy_rejected", "reference_chosen"]
    both = ["chosen_rewards", "rejected_rewards"]
    assert list(exchanges._groups(["advantage", *four, *both, "log_pi"])) == [
        ("log-probabilities", four),
        ("rewards", both),
    ]
    assert list(exchanges._groups(["log_pi", "log_ref", "rewards"])) == [("logarithms", ["log_pi", "log_ref"])]


def test_arrays_that_can_be_changed_hold_numbers():
    row = np.array([1.0, 2.0])
    case = {"mask": row, "ends": row, "last_value": row, "beta": 0.1, "tokens": np.array([1, 2]), "values": row}
    assert exchanges.arrays_of(case) == ["values"]


def test_what_is_right_or_needs_more_than_one_change_is_no_other_input():
    assert of_other_inputs(LOSS, toy) is None
    assert of_other_inputs(LOSS, lambda *given: -2 * toy(*given)) is None
    both = with_other(None, lambda given: {"beta": 2 * given["beta"], "advantage": np.exp(given["advantage"])})
    assert of_other_inputs(LOSS, both) is None
    beta = with_other("beta", lambda given: 2 * given["beta"])
    assert audit(LOSS._replace(strict=True), beta).verdict == "wrong"  # where only what is recognised is told
    assert of_other_inputs(LOSS._replace(rights=LOSS.rights[1:]), beta) is None


@pytest.mark.parametrize(
    ("contract", "factors"), [(LOSS, {1.0, 2.0, -1.0}), (NUMBER, {1.0})], ids=["a loss", "a number"]
)
def test_other_inputs_are_seen_through_forms_and_through_factors_of_a_loss_only(contract, factors):
    doubled = with_other("beta", lambda given: 2 * given["beta"])
    for factor, form, add in ((1.0, SUM, np.sum), (2.0, EACH, lambda x: x), (-1.0, SUM, np.sum), (3.0, SUM, np.sum)):
        found = of_other_inputs(contract, lambda *given, f=factor, add=add: f * add(doubled(*given)))
        if factor in factors:
            assert found.candidate.name == "twice beta in place of beta"
            assert (found.form, found.factor) == (form, factor)
        else:
            assert found is None


def test_another_input_that_explains_the_size_too_comes_before_one_that_does_not():
    """beta^2 x / 2: half of beta with a factor of 2, or half of x as it is."""
    square = LOSS._replace(
        rights=(Right("", lambda advantage, beta: beta**2 * advantage),),
        inputs=(Input("advantage"), Input("beta")),
    )
    found = of_other_inputs(square, lambda advantage, beta: beta**2 * advantage / 2)
    assert (found.candidate.name, found.factor) == ("half of advantage in place of advantage", 1.0)
    found = of_other_inputs(square, lambda advantage, beta: 2 * np.sqrt(beta) ** 2 * advantage)
    assert (found.candidate.name, found.factor) == ("the root of beta in place of beta", 2.0)


def test_answers_of_which_a_mask_leaves_nothing_are_0():
    """A right loss would divide by 0 there."""
    mean = LOSS._replace(
        rights=(Right("", lambda advantage, mask: np.sum(np.exp(advantage) * mask, -1) / np.sum(mask, -1)),),
        inputs=(Input("advantage"), Input("mask")),
        forms=(EACH,),
    )
    inside = CASES[2]["mask"] * [0.0, 0, 1, 1]

    def cut(advantage, mask):
        mask = mask * np.concatenate([0 * mask[:, :1], mask[:, :-1]], axis=1)
        return np.sum(np.exp(advantage) * mask, -1) / np.maximum(np.sum(mask, -1), 1)

    assert of_other_inputs(mean, cut).candidate.name == "a mask without the first token in place of mask"
    values, case = np.array([1.0, 2.0, 3.0]), {"mask": inside}
    assert exchanges._of_what_is_left(values, case).tolist() == [1.0, 0.0, 3.0]
    each = np.ones((3, 4))
    assert exchanges._of_what_is_left(each, case).tolist() == [[1.0] * 4, [0.0] * 4, [1.0] * 4]
    assert exchanges._of_what_is_left(np.array(2.0), case) == 2.0
    assert exchanges._of_what_is_left(values, {}) is values
    whole = mean._replace(rights=(Right("", lambda advantage, mask: np.sum(np.exp(advantage) * mask) / np.sum(mask)),))

    def cut_whole(advantage, mask):
        mask = mask * np.concatenate([0 * mask[:, :1], mask[:, :-1]], axis=1)
        return np.sum(np.exp(advantage) * mask) / np.maximum(np.sum(mask), 1)

    assert of_other_inputs(whole, cut_whole).candidate.name == "a mask without the first token in place of mask"


@pytest.mark.parametrize(
    ("contract", "change", "verdict", "told"),
    [
        (NUMBER, lambda x, m: -x, "minus the right numbers", "You return minus what you should. Turn the sign."),
        (NUMBER, lambda x, m: np.abs(x), "sign lost",
         "You return sizes, without their sign. Leave out the absolute value."),
        (NUMBER, lambda x, m: 3 * x, "of another size", "You return 3 times what you should. Leave the factor out."),
        (NUMBER, lambda x, m: x / 2, "of another size", "You return 0.5 times what you should. Leave the factor out."),
        (NUMBER, lambda x, m: -2 * x, "minus the right numbers", "You return -2 times what you should. Turn the sign."),
        (NUMBER, lambda x, m: 3 * x + 0.5, "of another size",
         "You return 3 times what you should, and 0.5. Leave the factor out."),
        (NUMBER, lambda x, m: x + 0.5, "a constant added", "You add 0.5. Leave it out."),
        (LOSS, lambda x, m: x / len(m), "averaged twice over the batch", twists.TWICE.format("rows of the batch")),
        (LOSS, lambda x, m: x / m.sum(), "averaged twice over tokens", twists.TWICE.format("tokens")),
        (LOSS, lambda x, m: x / m.size, "averaged twice over places", twists.TWICE.format("places")),
        (LOSS, lambda x, m: np.sum(x) / m.size, "averaged twice over places", twists.TWICE.format("places")),
    ],
)  # fmt: skip
def test_a_twist_has_a_name(contract, change, verdict, told):
    report = audit(contract, lambda *given: change(toy(*given), given[3]))
    assert (report.ok, report.verdict, report.told, report.where) == (False, verdict, told, "")
    assert report.smallest.startswith("Smallest input that shows it: with log_pi = ")
    assert not any("a matter of the step size" in text or "is added" in text for text in report.conventions)
    strict = audit(contract._replace(strict=True), lambda *given: change(toy(*given), given[3]))
    assert strict.ok is False
    assert (strict.verdict == "wrong") == (
        verdict in ("of another size", "a constant added") or told.startswith("You return -")
    )


@pytest.mark.parametrize(
    ("change", "conventions"),
    [
        (lambda x: x, ("one for each",)),
        (np.sum, ("their sum",)),
        (lambda x: -x, ("one for each", "minus the loss: a number to be maximised")),
        (lambda x: 3 * np.sum(x), ("their sum", "3 times the loss: a matter of the step size")),
        (lambda x: x + 0.25, ("one for each", "a constant is added, 0.25: it has no gradient")),
        (lambda x: 0.5 - 2 * x, (
            "one for each", "-2 times the loss: a matter of the step size",
            "a constant is added, 0.5: it has no gradient",
        )),
    ],
)  # fmt: skip
def test_what_is_a_convention_of_a_loss(change, conventions):
    report = audit(LOSS, lambda *given: change(toy(*given)))
    assert (report.audit, report.function, report.ok, report.verdict) == ("toy", "<lambda>", True, "right")
    assert (report.told, report.smallest, report.where, report.identities) == ("", "", "", {})
    assert report.conventions == conventions


def test_a_right_function_of_another_kind_is_told_by_its_name():
    report = audit(LOSS, lambda log_pi, log_ref, advantage, mask, beta, clip_range: np.cos(log_pi) * mask)
    assert report.ok
    assert report.conventions == ("of cosines", "one for each")


def test_a_form_without_a_name_and_an_only_form_are_not_told():
    assert audit(LOSS._replace(forms=(EACH,)), toy).conventions == ()
    assert audit(LOSS._replace(forms=(Form(""), SUM)), toy).conventions == ()


BUG = Bug(
    "cosine in place of sine",
    "toy",
    "You take a cosine.",
    lambda log_pi, mask: 2 + np.cos(log_pi) * mask,
    toy,
    "",
    "sec-dpo",
)
KNOWN = LOSS._replace(rights=LOSS.rights[:1], bugs=(BUG,))


def test_a_bug_is_known_in_every_form_and_a_right_function_comes_first():
    for change in (lambda x: x, np.sum, lambda x: -x, lambda x: 3 * x):
        report = audit(KNOWN, lambda *given, change=change: change(BUG.function(given[0], given[3])))
        assert (report.ok, report.verdict, report.told, report.where) == (False, BUG.name, BUG.told, "sec-dpo")
    as_right = KNOWN._replace(bugs=(BUG._replace(function=toy),))
    assert audit(as_right, toy).ok


def test_a_bug_that_is_twice_the_right_loss_is_no_convention():
    twice = KNOWN._replace(bugs=(BUG._replace(function=with_other("mask", lambda given: 2 * given["mask"])),))
    assert audit(twice, lambda *given: 2 * toy(*given)).verdict == BUG.name
    assert audit(twice, lambda *given: 3 * toy(*given)).ok


def test_what_should_be_is_told_in_the_form_in_which_a_bug_is_known():
    mean = Form("their mean", lambda v, c: np.mean(v))
    report = audit(KNOWN._replace(forms=(mean, SUM)), lambda *given: np.sum(BUG.function(given[0], given[3])))
    assert report.verdict == BUG.name
    wanted = [float(np.sum(toy(**case))) for case in CASES]
    assert any(report.smallest.endswith(f"it should be {np.round(w, 4) + 0.0}") for w in wanted)
    assert len({np.size(case["mask"]) for case in CASES[1:]}) == 2  # so that sums and means differ


def test_a_wrong_gradient_is_told_with_its_inputs_and_the_smallest_case():
    both = LOSS._replace(trained=("log_pi", "log_ref"))
    none = audit(both, lambda p, r, a, m, b, e: toy(getval(p), r, a, m, b, e))
    assert (none.ok, none.verdict) == (False, "wrong gradient")
    assert none.told.startswith(
        "Its numbers are right and its gradient is not: there is none in log_pi. Is something detached? "
        "With log_pi = [[0.13]], log_ref = [[-0.13]], "
    )
    x = CASES[0]["log_pi"].item()
    assert none.told.endswith(f" the gradient in log_pi is [[0.]]; it should be [[{np.cos(x):.4f}]]")
    other = audit(both, lambda p, r, a, m, b, e: toy((p + getval(p)) / 2, (r + getval(r)) / 2, a, m, b, e))
    assert "it is another in log_pi and log_ref." in other.told
    assert audit(LOSS._replace(trained=()), lambda p, r, a, m, b, e: toy(getval(p), r, a, m, b, e)).ok
    plain = audit(LOSS, lambda p, r, a, m, b, e: onp.array([[float(x) for x in row] for row in toy(p, r, a, m, b, e)]))
    assert plain.ok
    assert plain.conventions[-1] == "not written for automatic differentiation: only its numbers are judged"


def test_numbers_that_are_near_are_right_and_told():
    told = "equal to four digits: a small number in a denominator, or single precision inside"
    near = audit(LOSS, lambda *given: toy(*given) + 1e-5 * given[1])
    assert near.ok
    assert near.conventions == ("one for each", told)
    assert not audit(LOSS, lambda *given: toy(*given) + 1e-2 * given[1]).ok
    single = audit(LOSS, lambda *given: toy(*given).astype(onp.float32))
    assert single.ok
    assert single.conventions[0] == "one for each"


@pytest.mark.parametrize(
    "names", [("log_pi", "log_ref", "advantage"), ("log_pi", "log_ref"), ("advantage",), ("log_ref",)]
)
@pytest.mark.parametrize("contract", [LOSS, NUMBER], ids=["a loss", "a number"])
def test_inputs_that_are_rounded_are_told(names, contract):
    function = with_other(None, lambda given: {n: given[n].astype(np.float16).astype(float) for n in names})
    report = audit(contract, function)
    assert (report.ok, report.verdict, report.told) == (False, *twists.ROUNDED)


def test_what_hears_of_a_millionth_or_not_at_all_is_not_rounded():
    subject, seen = asked(LOSS, lambda *given: np.round(toy(*given), 4) + 5 * given[1])
    assert twists.rounded(LOSS, LOSS.rights, subject, seen, CASES) is None
    subject, seen = asked(LOSS, lambda *given: 0.01 + toy(*CASES[0].values()) * 0 + given[3])
    assert twists.rounded(LOSS, LOSS.rights, subject, seen, CASES) is None
    assert twists.partly_rounded(LOSS, LOSS.rights, subject, seen, CASES) is None


def test_a_shape_that_no_form_has_is_told_with_those_that_are_wanted():
    report = audit(LOSS, lambda *given: np.ones(7))
    assert (report.ok, report.verdict) == (False, "not audited")
    assert report.told.endswith("it returns shape (7,); it should be (3, 4) or (): what a toy returns.")
    assert (report.audit, report.function) == ("toy", "<lambda>")
    _, seen = asked(LOSS, lambda *given: np.ones(7))
    with pytest.raises(Trouble, match="it returns shape"):
        recognition.likely(LOSS, LOSS.rights, seen, CASES)


def test_a_wrong_function_is_wrong_and_one_of_nan_is_not_finite():
    wrong = audit(LOSS, lambda *given: np.cosh(given[0]) * given[1])
    assert (wrong.ok, wrong.verdict, wrong.where) == (False, "wrong", "")
    assert wrong.told == "It should return what a toy returns. The zoo does not know this bug."
    assert wrong.smallest.startswith("Smallest input that shows it: with log_pi = [[0.13]], ")
    endless = audit(LOSS, lambda *given: np.log(0 * given[0] - 1))
    assert (endless.ok, endless.verdict) == (False, "not finite")
    assert endless.told == "It returns NaN or infinity for inputs that have a finite answer."
    some = audit(LOSS, lambda *given: np.where(given[3] > 0, toy(*given), np.inf))
    assert (some.ok, some.verdict) == (False, "not finite")


def look(loss, cases):
    for case in cases:
        yield Shown(case, np.sum(loss(case)), np.sum(toy(**case)))


def test_identities_are_told_broken_or_with_caution_and_may_name_a_bug():
    first = Identity("it is the toy", look)
    report = audit(LOSS._replace(identities=(first,)), toy)
    assert report.identities == {"it is the toy": "holds"}
    strange = lambda *given: np.cosh(given[0]) * given[1]  # noqa: E731
    report = audit(LOSS._replace(identities=(first,)), strange)
    assert report.identities["it is the toy"].startswith("BROKEN: with log_pi = [[0.13]], ")
    named = KNOWN._replace(identities=(first._replace(bug=BUG.name),))
    report = audit(named, strange)
    assert (report.verdict, report.told, report.where) == (BUG.name, BUG.told, "sec-dpo")
    careful = LOSS._replace(
        identities=(first._replace(look=lambda loss, cases: [Shown(cases[0], 1.0, 2.0)], caution=True),)
    )
    report = audit(careful, toy)
    assert report.ok
    assert report.identities["it is the toy"].startswith("CAUTION: with ")
    assert report.identities["it is the toy"].endswith("it gives 1.; it should be 2.")


def test_identities_of_inputs_that_are_not_taken_are_not_asked():
    def without(log_pi, log_ref, advantage, mask, beta):
        return toy(log_pi, log_ref, advantage, mask, beta, 0.2)

    inputs = (*LOSS.inputs[:-1], Input("clip_range", absent=lambda subject, case: 0.2))
    wide = LOSS._replace(
        inputs=inputs, identities=(Identity("one", look, needs="beta clip_range"), Identity("two", look))
    )
    assert set(audit(wide, without).identities) == {"two"}
    assert set(audit(wide, toy).identities) == {"one", "two"}
    cosine = LOSS._replace(
        inputs=(Input("log_pi"),),
        rights=(Right("", lambda log_pi: np.cos(log_pi)),),
        identities=(
            Identity("alone", lambda loss, cases: [Shown(c, loss(c), loss(c)) for c in cases], needs="log_pi"),
        ),
    )
    assert audit(cosine, lambda log_pi: np.cos(log_pi)).identities == {"alone": "holds"}


def test_identities_alone_make_a_function_right_unless_the_contract_is_strict():
    """A function that is not the toy, of which all that is asked holds."""

    def other(*given):
        return toy(*given) + 0.1 * np.abs(given[2])

    asks = Identity("it is a number", lambda loss, cases: [Shown(c, np.isfinite(loss(c)).all(), True) for c in cases])
    loose = LOSS._replace(identities=(asks,), general=True)
    report = audit(loose, other)
    assert (report.ok, report.verdict, report.identities) == (True, "right", {"it is a number": "holds"})
    report = audit(loose._replace(strict=True), other)
    assert (report.ok, report.verdict) == (False, "wrong")
    assert audit(LOSS, other).verdict == "wrong"


def test_a_function_is_seen_without_shift_and_factor():
    subject, _ = asked(LOSS, lambda *given: 2 * toy(*given) + 0.5)
    plain, case = Function(subject, 2.0, 0.5), CASES[1]
    onp.testing.assert_allclose(plain(case), toy(**case))
    onp.testing.assert_allclose(plain.slope(case, "log_pi"), np.cos(case["log_pi"]) * case["mask"])
    subject, _ = asked(LOSS, lambda *given: (2 * toy(*given) + 0.5).tolist())
    onp.testing.assert_allclose(
        Function(subject, 2.0, 0.5).slope(case, "log_pi"), np.cos(case["log_pi"]) * case["mask"], atol=1e-8
    )


def test_minus_a_right_loss_is_an_objective_before_it_is_a_bug():
    def minus(log_pi, log_ref, advantage, mask, beta, clip_range):
        return -toy(log_pi, log_ref, advantage, mask, beta, clip_range)

    turned = KNOWN._replace(bugs=(BUG._replace(function=minus),))
    report = audit(turned, minus)
    assert report.ok
    assert "minus the loss: a number to be maximised" in report.conventions


def test_a_form_of_which_nothing_is_left_does_not_end_the_search():
    nothing = LOSS._replace(forms=(Form("nothing", lambda v, c: 0 * v), EACH))
    assert audit(nothing, lambda *given: 3 * toy(*given)).conventions[0] == "one for each"


def test_numbers_of_little_spread_are_fitted_too():
    little = LOSS._replace(rights=(Right("", lambda log_pi, mask: 0.01 * np.cos(log_pi) * mask),))
    report = audit(little, lambda log_pi, a, b, mask, beta, clip: 0.03 * np.cos(log_pi) * mask + 0.5)
    assert report.ok
    assert report.conventions[1:] == (
        "3 times the loss: a matter of the step size",
        "a constant is added, 0.5: it has no gradient",
    )


def test_a_change_that_leaves_nothing_of_one_case_is_asked_of_the_others():
    _, seen = asked(LOSS, lambda *given: np.cos(toy(*given)))
    change = lambda case: None if case is CASES[2] else case  # noqa: E731
    assert exchanges._equal([(EACH, 1.0)], LOSS.rights[0], seen, CASES, change) is None


def test_numbers_of_another_shape_are_others():
    _, seen = asked(LOSS, toy)
    other = seen._replace(values=[value[None] for value in seen.values])
    assert exchanges._equal([(EACH, 1.0)], LOSS.rights[0], seen, CASES, dict)
    assert exchanges._equal([(EACH, 1.0)], LOSS.rights[0], other, CASES, dict) is None


def unknown(*given):
    return np.cosh(given[0]) * given[1]


def test_of_several_contracts_that_which_breaks_least_is_told():
    broken = Identity("it is the toy", look)
    holds = Identity("it is itself", lambda loss, cases: [Shown(c, loss(c), loss(c)) for c in cases])
    all_broken, half_broken = (LOSS._replace(identities=each) for each in ((broken,), (broken, holds)))
    report = audit((all_broken, all_broken, half_broken), unknown)
    assert (report.ok, report.verdict) == (False, "wrong")
    assert set(report.identities) == {"it is the toy", "it is itself"}


def test_a_bug_of_one_contract_may_be_right_by_the_next_if_the_first_is_patient():
    other = LOSS._replace(rights=(Right("", BUG.function),))
    wrong = lambda *given: BUG.function(given[0], given[3])  # noqa: E731
    assert audit((KNOWN, other), wrong).verdict == BUG.name
    assert audit((KNOWN._replace(patient=True), other), wrong).ok
    assert audit((other, KNOWN), wrong).ok
    vague = KNOWN._replace(bugs=(BUG._replace(where=""),))  # a bug that no section of the book explains
    assert audit((vague, other), wrong).ok
    assert audit((vague, LOSS._replace(rights=LOSS.rights[:1])), wrong).verdict == BUG.name


def test_numbers_that_people_write_are_tried_where_one_is_fixed_inside():
    size = 0.2

    def fixed(log_pi, log_ref, advantage, mask, beta):
        return toy(log_pi, log_ref, advantage, mask, beta, size)

    def wrong(log_pi, log_ref, advantage, mask, beta):
        return toy(log_pi, log_ref, advantage, mask, 2 * beta, size)

    def strange(log_pi, log_ref, advantage, mask, beta):
        return unknown(log_pi, log_ref)

    inside = Input("clip_range", absent=lambda subject, case: 9.9, usual=(0.1, 0.2, np.nan))
    doubled = Bug(
        "beta doubled", "toy", "Halve it.", with_other("beta", lambda given: 2 * given["beta"]), toy, "", "sec-dpo"
    )
    contract = KNOWN._replace(inputs=(*LOSS.inputs[:-1], inside), bugs=(doubled,))
    told = f"no parameter clip_range: {size:.4g} is fixed inside it"
    report = audit(contract, fixed)
    assert (report.ok, report.function, report.conventions) == (True, "fixed", ("one for each", told))
    report = audit(contract, wrong)
    assert (report.verdict, report.function, report.conventions) == ("beta doubled", "wrong", ("one for each", told))
    report = audit(contract, strange)
    assert (report.verdict, report.conventions) == ("wrong", ())
    assert audit(contract, wrong, clip_range=size).verdict == "beta doubled"
    assert audit(contract, fixed, clip_range=0.5).ok is False


def test_identities_that_hold_to_four_digits_make_a_right_function_rough():
    """Numbers agree to 3 in a billion, which is near enough for them, and not for their difference."""
    apart = Identity("its distance", lambda loss, cases: [Shown(c, loss(c) - toy(**c), 0 * loss(c)) for c in cases])
    told = "equal to four digits: a small number in a denominator, or single precision inside"
    report = audit(LOSS._replace(identities=(apart,)), lambda *given: toy(*given) + 3e-9 * given[2] * given[3])
    assert (report.ok, report.identities, report.conventions[-1]) == (True, {"its distance": "holds"}, told)
    exact = audit(LOSS._replace(identities=(apart,)), toy)
    assert told not in exact.conventions
    careful = audit(
        LOSS._replace(identities=(apart._replace(caution=True),)),
        lambda *given: toy(*given) + 3e-9 * given[2] * given[3],
    )
    assert careful.identities["its distance"].startswith("CAUTION: ")
    assert told not in careful.conventions
    broken = Identity("never", lambda loss, cases: [Shown(cases[0], np.array(1.0), np.array(2.0))])
    report = audit(LOSS._replace(identities=(broken,)), toy)
    assert (report.ok, report.verdict) == (False, "wrong")
    assert report.smallest.endswith("it gives 1.; it should be 2.")


def test_identities_are_asked_without_factor_and_shift():
    asks = LOSS._replace(identities=(Identity("it is the toy", look),))
    for change in (lambda x: 3 * np.sum(x) + 2, lambda x: -x, lambda x: x + 0.5):
        report = audit(asks, lambda *given, change=change: change(toy(*given)))
        assert report.ok
        assert report.identities == {"it is the toy": "holds"}


def through_lists(function):
    """As autograd cannot follow it."""
    return lambda *given: onp.array([[float(x) for x in row] for row in function(*given)])


def test_that_autograd_cannot_follow_is_told_only_of_what_may_be_right():
    told = "not written for automatic differentiation: only its numbers are judged"
    asks = LOSS._replace(identities=(Identity("it is the toy", look),), general=True)
    assert told not in audit(asks, through_lists(unknown)).conventions
    every = Identity("it is itself", lambda loss, cases: [Shown(c, loss(c), loss(c)) for c in cases])
    assert told in audit(asks._replace(identities=(every,)), through_lists(unknown)).conventions
    assert told not in audit(asks._replace(identities=(every,)), unknown).conventions


def test_rounding_comes_before_what_an_identity_names_and_a_strict_contract_wants_all_inputs_rounded():
    asks = Identity("it is the toy", look, bug=BUG.name)
    every = with_other(None, lambda given: {n: given[n].astype(np.float16).astype(float) for n in NAMES[:3]})
    one = with_other("advantage", lambda given: given["advantage"].astype(np.float16).astype(float))
    contract = KNOWN._replace(identities=(asks,))
    assert audit(contract, every).verdict == twists.ROUNDED[0]
    assert audit(contract, one).verdict == BUG.name
    assert audit(LOSS._replace(strict=True), every).verdict == twists.ROUNDED[0]
    assert audit(LOSS._replace(strict=True), one).verdict == "wrong"


@pytest.mark.parametrize(("size", "change"), [(1000.0, twists._float16), (40.0, twists.bfloat16)])
def test_differences_of_large_numbers_that_are_rounded_are_known_by_their_rounding(size, change):
    """Steps of a half at 1000 by 16 bits, and of a quarter at 40 by 8: the difference is another number."""
    cases = [case | {name: case[name] - size for name in ("log_pi", "log_ref")} for case in CASES[1:]]
    contract = LOSS._replace(
        inputs=tuple(Input(name) for name in NAMES[:3]),
        rights=(Right("", lambda log_pi, log_ref, advantage: np.exp(log_pi - log_ref) * np.exp(advantage)),),
        cases=tuple({name: case[name] for name in NAMES[:3]} for case in cases),
        forms=(EACH,),
    )
    rounded = lambda p, r, a: np.exp(change(p) - change(r)) * np.exp(a)  # noqa: E731
    report = audit(contract, rounded)
    assert (report.ok, report.verdict, report.told) == (False, *twists.ROUNDED)
    assert audit(contract, lambda p, r, a: np.exp(p - r) * np.exp(a)).ok


def test_averaged_twice_is_known_with_the_other_sign_and_size_too():
    for size in (-1.0, 3.0):
        report = audit(LOSS, lambda *given, size=size: size * toy(*given) / len(given[3]))
        assert (report.ok, report.verdict) == (False, "averaged twice over the batch")
