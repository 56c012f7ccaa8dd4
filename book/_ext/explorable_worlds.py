"""Numbers of explorables that PhraseWorld and its pretrained table give, computed with the package.

A reward says of an answer all that a Gibbs policy, or best-of-n, has to know. So a distribution over 111,111 answers is
kept as the probability of each reward, its *levels*; from these a page computes exact policies for any price or n.
"""

from functools import cache

import numpy as np

from rlhf_lab.feedback import annotators, preferences
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.worlds import phrase_world

PRICES = (0.05, 20.0)  # between which beta can be chosen
PRICE = 0.5  # at the start
CLICKS = 20  # that an annotator makes
SHOWN = 8  # answers in a table
SEEN = 0.002  # probability from which on a prefix is in the tree
PRECISION = 0.25  # of the prior of a weight: its standard deviation is 2


def levels(log_pi: Array, reward: Array) -> dict[str, list[float]]:
    """Return the rewards that occur, from the lowest, and their probabilities; both arguments are (A,)."""
    reward, group = np.unique(reward, return_inverse=True)
    return {"reward": reward.tolist(), "mass": checks.tally(group, np.exp(log_pi)).tolist()}


@cache
def _answers() -> list[str]:
    world = phrase_world
    return [world.decode(row) for row in lm.enumerate_responses(world.VOCAB, world.HORIZON, world.EOS)]


def _minus(text: str) -> str:
    return text.replace(" -", " \u2212")


@cache
def _pretrained() -> tuple[Array, Array]:
    """Return log pi_0 and the oracular reward of all answers, (4, A)."""
    world = phrase_world
    log_pi_0 = lm.answer_log_probs(world.model(), world.pretrained(), world.PROMPTS, world.HORIZON)
    return log_pi_0, world.mdp().answer_rewards()


@cache
def beta() -> dict:
    """Return, for each question, levels, the answers that matter at some price, and policies that are no optima."""
    answers, rng, found = _answers(), np.random.default_rng(10), []
    for question, before, reward in zip(phrase_world.QUESTIONS, *_pretrained(), strict=True):
        some = [gibbs.log_policy(before, reward, price) for price in np.geomspace(0.08, 50, 20)]
        others = np.array([log_softmax(log_pi + rng.normal(size=log_pi.shape)) for log_pi in some])
        earned, kl = np.exp(others) @ reward, lm.kl(others, before)
        top = _likeliest([before, gibbs.log_policy(before, reward, 0.2)], (7, 5))
        top.append(int(np.argmin(np.where(reward == reward.max(), before, np.inf))))  # worth as much, and no English
        rows = [{"text": answers[k], "reward": float(reward[k]), "before": float(np.exp(before[k]))} for k in top]
        dots = np.stack([kl, earned], axis=-1)
        found.append({"question": question, "levels": levels(before, reward), "answers": rows, "others": dots.tolist()})
    return {"count": len(answers), "prices": PRICES, "price": PRICE, "questions": found}


def _likeliest(policies: list[Array], counts: tuple[int, ...]) -> list[int]:
    """Return the likeliest answers of each policy, each once, in the order of the first policy."""
    top = {int(k) for log_pi, count in zip(policies, counts, strict=True) for k in np.argsort(-log_pi)[:count]}
    return sorted(top, key=lambda k: -policies[0][k])


def beta_still(numbers: dict) -> str:
    """Tell what the optimum says at the start."""
    question = numbers["questions"][0]
    masses, reward = np.array(question["levels"]["mass"]), np.array(question["levels"]["reward"])
    log_pi = gibbs.log_policy(np.log(masses), reward, numbers["price"])
    log_z = gibbs.log_normaliser(np.log(masses), reward, numbers["price"])
    after = [row["before"] * np.exp(row["reward"] / numbers["price"] - log_z) for row in question["answers"]]
    best = question["answers"][int(np.argmax(after))]
    return _minus(
        f"At β = {numbers['price']:g} the optimum answers “{question['question']}” with “{best['text']}” in "
        f"{100 * max(after):.0f}% of the cases, the pretrained model in {100 * best['before']:.0f}%. It earns "
        f"{np.exp(log_pi) @ reward:.2f} where the pretrained model earns {masses @ reward:.2f}, at "
        f"{lm.kl(log_pi, np.log(masses)):.2f} nats."
    )


def _parts(response: Array) -> Array:
    """Return the parts of the oracular reward of answers (N, T) to the first question, (N, 5)."""
    prompt = np.repeat(phrase_world.PROMPTS[:1], len(response), axis=0)
    return np.stack(list(phrase_world.reward_parts(prompt, response).values()), axis=-1)


@cache
def annotator() -> dict:
    """Return pairs to compare, what a simulated person says of them, and all answers by the parts of their reward."""
    world, rng = phrase_world, np.random.default_rng(0)
    prompt = np.repeat(world.PROMPTS[:1], 10 * CLICKS, axis=0)
    drawn = preferences.draw_pairs(world.model(), world.pretrained(), prompt, world.HORIZON, rng)
    first, second = (_parts(response) for response in drawn)
    told = np.flatnonzero((first != second).any(axis=-1))[:CLICKS]
    labels = annotators.sample_labels(annotators.bradley_terry((first - second)[told].sum(-1)), rng)
    pairs = [
        {"texts": [world.decode(y[k]) for y in drawn], "parts": [first[k].tolist(), second[k].tolist()]} for k in told
    ]
    answers, pi_0 = _answers(), np.exp(_pretrained()[0][0])
    kinds, group = np.unique(
        _parts(lm.enumerate_responses(world.VOCAB, world.HORIZON, world.EOS)), axis=0, return_inverse=True
    )
    order, groups = np.argsort(-pi_0, kind="stable"), []
    for k, parts in enumerate(kinds):
        top = [int(place) for place in order[group.ravel()[order] == k][:SHOWN]]
        mass = float(pi_0[group.ravel() == k].sum())
        groups.append({"parts": parts.tolist(), "mass": mass, "answers": [[answers[y], float(pi_0[y])] for y in top]})
    facts = {"question": world.QUESTIONS[0], "names": world.PARTS, "precision": PRECISION, "price": PRICE}
    return facts | {"prices": PRICES, "pairs": pairs, "labels": labels.tolist(), "groups": groups}


def annotator_still(numbers: dict) -> str:
    """Tell what there is to do, and the first pair."""
    return (
        f"With scripts, you compare {len(numbers['pairs'])} pairs of answers here, and see the reward and the policy "
        f"that come of it. The first pair: “{'” or “'.join(numbers['pairs'][0]['texts'])}”?"
    )


@cache
def tree() -> dict:
    """Return the likely prefixes of answers to the first question, each with the levels of all its answers."""
    world, answers = phrase_world, lm.enumerate_responses(phrase_world.VOCAB, phrase_world.HORIZON, phrase_world.EOS)
    log_pi_0, reward = (found[0] for found in _pretrained())
    chances = np.exp(np.stack([log_pi_0, *(gibbs.log_policy(log_pi_0, reward, price) for price in (PRICE, PRICES[0]))]))

    def grow(word: str, place: Array, length: int) -> dict:
        mine = chances[:, place].sum(-1)
        kept = levels(log_pi_0[place] - np.log(mine[0]), reward[place])
        node = {"word": word, "reach": float(mine[0]), "levels": kept}
        if length < world.HORIZON and word != world.WORDS[world.EOS]:
            token = answers[place, length]
            children = [(a, place[token == a]) for a in np.unique(token)]
            told = [(a, below) for a, below in children if chances[:, below].sum(-1).max() >= SEEN]
            node["next"] = [grow(world.WORDS[a], below, length + 1) for a, below in told]
            node["next"].sort(key=lambda child: -child["reach"])
        return node

    return {"prices": PRICES, "price": PRICE, "root": grow(world.QUESTIONS[0], np.arange(len(answers)), 0)}


def tree_still(numbers: dict) -> str:
    """Tell the value of the start, and what is said first."""
    root, price = numbers["root"], numbers["price"]

    def value(node: dict) -> float:
        return price * gibbs.log_normaliser(np.log(node["levels"]["mass"]), np.array(node["levels"]["reward"]), price)

    first = root["next"][:3]
    after = [child["reach"] * np.exp((value(child) - value(root)) / price) for child in first]
    told = [f"“{c['word']}” {100 * c['reach']:.0f}% and {100 * p:.0f}%" for c, p in zip(first, after, strict=True)]
    return (
        f"At a price of {price:g} the soft value of “{root['word']}” is {value(root):.2f}. "
        f"First words under the prior and at the optimum: {', '.join(told)}."
    )
