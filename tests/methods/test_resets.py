"""Resets: bounds on random trees, what a lock makes of them, and where training with other start states ends."""

import numpy as np
import pytest
import tasks

from rlhf_lab.methods import end_points, ppo, resets
from rlhf_lab.methods import soft_values as soft
from rlhf_lab.methods.best_of_n import weighted_decoding
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.critics import TabularCritic
from rlhf_lab.models.tabular import Tabular
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import log_softmax
from rlhf_lab.worlds import lock, token_mdp

TASK = tasks.task()
START = np.array([0.3, 0.7])
CRITIC = TabularCritic(tasks.MODEL)
TEACHER = tasks.MODEL, tasks.REFERENCE
LEVELS = lm.policy_levels(*TEACHER, tasks.PROMPTS, 2)
TOKENS = TASK.mdp.token_rewards()


def levels(rng, vocab, horizon, eos, scale=1.0):
    words = vocab if eos is None else vocab - 1
    return [log_softmax(scale * rng.normal(size=(2, words**t, vocab))) for t in range(horizon)]


def tree(rng):
    """Sizes, rewards of the tokens and a share: what a random tree has."""
    vocab, horizon = int(rng.integers(2, 4)), int(rng.integers(2, 5))
    eos = vocab - 1 if vocab > 2 and rng.random() < 0.5 else None
    rewards = rng.normal(size=(2, lm.count_responses(vocab, horizon, eos)))
    share = float(rng.choice([0.01, 0.1, 0.5, 1.0]))
    return (vocab, horizon, eos), token_mdp.terminal_rewards(rewards, vocab, horizon, eos), share


def one_hot(values):
    """The policy that takes the largest value, as levels of log-probabilities."""
    return [np.where(np.arange(q.shape[-1]) == q.argmax(-1)[..., None], 0.0, -1e4) for q in values]


def hard_case(rng):
    """The gap of a policy to the optimum on a random tree, and what the bounds are made of."""
    (vocab, horizon, eos), rewards, share = tree(rng)
    teacher = token_mdp.occupancy(levels(rng, vocab, horizon, eos, 0.5), START, eos)
    policy = levels(rng, vocab, horizon, eos)
    values = token_mdp.policy_evaluation(policy, rewards, 1.0, eos)
    for _ in range(int(rng.integers(0, 4))):  # some policies leave little to improve where they go
        values = token_mdp.policy_evaluation(one_hot(values.q), rewards, 1.0, eos)
    best = token_mdp.backward_induction(rewards, 1.0, eos)
    comparator = token_mdp.occupancy(one_hot(best.q), START, eos)
    gap = START @ (best.v[0] - values.v[0])[:, 0]
    eps = resets.mean_gain(resets.starts(teacher, share), resets.gains(values))
    return gap, horizon, share, resets.coverage(comparator, teacher), eps


@pytest.mark.equation("eq-reset-bound")
@pytest.mark.equation("eq-printed-bound")
def test_on_random_trees_the_bound_with_the_share_holds_and_the_printed_one_does_not():
    broken, tight = [], []
    for seed in range(700):
        gap, horizon, share, ratio, eps = hard_case(np.random.default_rng(seed))
        bound = resets.reset_bound(horizon, share, ratio, eps)
        assert gap <= bound * (1 + 1e-9) + 1e-12
        tight.append(gap / bound if bound else 0.0)
        if gap > resets.printed_bound(horizon, ratio, eps) * (1 + 1e-9):
            broken.append(share * horizon)
    assert len(broken) >= 3
    assert max(broken) < 1
    assert max(tight) > 0.5


@pytest.mark.equation("eq-soft-reset-bound")
def test_with_a_price_the_bound_holds_for_the_divergence_from_the_gibbs_policy():
    tight = []
    for seed in range(500):
        rng = np.random.default_rng(seed)
        (vocab, horizon, eos), rewards, share = tree(rng)
        prior, policy = levels(rng, vocab, horizon, eos), levels(rng, vocab, horizon, eos)
        price = float(rng.uniform(0.2, 2))
        optimum = soft.psi_values(prior, rewards, price, eos=eos).advantage
        teacher, comparator = (token_mdp.occupancy(p, START, eos) for p in (prior, optimum))
        eps = resets.mean_gain(resets.starts(teacher, share), resets.soft_gains(policy, prior, rewards, price, eos))
        gap = price * START @ soft.token_kl(policy, optimum, eos)
        bound = resets.reset_bound(horizon, share, resets.coverage(comparator, teacher), eps)
        assert gap <= bound * (1 + 1e-9)
        tight.append(gap / bound)
        nothing = resets.soft_gains(optimum, prior, rewards, price, eos)
        assert np.concatenate([level.ravel() for level in nothing]) == pytest.approx(0, abs=1e-9)
    assert max(tight) > 0.5


@pytest.mark.equation("eq-reset-gain")
@pytest.mark.parametrize("share", [0.01, 0.4, 1.0])
@pytest.mark.parametrize("q", [0.3, 0.9])
def test_in_the_lock_the_bound_is_the_gap_and_the_printed_one_is_too_small_by_the_share_and_the_horizon(share, q):
    horizon, right = 4, np.array([1, 0, 1, 1])
    rewards = lock.mdp(right, 2).token_rewards()
    teacher, stubborn, opens = (
        lm.policy_levels(lock.model(horizon, 2), lock.skilled(right, 2, c), lock.PROMPTS, horizon)
        for c in (q, 1e-12, 1 - 1e-12)
    )
    d, best = (token_mdp.occupancy(p, np.ones(1)) for p in (teacher, opens))
    left = resets.gains(token_mdp.policy_evaluation(stubborn, rewards))
    assert [level.sum() for level in left] == pytest.approx([0, 0, 0, 1], abs=1e-9)
    eps = resets.mean_gain(resets.starts(d, share), left)
    assert eps == pytest.approx(share * q**3 / horizon)
    ratio = resets.coverage(best, d)
    assert resets.reset_bound(horizon, share, ratio, eps) == pytest.approx(1)
    assert resets.printed_bound(horizon, ratio, eps) == pytest.approx(horizon * share)


def of_data(rng, vocab, horizon, eos):
    """Occupancy (K, W^t) of the prefixes of a few texts, and the places of these among the answers."""
    every = lm.enumerate_responses(vocab, horizon, eos)
    rows, chosen = np.array([0, 1, *rng.integers(2, size=4)]), rng.integers(len(every), size=6)
    words = vocab if eos is None else vocab - 1
    d = [np.zeros((2, words**t)) for t in range(horizon)]
    for row, answer in zip(rows, every[chosen], strict=True):
        place = 0
        for t, token in enumerate(answer):
            d[t][row, place] += START[row] / (rows == row).sum()
            if token == eos:
                break
            place = place * words + token
    return d, rows, chosen


def test_data_resets_bound_the_gap_to_every_policy_that_the_prefixes_of_the_data_cover():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        (vocab, horizon, eos), rewards, share = tree(rng)
        d = of_data(rng, vocab, horizon, eos)[0]
        values = token_mdp.policy_evaluation(levels(rng, vocab, horizon, eos), rewards, 1.0, eos)
        comparator = levels(rng, vocab, horizon, eos)
        for t in range(horizon - 1):  # it leaves the data with its last token only, which is free
            inside = d[t + 1].reshape(2, d[t].shape[1], -1) > 0
            if eos is not None:
                inside = np.concatenate([inside, np.ones((*inside.shape[:2], 1), dtype=bool)], axis=-1)
            comparator[t] = log_softmax(np.where(inside | ~inside.any(-1, keepdims=True), comparator[t], -1e4))
        ratio = resets.coverage(token_mdp.occupancy(comparator, START, eos), d)
        gap = START @ (token_mdp.policy_evaluation(comparator, rewards, 1.0, eos).v[0] - values.v[0])[:, 0]
        eps = resets.mean_gain(resets.starts(d, share), resets.gains(values))
        assert np.isfinite(ratio)
        assert gap <= resets.reset_bound(horizon, share, ratio, eps) + 1e-9


def test_a_policy_without_a_gain_on_the_data_is_at_least_as_good_as_the_best_answer_in_them():
    better = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        (vocab, horizon, eos), rewards, _ = tree(rng)
        d, rows, chosen = of_data(rng, vocab, horizon, eos)
        careless = levels(rng, vocab, horizon, eos)

        def backup(t, q, d=d, careless=careless):  # the best token on the data, anything off them
            return np.where(d[t] > 0, q.max(-1), np.sum(np.exp(careless[t]) * q, axis=-1))

        values = token_mdp.sweep(rewards, 1.0, eos, backup)
        left = [np.where(on > 0, a.max(-1), 0) for on, a in zip(d, values.advantage, strict=True)]
        assert resets.mean_gain(resets.starts(d, 0.5), left) == 0
        paid = lm.answers_of_levels(rewards, eos)  # sums along answers, as of log-probabilities
        best = [paid[row, chosen[rows == row]].max() for row in (0, 1)]
        assert (values.v[0][:, 0] >= np.array(best) - 1e-12).all()
        better += (values.v[0][:, 0] > np.array(best) + 1e-9).any()
    assert better > 20


@pytest.mark.equation("eq-reset-mixture")
@pytest.mark.parametrize("share", [0.25, 1.0])
def test_start_states_are_a_mixture_and_sum_to_the_length_of_answers(share):
    d = token_mdp.occupancy(LEVELS, tasks.START, 2)
    found = resets.starts(d, share)
    assert found[0] == pytest.approx(tasks.START[:, None] * (1 - share / 2))
    assert found[1] == pytest.approx(share * d[1] / 2)
    length = sum(level.sum() for level in d)
    assert sum(level.sum() for level in found) == pytest.approx(1 - share + share * length / 2)


def test_what_the_teacher_does_not_reach_is_not_covered():
    d = [np.array([[1.0]]), np.array([[0.5, 0.0]])]
    assert resets.coverage([np.array([[1.0]]), np.array([[0.9, 0.0]])], d) == pytest.approx(1.8)
    assert resets.coverage([np.array([[1.0]]), np.array([[0.9, 0.1]])], d) == np.inf


def test_places_inside_answers_are_all_alike_and_never_behind_the_end():
    mask = np.array([[1.0, 0, 0, 0], [1, 1, 1, 0]])
    found = resets.inside(np.tile(mask, (6000, 1)), np.random.default_rng(0)).reshape(6000, 2)
    assert (found[:, 0] == 0).all()
    share = np.array([np.mean(found[:, 1] == place) for place in range(4)])
    assert np.abs(share[:3] - 1 / 3).max() < 4 * (2 / 9 / 6000) ** 0.5
    assert share[3] == 0


@pytest.mark.parametrize("eos", [2, None])
def test_a_text_is_finished_by_the_model_and_its_beginning_is_kept(eos):
    model = Tabular(3, 3, ((0,),), eos)
    params = {"logits": np.random.default_rng(3).normal(size=(1, model.states, 3))}
    text = np.tile(np.array([[1, 0, 1], [0, 2, 2]]), (8000, 1))
    prompt = np.zeros((len(text), 1), dtype=int)
    kept = np.tile([1, 2], 8000)
    found = resets.finish((model, params), prompt, text, kept, np.random.default_rng(4))
    assert (found[::2, 0] == 1).all()
    assert (found[1::2, :2] == [0, 2]).all()
    if eos is not None:
        assert (found[1::2] == [0, 2, 2]).all()
        ended = found[::2][found[::2, 1] == 2]
        assert (ended[:, 2] == 2).all()
    every = np.exp(lm.answer_log_probs(model, params, prompt[:1], 3))[0]
    begins = lm.enumerate_responses(3, 3, eos)[:, 0] == 1
    wanted = np.where(begins, every, 0) / every[begins].sum()
    share = np.bincount(lm.answer_index(found[::2], 3, eos), minlength=len(every)) / 8000
    assert (np.abs(share - wanted) < 4.5 * (wanted * (1 - wanted) / 8000) ** 0.5 + 1e-9).all()


def test_only_what_the_policy_wrote_is_trained_and_priced():
    write = resets.restarts(resets.teacher_begins(TEACHER), 1.0)
    seen = write(TASK, tasks.MODEL, tasks.POLICY, 400, np.random.default_rng(0))
    own = lm.token_log_prob(tasks.MODEL, tasks.POLICY, seen.prompt, seen.response)
    reference = lm.token_log_prob(*TEACHER, seen.prompt, seen.response)
    assert seen.log_pi == pytest.approx(own * seen.mask)
    assert seen.log_pi_0 == pytest.approx(reference * seen.mask)
    assert seen.reward == pytest.approx(tasks.reward(seen.prompt, seen.response))
    assert set(map(tuple, seen.mask.tolist())) == {(1, 0), (1, 1), (0, 1)}  # never nothing
    batch = ppo.advantages_of(CRITIC, CRITIC.head(tasks.POLICY), seen, tasks.BETA, 1.0, 1.0)
    late = seen.mask[:, 0] == 0
    priced = seen.reward - tasks.BETA * np.sum(seen.log_pi - seen.log_pi_0, axis=-1)
    assert batch.returns[late] == pytest.approx(
        np.stack([0 * priced, priced], -1)[late] + [1, 0] * batch.advantage[late]
    )
    assert (batch.value_old == 0).all()


def test_prompts_come_as_in_the_task_from_a_teacher_and_as_in_the_texts_from_data():
    rng, error = np.random.default_rng(11), 0.5 / 20_000**0.5
    prompt, response = resets.teacher_begins(TEACHER)(TASK, (20_000,), rng)
    for k, row in enumerate(tasks.PROMPTS):
        assert abs(np.mean(prompt == row) - TASK.mdp.start[k]) < 4 * error
        place = lm.answer_index(response[prompt[:, 0] == row[0]], 3, 2)
        assert np.bincount(place, minlength=7) / len(place) == pytest.approx(np.exp(TASK.log_pi_0[k]), abs=8 * error)
    texts = np.array([[0], [1], [1], [1]]), np.array([[0, 1], [1, 0], [1, 0], [1, 0]])
    prompt, response = resets.data_begins(*texts)(TASK, (20_000,), rng)
    assert abs(np.mean(prompt) - 0.75) < 4 * error
    assert (response[:, 0] == prompt[:, 0]).all()


@pytest.mark.parametrize("begins", ["teacher", "data"])
def test_policies_side_by_side_write_each_the_rest_of_their_own_texts(begins):
    model, uniform = lock.model(3, 3), {"logits": np.zeros((1, 13, 3))}
    task = resets.Task(lock.mdp(np.array([1, 0, 2]), 3), (model, uniform), 0.1)
    surely = {"logits": 50 * np.array([[1.0, 0, 0], [0, 0, 1.0]])[:, None, None] * np.ones((13, 1))}
    begin = {
        "teacher": resets.teacher_begins((model, {"logits": [0, 50.0, 0] * np.ones((1, 13, 1))})),
        "data": resets.data_begins(lock.PROMPTS, np.array([[1, 1, 1]])),
    }[begins]
    seen = resets.restarts(begin, 0.5)(task, model, surely, 300, np.random.default_rng(2))
    assert seen.prompt.shape[:2] == (2, 300)
    assert seen.response.shape == seen.mask.shape == (2, 300, 3)
    own = np.broadcast_to(np.array([0, 2])[:, None, None], seen.response.shape)
    assert (seen.response == np.where(seen.mask, own, 1)).all()
    first = seen.mask.all(axis=-1).mean(axis=-1)  # from the prompt: half, and a third of the resets
    assert first == pytest.approx([2 / 3] * 2, abs=4 * (2 / 9 / 300) ** 0.5)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_answers_of_a_uniform_learner_open_a_lock_as_often_as_the_closed_form_says(share):
    right = np.array([1, 0, 2])
    model, uniform = lock.model(3, 3), {"logits": np.zeros((1, 13, 3))}
    task = resets.Task(lock.mdp(right, 3), (model, uniform), 0.1)
    for begin, q in (
        (resets.teacher_begins((model, lock.skilled(right, 3, 0.8))), 0.8),
        (resets.data_begins(lock.PROMPTS, right[None]), 1.0),
    ):
        seen = resets.restarts(begin, share)(task, model, uniform, 20_000, np.random.default_rng(5))
        chance = lock.chance_to_open(3, 1 / 3, q, share)
        assert abs(seen.reward.mean() - chance) < 4 * (chance * (1 - chance) / 20_000) ** 0.5


def test_the_mean_reward_of_handing_over_is_the_action_value_of_the_teacher():
    write = resets.handing_over(TEACHER)
    seen = write(TASK, tasks.MODEL, tasks.POLICY, 30_000, np.random.default_rng(6))
    assert (seen.mask.sum(-1) == 1).all()
    q = token_mdp.policy_evaluation(LEVELS, TOKENS, 1.0, 2).q
    places = tasks.MODEL.places(seen.prompt, seen.response)
    table = np.concatenate(q, axis=1).reshape(-1, 3)
    column = seen.mask.argmax(-1)
    row = np.arange(len(column))
    state, token = places[row, column], seen.response[row, column]
    first = np.exp(lm.policy_levels(tasks.MODEL, tasks.POLICY, tasks.PROMPTS, 2)[0])[:, 0, 2]
    ended = np.mean((column == 0) & (token == 2))  # an answer of one token has one place, and the policy wrote it
    assert abs(ended - TASK.mdp.start @ first) < 4 * (0.25 / 30_000) ** 0.5
    for s in range(6):
        for a in range(3):
            paid = seen.reward[(state == s) & (token == a)]
            error = paid.std() / max(len(paid), 1) ** 0.5
            assert len(paid) > 30
            assert abs(paid.mean() - table[s, a]) < 4 * error + 1e-9


WRITERS = {
    "PPO++": resets.restarts(resets.teacher_begins(TEACHER), 0.5),
    "DR-PO": resets.restarts(resets.data_begins(np.array([[0], [1]]), np.array([[0, 1], [1, 0]])), 0.5),
    "AggreVaTeD": resets.handing_over(TEACHER),
}


@pytest.mark.parametrize("name", WRITERS)
def test_ppo_with_resets_ends_at_the_gibbs_policy_and_aggrevated_one_soft_step_from_the_prior(name):
    settings = {"prompts": 256, "minibatch": 256, "epochs": 2, "lam": 1.0}
    loss, collect = ppo.ppo(TASK, CRITIC, write=WRITERS[name], **settings)
    params = CRITIC.head(tasks.POLICY)
    for rounds, size in ((50, 0.1), (25, 0.02)):
        rng = np.random.default_rng(rounds)
        params, _ = optim.fit(loss, params, collect, rounds=rounds, optimizer=optim.adam(size), rng=rng)
    ends = {"gibbs": TASK.log_optimum, "one step": lm.answers_of_levels(one_step(), 2)}
    far = {end: TASK.mean(lm.kl(TASK.log_pi(tasks.MODEL, params), log_pi)) for end, log_pi in ends.items()}
    here, there = ("one step", "gibbs") if name == "AggreVaTeD" else ("gibbs", "one step")
    assert far[here] < 0.004 < 3 * 0.004 < far[there]


def one_step():
    q = token_mdp.policy_evaluation(LEVELS, TOKENS, 1.0, 2).q
    return weighted_decoding(LEVELS, q, 1 / tasks.BETA)


@pytest.mark.equation("eq-token-cost")
@pytest.mark.parametrize("price", [0.2, 2.0])
def test_the_cost_of_a_token_is_least_for_the_step_that_decoding_takes(price):
    rng = np.random.default_rng(8)
    q, prior, policy = rng.normal(size=(20, 5)), *log_softmax(rng.normal(size=(2, 20, 5)))
    (best,) = weighted_decoding([prior], [q], 1 / price)
    cost, least = (np.sum(np.exp(p) * resets.token_cost(q, p, prior, price), axis=-1) for p in (policy, best))
    assert cost - least == pytest.approx(price * lm.kl(policy, best), abs=1e-12)
    stacked = [np.reshape(part, (4, 5, 5)) for part in (q, policy, prior)]
    together = resets.token_cost(q, policy, prior, price)
    assert resets.token_cost(*stacked, price) == pytest.approx(together.reshape(4, 5, 5))
    own = resets.token_cost(q, prior, prior, price)
    assert np.sum(np.exp(prior) * own, axis=-1) == pytest.approx(np.zeros(20), abs=1e-12)
    assert np.ptp(own + q, axis=-1) == pytest.approx(np.zeros(20), abs=1e-12)


def test_soft_steps_end_at_the_gibbs_policy_and_plain_ones_at_the_local_price():
    """H steps from the prior, with the prior in front each time."""
    price = 0.6
    for seed, (vocab, horizon, eos) in enumerate([(3, 4, 2), (3, 4, None), (4, 3, 3), (2, 5, None)]):
        rng = np.random.default_rng(seed)
        prior = levels(rng, vocab, horizon, eos)
        rewards = rng.normal(size=(2, lm.count_responses(vocab, horizon, eos)))
        paid = token_mdp.terminal_rewards(rewards, vocab, horizon, eos)
        by_soft = by_plain = prior
        for _ in range(horizon):
            q = soft.soft_evaluation(by_soft, prior, paid, price, eos=eos).q
            plain = token_mdp.policy_evaluation(by_plain, paid, 1.0, eos).q
            by_soft, by_plain = (weighted_decoding(prior, each, 1 / price) for each in (q, plain))
        log_p = lm.answers_of_levels(prior, eos)
        optimum = gibbs.log_policy(log_p, rewards, price)
        assert lm.answers_of_levels(by_soft, eos) == pytest.approx(optimum, abs=1e-10)
        for one, other in zip(by_plain, end_points.local_price(prior, paid, price), strict=True):
            assert one == pytest.approx(other, abs=1e-10)
        assert np.abs(lm.answers_of_levels(by_plain, eos) - optimum).max() > 0.1


def test_with_the_current_policy_in_front_the_price_falls_with_each_step():
    rng = np.random.default_rng(9)
    prior, rewards = levels(rng, 4, 1, None), rng.normal(size=(2, 4))
    paid, policy = token_mdp.terminal_rewards(rewards, 4, 1, None), prior
    for step in range(1, 5):
        policy = weighted_decoding(policy, token_mdp.policy_evaluation(policy, paid).q, 1 / 0.5)
        assert policy[0][:, 0] == pytest.approx(gibbs.log_policy(prior[0][:, 0], rewards, 0.5 / step))


@pytest.mark.equation("eq-perplexity")
def test_perplexity_is_least_for_the_writer_of_the_texts():
    rng = np.random.default_rng(10)
    log_p, log_q = log_softmax(rng.normal(size=(2, 300, 7)))
    tokens = np.array([1, 2, 2, 2, 2, 2, 2])
    own, other = resets.perplexity(log_p, log_p, tokens), resets.perplexity(log_p, log_q, tokens)
    assert (own < other).all()
    length = np.exp(log_p) @ tokens
    assert other == pytest.approx(own * np.exp(lm.kl(log_p, log_q) / length))
    assert resets.perplexity(np.log(np.full(4, 0.25)), np.log(np.full(4, 0.25)), np.ones(4)) == pytest.approx(4)


def test_bad_input():
    for wrong in (0, -0.1, 1.1, np.nan):
        for call in (
            lambda share: resets.starts([np.ones((1, 1))], share),
            lambda share: resets.reset_bound(2, share, 1.0, 0.1),
            lambda share: resets.restarts(resets.teacher_begins(TEACHER), share),
        ):
            with pytest.raises(ValueError, match="share is that of episodes that begin at a reset, above 0"):
                call(wrong)
    with pytest.raises(ValueError, match=r"^there is no text to reset into: DR-PO needs at least one prompt"):
        resets.data_begins(np.zeros((0, 1), dtype=int), np.zeros((0, 2), dtype=int))
    with pytest.raises(ValueError, match="2 prompts, but 1 responses"):
        resets.data_begins(np.zeros((2, 1), dtype=int), np.zeros((1, 2), dtype=int))
    other = Tabular(4, 2, ((0,), (1,)), 3), {"logits": np.zeros((2, 4, 4))}
    for write in (resets.restarts(resets.teacher_begins(other), 0.5), resets.handing_over(other)):
        with pytest.raises(ValueError, match="the teacher has 4 tokens and eos 3, the task 3 tokens and eos 2"):
            write(TASK, tasks.MODEL, tasks.POLICY, 4, np.random.default_rng(0))
    with pytest.raises(ValueError, match="price must be finite and above 0; got 0"):
        resets.token_cost(np.zeros(2), np.zeros(2), np.zeros(2), 0)
    for make in (lambda: resets.reset_bound(0, 0.5, 1.0, 0.1), lambda: resets.printed_bound(0, 1.0, 0.1)):
        with pytest.raises(ValueError, match="the horizon is the greatest number of tokens"):
            make()
