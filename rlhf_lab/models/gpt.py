"""A tiny GPT: a transformer that reads a text of up to `context` tokens and says what comes next."""

from dataclasses import dataclass

import autograd.numpy as np
import numpy as onp
from autograd.tracer import getval, isbox
from numpy.random import Generator

from rlhf_lab.models import gpt_cache
from rlhf_lab.models.gpt_cache import Cache
from rlhf_lab.numerics import checks
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.numerics.optim import Params
from rlhf_lab.numerics.text_ends import embed_text, project
from rlhf_lab.numerics.transformer import block

BLOCK = ("norm_1", "qkv", "out", "norm_2", "up", "down")  # the parameters of a block, in the order of the kernel


@dataclass(frozen=True)
class GPT:
    """Pre-norm blocks of causal attention and a feed-forward layer with GELU, a learned place, a tied readout.

    Parameters: E `embed` (..., V, D), `position` (..., C + 1, D), for each layer k the arrays of
    `transformer.block` as `k.norm_1`, `k.qkv`, `k.out`, `k.norm_2`, `k.up`, `k.down`, and `norm` (..., D). There are no
    biases. Row 0 of `position` is what stands before the first token, so that a prompt may be empty. D is `width`,
    C is `context`, the feed-forward layer is 4 D wide. Fresh parameters have `dtype`, and all results that of the
    parameters. Radford et al. 2019 (GPT-2).
    """

    vocab: int
    width: int
    layers: int
    heads: int
    context: int
    eos: int | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        checks.sizes(self.vocab, self.eos)
        checks.count("width", self.width, "the number of units of a state")
        checks.count("layers", self.layers, "the number of blocks")
        checks.count("heads", self.heads, "the number of heads of attention")
        checks.count("context", self.context, "the greatest number of tokens that the model reads")
        if self.width % self.heads:
            raise ValueError(f"the {self.heads} heads share the width, so that they must divide it; got {self.width}")
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be 'float32' or 'float64'; got {self.dtype!r}")

    @property
    def at_once(self) -> int:
        """How many texts are sampled at a time."""
        return gpt_cache.AT_ONCE

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter, without leading axes."""
        width = self.width
        found: dict[str, tuple[int, ...]] = {"embed": (self.vocab, width), "position": (self.context + 1, width)}
        sizes = (width,), (width, 3 * width), (width, width), (width,), (width, 4 * width), (4 * width, width)
        for k in range(self.layers):
            found |= {f"{k}.{name}": shape for name, shape in zip(BLOCK, sizes, strict=True)}
        return found | {"norm": (width,)}

    def init(self, rng: Generator) -> Params:
        """Return gains of one, and matrices drawn from normals.

        Their deviation is 0.1 for `embed` and `position`, for others one over the root of the number of rows. What is
        added to the states, `out` and `down`, is smaller by the root of 2 `layers`, as in GPT-2, whose deviation of
        0.02 is too small for narrow models: they learn slowly.
        """
        params = {}
        for name, shape in self.shapes().items():
            deviation = 0.1 if name in ("embed", "position") else shape[0] ** -0.5
            if name.endswith(("out", "down")):
                deviation /= (2 * self.layers) ** 0.5
            value = np.ones(shape) if len(shape) == 1 else rng.normal(0, deviation, shape)
            params[name] = value.astype(self.dtype)
        return params

    def readout(self, params: Params) -> Array:
        """Return what makes logits of states, (..., D, V): the embedding, turned (eq-tied-readout)."""
        return np.swapaxes(params["embed"], -1, -2)

    def logits(self, params: Params, prompt: Array, response: Array) -> Array:
        """Return the logits (..., N, T, V) of every token of the response, given what stands before it."""
        response = checks.tokens("response", response, self.vocab)
        return self.project(params, prompt, response[..., :-1], self.readout(params))

    def project(self, params: Params, prompt: Array, response: Array, readout: Array) -> Array:
        """Return h R, (..., N, T + 1, O), for the states h behind the prompt and behind each token of the response.

        `readout` is R (..., D, O); for logits it is the embedding.
        """
        prompt = checks.tokens("prompt", prompt, self.vocab)
        response = checks.tokens("response", response, self.vocab)
        checks.same_batch(prompt, response)
        lead = onp.broadcast_shapes(prompt.shape[:-2], response.shape[:-2])
        parts = [onp.broadcast_to(part, lead + part.shape[-2:]) for part in (prompt, response)]
        return self._states(params, onp.concatenate(parts, axis=-1), readout, prompt.shape[-1])

    def _states(self, params: Params, tokens: Array, readout: Array, skip: int) -> Array:
        self._check(params)
        self._check_length(tokens.shape[-1])
        x = embed_text(params["embed"], params["position"], tokens)
        for k in range(self.layers):
            x = block(x, *(params[f"{k}.{name}"] for name in BLOCK), self.heads)
        return project(x, params["norm"], readout, skip)

    def start(self, params: Params, prompt: Array) -> tuple[Cache, Array]:
        """Read the prompt: return the cache and the logits (..., N, V) of the first token."""
        prompt = checks.tokens("prompt", prompt, self.vocab)
        self._check(params)
        self._check_length(prompt.shape[-1])
        if _traced(params):
            return self._whole(params, prompt)
        return gpt_cache.start(params, prompt, self.layers, self.heads)

    def step(self, params: Params, cache: Cache, token: Array) -> tuple[Cache, Array]:
        """Read one more token (..., N): return the new cache and the logits (..., N, V) of the next."""
        self._check_length(cache.tokens.shape[-1] + 1)
        if isbox(params) or not cache.knows(params):  # what it knows was checked at the start
            self._check(params)
            if _traced(params):
                return self._whole(params, cache.longer(token))
        return gpt_cache.step(params, cache, token)

    def repeat(self, cache: Cache, times: int) -> Cache:
        """Return the cache of a batch in which each text stands `times` times in a row."""
        return cache.repeat(times)

    def keep(self, cache: Cache, rows: Array) -> Cache:
        """Return the cache of some of the texts, by their numbers: those that have not ended."""
        return cache.keep(rows)

    def _whole(self, params: Params, tokens: Array) -> tuple[Cache, Array]:
        # A cache that is written to has no gradient; the texts are read from the beginning, which has one.
        logits = self._states(params, tokens, self.readout(params), tokens.shape[-1])
        return Cache(tokens, None), np.reshape(logits, (*logits.shape[:-2], self.vocab))

    def _check(self, params: Params) -> None:
        wanted, params = self.shapes(), getval(params)  # autograd keeps account of each look at a traced dict
        missing = [name for name in wanted if name not in params]
        if missing:
            raise ValueError(f"params has no {missing[0]!r}: these parameters belong to another model")
        checks.shapes(params, wanted)

    def _check_length(self, length: int) -> None:
        if length > self.context:
            raise ValueError(
                f"the model reads at most {self.context} tokens, its context, and was given {length}: shorten prompt "
                "or response, or make a GPT with a longer context"
            )


def _traced(params: Params) -> bool:
    return isbox(params) or any(isbox(value) for value in params.values())
