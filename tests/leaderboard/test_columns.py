"""Each name that a column may have is known, and those that are in doubt are refused."""

import pytest

from rlhf_lab.leaderboard.columns import find

DOUBT = "n times freq frequency votes num number multiplicity repetitions wins losses ties draws score result outcome"


@pytest.mark.parametrize(
    "name",
    ["tie", "tied", "is_tie", "draw", "is_draw", "count", "counts", "weight", "weights", "annotator", "judge", "rater"],
)
def test_optional_columns_are_known_by_several_names(name):
    assert find(["winner", "loser", name]).pick(["x", "y", "v", None]).count("v") == 1


@pytest.mark.parametrize(
    "pair", ["model_a model_b", "model_1 model_2", "item_a item_b", "player_a player_b", "left right"]
)
def test_sides_are_known_by_several_names(pair):
    assert find([*pair.split(), "winner"]).pick(["x", "y", "w", None]) == ("x", "y", None, None, None, "w")


@pytest.mark.parametrize("pair", ["first second", "a b"])
def test_short_names_of_sides_are_known(pair):
    assert find([*pair.split(), "winner"]).pick(["x", "y", "w", None]) == ("x", "y", None, None, None, "w")


@pytest.mark.parametrize("name", [*DOUBT.split(), "verdict", "sample_weight", "n_wins"])
def test_columns_in_doubt_are_refused(name):
    with pytest.raises(ValueError, match=f"the column '{name}' may say how often"):
        find(["winner", "loser", name])
