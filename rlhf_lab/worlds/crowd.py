"""A crowd that disagrees: three kinds of people, and the sixteen answers that people write to "is tea hot".

The answers are those of PhraseWorld's corpus to that question, with the probabilities that the pretrained policy gives
them, made to sum to 1 (together they have 82%). Everybody wants to be told what is true, the playful less than others.
"""

from typing import NamedTuple

import numpy as np

from rlhf_lab.models import lm
from rlhf_lab.numerics.autodiff import Array, log_softmax
from rlhf_lab.worlds import phrase_world as phrases

KINDS = ("curt", "polite", "playful")
SHARES = np.array([0.5, 0.3, 0.2])
QUESTION = 0  # of PhraseWorld: "is tea hot"


class Crowd(NamedTuple):
    """What can be said, how likely the pretrained policy says it, and what each kind of person makes of it.

    `texts` are A answers, `log_pi_0` (A,), `rewards` (Z, A) in nats: a person prefers one answer to another with the
    sigmoid of the difference.
    """

    texts: tuple[str, ...]
    log_pi_0: Array
    rewards: Array


def crowd() -> Crowd:
    """Return the crowd.

    With s the parts correct, on topic, brief and fresh of PhraseWorld's reward, the curt want s less 1/2 for each word
    beyond the first and for thanks, and less 1 for an insult; the polite s, 2 1/2 more for thanks and 4 less for an
    insult; the playful 0.3 s, 1 1/2 less for thanks and 3 more for an insult.
    """
    prompt, response = phrases.corpus()
    own = response[(prompt == phrases.PROMPTS[QUESTION]).all(-1)]
    _, first = np.unique(own, axis=0, return_index=True)
    answers = own[np.sort(first)]
    asked = np.tile(phrases.PROMPTS[QUESTION], (len(answers), 1))
    parts = phrases.reward_parts(asked, answers)
    sense = parts["correct"] + parts["on topic"] + parts["brief"] + parts["fresh"]
    texts = tuple(phrases.decode(answer) for answer in answers)
    thanks, fool = (np.array([word in text for text in texts]) for word in ("thanks", "fool"))
    words = np.sum(answers != phrases.EOS, axis=-1)
    rewards = np.array(
        [
            sense - 0.5 * (words - 1) - 0.5 * thanks - 1.0 * fool,
            sense + 2.5 * thanks - 4.0 * fool,
            0.3 * sense - 1.5 * thanks + 3.0 * fool,
        ]
    )
    log_pi = lm.log_prob(phrases.model(), phrases.pretrained(), asked, answers)
    return Crowd(texts, log_softmax(log_pi), rewards)
