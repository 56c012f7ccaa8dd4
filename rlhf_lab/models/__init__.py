"""Models and what one can ask them: language models, critics, small policies, and the exact best one.

Nothing here is trained, and nothing here knows where a reward comes from.
"""
