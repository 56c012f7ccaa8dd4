"""The paper on inclusive learning from human feedback, figure by figure: worlds, agents, studies, verdicts.

The method itself stands in `methods.ilhf`.
"""
