"""What a policy is trained for, what it wrote, and how far it is from the optimum.

    x prompt    y response    R reward    pi policy    pi_0 reference    beta KL weight    rho prompts    H horizon

A `Task` is an MDP of text with a reference policy and a price on the divergence from it. Its exact answer is known, so
every algorithm that samples can be held against it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import autograd.numpy as np
from autograd.tracer import getval
from numpy.random import Generator

from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Outcome, Params
from rlhf_lab.worlds.token_mdp import TokenMDP

Loss = Callable[[Params, Any], Array | Outcome]
Collect = Callable[[Params, Generator], Iterable[Any]]


@dataclass(frozen=True)
class Task:
    """Earn the reward of `mdp`, at a price of `beta` for each nat of divergence from a reference.

    `reference` is a language model with its parameters. Leading axes of these are seeds, each with a reference of its
    own: `rollout` takes them, the exact numbers want one reference. Raises `ValueError` if it speaks another language
    than the MDP, or if `beta` is not above 0.
    """

    mdp: TokenMDP
    reference: tuple[lm.LanguageModel, Params]
    beta: float

    def __post_init__(self) -> None:
        checks.positive("beta", self.beta)
        self.same_language("reference", self.reference[0])

    def same_language(self, name: str, model: lm.LanguageModel) -> None:
        """Raise unless `model` has the vocabulary and the `eos` of the MDP."""
        mdp = self.mdp
        if (model.vocab, model.eos) != (mdp.vocab, mdp.eos):
            raise ValueError(
                f"the {name} has {model.vocab} tokens and eos {model.eos}, the task {mdp.vocab} tokens and eos "
                f"{mdp.eos}: policy, reference and task must share one vocabulary"
            )

    @cached_property
    def rewards(self) -> Array:
        """R(x, y) of every answer to every prompt, (K, A)."""
        return self.mdp.answer_rewards()

    @cached_property
    def log_pi_0(self) -> Array:
        """log pi_0(y | x) of every answer to every prompt, (K, A)."""
        return self.log_pi(*self.reference)

    @cached_property
    def log_optimum(self) -> Array:
        """log pi*(y | x) of every answer to every prompt, (K, A): the Gibbs policy."""
        return gibbs.log_policy(self.log_pi_0, self.rewards, self.beta)

    def log_pi(self, model: lm.LanguageModel, params: Params) -> Array:
        """Return log pi(y | x) of every answer to every prompt, (..., K, A)."""
        return lm.answer_log_probs(model, params, self.mdp.prompts, self.mdp.horizon)

    def each(self, model: lm.LanguageModel, params: Params, measure: Callable[[Array], Any]) -> Array:
        """Return `measure(log_pi)`, given log pi(y | x) of every answer, (K, A), for each seed: (..., *measured).

        One seed after the other, which is three times faster than all at once: what it works on stays in the cache.
        """
        seeds = model.start(params, self.mdp.prompts[:1])[1].shape[:-2]
        found = [
            measure(self.log_pi(model, {name: value[index] for name, value in params.items()}))
            for index in np.ndindex(*seeds)
        ]
        return np.reshape(np.array(found), (*seeds, *np.shape(found[0])))

    def mean(self, values: Array) -> Array:
        """Return sum_x rho(x) v(x), for values (..., K): (...)."""
        return np.matmul(values, self.mdp.start)

    def objective(self, log_pi: Array) -> Array:
        """Return J_beta of policies (..., K, A), averaged over prompts: (...)."""
        return self.mean(gibbs.objective(log_pi, self.log_pi_0, self.rewards, self.beta))

    def gap(self, log_pi: Array) -> Array:
        """Return beta KL(pi || pi*) of policies (..., K, A), averaged over prompts: (...). The yardstick."""
        return self.beta * self.mean(lm.kl(log_pi, self.log_optimum))


class Rollout(NamedTuple):
    """Answers of a policy, and what is known of them. Groups of answers to one prompt stand in a row.

    Integers `prompt` (..., N, P), `response` (..., N, T); `reward` (..., N); for each token (..., N, T), 0 behind the
    end: `mask`, and its log-probabilities `log_pi` under the policy and `log_pi_0` under the reference.
    """

    prompt: Array
    response: Array
    reward: Array
    mask: Array
    log_pi: Array
    log_pi_0: Array


def rollout(
    task: Task, model: lm.LanguageModel, params: Params, prompts: int, rng: Generator, answers: int = 1
) -> Rollout:
    """Draw `prompts` prompts from rho and `answers` answers to each from the policy: N = prompts * answers.

    Seeds, leading axes of the parameters, draw prompts and answers of their own. Raises `ValueError` if the policy
    speaks another language than the task, if a count is below 1, or if the reward is not a finite number for each
    answer.
    """
    mdp = task.mdp
    task.same_language("policy", model)
    prompts = checks.count("prompts", prompts, "a number of texts to draw")
    answers = checks.count("answers", answers, "a number of texts to draw")
    seeds = model.start(params, mdp.prompts[:1])[1].shape[:-2]
    rows = rng.choice(len(mdp.prompts), (*seeds, prompts), p=mdp.start)
    prompt = mdp.prompts[np.repeat(rows, answers, axis=len(seeds))]
    response, log_pi = lm.sample_with_log_prob(model, params, prompt, mdp.horizon, rng)
    reward = np.asarray(mdp.reward(prompt, response), dtype=float)
    if reward.shape != response.shape[:-1] or not np.isfinite(reward).all():
        raise ValueError(
            f"the reward must be one finite number for each answer, shape {response.shape[:-1]}; got shape "
            f"{reward.shape}, with {int((~np.isfinite(reward)).sum())} entries that are NaN or infinite"
        )
    log_pi_0 = lm.token_log_prob(*task.reference, prompt, response)
    return Rollout(prompt, response, reward, lm.response_mask(response, mdp.eos), log_pi, log_pi_0)


def described(log_pi: Array, mask: Array) -> dict[str, Array]:
    """Return what answers tell of the policy that wrote them, as diagnostics: `entropy` and `length`, (...).

    `log_pi` (..., N) of the answers, `mask` (..., N, T). The entropy, nats an answer, is estimated by the mean of
    - log pi(y | x); the length is the mean number of tokens.
    """
    return {"entropy": -np.mean(getval(log_pi), axis=-1), "length": np.mean(np.sum(mask, axis=-1), axis=-1)}


def stack(params: list[Params]) -> Params:
    """Return one set of parameters with a leading axis of seeds from a list of sets."""
    return {name: np.stack([each[name] for each in params]) for name in params[0]}


def every(rounds: int, record: Callable[[Params], dict[str, Any]]) -> Callable[[Params], dict[str, Any]]:
    """Return a `record` for `optim.fit` that looks only after every `rounds` rounds: exact numbers are dear."""
    seen = 0

    def sparse(params: Params) -> dict[str, Any]:
        nonlocal seen
        seen += 1
        return {"round": seen} | record(params) if seen % rounds == 0 else {}

    return sparse
