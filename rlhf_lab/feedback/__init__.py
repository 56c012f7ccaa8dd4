"""What people say, as data and as files, and what is fitted to it: annotators, comparisons, demonstrations, rewards.

Policies that learn from it stand in `methods`.
"""
