"""The bug zoo: real mistakes, each a small change of a right function of the same signature."""

from rlhf_lab.audit.zoo import advantages, kl, loops, pairs, policies, returns, rewards, tokens
from rlhf_lab.audit.zoo.bug import Bug

ZOO: tuple[Bug, ...] = (
    *pairs.BUGS,
    *tokens.BUGS,
    *policies.BUGS,
    *kl.BUGS,
    *returns.BUGS,
    *rewards.BUGS,
    *advantages.BUGS,
    *loops.BUGS,
)

__all__ = ["ZOO", "Bug"]
