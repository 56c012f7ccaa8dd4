"""PPO's loss with advantages that are whitened inside: a convention, over what counts, by either variance."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.tracer import getval

from rlhf_lab import audit
from rlhf_lab.audit import ppo as audit_ppo


def ppo(log_probs, old_log_probs, advantages, clip, smaller=anp.minimum):
    ratio = anp.exp(log_probs - old_log_probs)
    return -smaller(ratio * advantages, anp.clip(ratio, 1 - clip, 1 + clip) * advantages)


def standard(advantages, ddof, eps=1e-8):
    return (advantages - anp.mean(advantages)) / (anp.std(advantages, ddof=ddof) + eps)


def masked(log_probs, old_log_probs, advantages, mask, clip_range, ddof=0, eps=1e-8, smaller=anp.minimum):
    count = anp.sum(mask)
    mean = anp.sum(advantages * mask) / count
    variance = anp.sum((advantages - mean) ** 2 * mask) / (count - ddof)
    each = ppo(log_probs, old_log_probs, (advantages - mean) / anp.sqrt(variance + eps), clip_range, smaller)
    return anp.sum(each * mask) / count


@pytest.mark.parametrize("eps", [0.0, 1e-8, 1e-5])
@pytest.mark.parametrize(("ddof", "told"), [(0, "divides by the count"), (1, "divides by the count less 1")])
def test_whitening_inside_is_a_convention(ddof, told, eps):
    def of_a_mask(log_probs, old_log_probs, advantages, mask, clip_range):
        return masked(log_probs, old_log_probs, advantages, mask, clip_range, ddof, eps)

    def flat(newlogprob, b_logprobs, mb_advantages, clip_coef):
        assert mb_advantages.ndim == 1
        return anp.mean(ppo(newlogprob, b_logprobs, standard(mb_advantages, ddof, eps), clip_coef))

    for function in (of_a_mask, flat):
        found = audit.ppo_loss(function)
        assert found.ok, str(found)
        assert any(
            text.startswith("advantages are whitened inside") and text.endswith(told) for text in found.conventions
        )


@pytest.mark.parametrize("clip", [0.1, 0.2, 0.3])
def test_whitening_inside_beside_a_clip_range_that_is_fixed_inside(clip):
    def fixed(newlogprob, b_logprobs, mb_advantages):
        if len(mb_advantages) > 1:  # as in Stable-Baselines3
            mb_advantages = standard(mb_advantages, 0)
        return anp.mean(ppo(newlogprob, b_logprobs, mb_advantages, clip))

    assert audit.ppo_loss(fixed).ok
    assert audit.ppo_loss(fixed, clip_range=clip).ok
    assert not audit.ppo_loss(fixed, clip_range=clip + 0.05).ok


def test_whitening_inside_over_the_padding_is_no_convention():
    def padded(log_probs, old_log_probs, advantages, mask, clip_range):
        return anp.sum(ppo(log_probs, old_log_probs, standard(advantages, 0), clip_range) * mask) / anp.sum(mask)

    assert not audit.ppo_loss(padded)


def test_centring_or_scaling_alone_is_no_whitening():
    def centred(log_probs, old_log_probs, advantages, clip_range):
        return anp.mean(ppo(log_probs, old_log_probs, advantages - anp.mean(advantages), clip_range))

    def scaled(log_probs, old_log_probs, advantages, clip_range):
        return anp.mean(ppo(log_probs, old_log_probs, advantages / anp.std(advantages), clip_range))

    assert not audit.ppo_loss(centred)
    assert not audit.ppo_loss(scaled)


def test_bugs_have_their_names_beside_whitening():
    def larger(log_probs, old_log_probs, advantages, mask, clip_range):
        return masked(log_probs, old_log_probs, advantages, mask, clip_range, smaller=anp.maximum)

    def detached(log_probs, old_log_probs, advantages, mask, clip_range):
        return masked(getval(log_probs), old_log_probs, advantages, mask, clip_range) + 0 * anp.sum(log_probs)

    assert audit.ppo_loss(larger).verdict == "max in place of min"
    assert audit.ppo_loss(detached).verdict == "wrong gradient"


ANSWER = {"log_pi": np.array([[-1.0, -2.0, -3.0]]), "advantage": np.array([[1.0, 2.0, 9.0]])}
ANSWER |= {"mask": np.array([[1.0, 1.0, 0.0]]), "clip_range": 0.2}
CUT = {name: x[:, 1:] if np.ndim(x) else x for name, x in ANSWER.items()}  # one token and padding
SINGLE = {name: x[:, :1] if np.ndim(x) else x for name, x in ANSWER.items()}
WORDS = "advantages are whitened inside, over the batch, by a variance that divides by "


@pytest.mark.parametrize("function", [masked, lambda *given: 0, lambda nothing: 0], ids=["masked", "any", "one input"])
def test_advantages_are_whitened_over_a_mask_by_hand(function):
    contract = audit_ppo._whitening(function)
    assert (contract.name, contract.identities, contract.strict) == ("ppo_loss", (), True)
    assert [layout.name for layout in contract.layouts] == [f"{WORDS}the count", f"{WORDS}the count less 1"]
    for layout, deviation in zip(contract.layouts, (0.5, 0.5**0.5), strict=True):
        (case,) = layout.cases([SINGLE, CUT, ANSWER])  # one token cannot be whitened
        np.testing.assert_allclose(case["advantage"], np.array([[-0.5, 0.5, 7.5]]) / deviation)
        assert case["mask"].tolist() == [[1, 1, 0]]
        given = layout.into(case)
        assert given["advantage"].tolist() == [[1, 2, 9]]
        assert (given["log_pi"] is ANSWER["log_pi"], given["clip_range"]) == (True, 0.2)
        assert layout.back(case["advantage"], case) is case["advantage"]


def flat_batch(newlogprob, b_logprobs, mb_advantages, clip_coef):
    return 0


def test_advantages_are_whitened_over_a_flat_batch_by_hand():
    contract = audit_ppo._whitening(flat_batch)
    assert [layout.name for layout in contract.layouts] == [f"{WORDS}the count", f"{WORDS}the count less 1"]
    for layout, deviation in zip(contract.layouts, ((38 / 3) ** 0.5, 19**0.5), strict=True):
        (cut, case) = layout.cases([SINGLE, CUT, ANSWER])
        assert cut["given"] is CUT["advantage"]
        np.testing.assert_allclose(case["advantage"], np.array([[-3.0, -2.0, 5.0]]) / deviation)
        assert case["mask"].tolist() == [[1, 1, 1]]  # all of a batch counts
        given = layout.into(case)
        assert given["advantage"].tolist() == [1, 2, 9]
        assert given["log_pi"].tolist() == [-1, -2, -3]
        assert (given["clip_range"], np.ndim(given["clip_range"])) == (0.2, 0)
        three = np.array([4.0, 5.0, 6.0])
        assert layout.back(three, case).tolist() == [[4, 5, 6]]
        assert layout.back(np.array(2.0), case) == 2.0
        assert layout.back(np.ones(2), case).shape == (2,)


def test_clip_ranges_that_people_write_are_tried_beside_whitening():
    usual = {i.name: i.usual for i in audit_ppo._whitening(flat_batch).inputs}
    assert usual == {i.name: i.usual for i in audit_ppo.PPO.inputs} | {"clip_range": (0.1, 0.3)}


def test_a_loss_that_divides_by_a_deviation_is_known_by_the_names_that_it_uses():
    class Loss:
        def forward(self, x):
            return x / x.std()

    uses = [standard, lambda x: x.var(), lambda x: np.sqrt(x), lambda x: whiten(x), lambda x: normalize(x)]  # noqa: F821
    assert all(map(audit_ppo._divides, [*uses, lambda x: x.standardize(), Loss().forward]))
    assert not any(map(audit_ppo._divides, [ppo, lambda x: x.mean(), np.minimum]))


def test_a_deviation_that_is_only_looked_at_is_no_whitening():
    def watched(log_probs, old_log_probs, advantages, mask, clip_range):
        return anp.sum(ppo(log_probs, old_log_probs, advantages, clip_range) * mask) / anp.sum(mask), advantages.std()

    assert audit_ppo._divides(watched)
    found = audit.ppo_loss(watched)
    assert found.ok
    assert not any("whitened" in text for text in found.conventions)


@pytest.mark.parametrize("held", [(0.8, 1.2), (-0.2, 0.2)])
def test_a_clipped_log_ratio_has_a_name(held):
    def loss(log_probs, old_log_probs, advantages, mask, clip_range):
        step = log_probs - old_log_probs
        low, high = (1 - clip_range, 1 + clip_range) if held[0] > 0 else (-clip_range, clip_range)
        each = np.maximum(-advantages * np.exp(step), -advantages * np.exp(np.clip(step, low, high)))
        return (each * mask).sum() / mask.sum()

    assert audit.ppo_loss(loss).verdict == f"log-ratio clipped around {1 if held[0] > 0 else 0}"


def test_a_mask_on_the_ratio_before_it_is_clipped_leaves_something_of_padding():
    def loss(log_pi, log_old, advantage, mask, clip_range):
        ratio = np.exp(log_pi - log_old) * mask
        held = np.clip(ratio, 1 - clip_range, 1 + clip_range)
        return -np.sum(np.minimum(ratio * advantage, held * advantage)) / np.sum(mask)

    assert audit.ppo_loss(loss).verdict == "mask ignored"


def test_a_loss_of_ppo_has_no_reference_and_may_deviate_in_general():
    assert audit_ppo.PPO.general
    assert not any("log_ref" in case for case in audit_ppo.PPO.cases)
