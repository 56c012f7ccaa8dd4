"""The maze in words: seen, the solution walks shortest paths; partly seen, it costs what is not known."""

from collections import deque

import numpy as np
import pytest

from rlhf_lab.worlds import dialogues, text_maze
from rlhf_lab.worlds.text_maze import MOVES, PLAN

SMALL = ("####", "#.G#", "####")


def value(game):
    nodes = dialogues.tree(game)
    return nodes.start @ dialogues.solve(nodes, game.reward).v[0]


def distances(plan):
    goal = next((r, c) for r, row in enumerate(plan) for c, x in enumerate(row) if x == "G")
    far, queue = {goal: 0}, deque([goal])
    while queue:
        r, c = queue.popleft()
        for down, right in MOVES.values():
            cell = (r + down, c + right)
            if plan[cell[0]][cell[1]] != "#" and cell not in far:
                far[cell] = far[r, c] + 1
                queue.append(cell)
    return [far[cell] for cell in far if cell != goal]


def test_a_seen_maze_is_walked_on_shortest_paths():
    assert value(text_maze.game()) == pytest.approx(-np.mean(distances(PLAN)), abs=1e-12)
    assert value(text_maze.game(SMALL)) == -1


def test_not_to_see_where_you_are_costs_turns():
    assert value(text_maze.game(seen=False)) == pytest.approx(-4.3, abs=1e-12)
    assert value(text_maze.game()) == pytest.approx(-3.9, abs=1e-12)


def test_what_is_told_is_what_is_there():
    seen, blind = text_maze.game(), text_maze.game(seen=False)
    assert "you are at 1, 1; there are walls above you, to your left" in seen.replies
    assert "you are at 1, 2; there are walls above you, below you" in seen.replies
    assert "there are walls above you, to your left" in blind.replies
    assert "there are walls below you, to your left, to your right" in blind.replies
    assert len(seen.replies) == 11
    assert len(blind.replies) < 9
    assert text_maze.GOAL in seen.replies
    assert seen.ends.sum() == 1
    assert seen.replies[seen.ends.argmax()] == seen.replies[seen.good.argmax()] == text_maze.GOAL
    assert (seen.reward == -1).all()
    assert seen.horizon == 12
    assert text_maze.game(("#####", "#...#", "#.G.#", "#...#", "#####"), seen=False).replies[-1] != "there are no walls"
    assert "there are no walls" in text_maze.game(("#####", "#.G.#", "#...#", "#...#", "#####"), seen=False).replies


def test_moves_lead_where_they_say_and_walls_stop_them():
    game = text_maze.game(SMALL)
    left, goal = (game.replies.index(each) for each in game.replies)
    assert game.lines == ("move up", "move down", "move left", "move right")
    for line in range(3):
        assert game.turn[line, 0, left, 0] == 1
    assert game.turn[3, 0, goal, 1] == 1
    assert game.opening[left].tolist() == [1, 0]
    assert game.opening.sum() == 1
    column = text_maze.game(("###", "#.#", "#.#", "#G#", "###"))
    assert column.opening.sum(0) == pytest.approx([0.5, 0.5, 0])
    assert column.turn[1, 0].sum(0).tolist() == [0, 1, 0]
    assert column.turn[0, 1].sum(0).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    "plan",
    [
        (),
        ("####", "#.G#", "###"),
        ("####", "#..#", "####"),
        ("####", "#GG#", "####"),
        ("####", "#.G.", "####"),
        ("####", "..G#", "####"),
        ("#.##", "#.G#", "####"),
        ("####", "#.G#", "##.#"),
        ("####", "#xG#", "####"),
        ("#####", "#.XG#", "#####"),
        ("###", "#G#", "###"),
    ],
)
def test_a_plan_that_is_no_maze_is_told(plan):
    with pytest.raises(ValueError, match=r"^(a plan has walls # around it|the rows of a plan have one length)"):
        text_maze.game(plan)


def test_a_wrong_plan_is_shown():
    with pytest.raises(ValueError, match=r"; got ####; #\.\.#; ####$"):
        text_maze.game(("####", "#..#", "####"))
