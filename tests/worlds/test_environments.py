"""The worlds as Gymnasium environments, and any environment of Gymnasium as a world."""

import gc
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlhf_lab.models import lm
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.worlds import coin, dialogues, environments, phrase_world, token_mdp
from rlhf_lab.worlds.control import CartPole, rollout
from rlhf_lab.worlds.environments import Gym
from rlhf_lab.worlds.token_mdp import TokenMDP

IDS = ["rlhf_lab.worlds.environments:rlhf_lab/Phrases-v0", "rlhf_lab.worlds.environments:rlhf_lab/Coin-v0"]


@pytest.mark.parametrize("name", IDS)
def test_gymnasium_finds_nothing_to_complain_about(name):
    check_env(gymnasium.make(name, render_mode="ansi").unwrapped)


@pytest.fixture
def env():
    return environments.make("phrases", render_mode="ansi")


def play(env, words, **reset):
    env.reset(**reset)
    for word in words.split():
        observation, reward, done, cut, info = env.step(phrase_world.WORDS.index(word))
        assert (cut, info) == (False, {})
        if word != words.split()[-1]:
            assert (reward, done) == (0.0, False)
    return observation, reward, done


def test_an_episode_pays_the_reward_of_its_phrase_with_the_last_token(env):
    observation, reward, done = play(env, "yes thanks <eos>", options={"prompt": 0})
    assert (reward, done) == (3.0, True)
    assert observation.tolist() == [*phrase_world.PROMPTS[0], 0, 8, 10, 11, 11]
    assert env.render() == "is tea hot > yes thanks <eos>"
    _, reward, done = play(env, "yes thanks <eos>", options={"prompt": 1})
    assert (reward, done) == (-1.0, True)


def test_the_horizon_ends_an_episode(env):
    _, reward, done = play(env, "it is it is it", options={"prompt": 2})
    assert (reward, done) == (-4.5, True)


def test_a_sentence_can_be_restarted_in_its_middle(env):
    observation, _ = env.reset(options={"prompt": 0, "prefix": [0, 2]})
    assert observation.tolist() == [*phrase_world.PROMPTS[0], 0, 2, 11, 11, 11]
    resumed = [env.step(a)[:3] for a in (3, 6, 10)]
    env.reset(options={"prompt": 0})
    played = [env.step(a)[:3] for a in (0, 2, 3, 6, 10)][2:]
    for a, b in zip(resumed, played, strict=True):
        assert a[0].tolist() == b[0].tolist()
        assert a[1:] == b[1:]


def test_prompts_come_as_often_as_rho_says(env):
    env.reset(seed=0)
    seen = np.array([env.reset()[0][:3] for _ in range(4000)])
    share = [(seen == prompt).all(-1).mean() for prompt in phrase_world.PROMPTS]
    assert share == pytest.approx(phrase_world.START, abs=4 * (0.25 / 4000) ** 0.5)


def test_a_seed_fixes_the_prompt(env):
    first, second = ([env.reset(seed=s)[0].tolist() for s in range(20)] for _ in range(2))
    assert first == second
    assert len({tuple(o) for o in first}) > 1


def test_the_coin_pays_at_once():
    env = environments.make("coin")
    observation, _ = env.reset()
    assert observation.tolist() == [1] * 10 + [2]
    observation, reward, done, _, _ = env.step(1)
    assert (observation[-1], done) == (1, True)
    assert reward == pytest.approx(np.log(coin.PEOPLE))
    assert env.render() is None
    assert environments.make("coin", "ansi").unwrapped.words == ("-1", "1")


def test_bad_input_is_told(env):
    with pytest.raises(ValueError, match="there is no world 'chess'; the worlds are: phrases, coin"):
        environments.make("chess")
    with pytest.raises(ValueError, match="prompt 4 does not exist: this world has prompts 0 to 3"):
        env.reset(options={"prompt": 4})
    with pytest.raises(ValueError, match="prompt -1 does not exist"):
        env.reset(options={"prompt": -1})
    with pytest.raises(ValueError, match="a prefix has fewer than 5 tokens, each a word, 0 to 9; got"):
        env.reset(options={"prompt": 0, "prefix": [0] * 5})
    with pytest.raises(ValueError, match="each a word, 0 to 9; got \\[10\\]"):
        env.reset(options={"prompt": 0, "prefix": [10]})
    with pytest.raises(ValueError, match="got \\[-1\\]"):
        env.reset(options={"prompt": 0, "prefix": [-1]})
    env.reset()
    with pytest.raises(ValueError, match="an action is a token, 0 to 10; got 11"):
        env.step(11)


def test_spaces_and_padding():
    env = environments.make()
    assert env.observation_space.nvec.tolist() == [phrase_world.VOCAB + 1] * 8
    assert env.action_space.n == phrase_world.VOCAB
    counting = TokenMDP(np.array([[0, 1]]), np.ones(1), lambda x, y: (y == 3).sum(-1), vocab=4, horizon=4, eos=3)
    env = environments.TokenEnv(counting, "abc.")
    env.reset()
    env.step(0)
    _, reward, done, _, _ = env.step(3)
    assert (reward, done) == (3.0, True)


def episode(env, choose):
    observation, _ = env.reset()
    paid, done = [], False
    while not done:
        observation, reward, done, cut, _ = env.step(choose(observation))
        assert not cut
        paid.append(reward)
    return observation, paid


@pytest.mark.equation("eq-return", "eq-transition")
@pytest.mark.parametrize("agent", ["random", "language model"])
def test_every_episode_is_worth_what_the_world_says_of_its_phrase(agent):
    env = gymnasium.make("rlhf_lab.worlds.environments:rlhf_lab/Phrases-v0")
    mdp, rng, start = env.unwrapped.mdp, np.random.default_rng(0), phrase_world.PROMPTS.shape[1]
    answers = {tuple(answer): k for k, answer in enumerate(mdp.answers().tolist())}
    rewards, model, params = mdp.answer_rewards(), phrase_world.model(), phrase_world.pretrained()

    def language_model(observation):
        written = observation[start:][observation[start:] < mdp.vocab]
        response = np.append(written, 0)[None]
        logits = model.logits(params, observation[None, :start], response)[0, -1]
        return rng.choice(mdp.vocab, p=np.exp(logits) / np.exp(logits).sum())

    env.reset(seed=1)
    for _ in range(60):
        seen, paid = episode(env, language_model if agent == "language model" else lambda _: rng.integers(mdp.vocab))
        row = (seen[:start] == phrase_world.PROMPTS).all(-1).argmax()
        answer = np.where(seen[start:] == mdp.vocab, mdp.eos, seen[start:])
        assert token_mdp.return_to_go(np.array(paid), mdp.discount)[0] == rewards[row, answers[tuple(answer)]]
        assert len(paid) == (seen[start:] < mdp.vocab).sum()
        assert not np.any(paid[:-1])


def test_an_episode_that_has_ended_cannot_go_on(env):
    for ending in ([10], [0] * 5):
        env.reset()
        for action in ending:
            env.step(action)
        with pytest.raises(ValueError, match=r"^the episode is over: call reset\(\) to start another$"):
            env.step(0)


@pytest.mark.parametrize("options", [{"prompt": 1.5}, {"prompt": "is tea hot"}, {"prefix": [0.7]}])
def test_options_that_are_not_tokens_are_told(env, options):
    with pytest.raises(ValueError, match=r"this world has prompts 0 to 3|each a word, 0 to 9"):
        env.reset(options=options)


def anything(actions):
    return lambda seen, rng: rng.integers(actions, size=seen.shape[:-1])


def test_an_environment_of_gymnasium_is_played_as_gymnasium_plays_it():
    world, rng = Gym("CartPole-v1"), np.random.default_rng(3)
    assert (world.observations, world.actions) == (CartPole().observations, CartPole().actions) == (4, 2)
    play = rollout(world, anything(2), (2, 3), 500, rng)
    assert play.observation.shape[1:] == (2, 3, 4)
    assert play.observation.dtype == float
    assert (play.returns == play.alive.sum(0)).all()
    assert play.returns.shape == (2, 3)
    again = np.random.default_rng(3)
    env = gymnasium.make_vec("CartPole-v1", num_envs=6, vectorization_mode="sync")
    seen, _ = env.reset(seed=int(again.integers(2**31)))
    for t in range(5):
        assert (play.observation[t].reshape(6, 4) == seen).all()
        seen, _, _, _, _ = env.step(anything(2)(np.zeros((2, 3, 4)), again).ravel())


@pytest.mark.parametrize(
    ("name", "entries", "actions", "ones"),
    [
        ("FrozenLake-v1", 16, 4, 1),
        ("CliffWalking-v1", 48, 4, 1),
        ("Blackjack-v1", 32 + 11 + 2, 2, 3),
        ("rlhf_lab.worlds.environments:rlhf_lab/Phrases-v0", 96, 11, 8),
        ("rlhf_lab.worlds.environments:rlhf_lab/Coin-v0", 33, 2, 11),
    ],
)
def test_what_is_one_of_several_is_seen_as_a_one_hot_row(name, entries, actions, ones):
    world, rng = Gym(name), np.random.default_rng(4)
    assert (world.observations, world.actions) == (entries, actions)
    play = rollout(world, anything(actions), (2, 3), 20, rng)
    assert play.observation.shape[1:] == (2, 3, entries)
    assert np.isin(play.observation, (0, 1)).all()
    assert (play.observation.sum(-1) == ones).all()


class Corridor(gymnasium.Env):
    """Actions 5, 6 and 7 lead one to the left, nowhere and one to the right; one sees where one is, from -3 to 3."""

    action_space = gymnasium.spaces.Discrete(3, start=5)
    observation_space = gymnasium.spaces.Discrete(7, start=-3)
    closed = 0
    shut = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return self.place, {}

    def step(self, action):
        self.place += int(action) - 6
        return self.place, float(self.place), abs(self.place) == 3, False, {}

    def close(self):
        Corridor.closed += not self.shut  # some releases of Gymnasium close an environment twice
        self.shut = True


def test_actions_are_counted_from_zero_and_environments_are_closed(monkeypatch):
    monkeypatch.setitem(
        gymnasium.registry, "Corridor-v0", gymnasium.envs.registration.EnvSpec("Corridor-v0", entry_point=Corridor)
    )
    monkeypatch.setattr(Corridor, "closed", 0)
    world = Gym("Corridor-v0")
    assert (world.observations, world.actions, Corridor.closed) == (7, 3, 1)
    made = []
    original = gymnasium.make
    monkeypatch.setattr(gymnasium, "make", lambda *given, **more: made.append(given) or original(*given, **more))
    assert (world.observations, world.actions, made) == (7, 3, [])  # one look at its spaces is enough
    play = rollout(world, lambda seen, rng: np.array([0, 1, 2]), (3,), 3, np.random.default_rng(0))
    assert play.observation.argmax(-1).T.tolist() == [[3, 2, 1], [3, 3, 3], [3, 4, 5]]
    assert play.returns.tolist() == [-6, 0, 6]
    gc.collect()
    assert Corridor.closed == 1 + 3


def test_a_time_limit_of_gymnasium_ends_an_episode():
    play = rollout(
        Gym("Acrobot-v1"), lambda seen, rng: np.ones(seen.shape[:-1], dtype=int), (2,), 700, np.random.default_rng(0)
    )
    assert len(play.reward) == 500
    assert play.returns.tolist() == [-500, -500]


def test_what_cannot_be_played_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="Pendulum-v1: imitation needs a Discrete action space; got Box"):
        Gym("Pendulum-v1")
    told = gymnasium.spaces.Sequence(gymnasium.spaces.Discrete(3))
    spaces = {"action_space": gymnasium.spaces.Discrete(2), "observation_space": told}
    monkeypatch.setattr(gymnasium, "make", lambda name: SimpleNamespace(**spaces, close=lambda: None))
    with pytest.raises(ValueError, match=r"Told-v0: observations must have a fixed number of entries; got Sequence\("):
        Gym("Told-v0")


def test_a_misspelt_option_a_truth_value_and_an_unknown_render_mode_are_refused(env):
    for wrong in ({"promt": 2}, {"prompt": 0, "promt": 2}):
        with pytest.raises(ValueError, match=r"^reset knows no option 'promt'; the options are: prompt, prefix$"):
            env.reset(options=wrong)
    with pytest.raises(ValueError, match=r"^prompt True does not exist: this world has prompts 0 to 3$"):
        env.reset(options={"prompt": True})
    with pytest.raises(ValueError, match=r"each a word, 0 to 9; got \[True\]"):
        env.reset(options={"prompt": 0, "prefix": [True]})
    for mode in ("human", "rgb_array", ""):
        with pytest.raises(
            ValueError, match=rf"^there is no render_mode '{mode}'; it is \"ansi\", which returns the text"
        ):
            environments.make("phrases", mode)
    written, _ = env.reset(options={"prompt": np.int64(0), "prefix": np.array([0, 2])})
    assert written.tolist() == [*phrase_world.PROMPTS[0], 0, 2, 11, 11, 11]


def test_an_episode_has_to_begin_before_it_goes_on(env):
    for early in (lambda: env.step(0), env.render):
        with pytest.raises(ValueError, match=r"^no episode has begun: call reset\(\) first$"):
            early()
    env.reset(options={"prompt": 0})
    assert env.render() == "is tea hot > "


def test_a_name_comes_with_settings():
    safe, rng = Gym("FrozenLake-v1", is_slippery=False), np.random.default_rng(5)
    play = rollout(safe, lambda seen, rng: np.full(seen.shape[:-1], 2), (4,), 4, rng)
    assert play.observation.argmax(-1).T.tolist() == [[0, 1, 2, 3]] * 4
    assert Gym("FrozenLake-v1", map_name="8x8").observations == 64


def test_an_environment_object_is_played_in_copies_as_its_name_is():
    env = gymnasium.make("CartPole-v1")
    by_name, by_object = (
        rollout(world, anything(2), (2, 3), 500, np.random.default_rng(6)) for world in (Gym("CartPole-v1"), Gym(env))
    )
    for one, other in zip(by_name, by_object, strict=True):
        assert (one == other).all()
    assert env.unwrapped.state is None  # the object itself was never played
    text = Gym(environments.make("coin"))
    play = rollout(text, anything(2), (5,), 3, np.random.default_rng(7))
    assert (play.returns == np.log(np.where(play.action[0] == 1, coin.PEOPLE, 1 - coin.PEOPLE))).all()
    own = Gym(gymnasium.wrappers.TimeLimit(Corridor(), 2))  # of no name
    assert rollout(own, lambda seen, rng: np.array([1, 1]), (2,), 9, np.random.default_rng(0)).alive.shape == (2, 2)


def test_an_object_takes_no_settings_and_has_to_be_copied():
    with pytest.raises(ValueError, match=r"^map_name: an environment that is made already takes no settings$"):
        Gym(environments.make("coin"), map_name="8x8")
    stuck = environments.make("coin")
    stuck.handle = (n for n in range(3))
    with pytest.raises(
        ValueError, match=r"cannot be copied \(.*generator.*\): register it, and pass its name and setting"
    ):
        Gym(stuck)


def named(game):
    return f"rlhf_lab.worlds.environments:rlhf_lab/{game}-v0"


@pytest.mark.parametrize("game", environments.GAMES)
def test_gymnasium_finds_nothing_wrong_with_a_dialogue(game):
    check_env(gymnasium.make(named(game), render_mode="ansi").unwrapped)


def talk(env, choose, seed):
    seen, _ = env.reset(seed=seed)
    paid, over = [], False
    while not over:
        seen, reward, done, cut, info = env.step(choose(seen))
        over = done or cut
        paid.append(reward)
    return sum(paid), info["success"], cut, len(paid)


def random_agent(env, rng):
    return lambda seen: env.action_space.sample()


def language_model_agent(env, rng):
    """Says a line with the probability that a small network gives it, word by word, after the reply."""
    game = env.unwrapped.game
    words = sorted({word for said in (*game.lines, *game.replies) for word in said.split()})
    model = Recurrent(len(words) + 1, 8, len(words))
    params = model.init(rng)
    length = max(len(said.split()) for said in (*game.lines, *game.replies)) + 1

    def tokens(said):
        return np.array([[*map(words.index, said.split())] + [model.eos] * (length - len(said.split()))])

    lines = np.concatenate([tokens(line) for line in game.lines])

    def choose(seen):
        log_p = lm.log_prob(model, params, np.repeat(tokens(seen), len(lines), axis=0), lines)
        return game.lines[rng.choice(len(lines), p=np.exp(log_p) / np.exp(log_p).sum())]

    return choose


@pytest.mark.parametrize("game", environments.GAMES)
@pytest.mark.parametrize("agent", [random_agent, language_model_agent])
def test_agents_play_dialogues(game, agent):
    env, rng = gymnasium.make(named(game)), np.random.default_rng(0)
    env.action_space.seed(1)
    choose = agent(env, rng)
    found = [talk(env, choose, 100 if k == 0 else None) for k in range(40)]
    horizon = env.unwrapped.game.horizon
    for earned, success, cut, length in found:
        assert length <= horizon
        assert not (cut and success)
        assert not cut or length == horizon
        assert earned == -length if game != "Haggling" else (earned > 0) == success
    assert len({length for *_, length in found}) > 1


@pytest.mark.parametrize("game", environments.GAMES)
def test_dialogues_run_side_by_side(game):
    envs = gymnasium.make_vec(named(game), num_envs=3, vectorization_mode="sync")
    seen, _ = envs.reset(seed=0)
    assert len(seen) == 3
    envs.action_space.seed(0)
    for _ in range(10):
        seen, reward, done, cut, _ = envs.step(envs.action_space.sample())
        assert all(said in envs.single_observation_space.lines for said in seen)
        assert reward.shape == done.shape == cut.shape == (3,)
    envs.close()


def test_the_solution_earns_in_play_what_it_is_worth():
    env = gymnasium.make(named("Haggling"), buyers=("stingy",))
    game = env.unwrapped.game
    nodes = dialogues.tree(game)
    policy = dialogues.best(dialogues.solve(nodes, game.reward))

    def play(seed):
        env.reset(seed=seed)
        at, total = 0, 0.0
        for t in range(game.horizon):
            line = int(policy[t][at].argmax())
            reply, reward, done, cut, _ = env.step(game.lines[line])
            total += reward
            if done or cut:
                return total
            at = nodes.child[t][at, line, game.replies.index(reply)]

    env.reset(seed=7)
    earned = np.array([play(7 if k == 0 else None) for k in range(1500)])
    error = earned.std(ddof=1) / len(earned) ** 0.5
    assert abs(earned.mean() - dialogues.evaluate(nodes, policy, game.reward)) < 4 * error


def test_a_dialogue_can_be_held_with_a_secret_of_choice():
    env = environments.dialogue("TwentyQuestions", "ansi", things=4)
    assert env.reset(options={"secret": 2}) == ("think of something", {"success": False})
    assert env.step("is it the moss") == ("no", -1.0, False, False, {"success": False})
    assert env.step("is it larger than you") == ("yes", -1.0, False, False, {"success": False})
    assert env.step("is it the oak") == ("yes, that is it", -1.0, True, False, {"success": True})
    said = (
        "think of something",
        "is it the moss",
        "no",
        "is it larger than you",
        "yes",
        "is it the oak",
        "yes, that is it",
    )
    assert env.render() == "\n".join(said)
    assert environments.dialogue("TwentyQuestions").render() is None
    env.reset(options={"secret": 0})
    played = [env.step("is it the cat") for _ in range(4)]
    assert [cut for *_, cut, _ in played] == [False, False, False, True]
    with pytest.raises(ValueError, match=r"^the dialogue is over, or has not begun: call reset\(\) to start another$"):
        env.step("is it the cat")


def test_bad_input_of_dialogues_is_told():
    with pytest.raises(
        ValueError, match=r"^there is no game 'Chess'; the games are: TwentyQuestions, GuessWord, Maze, Hag"
    ):
        environments.dialogue("Chess")
    env = environments.dialogue("Haggling", buyers=("stingy",))
    with pytest.raises(ValueError, match=r"^the dialogue is over, or has not begun"):
        env.step("i ask 90")
    with pytest.raises(ValueError, match=r"^secret -1 cannot be drawn: the game begins with one of \[0, 3, 7\]$"):
        env.reset(options={"secret": -1})
    with pytest.raises(ValueError, match=r"^secret 1 cannot be drawn"):
        env.reset(options={"secret": 1})
    env.reset()
    with pytest.raises(
        ValueError, match=r"^'i ask 95' is outside the language of this game; its lines are: i ask 100, i"
    ):
        env.step("i ask 95")
    with pytest.raises(ValueError, match=r"^there is no buyer 'generous'"):
        gymnasium.make(named("Haggling"), buyers=("generous",))


def test_a_space_of_lines_holds_these_lines_only():
    space = environments.Lines(("yes", "no", "no, goodbye"))
    space.seed(0)
    assert {space.sample() for _ in range(50)} == {"yes", "no", "no, goodbye"}
    assert "no" in space
    assert "so" not in space
    assert (space.min_length, space.max_length) == (0, 11)
    assert space.character_set == frozenset("yesno, goodbye")
