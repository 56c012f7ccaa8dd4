"""The bridge to Gymnasium, in both directions: our worlds as environments, and any environment as a world.

`gymnasium.make("rlhf_lab.worlds.environments:rlhf_lab/Phrases-v0")` imports this module, which registers the names; no
other module of the package needs Gymnasium.
"""

import weakref
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector.utils import iterate
from numpy.random import Generator

from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.worlds import coin, guess_word, haggling, phrase_world, text_maze, twenty_questions
from rlhf_lab.worlds.dialogues import Game
from rlhf_lab.worlds.token_mdp import TokenMDP

WORLDS: dict[str, tuple[Callable[[], TokenMDP], tuple[str, ...]]] = {
    "phrases": (phrase_world.mdp, phrase_world.WORDS),
    "coin": (coin.mdp, ("-1", "1")),
}
GAMES: dict[str, Callable[..., Game]] = {
    "TwentyQuestions": twenty_questions.game,
    "GuessWord": guess_word.game,
    "Maze": text_maze.game,
    "Haggling": haggling.game,
}


class TokenEnv(gymnasium.Env[np.ndarray, Any]):
    """A `TokenMDP` that is played one token at a time.

    An observation is the prompt and the tokens so far, padded with `vocab` to a fixed length; an action is a token.
    The episode terminates with `eos` or at the horizon, and pays its reward there. Transitions are deterministic:
    `reset(options={"prompt": k, "prefix": [...]})` starts from prompt k with a prefix already written, the reset
    property of language. Raises `ValueError` for a render mode, an option or a token that does not exist.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012

    def __init__(self, mdp: TokenMDP, words: Sequence[str], render_mode: str | None = None) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f'there is no render_mode {render_mode!r}; it is "ansi", which returns the text, or None')
        self.mdp, self.words, self.render_mode = mdp, tuple(words), render_mode
        self._prompts = np.asarray(mdp.prompts)
        self._length = self._prompts.shape[1] + mdp.horizon
        self.observation_space = gymnasium.spaces.MultiDiscrete(np.full(self._length, mdp.vocab + 1))
        self.action_space = gymnasium.spaces.Discrete(mdp.vocab)
        self._prompt: Array | None = None
        self._written = list[int]()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draw a prompt from rho, or take the one that `options` names; write its prefix, if any."""
        super().reset(seed=seed)
        options = options or {}
        unknown = sorted(set(options) - {"prompt", "prefix"}, key=str)
        if unknown:
            raise ValueError(f"reset knows no option {unknown[0]!r}; the options are: prompt, prefix")
        row = options.get("prompt")
        if row is None:
            row = self.np_random.choice(len(self._prompts), p=self.mdp.start)
        elif not _whole(row) or not 0 <= row < len(self._prompts):
            raise ValueError(f"prompt {row!r} does not exist: this world has prompts 0 to {len(self._prompts) - 1}")
        prefix = list(options.get("prefix", ()))
        words = range(self.mdp.words)
        if len(prefix) >= self.mdp.horizon or any(not _whole(token) or token not in words for token in prefix):
            raise ValueError(
                f"a prefix has fewer than {self.mdp.horizon} tokens, each a word, 0 to {self.mdp.words - 1}; "
                f"got {prefix}"
            )
        self._prompt, self._written = self._prompts[row], [int(token) for token in prefix]
        return self._observation(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Append a token; the reward comes with the last one."""
        prompt = self._begun()
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
            reward = float(self.mdp.reward(prompt[None], response)[0])
        return self._observation(), reward, done, False, {}

    def render(self) -> str | None:
        """Return the text so far, if the environment was made with `render_mode="ansi"`."""
        if self.render_mode is None:
            return None
        prompt, answer = (" ".join(self.words[t] for t in part) for part in (self._begun(), self._written))
        return f"{prompt} > {answer}"

    def _begun(self) -> Array:
        if self._prompt is None:
            raise ValueError("no episode has begun: call reset() first")
        return self._prompt

    def _over(self) -> bool:
        return len(self._written) == self.mdp.horizon or self._written[-1:] == [self.mdp.eos]

    def _observation(self) -> np.ndarray:
        padded = np.full(self._length, self.mdp.vocab, dtype=self.observation_space.dtype)
        tokens = [*self._begun().tolist(), *self._written]
        padded[: len(tokens)] = tokens
        return padded


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def make(world: str = "phrases", render_mode: str | None = None) -> TokenEnv:
    """Return a world as an environment. Raises `ValueError` if there is no world of that name."""
    if world not in WORLDS:
        raise ValueError(f"there is no world {world!r}; the worlds are: {', '.join(WORLDS)}")
    mdp, words = WORLDS[world]
    return TokenEnv(mdp(), words, render_mode)


for _name, _world in (("Phrases", "phrases"), ("Coin", "coin")):
    gymnasium.register(f"rlhf_lab/{_name}-v0", entry_point=f"{__name__}:make", kwargs={"world": _world})


class Lines(gymnasium.spaces.Text):
    """The texts of a list: others do not belong to it, and `sample` draws none of them."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = tuple(lines)
        super().__init__(max(map(len, lines)), min_length=0, charset="".join(sorted({*"".join(lines)})))

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Draw a line, each as likely."""
        return self.lines[self.np_random.integers(len(self.lines))]

    def contains(self, x: Any) -> bool:
        """Return whether `x` is one of the lines."""
        return x in self.lines


class DialogueEnv(gymnasium.Env[str, str]):
    """A `Game` that is played in words: an action is a line, an observation is the reply, and memory is yours.

    The episode terminates with a reply that ends the game, and is truncated after the last turn. `info["success"]` says
    whether the reply is a success. `options={"secret": s}` chooses what the other side knows.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012

    def __init__(self, game: Game, render_mode: str | None = None) -> None:
        self.game, self.render_mode = game, render_mode
        self.action_space, self.observation_space = Lines(game.lines), Lines(game.replies)
        self._secret, self._said, self._over = 0, list[str](), True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Draw a secret, or take the one that `options` names, and let the other side open."""
        super().reset(seed=seed)
        law, secret = self.game.opening, (options or {}).get("secret")
        if secret is not None:
            possible = np.flatnonzero(law.sum(0)).tolist()
            if secret not in possible:
                raise ValueError(f"secret {secret} cannot be drawn: the game begins with one of {possible}")
            law = law * (np.arange(law.shape[1]) == secret)
        reply, self._secret = self._draw(law)
        self._said, self._over = [self.game.replies[reply]], False
        return self._said[0], {"success": False}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Say a line and hear the reply."""
        if self._over:
            raise ValueError("the dialogue is over, or has not begun: call reset() to start another")
        line = self.game.line(action)
        reply, self._secret = self._draw(self.game.turn[line, self._secret])
        self._said += [action, self.game.replies[reply]]
        done = bool(self.game.ends[reply])
        cut = not done and len(self._said) > 2 * self.game.horizon
        self._over = done or cut
        success = {"success": bool(self.game.good[reply])}
        return self._said[-1], float(self.game.reward[line, reply]), done, cut, success

    def render(self) -> str | None:
        """Return the dialogue so far, if the environment was made with `render_mode="ansi"`."""
        return None if self.render_mode is None else "\n".join(self._said)

    def _draw(self, law: np.ndarray) -> tuple[int, int]:
        place = self.np_random.choice(law.size, p=law.ravel() / law.sum())
        return place // law.shape[1], place % law.shape[1]


def dialogue(game: str, render_mode: str | None = None, **settings: Any) -> DialogueEnv:
    """Return a game as an environment; `settings` are those of the game. Raises `ValueError` if there is no such game.

    `gymnasium.make("rlhf_lab.worlds.environments:rlhf_lab/Haggling-v0", buyers=("stingy",))`, for example.
    """
    if game not in GAMES:
        raise ValueError(f"there is no game {game!r}; the games are: {', '.join(GAMES)}")
    return DialogueEnv(GAMES[game](**settings), render_mode)


for _name in GAMES:
    gymnasium.register(f"rlhf_lab/{_name}-v0", entry_point=f"{__name__}:dialogue", kwargs={"game": _name})


class Gym:
    """Any Gymnasium environment with discrete actions: by its name and keyword arguments, or as an object.

    Of an object, each episode plays a copy. Actions are counted from 0, whatever the environment calls its first.
    Observations are made rows of numbers by `gymnasium.spaces.flatten`: what is one of several becomes a one-hot row,
    parts stand one after the other. Raises `ValueError` for what cannot be played, or not be copied.
    """

    def __init__(self, environment: str | gymnasium.Env[Any, Any], **settings: Any) -> None:
        if not isinstance(environment, str) and settings:
            raise ValueError(f"{', '.join(settings)}: an environment that is made already takes no settings")
        self._environment, self._settings = environment, settings
        action, seen = self._spaces
        if not isinstance(action, gymnasium.spaces.Discrete):
            raise ValueError(f"{environment}: imitation needs a Discrete action space; got {action}")
        if not seen.is_np_flattenable:
            raise ValueError(f"{environment}: observations must have a fixed number of entries; got {seen}")

    @cached_property
    def _spaces(self) -> tuple[Any, Any]:
        env = self._make()
        env.close()
        return env.action_space, env.observation_space

    def _make(self) -> gymnasium.Env[Any, Any]:
        if isinstance(self._environment, str):
            return gymnasium.make(self._environment, **self._settings)
        try:
            return deepcopy(self._environment)
        except Exception as error:
            raise ValueError(
                f"{self._environment} cannot be copied ({error}): register it, and pass its name and settings"
            ) from error

    @property
    def observations(self) -> int:
        """Number D of an observation's entries."""
        return gymnasium.spaces.flatdim(self._spaces[1])

    @property
    def actions(self) -> int:
        """Number A of actions."""
        return int(self._spaces[0].n)

    def reset(self, shape: tuple[int, ...], rng: Generator) -> list[Any]:
        """Make one environment for each entry of `shape`, seeded from `rng`; it keeps its time limit, if it has one.

        They are closed when the state is forgotten.
        """
        envs: Any = gymnasium.vector.SyncVectorEnv([self._make] * int(np.prod(shape)))
        weakref.finalize(envs, _close, envs.envs)
        seen, _ = envs.reset(seed=int(rng.integers(2**31)))
        return [envs, shape, seen]

    def observe(self, state: list[Any]) -> Array:
        """Return what a policy sees, floats (..., D)."""
        envs, shape, seen = state
        rows: list[Any] = [
            gymnasium.spaces.flatten(self._spaces[1], one) for one in iterate(envs.observation_space, seen)
        ]
        return np.reshape(rows, (*shape, -1)).astype(float)

    def step(self, state: list[Any], action: Array, rng: Generator) -> tuple[list[Any], Array, Array]:
        """Take one action in each environment. An episode that reaches its time limit is over, too."""
        envs, shape, _ = state
        seen, reward, terminated, truncated, _ = envs.step(np.ravel(action) + self._spaces[0].start)
        return [envs, shape, seen], reward.reshape(shape), (terminated | truncated).reshape(shape)


def _close(envs: Iterable[Any]) -> None:
    for env in envs:
        env.close()
