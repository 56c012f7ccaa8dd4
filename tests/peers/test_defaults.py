"""The defaults of TRL that the page "In the wild" tells, and what the trainers do unasked."""

import tomllib
from dataclasses import MISSING
from pathlib import Path

import numpy as np
import pytest
import trl
from trl.rewards import get_soft_overlong_punishment

from rlhf_lab.methods import group_losses

pytestmark = pytest.mark.peer
WORDS = tomllib.loads((Path(__file__).parents[2] / "book/rosetta.toml").read_text(encoding="utf-8"))
CONFIGS = [name for name in WORDS["default"] if name != "every"]


def default(config, argument):
    field = getattr(trl, config).__dataclass_fields__[argument]
    return field.default if field.default is not MISSING else field.default_factory()


@pytest.mark.parametrize("name", WORDS["default"])
def test_every_default_is_told_as_it_is(name):
    for argument, (value, _) in WORDS["default"][name].items():
        for config in CONFIGS if name == "every" else [name]:
            found = default(config, argument)
            assert (str(found) if found is None else found) == value, (config, argument)


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing. is deprecated:FutureWarning")
@pytest.mark.parametrize("config", CONFIGS)
def test_half_precision_unless_told(config, tmp_path):
    assert getattr(trl, config)(output_dir=str(tmp_path), use_cpu=True).bf16 is True


@pytest.mark.parametrize("buffer", [3, 8])
def test_the_price_of_length(agree, buffer):
    lengths = np.arange(1, 11)
    theirs = get_soft_overlong_punishment(8, buffer)(completion_ids=[[0] * n for n in lengths])
    agree("overlong", group_losses.overlong_penalty(lengths, 8, buffer), theirs)
