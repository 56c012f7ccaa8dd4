"""What the peers agree on, to which precision: the fixture `agree`, and `--rosetta`, which stores it for the book."""

import json
import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

BOOK = Path(__file__).parents[2] / "book"
ROWS = tomllib.loads((BOOK / "rosetta.toml").read_text(encoding="utf-8"))["row"]
PINNED = ("trl", "torch", "stable-baselines3", "jax")
LARGEST = pytest.StashKey[dict]()


def pytest_addoption(parser):
    parser.addoption("--rosetta", action="store_true", help="store in book/rosetta.json what the peers agree on")


def pytest_configure(config):
    config.stash[LARGEST] = {}


@pytest.fixture
def agree(request):
    """Assert that two arrays are equal, in units of the largest number, or of 1 if none is larger, and remember the
    largest difference for a row of `book/rosetta.toml`.

    Two ways to the same number in double precision differ by some roundings, of 1.1e-16 each; a thousand of them are
    1e-13. Where a peer works in single precision, a test says so with a larger `within`.
    """
    largest = request.config.stash[LARGEST]

    def compare(row, found, expected, within=1e-13):
        assert row in ROWS
        found, expected = (np.asarray(array, dtype=float) for array in (found, expected))
        assert found.shape == expected.shape
        difference = np.max(np.abs(found - expected)) / max(1.0, np.max(np.abs(expected)))
        assert difference <= within
        largest[row] = max(largest.get(row, 0.0), float(difference))

    return compare


def pytest_sessionfinish(session, exitstatus):
    if not session.config.getoption("--rosetta") or exitstatus:
        return
    largest = session.config.stash[LARGEST]
    missing = sorted(set(ROWS) - set(largest))
    if missing:
        raise pytest.UsageError(f"no test has measured {', '.join(missing)}: run all of tests/peers")
    stored = {
        "versions": {name: version(name).split("+")[0] for name in PINNED},
        "largest difference": {row: float(f"{largest[row]:.0e}") for row in ROWS},
    }
    (BOOK / "rosetta.json").write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
