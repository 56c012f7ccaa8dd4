"""Log-probabilities and losses of SFT as people write them: right ones pass, with their convention; wrong ones are
named."""

import numpy as np
import pytest
from audited import broken, bugs, check_named, check_right
from scipy.special import log_softmax, logsumexp, softmax

from rlhf_lab import audit
from rlhf_lab.audit import tokens
from rlhf_lab.audit.zoo import tokens as zoo


@pytest.mark.parametrize("bug", [*bugs("log_probs"), *bugs("sft_loss")], ids=lambda bug: bug.name)
def test_every_bug_of_the_zoo_is_named(bug):
    check_named(bug)


@pytest.mark.parametrize("kind", ["log_probs", "sft_loss"])
def test_every_identity_can_break(kind):
    contract = {"log_probs": tokens.LOG_PROBS, "sft_loss": tokens.SFT}[kind]
    assert broken(kind) == {identity.name for identity in contract.identities}


def test_identities_can_break_without_a_mask():
    def logit(logits, ids, temperature):
        return at(logits[:, :-1], ids[:, 1:])

    report = audit.log_probs(logit)
    assert report.verdict == "wrong"
    assert len(report.identities) == 3
    assert all(state.startswith("BROKEN") for state in report.identities.values())
    report = audit.sft_loss(lambda logits, ids: -at(logits[:, :-1], ids[:, 1:]).mean())
    assert report.verdict == "wrong"
    assert all(state.startswith("BROKEN") for state in report.identities.values())


def at(numbers, index):
    return np.take_along_axis(numbers, index[..., None], -1)[..., 0]


def each(logits, ids, mask):
    return at(log_softmax(logits[:, :-1], -1), ids[:, 1:]) * mask[:, 1:]


def by_labels(logits, labels, average_log_prob=False):
    labels, logits = labels[:, 1:], logits[:, :-1]
    counts = labels != -100
    found = at(log_softmax(logits, -1), np.where(counts, labels, 0)) * counts
    return (found.sum(-1) / counts.sum(-1) if average_log_prob else found.sum(-1)), counts.sum(-1)


def loops(logits, tokens, mask):
    found = np.zeros(tokens.shape)
    for row, place in np.argwhere(mask[:, 1:] > 0):
        z = logits[row, place]
        found[row, place + 1] = z[tokens[row, place + 1]] - np.log(np.exp(z).sum())
    return found


def rolled(logits, input_ids, loss_mask):
    mask = np.roll(loss_mask, -1, 1)
    mask[:, -1] = 0
    return at(log_softmax(logits, -1), np.roll(input_ids, -1, 1)) * mask


def one_text(logits, tokens, mask):
    return sum(log_softmax(logits[t - 1])[tokens[t]] for t in range(1, len(tokens)) if mask[t])


def one_hot(logits, tokens, mask):
    chosen = np.eye(logits.shape[-1])[tokens[:, 1:]]
    return np.einsum("nlv,nlv,nl->n", log_softmax(logits[:, :-1], -1), chosen, mask[:, 1:])


def by_softmax(logits, tokens, mask, temperature=1.0):
    return np.where(mask[:, 1:] > 0, np.log(at(softmax(logits[:, :-1] / temperature, -1), tokens[:, 1:])), 0)


def single_precision(logits, tokens, mask):
    return at(log_softmax(logits.astype(np.float32)[:, :-1], -1), tokens[:, 1:]) * mask[:, 1:]


IN_PLACE = "takes no mask and does not shift: hand over logits[:, :-1] and tokens[:, 1:]"
IN_LABELS = "the labels hold the mask: -100 where a token does not count"


@pytest.mark.parametrize(
    ("function", "conventions"),
    [
        (zoo.log_probs, ["a number for each place but the first"]),
        (zoo.log_probs_at, ["a number for each place but the first"]),
        (zoo.answer_log_probs, ["the sum over the tokens of each answer"]),
        (by_labels, [IN_LABELS, "the sum over the tokens of each answer"]),
        (loops, ["a number for each place, 0 for the first"]),
        (rolled, ["a number for each place, 0 for the last"]),
        (one_text, ["takes one text at a time"]),
        (one_hot, ["the sum over the tokens of each answer"]),
        (by_softmax, ["a number for each place but the first"]),
        (single_precision, []),
        (lambda logits, index: at(logits, index) - logsumexp(logits, -1), [IN_PLACE]),
        (lambda logits, labels: at(log_softmax(logits, -1), labels), [IN_PLACE]),
        (lambda logits, ids: at(log_softmax(logits[:, :-1], -1), ids[:, 1:]), ["takes no mask: every token counts"]),
        (lambda logits, ids, mask: each(logits, ids, mask)[mask[:, 1:] > 0], ["the tokens of all answers in one row"]),
        (lambda logits, ids, mask: each(logits, ids, 1 * mask)[:, mask[0, 1:] >= 0].sum(1), []),
        (lambda logits, ids, mask: (each(logits, ids, 1 + 0 * mask), mask[:, 1:]), [
            "what the mask leaves out is returned, too"
        ]),
        (lambda logits, ids, response_mask: each(logits / 0.7, ids, response_mask), [
            "no parameter temperature: 0.7 is fixed inside it"
        ]),
        (lambda z, y, m: np.where(m[:, 1:], each(z, y, ~m | m), 0), []),
    ],
)  # fmt: skip
def test_right_log_probs_pass_with_their_convention(function, conventions):
    check_right("log_probs", function, *conventions)


def nll(change):
    return lambda logits, tokens, mask: change(-each(logits, tokens, mask), mask[:, 1:])


def smoothed(logits, tokens, mask):
    log_pi = log_softmax(logits[:, :-1], -1)
    return -((0.9 * at(log_pi, tokens[:, 1:]) + 0.1 * log_pi.mean(-1)) * mask[:, 1:]).sum() / mask[:, 1:].sum()


def cross_entropy(logits, labels):
    flat, wanted = logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].ravel()
    return -log_softmax(flat, -1)[wanted != -100, wanted[wanted != -100]].mean()


def one_text_loss(logits, tokens, mask):
    return -np.mean([log_softmax(logits[t - 1])[tokens[t]] for t in range(1, len(tokens)) if mask[t]])


def true_and_false(logits, target_ids, mask):
    return -each(logits, target_ids, 1 + 0 * target_ids)[mask[:, 1:]].mean()


@pytest.mark.parametrize(
    ("function", "conventions"),
    [
        (zoo.sft_loss, ["the mean over all tokens"]),
        (cross_entropy, [IN_LABELS, "the mean over all tokens"]),
        (one_text_loss, ["takes one text at a time"]),
        (true_and_false, ["takes a mask of True and False"]),
        (smoothed, ["label smoothing of 0.1"]),
        (nll(lambda v, m: v.sum() / (m.sum() + 1e-8)), ["the mean over all tokens"]),
        (nll(lambda v, m: v.sum() / (m.sum() + 1e-4)), [
            "equal to four digits: a small number in a denominator, or single precision inside"
        ]),
        (nll(lambda v, m: (v.sum(1) / m.sum(1)).mean()), ["the mean over answers of the mean over their tokens"]),
        (nll(lambda v, m: v.sum() / len(v)), ["the sum over tokens, the mean over answers"]),
        (nll(lambda v, m: v.sum()), ["the sum over all tokens"]),
        (nll(lambda v, m: v.sum(1) / np.maximum(m.sum(1), 1)), ["the mean over the tokens of each answer"]),
        (nll(lambda v, m: v.sum(1)), ["the sum over the tokens of each answer"]),
        (nll(lambda v, m: v), ["a number for each place but the first"]),
        (nll(lambda v, m: -v.sum() / m.sum()), ["minus the loss: a number to be maximised"]),
        (lambda logits, ids: -each(logits, ids, 1 + 0 * ids).mean(), [
            "takes no mask: every token counts, as in pretraining"
        ]),
    ],
)  # fmt: skip
def test_right_losses_of_sft_pass_with_their_convention(function, conventions):
    check_right("sft_loss", function, *conventions)


def before_eos(mask):
    return mask * (np.cumsum(mask[:, ::-1], 1)[:, ::-1] > 1)


WRONG = {
    "not shifted": lambda z, y, m: at(log_softmax(z, -1), y) * m,
    "mask not shifted": lambda z, y, m: at(log_softmax(z[:, :-1], -1), y[:, 1:]) * m[:, :-1],
    "mask left out": lambda z, y, m: each(z, y, 1 + 0 * m),
    "eos dropped": lambda z, y, m: each(z, y, before_eos(m)),
    "padding counts": lambda z, y, m: each(z, y, np.cumsum(m, 1) > 0),
    "prompt counts": lambda z, y, m: each(z, y, np.cumsum(m[:, ::-1], 1)[:, ::-1] > 0),
    "shifted twice": lambda z, y, m: at(log_softmax(z[:, :-2], -1), y[:, 2:]) * m[:, 2:],
    "softmax twice": lambda z, y, m: each(softmax(z, -1), y, m),
    "softmax missing": lambda z, y, m: at(z[:, :-1], y[:, 1:]) * m[:, 1:],
    "probabilities, not logs": lambda z, y, m: at(softmax(z[:, :-1], -1), y[:, 1:]) * m[:, 1:],
}
IN_SFT = {
    "not shifted": "labels not shifted",
    "mask not shifted": "mask of the labels not shifted",
    "mask left out": "labels without a mask",
    "eos dropped": "labels without eos",
    "padding counts": "labels of the padding",
    "prompt counts": "labels of the prompt",
    "shifted twice": "labels shifted twice",
    "softmax twice": "softmax twice in SFT",
    "softmax missing": "softmax missing in SFT",
    "probabilities, not logs": "logarithm missing in SFT",
}


@pytest.mark.parametrize("name", WRONG)
def test_bugs_are_named_in_every_form(name):
    wrong = WRONG[name]
    assert audit.log_probs(lambda logits, ids, mask: wrong(logits, ids, mask).sum(1)).verdict == name
    for mean in (
        lambda v: -(v.sum(1) / (v != 0).sum(1)).mean(),
        lambda v: -v.sum() / len(v),
    ):
        report = audit.sft_loss(lambda logits, ids, mask, mean=mean: mean(wrong(logits, ids, mask)))
        assert report.verdict == IN_SFT[name]


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda logits, ids, mask: each(logits, ids, mask).sum(1) / mask.sum(1), "mean over tokens"),
        (lambda logits, ids, mask: each(logits, ids, mask).mean(1), "mean over tokens"),
        (lambda logits, ids, mask: each(logits, ids, mask).sum(1) / mask.shape[1], "mean over tokens"),
        (lambda z, y, m: at(log_softmax(z[:, :-1], 1), y[:, 1:]) * m[:, 1:], "softmax over positions"),
        (lambda z, y, m: at(log_softmax(z[:, :-1], -1), y[:, :-1]) * m[:, :-1], "not shifted"),
        (lambda logits, ids, mask, temperature: each(logits, ids, mask).sum(1), "temperature ignored"),
        (lambda z, y, m, temperature: at(log_softmax(z / temperature, -1), y) * m, "not shifted"),
        (lambda logits, labels: at(log_softmax(logits, -1), np.maximum(labels, 0)) * (labels >= 0), "not shifted"),
        (lambda logits, ids: at(log_softmax(logits[:, 1:], -1), ids[:, 1:]), "not shifted"),
    ],
)
def test_bugs_are_named_in_other_shapes(function, name):
    assert audit.log_probs(function).verdict == name


def test_what_divides_by_every_place_of_the_batch_is_named():
    for places in (lambda m: m.size, lambda m: m[:, 1:].size):
        report = audit.sft_loss(lambda logits, ids, mask, n=places: -each(logits, ids, mask).sum() / n(mask))
        assert report.verdict == "padding in the mean"
        assert report.identities["more padding changes nothing"].startswith("BROKEN")


def test_what_divides_by_the_places_of_prompts_and_answers_is_named():
    def mean(logits, ids, mask):
        return -each(logits, ids, mask).sum() / sum(np.flatnonzero(row)[-1] for row in mask)  # less the first token

    report = audit.sft_loss(mean)
    assert (report.ok, report.verdict) == (False, "prompt in the mean")


def test_an_unknown_bug_is_told_by_what_breaks():
    report = audit.log_probs(lambda logits, ids, mask: np.sign(each(logits, ids, mask)) * each(logits, ids, mask) ** 2)
    assert report.verdict == "wrong"
    assert report.identities["probabilities of the next token sum to 1"].startswith("BROKEN")
    assert report.identities["more padding changes nothing"] == "holds"


def test_a_wrong_shape_is_told():
    report = audit.sft_loss(lambda logits, tokens, mask: np.ones((2, 2)))
    assert report.verdict == "not audited"
    assert "it returns shape (2, 2); it should be () or (3,) or (3, 7) or (3, 8)" in report.told


def test_texts_have_a_prompt_an_answer_and_padding():
    for case in tokens.LOG_PROBS.cases:
        for row in case["mask"]:
            begin, end = np.flatnonzero(row)[[0, -1]]
            assert begin >= 2
            assert end < len(row) - 1
            assert row[begin : end + 1].all()
            assert begin < end


@pytest.mark.parametrize(
    ("share", "size", "told"),
    [(0.1, 1.0, "label smoothing of 0.1"), (0.4, -3.0, "label smoothing of 0.4"), (0.0, 1.0, None), (0.7, 1.0, None),
     (5e-5, 1.0, None), (-0.1, 1.0, None)],
)  # fmt: skip
def test_label_smoothing_is_worked_out_from_answers_of_one_token(share, size, told):
    def loss(case):
        log_pi = log_softmax(case["logits"][:, :-1], -1)
        own = at(log_pi, case["tokens"][:, 1:])
        return -size * (((1 - share) * own + share * log_pi.mean(-1)) * case["mask"][:, 1:]).sum()

    found = list(tokens.SFT.fitted(loss, tokens.SFT.cases))
    assert [right.name for right in found[:1]] == [told] * bool(told)
    assert len(found) == 3 * bool(told)
    for right in found[:1]:
        case = tokens.SFT.cases[-1]
        np.testing.assert_allclose(size * right.function(**case).sum(), loss(case), rtol=1e-6)
    if told:
        single = {name: tokens.SINGLE[1][name] for name in ("logits", "tokens", "mask")}
        several = single["logits"].shape[-1]
        _, others, bug = found
        assert others.name == f"label smoothing of {share * (several - 1) / several:.4g}, over the other tokens"
        np.testing.assert_allclose(size * others.function(**single).sum(), loss(single))
        weight = share / (several * (1 - share) + share)  # to 1 - weight as share / several to 1 - share
        assert bug.told == (
            f"You add up the smoothing of {weight:.4g} over the vocabulary, so that its weight grows with the number "
            "of tokens. Take the mean."
        )
        assert (bug.name, bug.audit, bug.seen) == ("label smoothing added up", "sft_loss", "")
        assert bug.where == "sec-pretraining"
        np.testing.assert_allclose(size * bug.function(**single).sum() * (1 - share), loss(single) * (1 - weight))
        np.testing.assert_allclose(bug.right(**single), -each(*single.values()))


def test_what_is_not_finite_or_nothing_is_not_smoothed():
    for loss in (lambda case: np.nan, lambda case: 0.0):
        assert list(tokens.SFT.fitted(loss, tokens.SFT.cases)) == []


def test_what_cannot_be_called_is_told_with_the_mask_that_it_may_take():
    for function in (audit.log_probs, audit.sft_loss):
        report = function(lambda: 0.0)
        assert report.verdict == "not audited"
        assert "mask?" in report.told


def test_labels_that_hold_no_mask_are_tokens():
    def of_tokens(logits, labels):
        found = at(log_softmax(logits[:, :-1], -1), np.maximum(labels[:, 1:], 0))
        return np.where(labels[:, 1:] < 0, np.nan, found)

    def wrapped(logits, labels):
        return at(log_softmax(logits[:, :-1], -1), labels[:, 1:] % logits.shape[-1])

    for function in (of_tokens, wrapped):  # with labels that hold a mask, not finite, and wrong
        report = audit.log_probs(function)
        assert report.ok
        assert "takes no mask: every token counts" in report.conventions


def test_losses_of_texts_take_no_temperature_and_one_text_at_a_time_gives_a_number_or_a_row():
    assert [given.name for given in tokens.SFT.inputs] == ["logits", "tokens", "mask"]
    assert list(tokens.PRETRAINING.fitted(lambda case: 0.0, ())) == []
    one = tokens.SFT.layouts[1]
    assert one.back(np.array([1.0, 2.0]), {}).tolist() == [[1, 2]]
    assert one.back(np.array(3.0), {}).tolist() == 3


SHARED = [
    ("a constant in all logits of a place cancels", "", ""),
    ("twice the temperature undoes twice the logits", "temperature", ""),
]
KEY = ("log softmax of the logits before, at the token", "", "")
MASKED = [
    ("probabilities of the next token sum to 1", "", ""),
    ("<eos> counts as much as the first token", "", ""),
    ("what predicts the prompt does not count", "", ""),
    ("what stands from <eos> on predicts nothing", "", ""),
    ("more padding changes nothing", "", ""),
]


def test_what_log_probabilities_are_asked_with_a_mask_and_without_one():
    asked = [(identity.name, identity.needs, identity.bug) for identity in tokens.LOG_PROBS.identities]
    assert asked == [*SHARED, *MASKED, KEY]
    asked = [(identity.name, identity.needs, identity.bug) for identity in tokens.UNMASKED.identities]
    assert asked == [*SHARED, KEY]


@pytest.mark.parametrize("name", [name for name, _, _ in [*SHARED, *MASKED, KEY]])
def test_each_question_holds_of_a_right_function(name):
    def log_probs(case):
        return each(case["logits"] / case["temperature"], case["tokens"], case["mask"])

    look = next(identity.look for identity in tokens.LOG_PROBS.identities if identity.name == name)
    shown = list(look(log_probs, tokens.LOG_PROBS.cases))
    assert shown
    for case, found, wanted in shown:
        np.testing.assert_allclose(found, wanted, err_msg=str(case))


def test_without_a_mask_every_token_counts_at_its_temperature():
    logits, ids = np.array([[[1.0, 3.0], [0.0, 4.0], [9.0, 9.0]]]), np.array([[0, 1, 0]])
    wanted = [[-np.log1p(np.exp(-1.0)), -2 - np.log1p(np.exp(-2.0))]]
    np.testing.assert_allclose(tokens.UNMASKED.rights[0].function(logits, ids, 2.0), wanted)
    in_place = tokens.UNMASKED.rights[1].function(logits, ids, 2.0)
    np.testing.assert_allclose(in_place, [[-1 - np.log1p(np.exp(-1.0)), -np.log1p(np.exp(-2.0)), -np.log(2)]])
    np.testing.assert_allclose(tokens.PRETRAINING.rights[0].function(2 * logits, 0 * ids), [
        [4 + np.log1p(np.exp(-4.0)), 8 + np.log1p(np.exp(-8.0))]])  # fmt: skip
    several = tokens.LOG_PROBS.rights[1].function(logits, ids, 2.0)
    np.testing.assert_allclose(several, wanted)


def smoothed(own_weight, each_weight):
    """A loss with a weight of the token and one of each token of the vocabulary, which may depend on their number."""

    def loss(logits, input_ids, mask):
        log_pi = log_softmax(logits[:, :-1], -1)
        size = logits.shape[-1]
        each = own_weight(size) * at(log_pi, input_ids[:, 1:]) + each_weight(size) * log_pi.sum(-1)
        return -(each * mask[:, 1:]).sum() / mask[:, 1:].sum()

    return loss


def test_label_smoothing_may_leave_out_the_token_itself_and_may_not_grow_with_the_vocabulary():
    over_all = audit.sft_loss(smoothed(lambda size: 0.9, lambda size: 0.1 / size))
    assert (over_all.ok, over_all.conventions[0]) == (True, "label smoothing of 0.1")
    others = audit.sft_loss(smoothed(lambda size: 0.9 - 0.1 / (size - 1), lambda size: 0.1 / (size - 1)))
    assert (others.ok, others.conventions[0]) == (True, "label smoothing of 0.1, over the other tokens")
    added = audit.sft_loss(smoothed(lambda size: 0.9, lambda size: 0.1))
    assert (added.ok, added.verdict, added.where) == (False, "label smoothing added up", "sec-pretraining")
    assert added.told == (
        "You add up the smoothing of 0.1 over the vocabulary, so that its weight grows with the number of tokens. "
        "Take the mean."
    )
