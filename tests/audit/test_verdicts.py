"""What is told of a function that is not recognised: the layout in which it breaks least, and the bug that it has."""

import numpy as np

from rlhf_lab import audit
from rlhf_lab.audit.zoo import ZOO


def test_an_unknown_bug_is_told_in_the_layout_in_which_it_breaks_least():
    def swept(rewards, values, dones, next_value, next_done, gamma, gae_lambda):
        found, later = np.zeros_like(rewards), 0
        for t in reversed(range(len(rewards))):
            final = t == len(rewards) - 1
            live = 1.0 - (next_done if final else dones[t + 1])
            after = next_value if final else values[t + 1]
            later = 1.1 * rewards[t] + gamma * after * live - values[t] + gamma * gae_lambda * live * later
            found[t] = later
        return found

    report = audit.gae(swept)
    assert not report.ok
    told = "time comes first, (T, N); flags mark the first step of an episode, and what comes after the last one"
    assert report.conventions == (told,)
    assert report.identities["rows have nothing to do with each other"] == "holds"


def test_a_function_that_is_not_recognised_is_told_of_the_bug_whose_identity_it_breaks():
    report = audit.value_loss(lambda values, returns, mask: np.mean(np.abs(values - returns) ** 1.5))
    bug = next(bug for bug in ZOO if bug.name == "critic fitted on padding")
    assert (report.ok, report.verdict, report.told, report.where) == (False, bug.name, bug.told, bug.where)
    assert report.identities["padding changes nothing"].startswith("BROKEN")
