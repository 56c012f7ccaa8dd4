"""What the CS 188 lecture says beside its main claims: formulas, tables of people's ratings, and single sentences."""

from collections.abc import Iterator

import numpy as np
from scipy.special import ndtr

from rlhf_lab.experiments.ilhf.study import Load
from rlhf_lab.experiments.ledger import small
from rlhf_lab.experiments.ledger.claims import EXACT, Claim, measured, rounded, shown
from rlhf_lab.experiments.ledger.cs188_tables import SELLERS
from rlhf_lab.methods import soft_values
from rlhf_lab.models import lm
from rlhf_lab.models.policies import softmax
from rlhf_lab.worlds import lock, phrase_world, token_mdp

PRICE = 0.5
MOLECULES, VALID = 100_000, (0.303, 0.358)  # RNN, SequenceTutor
REWARDED = {  # human reward, as printed
    "DBCQ": -0.20,
    "Batch Q": 0.01,
    "Batch Q + MC": -0.12,
    "VHRED-Baseline": -0.04,
    "KL-control Q": 0.10,
    "KL-control Ψ": 0.25,
}


def words(load: Load) -> Iterator[Claim]:
    """Yield the rows on values, and on why RL takes many samples."""
    tree = small.trees()[0]
    values = token_mdp.policy_evaluation(tree.prior, tree.paid)
    late = [0 * tree.paid[-1], tree.paid[-1]]  # without the reward of the last token itself, as printed, and with it
    off = [float(abs(values.q[-1] - q).max()) for q in late]
    yield measured(
        "reinforcement learning",
        "Q(a, s) is the mean of r_(t+1) + ... + r_(t+T+1), discounted, beside R(τ) of r_0 + ... + r_T",
        "two formulas",
        "if the action at t earns r_t, as in R, Q leaves this out: that of the last token of a tree is off by up to "
        f"{off[0]:.2f}",
        "sec-token-mdp",
        off[0] < EXACT,
        readings={"the action at t earns r_(t+1)": off[1] < EXACT},
    )
    yield _own_price()
    dials, symbols = 6, 10
    wait = float(1 / lock.chance_to_open(dials, 1 / symbols))
    yield measured(
        "how is RL different",
        "RL can take a lot of samples, and exploration is a problem",
        "a lot",
        f"a lock of {dials} dials and {symbols} symbols pays once in {wait:,.0f} episodes; one demonstration tells all "
        "dials",
        "sec-resets",
        wait > 1000,
    )


def _own_price() -> Claim:
    apart, right = [], []
    for tree in small.trees():
        values = soft_values.psi_values(tree.prior, tree.paid, PRICE)
        for psi, log_pi in zip(values.q, values.advantage, strict=True):  # psi = r / c + log p + V(next)
            printed = psi - log_pi
            apart.append(float(np.ptp(printed, axis=-1).max()))
            right.append(float(abs(softmax(psi) - np.exp(log_pi)).max()))
    return measured(
        "Sequence Tutor",
        "Q(s, a) of KL control is the mean of the sum of r / c - log π + log p from t on",
        "a formula",
        f"at the optimum it is the same for all tokens, to {rounded(max(apart))}, so it cannot tell which is better",
        "sec-soft-values",
        max(apart) > EXACT,
        readings={"without the -log π of the token itself": max(right) < EXACT},
    )


def _pairs(count: int, tokens: int) -> np.ndarray:
    """Return how often each pair occurs that is compared at all, if the pretrained model writes both answers."""
    model, prompt = phrase_world.model(), phrase_world.PROMPTS[:1]
    log_pi = lm.answer_log_probs(model, phrase_world.pretrained(), prompt, tokens)[0]
    two = np.random.default_rng(20).choice(log_pi.size, size=(count, 2), p=np.exp(log_pi))
    _, times = np.unique(np.sort(two, axis=1), axis=0, return_counts=True)
    found: np.ndarray = times
    return found


def people(load: Load) -> Iterator[Claim]:
    """Yield the rows on tables of people's judgements, and on what rewards of people can foresee and rest on."""
    rnn, tutor = VALID
    z = (tutor - rnn) / np.sqrt((rnn * (1 - rnn) + tutor * (1 - tutor)) / MOLECULES)
    yield measured(
        "drug discovery",
        "the difference in valid molecules is significant",
        "100,000 molecules",
        f"if each model drew that many independently, 5.5% are {z:.0f} standard errors",
        "sec-soft-values",
        ndtr(-z) < 0.05,
    )
    control = [value for name, value in REWARDED.items() if name.startswith("KL")]
    others = [value for name, value in REWARDED.items() if not name.startswith("KL")]
    yield measured(
        "elicited human reward",
        "KL control elicits a higher reward from people",
        "significantly; 0.10, 0.25",
        f"by the table, {min(control):.2f} at least, against {max(others):.2f} at most. Whether "
        "significantly is not to be seen: the errors of these numbers are not printed",
        "sec-dialogue-implicit",
        min(control) > max(others),
    )
    baselines = {name: row[3] for name, row in SELLERS.items() if not name.startswith("CHAI")}
    best = max(baselines, key=lambda name: baselines[name])
    yield measured(
        "negotiation, automatic",
        "the best baseline uses dialogue acts that were put in by hand",
        "a sentence",
        f"by the table it is {best}, with a revenue of {baselines[best]:.2f}, and {SELLERS[best][1]} of 100 deals",
        "sec-dialogue-haggling",
        best.startswith("He et al."),
    )
    yield shown(
        "InstructGPT",
        "mixing supervised and PPO updates keeps the model closer to its texts",
        "a sentence",
        "PPO loses more than 1 nat on texts of what was not asked, with the mix less than a fifth of it",
        "sec-pipeline",
        'assert taxes["PPO"][:, 2].mean() > 1 > 5 * taxes["PPO-ptx"][:, 2].mean(), "a tax"',
    )
    pairs = [_pairs(3000, tokens) for tokens in range(1, phrase_world.HORIZON + 1)]
    once = [float(np.mean(times == 1)) for times in pairs]
    yield measured(
        "iterated data smoothing",
        "all comparisons are rarely seen in data of very many dimensions",
        "rarely",
        "among 3,000 comparisons of PhraseWorld's answers to one question, of one to five tokens, "
        + ", ".join(f"{share:.0%}" for share in once)
        + f" of the pairs occur once; of the longest, one still occurs {pairs[-1].max()} times",
        "sec-smoothing",
        bool((np.diff(once) > 0).all()),
        once[-1] > 0.5,
    )
