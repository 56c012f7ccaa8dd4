"""The names that people give to parameters: patterns of words joined by underscores."""

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

from rlhf_lab.audit.binding import Input, meant
from rlhf_lab.audit.contracts import Contract
from rlhf_lab.audit.functions import Layout
from rlhf_lab.audit.libraries import written

CHOSEN = "chosen|winn?er|winners|win|winning|preferred|accepted|pos|positive|good|better|best|yw|w|j"
REJECTED = "rejected|reject|losers?|lose|losing|dispreferred|unpreferred|neg|negative|bad|worse|worst|yl|l|k"
POLICY = "policy|pol|pi|model|theta|actor|student|train|trained|new|cur|current|logpi|online"
REFERENCE = "reference|ref|refs|base|sft|init|initial|frozen|old|piref|pi0|0|refmodel|logref"
LOGS = "log|logs|logp|logps|logprob|logprobs|lp|lps|p|prob|probs|y|seq|sequence|answer|answers|response|sum|total|batch"
REWARDS = "r|rs|rew|rews|reward|rewards|rm|s|score|scores|logit|logits|value|values|pred|preds|output|outputs|y"
WEIGHT = "beta|tau|temperature|kl_coef|kl_weight|kl_beta|dpo_beta|ipo_beta|beta_dpo"
MASK = (
    "loss|action|completion|completions|response|responses|answer|answers|assistant|attention|token|tokens|label|labels"
)


def spelled(*needed: str, also: str) -> str:
    """Return a pattern of names that hold a word of each of `needed`, and besides only these and words of `also`."""
    looks = "".join(rf"(?=(?:.*_)?(?:{words})(?:_|$))" for words in needed)
    return rf"{looks}(?:(?:{'|'.join([*needed, also])})(?:_|$))+"


def laid_out(contract: Contract, function: Callable[..., Any], layouts: Sequence[Layout]) -> Contract:
    """Return the contract in the layout whose inputs are those of the function, by their names; else as it is."""
    try:
        names = list(signature(written(function)).parameters)
    except (TypeError, ValueError):  # of builtins, of some functions in C, and of what is no function
        return contract
    for layout in layouts:
        if all(any(meant(name, [i]) for name in names) for i in layout.inputs if not i.absent):
            return contract._replace(layouts=(layout,))
    return contract


def fits(name: str, given: Input) -> bool:
    """Return whether a parameter of this name takes an input."""
    return bool(meant(name, [given]))
