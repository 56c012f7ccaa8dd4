"""Tell people what is wrong with their loss: `print(audit.dpo_loss(my_function))`.

Each audit calls a function with small inputs, tries identities that hold for every right function, and knows the bugs
of the zoo by their fingerprints. Functions may be written for arrays of NumPy (with autograd or without), PyTorch or
JAX. Sum or mean, the sign, a constant factor and the like are conventions: they are told, and are no bugs.
"""

from rlhf_lab.audit.contracts import Report
from rlhf_lab.audit.pairs import dpo_loss, ipo_loss, reward_model_loss

AUDITS = {function.__name__: function for function in (dpo_loss, ipo_loss, reward_model_loss)}

__all__ = ["AUDITS", "Report", "dpo_loss", "ipo_loss", "reward_model_loss"]
