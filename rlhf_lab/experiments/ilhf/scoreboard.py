"""The scoreboard of the ILHF paper: each claim beside what the stored studies found, with a verdict made of numbers."""

from rlhf_lab.experiments.ilhf import claims, coin_claims
from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ilhf.verdicts import Row

CLAIMS = (
    coin_claims.of_coin,
    coin_claims.of_table_1,
    claims.of_memory,
    claims.of_divergence,
    claims.of_ensembles,
    claims.of_longer_texts,
)


def rows(load: Load) -> list[Row]:
    """Return the scoreboard, from the numbers of the studies."""
    return [row for judge in CLAIMS for row in judge(load)]
