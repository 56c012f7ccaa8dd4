"""The worlds as Gymnasium environments: `gymnasium.make("rlhf_lab/Phrases-v0")`, after `import rlhf_lab`."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np

from . import coin, phrase_world
from .token_mdp import TokenMDP


def phrases() -> TokenMDP:
    """Return PhraseWorld as an MDP: four questions, answers of up to five tokens, the oracular reward."""
    world = phrase_world
    return TokenMDP(world.PROMPTS, world.START, world.reward, world.VOCAB, world.HORIZON, world.EOS)


def coins() -> TokenMDP:
    """Return the coin as an MDP: one prompt, one token, reward log l(y)."""
    return TokenMDP(coin.PROMPTS, np.ones(1), coin.reward, vocab=2, horizon=coin.HORIZON)


WORLDS: dict[str, tuple[Callable[[], TokenMDP], tuple[str, ...]]] = {
    "phrases": (phrases, phrase_world.WORDS),
    "coin": (coins, ("-1", "1")),
}


class TokenEnv(gymnasium.Env[np.ndarray, np.int64]):
    """A `TokenMDP` that is played one token at a time.

    An observation is the prompt and the tokens so far, padded with `vocab` to a fixed length; an action is a token.
    The episode terminates with `eos` or at the horizon, and pays its reward there. Transitions are deterministic:
    `reset(options={"prompt": k, "prefix": [...]})` starts from prompt k with a prefix already written, the reset
    property of language.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012

    def __init__(self, mdp: TokenMDP, words: Sequence[str], render_mode: str | None = None) -> None:
        self.mdp, self.words, self.render_mode = mdp, tuple(words), render_mode
        self._prompts = np.asarray(mdp.prompts)
        self._length = self._prompts.shape[1] + mdp.horizon
        self.observation_space = gymnasium.spaces.MultiDiscrete(np.full(self._length, mdp.vocab + 1))
        self.action_space = gymnasium.spaces.Discrete(mdp.vocab)
        self._prompt, self._written = self._prompts[0], list[int]()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draw a prompt from rho, or take the one that `options` names; write its prefix, if any."""
        super().reset(seed=seed)
        options = options or {}
        row = options.get("prompt")
        if row is None:
            row = self.np_random.choice(len(self._prompts), p=self.mdp.start)
        elif not isinstance(row, int | np.integer) or not 0 <= row < len(self._prompts):
            raise ValueError(f"prompt {row} does not exist: this world has prompts 0 to {len(self._prompts) - 1}")
        prefix = list(options.get("prefix", ()))
        words = range(self.mdp.words)
        if len(prefix) >= self.mdp.horizon or any(token not in words for token in prefix):
            raise ValueError(
                f"a prefix has fewer than {self.mdp.horizon} tokens, each a word, 0 to {self.mdp.words - 1}; "
                f"got {prefix}"
            )
        self._prompt, self._written = self._prompts[row], prefix
        return self._observation(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Append a token; the reward comes with the last one."""
        if self._over():
            raise ValueError("the episode is over: call reset() to start another")
        if not self.action_space.contains(action):
            raise ValueError(f"an action is a token, 0 to {self.mdp.vocab - 1}; got {action}")
        self._written.append(int(action))
        done = self._over()
        reward = 0.0
        if done:
            response = np.full((1, self.mdp.horizon), self.mdp.eos or 0)
            response[0, : len(self._written)] = self._written
            reward = float(self.mdp.reward(self._prompt[None], response)[0])
        return self._observation(), reward, done, False, {}

    def render(self) -> str | None:
        """Return the text so far, if the environment was made with `render_mode="ansi"`."""
        if self.render_mode is None:
            return None
        prompt, answer = (" ".join(self.words[t] for t in part) for part in (self._prompt, self._written))
        return f"{prompt} > {answer}"

    def _over(self) -> bool:
        return len(self._written) == self.mdp.horizon or self._written[-1:] == [self.mdp.eos]

    def _observation(self) -> np.ndarray:
        padded = np.full(self._length, self.mdp.vocab, dtype=np.int64)
        tokens = [*self._prompt.tolist(), *self._written]
        padded[: len(tokens)] = tokens
        return padded


def make(world: str = "phrases", render_mode: str | None = None) -> TokenEnv:
    """Return a world as an environment. Raises `ValueError` if there is no world of that name."""
    if world not in WORLDS:
        raise ValueError(f"there is no world {world!r}; the worlds are: {', '.join(WORLDS)}")
    mdp, words = WORLDS[world]
    return TokenEnv(mdp(), words, render_mode)
