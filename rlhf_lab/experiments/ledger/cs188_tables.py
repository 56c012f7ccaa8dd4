"""The tables that the CS 188 lecture prints, held against its own sentences, and claims that need what is not here."""

from collections.abc import Iterator

import numpy as np

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ilhf.verdicts import above, brief
from rlhf_lab.experiments.ledger.claims import Claim, measured

GPT3 = {"Common Crawl": (410, 60), "WebText2": (19, 22), "Book1": (12, 8), "Books2": (55, 8), "Wikipedia": (3, 3)}
PALM = {
    "social media": (390, 50),
    "web": (210, 27),
    "books": (101, 13),
    "code": (39, 5),
    "wiki": (31, 4),
    "news": (8, 1),
}
LEANING = {  # distance to people: liberal, moderate, conservative; anonymous, American, Korean
    "DaVinci3": (4.033, 3.4166, 2.770, 3.866, 2.616, 2.900, 1.833, 1.817, 2.066),
    "DaVinci2": (4.033, 1.483, 1.230, 4.833, 2.983, 2.567, 3.533, 2.883, 2.567),
    "Curie": (6.100, 5.150, 4.770, 6.533, 3.750, 4.100, 4.700, 4.050, 3.500),
    "Babbage": (6.867, 4.317, 3.230, 7.367, 4.517, 2.600, 5.067, 3.917, 3.300),
    "PaLM": (3.883, 2.750, 2.770, 4.383, 1.533, 2.100, 2.083, 0.933, 0.900),
}
RATED = {  # parts and totals as people rated them
    "DBCQ": ((1.80, 1.49, 3.22, 1.56, 2.10), 10.17),
    "Batch Q": ((1.30, 2.85, 1.15, 1.23, 2.18), 8.70),
    "Batch Q + MC": ((1.53, 2.15, 1.60, 1.53, 2.58), 9.38),
    "KL-control Q": ((2.23, 2.88, 2.65, 2.15, 2.28), 12.18),
    "KL-control Ψ": ((1.98, 2.73, 2.30, 1.90, 2.40), 11.30),
    "VHRED": ((2.65, 3.83, 4.05, 2.43, 3.08), 16.03),
    "Batch Ψ": ((2.17, 3.89, 3.13, 1.98), 11.17),
    "Decoupled VHRL": ((2.46, 4.15, 3.61, 2.02), 12.24),
    "Transformer": ((2.62, 4.17, 3.23, 2.34), 12.36),
    "REINFORCE": ((2.89, 4.47, 3.67, 2.80), 13.84),
    "VHRED, self-play": ((2.84, 4.53, 4.43, 2.47), 14.27),
    "VHRL": ((2.91, 4.65, 4.26, 2.67), 14.49),
    "CHAI-prop": ((4.31, 3.91, 4.16, 3.47), 15.84),
    "He et al.": ((3.56, 2.47, 3.09, 2.13), 11.25),
    "language model": ((4.06, 2.66, 3.63, 2.50), 12.84),
}
SELLERS = {  # acceptance in percent and revenue against five buyers, and overall
    "CHAI-prop": ((61.5, 57.5, 99.0, 99.0, 92.5), 81.9, (0.48, 0.39, 0.70, 0.90, 0.79), 0.65),
    "CHAI-CQL": ((74.0, 77.5, 98.0, 99.5, 94.5), 88.7, (0.51, 0.49, 0.70, 0.87, 0.79), 0.67),
    "CHAI-BRAC": ((62.0, 47.0, 99.0, 100.0, 91.0), 79.8, (0.52, 0.38, 0.71, 0.85, 0.76), 0.65),
    "language model": ((48.5, 51.5, 20.5, 25.5, 18.5), 32.9, (0.29, 0.27, 0.14, 0.19, 0.14), 0.21),
    "He et al., utility": ((1.0, 0.0, 11.0, 100.0, 100.0), 42.4, (0.01, 0.00, 0.07, 1.00, 1.00), 0.42),
    "He et al., fairness": ((84.0, 80.0, 100.0, 0.0, 100.0), 72.8, (0.70, 0.59, 0.72, 0.00, 0.70), 0.54),
    "He et al., length": ((53.0, 49.0, 100.0, 100.0, 100.0), 80.4, (0.46, 0.37, 0.72, 1.00, 0.78), 0.66),
    "Lewis et al., RL": ((83.5, 83.0, 64.5, 88.0, 71.5), 78.1, (0.17, 0.19, 0.46, 0.26, 0.31), 0.28),
    "Lewis et al., SL": ((38.5, 46.5, 18.0, 60.0, 53.0), 43.2, (0.17, 0.21, 0.13, 0.48, 0.42), 0.28),
}
LENGTHS = {
    "20Qs": -14.9,
    "Guess": -18.8,
    "Car": 16.5,
    "Maze": 19.7,
    "Text-Nav": 12.2,
    "Wordle": 4.82,
    "Chess": 46.7,
    "Endgames": 11.9,
}
RETURNS = {"20Qs": -17.3, "Guess": -18.8}  # average returns, printed below their lengths


def printed(load: Load) -> Iterator[Claim]:
    """Yield the rows on printed tables: what can be recomputed of them, and what this book measures beside them."""
    for name, table, total, slide in (("GPT-3", GPT3, 499, "GPT3"), ("PaLM", PALM, 780, "PaLM")):
        tokens, weights = (sum(row[k] for row in table.values()) for k in (0, 1))
        first = next(iter(table.values()))
        largest = first[0] / tokens
        yield measured(
            f"bias in datasets, {slide}",
            f"{name} was trained on the sum of the rows, whose weights make 100%",
            f"{total} billion tokens",
            f"the rows sum to {tokens} billion and {weights}%. The first has {largest:.0%} of the tokens, and a weight "
            f"of {first[1]}%",
            "sec-pretraining",
            abs(tokens - total) <= 1,
            abs(weights - 100) <= 1,
        )
    rows = {name: np.reshape(row, (3, 3)) for name, row in LEANING.items()}
    two = rows["DaVinci2"]
    larger = [int(np.sum(rows[name] > two)) for name in ("Curie", "Babbage")]
    yield measured(
        "moral bias",
        "engines with fewer parameters are farther from people than DaVinci2",
        "a table",
        f"by it, in {larger[0]} and {larger[1]} of 9 groups of people (Curie, Babbage)",
        "sec-pluralism",
        larger == [9, 9],
    )
    farther, means = int(np.sum(rows["DaVinci3"] > two)), [float(rows[f"DaVinci{k}"].mean()) for k in (3, 2)]
    yield measured(
        "moral bias",
        "DaVinci3 is farther from people",
        "a table",
        f"by it, than DaVinci2 in {farther} of 9 groups; on average it is nearer, {means[0]:.2f} to {means[1]:.2f}",
        "sec-pluralism",
        farther > 4,
        means[0] > means[1],
    )
    at_home = [int(rows[f"DaVinci{k}"].mean(1).argmin()) == 0 for k in (3, 2)]
    yield measured(
        "moral bias",
        "anonymous participants may align more closely with DaVinci's training data",
        "a table",
        "by it, mean distances of DaVinci3 and 2 are "
        + ", ".join(f"{third:.2f} and {second:.2f} ({who})" for who, third, second in _by_group(rows)),
        "sec-pluralism",
        *at_home,
    )
    bold = {"DaVinci3": 1.817, "DaVinci2": 1.230, "Curie": 3.500, "Babbage": 2.600, "PaLM": 0.900}
    yield measured(
        "moral bias",
        "bold numbers are the shortest distances",
        "5 numbers",
        f"they are the least of {sum(rows[name].min() == least for name, least in bold.items())} of {len(bold)} rows",
        "sec-pluralism",
        all(rows[name].min() == least for name, least in bold.items()),
    )
    nearest = sum(int(np.sum(row.argmin(1) == 2)) for row in rows.values())
    yield measured(
        "moral bias",
        "default answers are closest to conservatives",
        "a table",
        f"by it, in {nearest} of 15 rows of three",
        "sec-pluralism",
        nearest > 7,
        nearest == 15,
    )
    off = max(abs(sum(parts) - total) for parts, total in RATED.values())
    yield measured(
        "human ratings, three tables",
        "totals are sums of the ratings",
        "15 totals",
        f"off by at most {off:.2f}, as sums of rounded numbers may be",
        "sec-dialogue",
        off < 0.03,
    )
    negative = [name for name, length in LENGTHS.items() if length < 0]
    yield measured(
        "LMRL Gym",
        "average length of the dialogues of eight tasks",
        "-14.9 to 46.7",
        f"lengths cannot be negative, as those of {' and '.join(negative)} are; the average returns printed below them "
        f"are {' and '.join(str(value) for value in RETURNS.values())}, at -1 a turn",
        "sec-dialogue-games",
        not negative,
        len(negative) < len(LENGTHS),
    )
    yield from _sellers(load)


def _by_group(rows: dict[str, np.ndarray]) -> Iterator[tuple[str, float, float]]:
    for k, who in enumerate(("anonymous", "American", "Korean")):
        yield who, float(rows["DaVinci3"][k].mean()), float(rows["DaVinci2"][k].mean())


def _sellers(load: Load) -> Iterator[Claim]:
    off = [
        max(abs(float(np.mean(row[2 * k])) - float(np.mean(row[2 * k + 1]))) for row in SELLERS.values())
        for k in (0, 1)
    ]
    yield measured(
        "negotiation, automatic",
        "overall is the mean over five buyers",
        "18 means",
        f"off by at most {off[0]:.2f}% and {off[1]:.4f}: a failed deal counts 0",
        "sec-dialogue-haggling",
        off[0] < 0.1,
        off[1] < 0.0101,
    )
    ours = {name: runs.mean(1) for name, runs in load("dialogue")["sellers"].items()}  # (20, 2)
    learners = ("proposals", "CQL, public", "KL control")
    revenue = {name: float(ours[name][:, 1].mean()) for name in ours}
    best = max(SELLERS, key=lambda name: SELLERS[name][3])
    yield measured(
        "negotiation, automatic",
        "no clear winner in revenue",
        "0.65, 0.67, 0.65, 0.66",
        f"printed, four lie within 0.02, {best} first; here our three learners lie between "
        f"{min(revenue[n] for n in learners):.3f} and {max(revenue[n] for n in learners):.3f}",
        "sec-dialogue-haggling",
        sum(row[3] >= SELLERS[best][3] - 0.02 - 1e-9 for row in SELLERS.values()) > 1,
        np.ptp([revenue[name] for name in learners]) < 0.02,
    )
    deals = ours["CQL, public"][:, 0] - np.maximum(ours["proposals"], ours["KL control"])[:, 0]
    yield measured(
        "negotiation, automatic",
        "CQL closes the most deals of the three",
        "88.7 against 81.9 and 79.8%",
        f"{brief(100 * deals, 1)}% more than the better of the others in the same runs",
        "sec-dialogue-haggling",
        above(deals),
    )
    gain = {name: ours[name][:, 1] - ours["clone"][:, 1] for name in learners}
    yield measured(
        "negotiation, automatic",
        "offline RL earns more than the language model",
        "0.65 against 0.21",
        "more than the language model by " + ", ".join(f"{brief(g)} ({name})" for name, g in gain.items()),
        "sec-dialogue-haggling",
        *(above(g) for g in gain.values()),
    )
    ahead = {name: ours["filtered"][:, 1] - ours[name][:, 1] for name in (*learners, "naive")}
    yield measured(
        "learning a reward",
        "supervised learning on data works better than offline RL on the same data",
        "a sentence",
        "revenue of cloning the good dialogues above that of "
        + ", ".join(f"{name} {brief(g)}" for name, g in ahead.items()),
        "sec-dialogue-haggling",
        *(above(g) for g in ahead.values()),
    )
