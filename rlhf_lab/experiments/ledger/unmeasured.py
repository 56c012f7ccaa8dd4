"""Claims of the sources that this book cannot measure, each with the reason: people, large models, other data."""

from rlhf_lab.experiments.ledger.claims import Claim, elsewhere

CS188 = (
    ("headlines", "ChatGPT in the news", "90% of people, $1 billion", "news"),
    (
        "drug discovery",
        "SequenceTutor makes more valid molecules, better by three scores of four",
        "35.8 against 30.3%; drug-likeness .417 against .678",
        "molecules",
    ),
    (
        "implicit signals",
        "implicit feedback teaches more than pressed buttons",
        "a table without numbers",
        "people who chat. How implicit rewards are hacked is in {ref}`sec-dialogue-implicit`",
    ),
    (
        "how reward functions compare",
        "rewards of sentiment lead to the highest quality",
        "a table without numbers",
        "ratings of people",
    ),
    ("human ratings", "KL control does better than RL baselines", "F = 4.781, p < .05", "ratings of people"),
    ("human ratings", "the models are still not good enough", "16.03 without RL, 12.18", "ratings of people"),
    (
        "hierarchical RL",
        "VHRL does better than language models and offline RL",
        "14.49",
        "ratings of people. What its two levels can gain is in {ref}`sec-two-levels`",
    ),
    ("negotiation, human", "CHAI-prop is the clear winner", "15.84", "ratings of people"),
    (
        "follow-up work",
        "there was no alignment tax and no wrong reward, but too little data",
        "a question",
        "ratings of people",
    ),
    ("deep RL from preferences", "people compare better than they rate", "a sentence", "people"),
    (
        "results: Mujoco",
        "too few human labels to learn better than from the normal reward",
        "hard",
        "people and robots",
    ),
    ("results: Atari", "preferences sometimes beat the normal reward", "figures", "Atari games"),
    ("bringing it together", "high ROUGE, and much copying", "a sentence", "summaries"),
    ("learning to summarize", "researchers and labelers agree", "77%", "people"),
    (
        "learning to summarize",
        "reward models are not that accurate",
        "a figure",
        "summaries, judged by people. What noise in labels leaves to foresee is in {ref}`sec-calibration`",
    ),
    ("learning to summarize", "labelers and researchers saw different quality before", "a quotation", "people"),
    (
        "learning to summarize",
        "RLHF beats people and models ten times as large",
        "10 times",
        "people, large models",
    ),
    (
        "InstructGPT",
        "1.5B parameters with RLHF beat 175B without",
        "1.5B",
        "people and large models. {cite}`ouyang2022training` itself says 1.3B",
    ),
    (
        "InstructGPT",
        "fine-tuning is more cost-effective than larger models",
        "a conclusion",
        "the costs of large models",
    ),
    ("InstructGPT", "RLHF hallucinates less and is less toxic", "figures", "large models"),
    ("iterated data smoothing", "the best open models (Starling-7B)", "state of the art", "large models"),
)
BRANTLEY = (
    ("foundational models", "making models bigger does not make them follow intent", "a quotation", "large models"),
    ("foundational models", "a large language model has more than 70B parameters", "70B", "a size, not a result"),
    ("DRIL", "DRIL on Atari", "a figure", "Atari games; CartPole is the row above"),
    ("impact on LLMs", "52,000 instructions from GPT-3.5", "52,000", "another data set"),
    ("InstructGPT", "human win rate against SFT of 175B", "a figure", "people and large models"),
    ("GPT-4 as judge", "GPT-4 and people agree on summaries", "a citation", "people and a large model"),
)


def rows(claims: tuple[tuple[str, str, str, str], ...]) -> list[Claim]:
    """Return the rows of such claims: place, claim, what is printed, and why it is not measured."""
    return [elsewhere(*each) for each in claims]
