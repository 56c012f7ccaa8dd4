"""Tell people what is wrong with their loss: `print(audit.dpo_loss(my_function))`.

Each audit calls a function with small inputs, tries identities that hold for every right function, and knows the bugs
of the zoo by their fingerprints. Functions may be written for arrays of NumPy (with autograd or without), PyTorch or
JAX. Sum or mean, the sign, a constant factor and the like are conventions: they are told, and are no bugs.
"""

from rlhf_lab.audit.charges import token_rewards
from rlhf_lab.audit.critics import value_loss
from rlhf_lab.audit.dril import dril_cost
from rlhf_lab.audit.groups import advantages
from rlhf_lab.audit.grpo import grpo_loss
from rlhf_lab.audit.kl import kl_estimate
from rlhf_lab.audit.loops import bootstrap_weights, dagger_labels, worker_rngs
from rlhf_lab.audit.pairs import dpo_loss, ipo_loss
from rlhf_lab.audit.ppo import ppo_loss
from rlhf_lab.audit.report import Report
from rlhf_lab.audit.rewards import reward_model_loss
from rlhf_lab.audit.tokens import log_probs, sft_loss
from rlhf_lab.audit.trajectories import gae
from rlhf_lab.audit.whitening import whiten

AUDITS = {
    function.__name__: function
    for function in (
        dpo_loss,
        ipo_loss,
        reward_model_loss,
        log_probs,
        sft_loss,
        ppo_loss,
        grpo_loss,
        kl_estimate,
        gae,
        advantages,
        value_loss,
        whiten,
        token_rewards,
        bootstrap_weights,
        worker_rngs,
        dagger_labels,
        dril_cost,
    )
}

__all__ = ["AUDITS", "Report", *AUDITS]
