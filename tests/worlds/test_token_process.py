"""The token process against its definition."""

import numpy as np
import pytest
from autograd.test_util import check_grads

from rlhf_lab.models import lm
from rlhf_lab.worlds import token_process
from rlhf_lab.worlds.token_process import TokenProcess


@pytest.mark.equation("eq-token-process")
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_tokens_and_states_follow_the_definition(scale):
    process = TokenProcess(scale=scale)
    params = process.init(np.random.default_rng(0))
    texts = np.random.default_rng(1).integers(2, size=(4, 6))
    found = lm.log_prob(process, params, texts[:, :2], texts[:, 2:])
    for n, text in enumerate(texts):
        state, total = params["start"], 0.0
        for t, token in enumerate(text):
            p = 1 / (1 + np.exp(-scale * params["readout"] @ state))
            total += np.log(p if token == 1 else 1 - p) * (t >= 2)
            state = np.tanh(params["recurrent"] @ state + params["embed"] * (1 if token == 1 else -1))
        assert found[n] == pytest.approx(total, abs=1e-12)


@pytest.mark.equation("eq-token-process")
def test_the_series_is_the_logit_of_each_token():
    process = TokenProcess()
    params = process.init(np.random.default_rng(2))
    texts = np.random.default_rng(3).integers(2, size=(3, 5))
    p = 1 / (1 + np.exp(-token_process.series(process, params, texts)))
    chosen = np.where(texts == 1, p, 1 - p)
    empty = np.zeros((3, 0), dtype=int)
    assert np.log(chosen).sum(-1) == pytest.approx(lm.log_prob(process, params, empty, texts), abs=1e-12)


def test_gradients_flow_to_every_parameter():
    process = TokenProcess(hidden=3, scale=2.0)
    params = process.init(np.random.default_rng(4))
    texts = np.random.default_rng(5).integers(2, size=(3, 5))
    loss = lambda p: lm.negative_log_likelihood(process, p, texts[:, :1], texts[:, 1:])  # noqa: E731
    check_grads(loss, modes=["rev"], order=1)(params)


def test_a_process_is_drawn_as_the_paper_says():
    many = [TokenProcess(2).init(rng) for rng in np.random.default_rng(6).spawn(4000)]
    stacked = {name: np.stack([p[name] for p in many]) for name in many[0]}
    for name, bound in (("recurrent", 0.5**0.5), ("embed", 1.0)):
        assert np.abs(stacked[name]).max() == pytest.approx(bound, rel=1e-2)
        assert stacked[name].var() == pytest.approx(bound**2 / 3, rel=0.05)
        assert abs(stacked[name].mean()) < 0.02
    for name in ("readout", "start"):
        assert stacked[name].var() == pytest.approx(1, rel=0.05)
    assert TokenProcess(10).init(np.random.default_rng(0))["recurrent"].shape == (10, 10)
    assert np.abs(TokenProcess(10).init(np.random.default_rng(0))["recurrent"]).max() < 10**-0.5


def test_the_shadow_differs_in_its_readout_with_variance_0_3():
    worlds = [token_process.draw(rng) for rng in np.random.default_rng(7).spawn(4000)]
    gap = np.array([w.shadow["readout"] - w.ideal["readout"] for w in worlds])
    assert gap.var() == pytest.approx(0.3, rel=0.05)
    assert abs(gap.mean()) < 0.02
    for name in ("recurrent", "embed", "start"):
        assert all((w.shadow[name] == w.ideal[name]).all() for w in worlds)
    assert token_process.draw(np.random.default_rng(0), hidden=5).ideal["embed"].shape == (5,)


def by_sums(a, k, printed):
    """alpha(k) with plain loops; `printed` as in the paper's appendix C, 1-based indices and all."""
    tau = len(a)

    def mean(j, m):
        terms = [a[i - 1] for i in range(j, m + 1)]
        return sum(terms) / ((m - j) if printed else len(terms))

    early, late = mean(1, tau - k), mean(k + 1, tau)
    above = sum((a[i - 1] - early) * (a[i + k - 1] - late) for i in range(1, tau - k + 1))
    left = sum((a[i - 1] - early) ** 2 for i in range(1, tau - k + 1))
    right = sum((a[i + k - 1] - late) ** 2 for i in range(1, tau - k + 1))
    return above / (left * right) ** 0.5 / ((tau - k) if printed else 1)


SERIES = np.random.default_rng(8).normal(size=(3, 12)).cumsum(-1) + 1


@pytest.mark.equation("eq-autocorrelation")
def test_autocorrelation_is_the_correlation_with_oneself_later():
    found = token_process.autocorrelation(SERIES, 10)
    assert found.shape == (3, 10)
    for n, k in np.ndindex(3, 10):
        assert found[n, k] == pytest.approx(by_sums(SERIES[n], k, printed=False), abs=1e-12)
        assert found[n, k] == pytest.approx(np.corrcoef(SERIES[n, : 12 - k], SERIES[n, k:])[0, 1], abs=1e-12)
    assert found[:, 0] == pytest.approx(np.ones(3), abs=1e-14)


@pytest.mark.equation("eq-autocorrelation-printed")
def test_autocorrelation_as_printed():
    found = token_process.autocorrelation_as_printed(SERIES, 10)
    for n, k in np.ndindex(3, 10):
        assert found[n, k] == pytest.approx(by_sums(SERIES[n], k, printed=True), abs=1e-12)
    assert found[:, 0] == pytest.approx(np.ones(3) / 12, abs=1e-14)


@pytest.mark.parametrize("lags", [0, 11])
def test_lags_must_leave_values_to_correlate(lags):
    with pytest.raises(ValueError, match=f"a series of 12 values has lags 0 to 9; got {lags} lags"):
        token_process.autocorrelation(SERIES, lags)


def test_bad_sizes_are_told():
    with pytest.raises(ValueError, match="scale must be finite and above 0; got 0"):
        TokenProcess(scale=0)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        TokenProcess(hidden=0)


def test_series_and_correlations_may_have_leading_axes():
    process = TokenProcess()
    params = process.init(np.random.default_rng(2))
    texts = np.random.default_rng(3).integers(2, size=(4, 2, 3, 9))
    logits = token_process.series(process, params, texts)
    assert logits.shape == (4, 2, 3, 9)
    for k in np.ndindex(4, 2):
        assert logits[k] == pytest.approx(token_process.series(process, params, texts[k]), abs=1e-13)
        for function in (token_process.autocorrelation, token_process.autocorrelation_as_printed):
            assert function(logits, 7)[k] == pytest.approx(function(logits[k], 7), abs=1e-13)
    with pytest.raises(ValueError, match="a series of 9 values has lags 0 to 6; got 8 lags"):
        token_process.autocorrelation(logits, 8)
    assert token_process.autocorrelation(logits, 1).shape == (4, 2, 3, 1)


def test_a_world_has_a_state_in_the_plane():
    assert token_process.draw(np.random.default_rng(0)).ideal["recurrent"].shape == (2, 2)


@pytest.mark.equation("eq-token-process")
def test_the_process_of_the_paper_is_the_default():
    process = TokenProcess()
    assert (process.hidden, process.scale, process.vocab, process.eos) == (2, 1.0, 2, None)
    params = process.init(np.random.default_rng(0))
    _, logits = process.start(params, np.zeros((1, 0), dtype=int))
    assert logits == pytest.approx(np.array([[0.0, params["readout"] @ params["start"]]]), abs=1e-14)


@pytest.mark.equation("eq-autocorrelation-printed", "eq-autocorrelation")
def test_both_autocorrelations_of_a_series_worked_out_by_hand():
    a = np.array([1.0, 2.0, 4.0, 1.0])
    # lag 1: (1, 2, 4) and (2, 4, 1), both with mean 7/3, or 7/2 as printed
    early, late = np.array([1, 2, 4]) - 7 / 3, np.array([2, 4, 1]) - 7 / 3
    assert token_process.autocorrelation(a, 2) == pytest.approx([1, early @ late / (early @ early)], rel=1e-13)
    early, late = np.array([1, 2, 4]) - 7 / 2, np.array([2, 4, 1]) - 7 / 2
    printed = [1 / 4, early @ late / (early @ early) / 3]
    assert token_process.autocorrelation_as_printed(a, 2) == pytest.approx(printed, rel=1e-13)


def test_only_the_autocorrelation_that_is_not_printed_ignores_shift_and_scale():
    moved = 3 * SERIES + 100
    for k in range(8):
        same = token_process.autocorrelation(moved, 8)[:, k]
        assert same == pytest.approx(token_process.autocorrelation(SERIES, 8)[:, k], abs=1e-11)
    printed = token_process.autocorrelation_as_printed
    assert printed(3 * SERIES, 8) == pytest.approx(printed(SERIES, 8), abs=1e-13)
    assert np.abs(printed(moved, 8) - printed(SERIES, 8)).max() > 0.01


def best_reader(chances, n, k):
    """Log-loss of the best guess of token n + 1 from the last k of n tokens, with dictionaries; `chances` of texts."""
    seen, joint = {}, {}
    for text, p in chances.items():
        context = text[n - k : n]
        seen[context] = seen.get(context, 0) + p
        joint[context, text[n]] = joint.get((context, text[n]), 0) + p
    return -sum(p * np.log(p / seen[context]) for (context, _), p in joint.items())


@pytest.mark.equation("eq-short-context")
def test_what_a_short_context_costs_is_the_loss_of_its_best_reader():
    process, n = TokenProcess(scale=2.0), 5
    drawn = [process.init(rng) for rng in np.random.default_rng(9).spawn(2)]
    params, empty = {name: np.stack([one[name] for one in drawn]) for name in drawn[0]}, np.zeros((1, 0), dtype=int)
    found = token_process.short_context_loss(lm.policy_levels(process, params, empty, n + 1))
    assert found.shape == (2, 1, n + 1)
    for world, one in enumerate(drawn):
        texts = lm.enumerate_responses(2, n + 1, None)
        log_p = lm.log_prob(process, one, np.zeros((len(texts), 0), dtype=int), texts)
        chances = dict(zip(map(tuple, texts.tolist()), np.exp(log_p), strict=True))
        losses = np.array([best_reader(chances, n, k) for k in range(n + 1)])
        assert found[world, 0] == pytest.approx(losses - losses[n], abs=1e-13)
    assert (np.diff(found) < 1e-13).all()  # who sees more loses less


@pytest.mark.equation("eq-short-context", "eq-autocorrelation")
def test_a_long_autocorrelation_with_a_memory_of_one_token():
    process, m = TokenProcess(), 3 * np.tanh(1)
    params = {"recurrent": np.zeros((2, 2)), "embed": np.ones(2), "readout": np.full(2, 1.5), "start": np.ones(2)}
    levels = lm.policy_levels(process, params, np.zeros((1, 0), dtype=int), 9)
    loss = token_process.short_context_loss(levels)[0]
    assert loss[0] > 0.1
    assert loss[1:] == pytest.approx(np.zeros(8), abs=1e-13)
    # the logit is m or -m, as the last token was; it keeps its sign with probability sigmoid(m)
    rng = np.random.default_rng(10)
    texts = lm.sample(process, params, np.zeros((40, 0), dtype=int), 2000, rng)
    alpha = token_process.autocorrelation(token_process.series(process, params, texts), 11)
    error = alpha.std(0, ddof=1) / 40**0.5
    exact = np.tanh(m / 2) ** np.arange(11)
    assert exact[[1, 10]] == pytest.approx([0.82, 0.13], abs=0.005)
    assert (np.abs(alpha.mean(0) - exact)[1:] < 4 * error[1:] + 1e-3).all()


@pytest.mark.equation("eq-short-context")
def test_extreme_logits_leave_nothing_to_guess():
    levels = [np.log(np.full((1, 2**t, 2), 0.5)) for t in range(3)]
    levels[2] = np.array([[[0.0, -1e4], [-1e4, 0.0], [-1e4, 0.0], [0.0, -1e4]]])  # token 3 is token 1 xor token 2
    assert token_process.short_context_loss(levels)[0] == pytest.approx([np.log(2), np.log(2), 0], abs=1e-14)
