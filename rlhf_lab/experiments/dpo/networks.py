"""DPO on networks: its remedies beside each other, and interventions that ask why chosen answers fall."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from rlhf_lab.experiments.dpo.lines import BETA, DPO, rows, stack, stop_early, train
from rlhf_lab.experiments.runner import Numbers, in_blocks
from rlhf_lab.feedback import annotators, likelihoods, linear_fits, pairs, preferences, reward_models
from rlhf_lab.feedback.pairs import PreferenceBatch
from rlhf_lab.methods import direct, policy_gradient
from rlhf_lab.methods.rollouts import Task
from rlhf_lab.models import gibbs, lm
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.numerics import optim
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.worlds import phrase_world
from rlhf_lab.worlds.phrase_world import EOS, HORIZON, PROMPTS, START, VOCAB
from rlhf_lab.worlds.token_mdp import TokenMDP

NETWORK = Recurrent(VOCAB, hidden=16, eos=EOS)
COUNT, HELD_OUT, BATCH = 300, 60, 30
POINTS = (0, 10, 20, 30, 40, 50, 75, 100, 150, 200, 300)  # steps after which a policy is judged
SIZES = (0.003, 0.01, 0.03)
SMALL, LARGE = (0.0001, 0.0003, 0.001), 0.1  # further sizes, where the best of the three lay at the edge
ALPHAS = (0.01, 0.03, 0.1, 0.3)
JUDGED = (10, 30, 150)  # steps of the network that is a reward model


class People(NamedTuple):
    """Pretrained networks, (seeds, ...), and for each of them the comparisons of what it wrote."""

    start: Params
    batch: PreferenceBatch
    log_start: Array  # of all answers, (seeds, prompts, A)
    oracle: Array  # their rewards, (prompts, A)
    parts: Array  # and what these are made of, (prompts, A, 5)
    seen: Array  # whether somebody compared them

    def judge(self, params: Params) -> Numbers:
        """Return what `told` says of a network, whose answers are all listed."""
        return self.told(lm.answer_log_probs(NETWORK, params, PROMPTS, HORIZON))

    def told(self, log_pi: Array) -> Numbers:
        """Return distance from the Gibbs policy, mean reward and probability outside the data, (seeds,) each."""
        pi = np.exp(log_pi)
        far = gibbs.gap(log_pi, self.log_start, self.oracle, BETA)
        each = {"far": far, "reward": (pi * self.oracle).sum(-1), "unseen": (pi * ~self.seen).sum(-1)}
        return {name: value @ START for name, value in each.items()}


def compare(start: Params, seed: int, of: int) -> preferences.Preferences:
    """Let the network of place `of` write pairs to prompts of the world, and one of the people say which is better."""
    own, rng = {name: value[of] for name, value in start.items()}, np.random.default_rng([6, seed])
    prompts = PROMPTS[rng.choice(len(PROMPTS), COUNT, p=START)]
    two = preferences.draw_pairs(NETWORK, own, prompts, HORIZON, rng)
    gain = np.subtract(*(phrase_world.reward(prompts, answer) for answer in two))
    label = annotators.sample_labels(annotators.bradley_terry(gain), rng)
    return preferences.from_labels(prompts, *two, label, VOCAB)


def people(seeds: Sequence[int]) -> People:
    """Pretrain a network for each seed, and ask people about 300 pairs of its answers."""
    fresh = stack([NETWORK.init(np.random.default_rng([4, seed])) for seed in seeds])
    start, _ = optim.fit(
        lambda params, batch: lm.negative_log_likelihood(NETWORK, params, *batch),
        fresh,
        optim.minibatches(phrase_world.corpus(), 149),
        rounds=60,
        optimizer=optim.adam(0.03),
        rng=np.random.default_rng(5),
    )
    said = [compare(start, seed, place).columns[:3] for place, seed in enumerate(seeds)]
    batch = pairs.compare(NETWORK, start, *map(np.stack, zip(*said, strict=True)))
    everything = lm.enumerate_responses(VOCAB, HORIZON, EOS)
    asked = np.repeat(PROMPTS, len(everything), axis=0)
    parts = np.stack(list(phrase_world.reward_parts(asked, np.tile(everything, (4, 1))).values()), axis=-1)
    parts = parts.reshape(len(PROMPTS), -1, 5)
    log_start = lm.answer_log_probs(NETWORK, start, PROMPTS, HORIZON)
    seen = np.zeros(log_start.shape, dtype=bool)
    for index in places(batch):
        seen[np.arange(len(seen))[:, None], *index] = True
    return People(start, batch, log_start, parts.sum(-1), parts, seen)


def places(batch: PreferenceBatch) -> list[tuple[Array, Array]]:
    """Of chosen and rejected answers, which prompt they answer and which answer they are, (seeds, 300) each."""
    prompt = (batch.prompt[..., None, :] == PROMPTS).all(-1).argmax(-1)
    return [(prompt, lm.answer_index(answer, VOCAB, EOS)) for answer in (batch.chosen, batch.rejected)]


def _judged(who: People, trail: list[Params], points: Sequence[int]) -> Numbers:
    found = [who.judge(trail[point]) for point in points]
    return {name: np.stack([each[name] for each in found], axis=-1) for name in found[0]}


def _knobs(found: Iterable[Numbers]) -> Numbers:
    each = list(found)
    return {name: np.stack([numbers[name] for numbers in each], axis=1) for name in each[0]}


def always(batch: Any) -> Callable[[Params, Generator], list[Any]]:
    """Return a `collect` that goes through all comparisons in one step."""
    return lambda params, rng: [batch]


def epochs(who: People, step_size: float) -> Numbers:
    """Go through shuffled batches of 30 comparisons, 1, 2 and 3 times."""

    def shuffled(params: Params, rng: Generator) -> Iterable[PreferenceBatch]:
        for part in np.split(rng.permutation(COUNT), COUNT // BATCH):
            yield rows(who.batch, part)

    return _judged(who, train(direct.preference_loss(NETWORK, DPO), who.start, shuffled, 3, step_size), range(4))


def held_out(who: People, step_size: float, steps: int) -> Numbers:
    """Train on 240 comparisons, and keep the parameters that fit the other 60 best: one point, and its step."""
    loss = direct.preference_loss(NETWORK, DPO)
    trail = train(loss, who.start, always(rows(who.batch, slice(HELD_OUT, None))), steps, step_size)
    params, place = stop_early(NETWORK, trail, rows(who.batch, slice(HELD_OUT)))
    found = who.judge(params) | {"step": place}
    return {name: value[:, None] for name, value in found.items()}


def linear(who: People, features: Callable[[Array, Array], Array]) -> Array:
    """Fit a reward that is linear in features of texts to the comparisons: weights (seeds, D)."""
    prompt, chosen, rejected = who.batch[:3]
    difference = features(prompt, chosen) - features(prompt, rejected)
    return linear_fits.fit_linear(difference, np.ones(difference.shape[:2]), precision=1.0).mean


def parts_of(prompt: Array, response: Array) -> Array:
    """Return the five parts of the reward of each text, (..., 5)."""
    return np.stack(list(phrase_world.reward_parts(prompt, response).values()), axis=-1)


READER = reward_models.Network(NETWORK)


def reader(who: People, rounds: int) -> Params:
    """Train the same network with another head as a reward model, from the pretrained start."""
    body = {name: value for name, value in who.start.items() if name != "readout"}
    fresh = body | {"head": np.zeros((len(who.log_start), NETWORK.hidden))}
    loss = likelihoods.preference_loss(READER, likelihoods.bradley_terry_loss)
    return train(loss, fresh, always((*who.batch[:3], 1.0)), rounds, 0.01)[-1]


def reinforce(who: People, reward: Callable[[Array, Array], Array], step_size: float, points: Sequence[int]) -> Numbers:
    """Climb a fitted reward: 128 fresh answers a step, four to a prompt, leave-one-out advantages."""
    mdp = TokenMDP(PROMPTS, START, reward, VOCAB, HORIZON, EOS)
    task = Task(mdp, (NETWORK, who.start), BETA)
    gain, collect = policy_gradient.reinforce(task, NETWORK, policy_gradient.rloo_advantages, prompts=32, answers=4)
    return _judged(who, train(gain, who.start, collect, points[-1], step_size), points)


def run(seeds: Sequence[int], points: Sequence[int] = POINTS) -> Numbers:
    """Return what `People.told` says of every line, (seeds, knobs, points), and of exact policies, (seeds, 1, 1)."""
    who = people(seeds)
    loss = direct.preference_loss(NETWORK, DPO)

    def dpo(loss: Any, size: float) -> Numbers:
        return _judged(who, train(loss, who.start, always(who.batch), points[-1], size), points)

    with_sft = [(direct.with_sft(NETWORK, DPO, alpha), size) for alpha in ALPHAS for size in (*SIZES[1:], LARGE)]
    weights = linear(who, parts_of)
    readers = {rounds: reader(who, rounds) for rounds in JUDGED}
    by_reader = [(partial(READER.reward, readers[rounds]), size) for rounds in JUDGED for size in SIZES]

    def by_parts(prompt: Array, response: Array) -> Array:
        return (parts_of(prompt, response) * weights[:, None]).sum(-1)

    lines = {
        "dpo": _knobs(dpo(loss, size) for size in (*SMALL, *SIZES)),
        "dpo + sft": _knobs(dpo(*knob) for knob in with_sft),
        "held out": _knobs(held_out(who, size, points[-1]) for size in (*SMALL, *SIZES)),
        "epochs": _knobs(epochs(who, size) for size in SIZES),
        "reinforce, network": _knobs(reinforce(who, *knob, points) for knob in by_reader),
        "reinforce, parts": _knobs(reinforce(who, by_parts, size, points) for size in SIZES),
    }
    rewards = {"optimum": who.oracle, "parts": np.einsum("kap,sp->ska", who.parts, weights), "words": _by_words(who)}
    rewards["network"] = _by_reader(readers[JUDGED[-1]], len(who.log_start))
    exact = {name: gibbs.log_policy(who.log_start, reward, BETA) for name, reward in rewards.items()}
    found = {name: who.told(log_pi) for name, log_pi in {"start": who.log_start, **exact}.items()}
    return lines | {f"exact {name}": _knobs([{k: v[:, None] for k, v in each.items()}]) for name, each in found.items()}


def _by_words(who: People) -> Array:
    weights = linear(who, phrase_world.word_counts).reshape(-1, len(PROMPTS), 10)
    everything = lm.enumerate_responses(VOCAB, HORIZON, EOS)
    counts = phrase_world.word_counts(np.repeat(PROMPTS[:1], len(everything), axis=0), everything)[:, :10]
    return weights @ counts.T


def _by_reader(params: Params, seeds: int) -> Array:
    each = ({name: value[k] for name, value in params.items()} for k in range(seeds))
    return np.stack([READER.every_reward(own, PROMPTS, HORIZON) for own in each])


SETTINGS: dict[str, Any] = {
    "beta": BETA,
    "hidden": NETWORK.hidden,
    "count": COUNT,
    "held_out": HELD_OUT,
    "batch": BATCH,
    "points": list(POINTS),
    "sizes": list(SIZES),
    "small": list(SMALL),
    "large": LARGE,
    "alphas": list(ALPHAS),
    "judged": list(JUDGED),
}
STUDY = in_blocks(run, 5, SETTINGS)
