"""Claims of the sources that this book cannot measure, each with the reason: people, large models, other data."""

from rlhf_lab.experiments.ledger.claims import Claim, elsewhere

SURVEY = (
    ("sec. 3", "the action space is extremely large", "32K tokens", "a tokeniser; here 2 to 64"),
    (
        "sec. 4.2",
        "large models need much feedback",
        "thousands to millions",
        "large models; the rate is in {ref}`sec-fitting`",
    ),
    ("sec. 7.1", "pretraining is responsible for most capabilities", "the bulk", "benchmarks of large models"),
    (
        "sec. 7.3.2",
        "language feedback takes three times as long as preferences",
        "3 times",
        "the time of people. What a sentence tells is in {ref}`sec-objectives`",
    ),
    ("sec. 7.3.2", "preferences agree no better than ratings", "no improvement", "the agreement of people"),
    ("sec. 7.2, 7.7", "RLHF needs fewer samples than SFT", "more efficient", "demonstrations and votes of people"),
    ("sec. 7.4", "context distillation does as well as a prompt", "similar", "models that are told what to be"),
    ("sec. 7.4", "prompting can replace fine-tuning as a start", "70B parameters", "a large model"),
    (
        "sec. 7.5",
        "a reward model 30 times smaller than the policy is good enough",
        "30 times",
        "large models, whose size matters otherwise",
    ),
    (
        "sec. 7.5",
        "rewards of steps gain nothing (Uesato et al.), or much (Lightman et al.)",
        "two results",
        "mathematics in words. What exact and learned ones do here is in {ref}`sec-process-rewards`",
    ),
    (
        "sec. 7.5",
        "two reward models do better than one (Glaese et al.)",
        "more effective",
        "people and their rules",
    ),
    ("sec. 7.5", "larger reward models agree better with people", "a scaling law", "a series of large models"),
    ("sec. 7.5", "reward models generalise to labelers who were held out", "high", "people"),
    ("sec. 7.7", "with low temperature, RLHF has the biases of its base model", "similar", "people and large models"),
    ("sec. 7.7", "larger models pay a smaller alignment tax", "lower", "a series of large models"),
    (
        "sec. 7.9.2",
        "SLiC and others beat RLHF on summaries",
        "better",
        "summaries, judged by people. Their losses are in {ref}`sec-preference-losses`",
    ),
    ("sec. 7.9.2", "Self-Align needs little feedback", "under 300 lines", "a large model that follows principles"),
)
CS188 = (
    ("headlines", "ChatGPT in the news", "90% of people, $1 billion", "news"),
    ("drug discovery", "SequenceTutor makes more valid molecules", "35.8 against 30.3%", "molecules"),
    (
        "implicit signals",
        "implicit feedback teaches more than pressed buttons",
        "a table without numbers",
        "people who chat. How implicit rewards are hacked is in {ref}`sec-dialogue-implicit`",
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
    ("deep RL from preferences", "people compare better than they rate", "a sentence", "people"),
    ("results: Atari", "preferences sometimes beat the normal reward", "figures", "Atari games"),
    ("bringing it together", "high ROUGE, and much copying", "a sentence", "summaries"),
    ("learning to summarize", "researchers and labelers agree", "77%", "people"),
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
