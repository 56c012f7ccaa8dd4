"""What the checkers of the chapter "The bug zoo" know: the names of runs, and what to look at."""

from typing import Any, NamedTuple

from rlhf_lab.audit.zoo import ZOO
from rlhf_lab.check.diagnosis import Function, wants_function

NOTHING = "It returns None: your code goes where the starter returns None."


class Runs(NamedTuple):
    """Runs with one bug each: the name of the bug under each letter, and what to look at if it is not found."""

    name: str
    loop: str
    audits: tuple[str, ...]  # functions of which such a loop is made
    names: dict[str, str]
    clues: dict[str, str]


DPO_RUNS = Runs(
    "zoo_dpo_runs",
    "DPO",
    ("dpo_loss", "log_probs"),
    {"A": "reference not frozen", "B": "reference missing", "C": "not shifted"},
    {
        "A": "Does the policy move at all? Its log-probabilities tell, and the margin does not.",
        "B": "How large is the margin in the first round, and is the loss above or below log 2?",
        "C": "How likely are chosen answers before it learns? Does the margin stay with the healthy one?",
    },
)
PPO_RUNS = Runs(
    "zoo_ppo_runs",
    "PPO",
    ("ppo_loss", "token_rewards", "gae", "value_loss"),
    {
        "A": "advantage one token late",
        "B": "score on every token",
        "C": "score on padding",
        "D": "every return for every value",
    },
    {
        "A": "It learns little from good answers and stays unsure, while length, critic and clipping look healthy.",
        "B": "It earns more than the right code. How far does the entropy fall, and how long are the answers halfway?",
        "C": "Which answers win, if you go by their length? They do so although the reward is low.",
        "D": "The explained variance alone is odd. Is it exactly 0, or only near it?",
    },
)


def first_line(error: Exception) -> str:
    """Return what an error says first."""
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def misnamed(runs: Runs, function: Function) -> str | None:
    """Return which runs have wrong names, in words and with what to look at, or None if all are right."""
    wants_function(runs.name, function)
    try:
        given = function()
    except Exception as error:
        return f"It raises {first_line(error)}. It is called without arguments."
    if given is None:
        return NOTHING
    if not isinstance(given, dict):
        return f'It returns {type(given).__name__}, not a dictionary of names, {{"A": "...", "B": "...", ...}}.'
    if strangers := [repr(letter) for letter in given if letter not in runs.names]:
        return f"There is no run {' or '.join(strangers)}: the letters are {', '.join(runs.names)}."
    wrong = {letter: _misnamed(runs, letter, given.get(letter)) for letter in runs.names}
    told = [f"\n  Run {letter}: {words}" for letter, words in wrong.items() if words]
    return f"{len(wrong) - len(told)} of {len(wrong)} names are right.{''.join(told)}" if told else None


def _misnamed(runs: Runs, letter: str, guess: Any) -> str:
    if guess is None or guess is ...:
        return "it has no name yet."
    if not isinstance(guess, str):
        return f"a name is a text, as the tables have it; got {type(guess).__name__}."
    name = " ".join(guess.replace("_", " ").split()).lower()
    if name == runs.names[letter].lower():
        return ""
    bug = next((bug for bug in ZOO if bug.name.lower() == name), None)
    if bug is None:
        return f"no bug of the zoo is called {guess!r}. Write the name as the tables have it."
    if bug.audit not in runs.audits or not bug.seen or bug.seen.startswith("not trained"):
        return f"{bug.name!r} is in the zoo, but not among the runs of {runs.loop}. Look at their tables."
    return f"with {bug.name!r} you would see this: {bug.seen}. Look again. {runs.clues[letter]}"
