"""Learning from human feedback, with an answer key: the companion package of the RLHF Lab book.

The rooms, from the ground up; each uses only those before it, and the last three stand side by side.

    numerics    models    worlds    feedback    methods    check | experiments | leaderboard
"""

__version__ = "0.1.0"
