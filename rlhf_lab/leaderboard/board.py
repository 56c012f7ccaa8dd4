"""A leaderboard of items that were compared: ranks with intervals, what they hide, as text, as a table, as a figure."""

from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.special import expit

from rlhf_lab.leaderboard import names as spelled
from rlhf_lab.leaderboard import ranking
from rlhf_lab.leaderboard.comparisons import Comparisons
from rlhf_lab.leaderboard.figure import draw as draw
from rlhf_lab.leaderboard.figure import figure_suffix as figure_suffix
from rlhf_lab.leaderboard.scale import NATS, Scale, anchor_among, ratings
from rlhf_lab.leaderboard.standings import Annotator, Board, Row
from rlhf_lab.leaderboard.table import format_table as format_table
from rlhf_lab.leaderboard.table import write_csv as write_csv
from rlhf_lab.numerics.checks import FloatArray, tally

PRIOR_DEVIATION = 3.0  # nats; used only where the comparisons alone give no finite strengths
NOTED = 10  # groups with notes of their own; the largest come first
EQUAL = 1e-9  # nats between items whose strengths differ by rounding only


def leaderboard(comparisons: Comparisons, level: float = 0.95, scale: Scale = NATS, robust: bool = False) -> Board:
    """Rank the items of each group by strength, with normal intervals of coverage `level`, on a scale.

    A group whose likelihood has no maximum gets a Gaussian prior with a standard deviation of 3 nats
    (`PRIOR_DEVIATION`); the notes say so, and why. `beats_average` is sigmoid(strength), the probability to win a
    decided comparison with an item of average strength. Annotators are judged on the comparisons that they decided,
    with strengths that their own decisions helped to fit. With `robust`, rows also hold intervals from
    `ranking.fit_pairs(..., robust=True)`.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is the probability that an interval covers the strength, between 0 and 1; got {level}")
    names, times = comparisons.items, comparisons.times
    winner, loser, tie, n = ranking.checked(comparisons.winner, comparisons.loser, comparisons.tie, len(names))
    if scale.anchor and anchor_among(scale, names) is None:
        known = ranking.listed([spelled.short(name) for name in names], np.arange(n))
        raise ValueError(f"the anchor {scale.anchor!r} is not among the items: {known}")
    linked = sorted(ranking.groups(winner, loser, items=n), key=lambda part: (-len(part), min(names[i] for i in part)))
    alone = [spelled.short(names[part[0]]) for part in linked if len(part) == 1]
    linked = [part for part in linked if len(part) > 1]
    group_of, place, strength = np.zeros(n, np.intp), np.zeros(n, np.intp), np.zeros(n)
    for group, part in enumerate(linked):
        group_of[part], place[part] = group, np.arange(len(part))
    order = np.argsort(group_of[winner])
    ends = np.cumsum(tally(group_of[winner]))
    rows, notes = list[Row](), list(comparisons.notes)
    if alone:
        notes.append(f"Never compared, so not ranked: {ranking.listed(alone, np.arange(len(alone)))}.")
    if len(linked) > 1:
        text = "which cannot be compared with each other: no chain of comparisons links them. Ranks and strengths count"
        notes.append(f"There are {len(linked):,} groups, {text} inside a group only.")
    if scale.anchor and len(linked) > 1:
        notes.append(f"In groups without {spelled.short(scale.anchor)}, the mean stands at {scale.middle:g}.")
    if times is not None and times.dtype.kind == "f":
        notes.append("Some comparisons have broken weights; intervals take a weight of 2.5 for 2.5 comparisons.")
    reasons = list[tuple[str, float]]()
    counts = _counts(comparisons)
    half = NormalDist().inv_cdf((1 + level) / 2)
    with ranking.few_threads(len(linked[0])):
        for group, (part, mine) in enumerate(zip(linked, np.split(order, ends[:-1]), strict=True), 1):
            often = None if times is None else times[mine]
            pairs = ranking.counted(place[winner[mine]], place[loser[mine]], tie[mine], len(part), often)
            reason = ranking.unbounded(pairs, [spelled.short(names[index]) for index in part])
            found = ranking.fit_pairs(pairs, PRIOR_DEVIATION**-2 if reason else 0.0, robust)
            reasons.append((reason, found.tie))
            strength[part] = found.strength
            anchor = anchor_among(scale, [names[index] for index in part])
            ours = scale if anchor is not None else scale._replace(anchor="")
            rating, error = ratings(ours, found.strength, found.covariance, anchor)
            wide = error if found.robust is None else ratings(ours, found.strength, found.robust, anchor)[1]
            for rank, k in _ranked(found.strength, [names[index] for index in part]):
                i, middle = part[k], float(rating[k])
                low, high = (middle + sign * half * float(error[k]) for sign in (-1, 1))
                ends_of = [middle + sign * half * float(wide[k]) if robust else None for sign in (-1, 1)]
                wins, chance = counts[:, i].tolist(), float(expit(found.strength[k]))
                rows.append(Row(group, rank, names[i], middle, low, high, *wins, chance, *ends_of))  # type: ignore[call-arg]
    notes += _notes(reasons)
    return Board(tuple(rows), level, tuple(notes), _annotators(comparisons, strength), scale)


def _counts(comparisons: Comparisons) -> Any:
    """Return wins, losses and ties of each item, (3, n)."""
    winner, loser, tie, given = comparisons.winner, comparisons.loser, comparisons.tie, comparisons.times
    times = np.ones(len(winner), np.intp) if given is None else given
    columns = (winner, ~tie), (loser, ~tie), (np.concatenate([winner, loser]), np.concatenate([tie, tie]))
    twice = np.concatenate([times, times])
    n = len(comparisons.items)
    found = [tally(side[rows], twice[: len(side)][rows], n) for side, rows in columns]
    return np.array(found) if times.dtype.kind == "f" else np.rint(found).astype(np.intp)


def _ranked(strength: FloatArray, names: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield rank and index, the strongest first; equals, which differ by rounding, share a rank in order of names."""
    order = np.argsort(-strength, kind="stable")
    rank = 1
    for equals in np.split(order, np.flatnonzero(np.diff(-strength[order]) > EQUAL) + 1):
        yield from ((rank, index) for index in sorted(equals.tolist(), key=lambda index: names[index]))
        rank += len(equals)


def _notes(groups: list[tuple[str, float]]) -> Iterator[str]:
    for group, (reason, tie) in enumerate(groups[:NOTED], 1):
        if reason:
            prior = (
                f"a Gaussian prior with standard deviation {PRIOR_DEVIATION:g} nats pulls its strengths to their mean"
            )
            also = ", and log nu to 0" if tie else ""
            yield f"Group {group} has no finite strengths by itself ({reason}); {prior}{also}."
        if tie:
            text = f"two equal items tie with probability nu / (2 + nu) = {tie / (2 + tie):.2f}"
            yield f"Group {group} has ties: nu = {tie:.2f}, {text}."
    if rest := groups[NOTED:]:
        held, tying = (sum(map(bool, column)) for column in zip(*rest, strict=True))
        yield (
            f"Groups {NOTED + 1} to {len(groups):,}: {held:,} have no finite strengths by themselves and get the same "
            f"prior, {tying:,} have ties."
        )


def _annotators(comparisons: Comparisons, strength: FloatArray) -> tuple[Annotator, ...]:
    if comparisons.annotator is None:
        return ()
    lead = np.round(strength[comparisons.winner] - strength[comparisons.loser], 9)
    decided, size = ~comparisons.tie, len(comparisons.annotators)
    person, given = comparisons.annotator[decided], comparisons.times
    times = np.ones(len(lead), np.intp) if given is None else given
    agreed = tally(person, times[decided] * (1 + np.sign(lead[decided])) / 2, size)
    hoped = tally(person, times[decided] * expit(np.abs(lead[decided])), size)
    with np.errstate(invalid="ignore"):
        share, expected = np.array([agreed, hoped]) / tally(person, times[decided], size)
    total = tally(comparisons.annotator, times, size)
    total = total if times.dtype.kind == "f" else np.rint(total).astype(np.intp)
    columns = comparisons.annotators, total.tolist(), share.tolist(), expected.tolist()
    found = [Annotator(*values) for values in zip(*columns, strict=True)]
    return tuple(sorted(found, key=lambda a: (np.nan_to_num(a.agreement - a.expected, nan=2), a.name)))
