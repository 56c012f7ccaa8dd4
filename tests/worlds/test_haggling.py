"""Haggling: buyers do what their docstring says, and the best seller knows them by what they offer."""

import numpy as np
import pytest

from rlhf_lab.worlds import dialogues, haggling
from rlhf_lab.worlds.haggling import BUYERS, PRICES

VALUES = {"rule-based": 0.645, "stingy": 0.5375, "utility": 0.6, "fairness": 0.855, "length": 0.7}


def value(game):
    nodes = dialogues.tree(game)
    return nodes.start @ dialogues.solve(nodes, game.reward).v[0]


@pytest.mark.parametrize("name", BUYERS)
def test_the_best_price_against_each_buyer(name):
    assert value(haggling.game((name,))) == pytest.approx(VALUES[name], abs=1e-12)


def test_not_to_know_the_buyer_costs_a_twentieth_of_the_price():
    assert value(haggling.game()) == pytest.approx(0.614575, abs=1e-12)
    assert np.mean([*VALUES.values()]) == pytest.approx(0.6675, abs=1e-12)


def haggle(name, asks, rng):
    """Play a buyer by its rules: what was offered, and what was earned."""
    buyer = BUYERS[name]
    limit, offer = buyer.limit + rng.choice([-1, 0, 1], p=[0.25, 0.5, 0.25]), buyer.first
    for ask in asks:
        nearer = min(limit, offer + max(buyer.step, round(buyer.way * (ask - offer))))
        if ask <= (nearer if buyer.climbs else limit):
            return ask / 10
        if rng.random() < buyer.leaves:
            return 0.0
        offer = nearer
    return 0.0


@pytest.mark.parametrize("name", BUYERS)
def test_the_tables_are_the_rules(name):
    rng, asks = np.random.default_rng(0), (10, 9, 8, 7, 6)
    game = haggling.game((name,))
    nodes = dialogues.tree(game)
    fixed = [
        np.tile(np.eye(7)[PRICES.index(ask)], (len(chance), 1)) for ask, chance in zip(asks, nodes.chance, strict=True)
    ]
    played = np.array([haggle(name, asks, rng) for _ in range(4000)])
    error = played.std(ddof=1) / len(played) ** 0.5
    assert abs(played.mean() - dialogues.evaluate(nodes, fixed, game.reward)) < 4 * error + 1e-12


@pytest.mark.parametrize(
    ("name", "ask", "second"),
    [("rule-based", 9, 6), ("stingy", 9, 4), ("utility", 9, 3), ("fairness", 10, 7), ("length", 9, 4)],
)
def test_what_a_buyer_offers_first_and_after_an_ask(name, ask, second):
    game = haggling.game((name,))
    assert game.replies[int(game.opening.sum(1).argmax())] == "i offer 30"
    assert game.opening.sum(1).max() == 1
    start = int(game.opening.sum(0).argmax())
    law = game.turn[game.line(f"i ask {ask}0"), start].sum(-1)
    assert law[game.replies.index(f"i offer {second}0")] == pytest.approx(1 - BUYERS[name].leaves)


def test_a_rule_based_buyer_comes_half_way():
    game = haggling.game(("rule-based",))
    start = int(game.opening.sum(0).argmax())
    assert game.replies[int(game.opening.sum(1).argmax())] == "i offer 30"
    law = game.turn[game.line("i ask 90"), start].sum(-1)
    assert {game.replies[o]: law[o] for o in np.flatnonzero(law)} == pytest.approx(
        {"i offer 60": 0.8, "no, goodbye": 0.2}
    )
    patient = int(np.flatnonzero(game.opening.sum(0))[-1])
    law = game.turn[game.line("i ask 100"), patient].sum(-1)
    assert game.replies[law.argmax()] == "i offer 70", "half of 70 is 35, rounded to 40"
    law = game.turn[game.line("i ask 60"), start].sum(-1)
    assert game.replies[law.argmax()] == "deal"
    assert game.reward[game.line("i ask 60"), game.replies.index("deal")] == 0.6
    assert game.reward.sum() == pytest.approx(sum(PRICES) / 10)
    assert (game.ends != game.good).sum() == 1
    assert game.replies[int(game.good.argmax())] == "deal"
    assert [game.replies[o] for o in np.flatnonzero(game.ends)] == ["deal", "no, goodbye"]


def test_kinds_are_as_likely_as_each_other():
    game = haggling.game()
    assert game.opening.sum() == pytest.approx(1)
    assert np.sort(game.opening.sum(0))[-15:] == pytest.approx([0.05] * 10 + [0.1] * 5)
    assert game.horizon == 5


def test_a_buyer_that_does_not_exist_is_told():
    with pytest.raises(ValueError, match=r"^there is no buyer 'generous'; the buyers are: rule-based, stingy, utility"):
        haggling.game(("stingy", "generous"))
    with pytest.raises(ValueError, match=r"^name at least one buyer; the buyers are: rule-based"):
        haggling.game(())
    with pytest.raises(ValueError, match=r"^horizon is the number of turns, a whole number from 1 on; got 0$"):
        haggling.game(horizon=0)


@pytest.mark.equation("eq-visits")
def test_what_is_earned_from_one_kind_is_counted_by_visits():
    game = haggling.game()
    nodes = dialogues.tree(game)
    policy = dialogues.constant(nodes, haggling.cautious_seller(game))
    each = {name: dialogues.visits(game, nodes, policy, haggling.odds(name)) for name in BUYERS}
    for name, visits in each.items():
        alone = haggling.game((name,))
        there = dialogues.tree(alone)
        own = dialogues.constant(there, haggling.cautious_seller(alone))
        assert np.sum(visits * game.reward) == pytest.approx(dialogues.evaluate(there, own, alone.reward), abs=1e-12)
        success = np.ones(alone.reward.shape) * alone.good
        assert visits[:, game.good].sum() == pytest.approx(dialogues.evaluate(there, own, success), abs=1e-12)
    whole = dialogues.visits(game, nodes, policy, game.opening)
    assert np.mean([*each.values()], axis=0) == pytest.approx(whole, abs=1e-12)
    assert np.sum(whole * game.reward) == pytest.approx(dialogues.evaluate(nodes, policy, game.reward), abs=1e-12)
    with pytest.raises(
        ValueError, match=f"^there is no buyer 'generous'; the buyers are: {', '.join(haggling.BUYERS)}$"
    ):
        haggling.odds("generous")


def test_the_cautious_seller_asks_for_thirty_more():
    game = haggling.game()
    table = haggling.cautious_seller(game)
    assert table.sum(-1) == pytest.approx(np.ones(len(game.replies)))
    assert [game.lines[u] for u in table[: len(PRICES) - 1].argmax(-1)] == [f"i ask {k}0" for k in range(6, 11)] + [
        "i ask 100"
    ]
    row = table[game.replies.index("i offer 30")]
    assert row[game.line("i ask 60")] / row[game.line("i ask 90")] == pytest.approx(np.exp(9 / 4.5))


def test_numbers_are_found_on_both_sides():
    game = haggling.game()
    lines, replies = haggling.same_numbers(game)
    assert game.lines[lines[game.replies.index("i offer 60")]] == "i ask 60"
    assert lines[game.replies.index("i offer 30")] == lines[game.replies.index("deal")] == -1
    assert [game.replies[o] for o in replies] == [f"i offer {price}0" for price in PRICES]
    assert haggling.same_numbers(haggling.game(("stingy",)))[1].tolist()[:3] == [-1, -1, -1]
