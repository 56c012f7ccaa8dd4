"""What the lecture of Xiong claims on preferences that no reward explains, and on people who disagree."""

from collections.abc import Iterator

import numpy as np

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ledger import small
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, elsewhere, measured, rounded
from rlhf_lab.feedback import annotators, judges
from rlhf_lab.methods import nash, pluralism
from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.worlds.crowd import SHARES, crowd

BETA = 0.5
EPSILON, WORLDS, ANSWERS, ROUNDS, LABELS = 0.1, 10, 5, 10, 100  # of games that are estimated; d = 10 pairs of answers
AGREEMENT: dict[str, list[list[float]]] = {
    "helpfulness": [[1], [0.53, 1], [0.59, 0.48, 1], [0.41, 0.36, 0.50, 1]],
    "understandability": [[1], [0.31, 1], [0.36, 0.28, 1], [0.37, 0.30, 0.65, 1]],
    "conciseness": [[1], [0.33, 1], [0.44, 0.34, 1], [0.25, 0.29, 0.47, 1]],
    "harmlessness": [[1], [0.77, 1], [0.82, 0.74, 1], [0.69, 0.67, 0.69, 1]],
}


def general_preferences(load: Load) -> Iterator[Claim]:
    """Yield the rows on preferences that no reward explains."""
    rng = np.random.default_rng(8)
    reward = rng.normal(size=(500, 3))
    p = annotators.bradley_terry(reward[:, :, None] - reward[:, None, :])
    chain = (p[:, 1, 0] > 0.5) & (p[:, 2, 1] > 0.5)
    off = abs(nash.log_odds(p) - (reward[:, :, None] - reward[:, None, :])).max()
    yield measured(
        "Bradley-Terry",
        "its preferences are transitive",
        "an implication",
        f"in all {chain.sum()} of 500 random triples that begin a chain; log-odds are r(a) - r(b) to {rounded(off)}",
        "sec-nash",
        bool((p[chain, 2, 0] > 0.5).all()),
        off < EXACT,
    )
    yield elsewhere(
        "Bradley-Terry",
        "transitivity may not hold in practice",
        "may not",
        "votes of people; a crowd of transitive persons can be intransitive ({ref}`sec-nash`)",
    )
    game, random = _game()
    star = nash.equilibrium(game)
    ends = random[:4]
    for _ in range(300):
        ends = nash.mirror_step(game, ends, 0.1)
    apart = float(abs(lm.kl(ends, star)).max())
    yield measured(
        "KL-regularised game",
        "it has a unique symmetric equilibrium",
        "unique",
        f"exploitability {rounded(abs(float(nash.exploitability(game, star))))}; from four starts mirror descent ends "
        f"there, to {rounded(apart)}",
        "sec-nash",
        abs(float(nash.exploitability(game, star))) < EXACT,
        apart < 1e-6,
    )
    worst = max(float(nash.worst_win_rate(_circle(), law)) for law in (star, *random))
    yield measured(
        "theorem 3",
        "for small η and ε the policy wins against any policy: min P > 0.5",
        "above 0.5",
        f"at most {worst:.2f} for 51 policies: against itself a policy wins one half",
        "sec-nash",
        worst > 0.5,
    )
    lost: list[float] = []
    kl: list[float] = []
    for tree in small.trees():
        bt = nash.Game(tree.reward[:, None] - tree.reward, tree.log_pi_0, BETA)
        law = small.answers(small.other(len(lost)))
        lost.append(float(nash.exploitability(bt, law)))
        kl.append(float(gibbs.gap(law, tree.log_pi_0, tree.reward, BETA)))
    off = abs(np.subtract(lost, kl)).max()
    yield measured(
        "theorem 3",
        "with Bradley-Terry, a policy that loses ε in the game is ε from optimal",
        "ε",
        f"what it loses in the game is η KL(π || π*), to {rounded(off)} on 20 trees",
        "sec-nash",
        off < EXACT,
    )
    yield _enhancer()


def estimated_games(load: Load) -> Iterator[Claim]:
    """Yield the row on asking in rounds for preferences that no reward explains."""
    least, last = {}, {}
    for name, explores in (("itself", False), ("what it knows least about", True)):
        lost = np.array([_asked(rng, explores) for rng in np.random.default_rng(15).spawn(WORLDS)])
        least[name], last[name] = lost.min(1).max(), lost[:, -1].max()
    told = "; ".join(f"with {name} {least[name]:.3f}, in the last round {last[name]:.3f}" for name in least)
    yield measured(
        "theorem 3",
        "with general preferences some round t_0 has an exploitability of at most ε",
        "m = c d / ε², T = Ω̃(d)",
        f"ε = {EPSILON}, {WORLDS} games of {ANSWERS} answers, {ROUNDS} rounds of {LABELS} labels: the worst game has, "
        f"in its best round and if the main policy is compared {told}",
        "sec-nash",
        *(most <= EPSILON for most in least.values()),
    )


def _asked(rng: np.random.Generator, explores: bool) -> Array:
    """Return the exploitability of the equilibria of estimated games, round by round, in a game with normal log-odds.

    The main policy is compared with itself, which is the arg min of the slide, or with its arg max, one answer.
    """
    upper = np.triu(rng.normal(size=(ANSWERS, ANSWERS)), 1)
    odds, log_pi_0 = upper - upper.T, log_softmax(rng.normal(size=ANSWERS))
    game, won, lost = nash.Game(odds, log_pi_0, BETA), np.full((ANSWERS, ANSWERS), 0.5), []
    for _ in range(ROUNDS):
        log_pi = nash.equilibrium(nash.Game(np.log(won / won.T), log_pi_0, BETA))
        lost.append(float(nash.exploitability(game, log_pi)))
        pi = np.exp(log_pi)
        other = np.eye(ANSWERS)[(pi**2 @ (LABELS / (won + won.T))).argmax()] if explores else pi
        first, second = (rng.choice(ANSWERS, LABELS, p=law) for law in (pi, other))
        label = annotators.sample_labels(annotators.bradley_terry(odds[first, second]), rng)
        np.add.at(won, (first, second), label)
        np.add.at(won, (second, first), 1 - label)
    return np.array(lost)


def _circle() -> Array:
    return np.array([[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]])


def _game() -> tuple[nash.Game, Array]:
    rng = np.random.default_rng(9)
    game = nash.Game(nash.log_odds(_circle()), np.log([0.2, 0.5, 0.3]), BETA)
    return game, log_softmax(2 * rng.normal(size=(50, 3)))


def _enhancer() -> Claim:
    rng = np.random.default_rng(10)
    noise = rng.normal(size=(30, 5, 5))
    wrong = np.concatenate([noise - np.swapaxes(noise, 1, 2), np.zeros((1, 5, 5))])  # R less its estimate
    main, others = (np.exp(log_softmax(rng.normal(size=shape))) for shape in (5, (200, 5)))
    at_main = float((main @ wrong @ main).max())
    sup = (main @ wrong @ others.T).max(0)
    return measured(
        "general preference, information ratio",
        "the enhancer is the arg min of sup (R - R̂) / √(λ + ...)",
        "arg min",
        f"the least is 0, at the main policy itself; 200 others have {sup.min():.2f} to "
        f"{sup.max():.2f}: it never explores",
        "sec-online",
        at_main > sup.min(),
        readings={"arg max": at_main < sup.max()},
    )


def people(load: Load) -> Iterator[Claim]:
    """Yield the rows on people who disagree."""
    own = [rows[1][0] for rows in AGREEMENT.values()]
    yield elsewhere(
        "preference conflict",
        "people agree with each other in 70%",
        "70%",
        f"people. In the table below it two groups of them agree in {min(own):.0%} to {max(own):.0%}",
    )
    excess = {
        name: float(judges.forced_choice_excess(judges.of_lower_triangle(rows)).min())
        for name, rows in AGREEMENT.items()
    }
    possible = [name for name, value in excess.items() if value >= 0]
    yield measured(
        "preference conflict",
        "agreement of four judges on four qualities",
        "0.25 to 0.82",
        f"judges who must choose can have the tables of {' and '.join(possible)}; in those of the others three of them "
        f"agree too seldom, by {-min(excess.values()):.2f}. With ties all are possible",
        "sec-tables-of-agreement",
        *(value >= 0 for value in excess.values()),
    )
    kinds, shares = crowd(), SHARES
    ideal = gibbs.log_policy(kinds.log_pi_0, kinds.rewards, BETA)
    worth = float(pluralism.value_of_knowing(ideal, shares, BETA))
    yield measured(
        "challenge 2",
        "a scalar reward is insufficient for people who contradict each other",
        "a sentence",
        f"three kinds of people lose {worth:.2f} on average if the policy may not know who asks",
        "sec-pools",
        worth > 0.01,
    )
    yield elsewhere(
        "challenge 2",
        "rewards of several objectives do well",
        "good",
        "benchmarks of large reward models. What a gate of rewards can be learned from is in {ref}`sec-objectives`",
    )
