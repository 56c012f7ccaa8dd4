"""Learning from human feedback, with an answer key: the companion package of the RLHF Lab book."""

import gymnasium

gymnasium.register("rlhf_lab/Phrases-v0", entry_point="rlhf_lab.environments:make", kwargs={"world": "phrases"})
gymnasium.register("rlhf_lab/Coin-v0", entry_point="rlhf_lab.environments:make", kwargs={"world": "coin"})
