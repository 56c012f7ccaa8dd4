"""All rows of the ledger, by source."""

from collections.abc import Callable, Iterator
from itertools import chain

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ledger import (
    brantley,
    brantley_resets,
    cs188,
    cs188_preferences,
    cs188_tables,
    ilhf,
    ilhf_ends,
    survey,
    survey_review,
    survey_theory,
    unmeasured,
    xiong,
    xiong_asking,
    xiong_people,
)
from rlhf_lab.experiments.ledger.claims import Claim

PARTS: dict[str, tuple[Callable[[Load], Iterator[Claim]], ...]] = {
    "ilhf": (ilhf.figures, ilhf.formulas, ilhf.agents, ilhf_ends.ends),
    "survey": (
        survey.equations,
        survey_theory.rewards,
        survey_theory.optimisation,
        survey_review.training,
        survey_review.models,
    ),
    "cs188": (
        cs188.why_rl,
        cs188.kl_control,
        cs188_preferences.preferences,
        cs188_preferences.trends,
        cs188_tables.printed,
    ),
    "xiong": (
        xiong.objective,
        xiong.imperfect_rewards,
        xiong_asking.asking,
        xiong_asking.hybrid,
        xiong_people.general_preferences,
        xiong_people.estimated_games,
        xiong_people.people,
    ),
    "brantley": (brantley.imitating, brantley.rlhf, brantley_resets.starting_anywhere, brantley_resets.data),
}
REST = {"survey": unmeasured.SURVEY, "cs188": unmeasured.CS188, "brantley": unmeasured.BRANTLEY}


def rows(load: Load) -> dict[str, list[Claim]]:
    """Return the rows of each source: `load` gives the numbers of a stored study by its name."""
    found = {source: list(chain.from_iterable(part(load) for part in parts)) for source, parts in PARTS.items()}
    return {source: claims + unmeasured.rows(REST.get(source, ())) for source, claims in found.items()}
