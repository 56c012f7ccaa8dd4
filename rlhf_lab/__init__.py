"""Learning from human feedback, with an answer key: the companion package of the RLHF Lab book."""
