"""All rows of the ledger, by source."""

from collections.abc import Callable, Iterator
from itertools import chain

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ledger import (
    brantley,
    brantley_resets,
    brantley_text,
    cs188,
    cs188_preferences,
    cs188_slides,
    cs188_tables,
    ilhf,
    ilhf_ends,
    ilhf_sentences,
    survey,
    survey_methods,
    survey_optima,
    survey_review,
    survey_theory,
    survey_words,
    unmeasured,
    unmeasured_survey,
    xiong,
    xiong_asking,
    xiong_people,
    xiong_shift,
)
from rlhf_lab.experiments.ledger.claims import Claim

PARTS: dict[str, tuple[Callable[[Load], Iterator[Claim]], ...]] = {
    "ilhf": (ilhf.figures, ilhf.formulas, ilhf.agents, ilhf_ends.ends, ilhf_sentences.rewards, ilhf_sentences.indices),
    "survey": (
        survey.equations,
        survey_words.texts,
        survey_words.feedback,
        survey_theory.rewards,
        survey_optima.imperfect,
        survey_theory.optimisation,
        survey_methods.supervised,
        survey_methods.rewards,
        survey_review.training,
        survey_review.models,
        survey_methods.without,
    ),
    "cs188": (
        cs188.why_rl,
        cs188_slides.words,
        cs188.kl_control,
        cs188_preferences.preferences,
        cs188_preferences.trends,
        cs188_tables.printed,
        cs188_slides.people,
    ),
    "xiong": (
        xiong.objective,
        xiong.imperfect_rewards,
        xiong_shift.shift,
        xiong_asking.asking,
        xiong_asking.hybrid,
        xiong_people.general_preferences,
        xiong_people.estimated_games,
        xiong_shift.beyond,
        xiong_people.people,
    ),
    "brantley": (
        brantley.imitating,
        brantley_text.experts,
        brantley.rlhf,
        brantley_text.text,
        brantley_resets.starting_anywhere,
        brantley_resets.data,
    ),
}
REST = {"survey": unmeasured_survey.SURVEY, "cs188": unmeasured.CS188, "brantley": unmeasured.BRANTLEY}


def rows(load: Load) -> dict[str, list[Claim]]:
    """Return the rows of each source: `load` gives the numbers of a stored study by its name."""
    found = {source: list(chain.from_iterable(part(load) for part in parts)) for source, parts in PARTS.items()}
    return {source: claims + unmeasured.rows(REST.get(source, ())) for source, claims in found.items()}
