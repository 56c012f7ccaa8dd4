"""A language and its reward as automata: a Markov decision process of texts too many to list, solved exactly.

    K prompts    S states    V vocabulary    H horizon    p reference    R reward    beta KL weight    Z normaliser

The reward of a text is F(state in which it ends) minus c for each token, `<eos>` too. A state knows all that language
and reward need to know of the words so far, so that the optimum is a sweep over states instead of a list of answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlhf_lab.models.automaton import Automaton
from rlhf_lab.numerics import automata, checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params


@dataclass(frozen=True)
class AutomatonMDP:
    """Texts of `model` with the log-probabilities `log_p` (K, S, V), paid with `final` F (K, S) minus `cost` c a token.

    Raises `ValueError` if the shapes do not fit, if probabilities do not sum to 1, if a reward is not finite.
    """

    model: Automaton
    log_p: Array
    final: Array
    cost: float

    def __post_init__(self) -> None:
        shape = np.shape(self.model.following)
        if np.shape(self.log_p) != shape or np.shape(self.final) != shape[:2]:
            raise ValueError(
                f"log_p must have the shape {shape} of the table of states, final {shape[:2]}; got "
                f"{np.shape(self.log_p)} and {np.shape(self.final)}"
            )
        checks.probabilities("exp(log_p)", np.exp(self.log_p))
        if not np.isfinite(self.final).all():
            raise ValueError("final holds rewards that are NaN or infinite")
        checks.not_negative("cost", self.cost, "what a token costs")

    def only(self, prompts: Sequence[int]) -> "AutomatonMDP":
        """Return the same for some of the prompts, by their numbers: a sweep takes as long as there are prompts."""
        model, rows = self.model, list(prompts)
        part = Automaton(np.asarray(model.prompts)[rows], np.asarray(model.following)[rows], model.horizon)
        return AutomatonMDP(part, np.asarray(self.log_p)[rows], np.asarray(self.final)[rows], self.cost)

    def reference(self) -> Params:
        """Return the parameters of p: values of zero look at nothing that is to come."""
        return {"logits": self.log_p, "values": np.zeros((len(self.log_p), self.model.horizon + 1, self.model.states))}

    def gibbs(self, beta: float) -> Params:
        """Return the parameters of pi*(y | x) = p(y | x) e^(R(x, y) / beta) / Z(x), a language model like any other
        (eq-automaton-gibbs).

        Its values are h_t(s) = log E[e^(R' / beta)], R' being what is still to be paid in the state s after t tokens;
        `log_normaliser` is h_0 of the first state.
        """
        checks.positive("beta", beta)
        final = np.asarray(self.final) / beta
        values = automata.soft_values(self.log_p, self.model.following, final, self.cost / beta, self.model.horizon)
        return {"logits": self.log_p, "values": values}

    def law(self, params: Params) -> automata.Law:
        """Return where the texts of p or of a Gibbs policy end, their entropy, and their divergence from p."""
        return automata.law(self.log_p, self.model.following, params["values"])


def log_normaliser(gibbs: Params) -> Array:
    """log Z(x) = log sum_y p(y | x) e^(R(x, y) / beta), (K,): beta log Z is what the optimum is worth."""
    return gibbs["values"][:, 0, 0]


def length_law(law: automata.Law) -> Array:
    """P(n tokens), `<eos>` too, for n = 1 ... H, and last the probability that the horizon cuts a text off: (K, H + 1).

    A text that is cut off has H tokens.
    """
    return np.concatenate([law.ended.sum(2), law.cut.sum(1, keepdims=True)], axis=1)


def reward_law(mdp: AutomatonMDP, law: automata.Law) -> tuple[Array, Array]:
    """Return log P(R = r) (K, A) and the values r that a reward can take (A,), lowest first.

    All answers that are paid alike count as one: enough for the mean, and for the best of n draws with its divergence
    (`best_of_n.log_best_of_n`), which weighs answers by their reward alone. Equal means equal to 9 digits.
    """
    horizon = mdp.model.horizon
    lengths = np.append(np.arange(1, horizon + 1), horizon)
    paid = np.round(np.asarray(mdp.final)[:, None, :] - mdp.cost * lengths[:, None], 9)
    mass = np.concatenate([law.ended, law.cut[:, None, :]], axis=1)
    values, level = np.unique(paid, return_inverse=True)
    level = np.reshape(level, mass.shape)
    with np.errstate(divide="ignore"):
        return np.log([checks.tally(level[k].ravel(), mass[k].ravel(), len(values)) for k in range(len(mass))]), values
