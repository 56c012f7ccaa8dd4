"""The small worlds of the ledger are what they are said to be."""

import numpy as np
import pytest

from rlhf_lab.experiments.ledger import small
from rlhf_lab.worlds import token_mdp


def test_trees_are_twenty_laws_of_27_answers_with_rewards_that_agree():
    assert len(small.trees()) == 20
    for seed, tree in enumerate(small.trees()):
        assert tree.log_pi_0.shape == tree.reward.shape == (27,)
        for law in (tree.log_pi_0, small.answers(small.other(seed))):
            assert np.exp(law).sum() == pytest.approx(1)
        by_token = token_mdp.performance_by_token(tree.prior, tree.paid, small.START)
        assert by_token == pytest.approx(np.exp(tree.log_pi_0) @ tree.reward)
    assert len({float(tree.reward[0]) for tree in small.trees()}) == 20


def test_nobody_earns_more_than_the_optimum_and_the_loss_is_a_divergence():
    lost, kl = small.left_on_the_table(0.5)
    assert (lost > 0.01).all()
    assert lost == pytest.approx(kl, abs=1e-12)
