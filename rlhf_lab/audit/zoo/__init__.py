"""The bug zoo: real mistakes, each a small change of a right function of the same signature."""

from rlhf_lab.audit.zoo import (
    advantages,
    charges,
    critics,
    grpo,
    kl,
    loops,
    margins,
    pairs,
    policies,
    returns,
    rewards,
    squares,
    texts,
    tokens,
)
from rlhf_lab.audit.zoo.bug import Bug

ZOO: tuple[Bug, ...] = (
    *pairs.BUGS,
    *tokens.BUGS,
    *policies.BUGS,
    *grpo.BUGS,
    *returns.BUGS,
    *charges.BUGS,
    *loops.BUGS,
    *margins.BUGS,
    *squares.BUGS,
    *rewards.BUGS,
    *texts.BUGS,
    *kl.BUGS,
    *critics.BUGS,
    *advantages.BUGS,
)

__all__ = ["ZOO", "Bug"]
