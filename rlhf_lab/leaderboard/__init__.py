"""A tool: items ranked from comparisons that are found in files, with intervals.

It knows no language models; reward models that are learned from comparisons stand in `feedback`.
"""
