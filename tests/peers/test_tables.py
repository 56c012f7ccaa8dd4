"""Files survive a pass through pandas, pyarrow and Hugging Face datasets, and what those write is read."""

import importlib

import numpy as np
import pytest

from rlhf_lab.feedback import demonstrations, preference_files, preferences
from rlhf_lab.leaderboard import comparisons
from rlhf_lab.worlds.phrase_world import EOS, VOCAB, decode, encode

pytestmark = pytest.mark.peer
pandas = pytest.importorskip("pandas")
pyarrow = pytest.importorskip("pyarrow")
PAIRS = [("1", "2", None), ("2", "1", "yes"), ("1", "3", None), ("3", "2", None)]


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("datasets")
    return importlib.import_module("datasets")


def data():
    prompt = [encode("is tea hot"), [EOS, *encode("is tea")], [EOS, EOS, *encode("it")]]
    answers = [[encode(text, 5) for text in texts] for texts in (("yes", "it is hot", ""), ("no", "it is cold", "no"))]
    return preferences.Preferences(np.array(prompt), *map(np.array, answers), VOCAB, np.array([False, True, False]))


def same(one, other):
    assert all(map(np.array_equal, one.columns, other.columns))


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("implicit", [False, True])
def test_preferences_survive_datasets(tmp_path, datasets, chat, implicit):
    preference_files.write(tmp_path / "p.jsonl", data(), decode, chat=chat, implicit=implicit, pad=EOS)
    table = datasets.load_dataset("json", data_files=str(tmp_path / "p.jsonl"), split="train", cache_dir=str(tmp_path))
    table.to_json(tmp_path / "again.jsonl")
    prompts = ("is tea hot", "is tea", "it")
    same(preference_files.read(tmp_path / "again.jsonl", encode, 5, VOCAB, pad=EOS, prompts=prompts), data())


@pytest.mark.parametrize(
    "options", [{"orient": "records", "lines": True}, {"orient": "records"}, {"orient": "records", "indent": 1}]
)
def test_preferences_survive_pandas(tmp_path, options):
    preference_files.write(tmp_path / "p.jsonl", data(), decode, pad=EOS)
    pandas.read_json(tmp_path / "p.jsonl", lines=True).to_json(tmp_path / "again.json", **options)
    same(preference_files.read(tmp_path / "again.json", encode, 5, VOCAB, pad=EOS), data())


def table():
    """Ids that became floats, as they do where some row has none."""
    frame = pandas.DataFrame(PAIRS, columns=["winner", "loser", "tie"])
    return frame.assign(winner=frame.winner.astype(int), loser=frame.loser.astype(float))


def right(read):
    assert read.items == ("1", "2", "3")
    assert (read.winner.tolist(), read.loser.tolist()) == ([0, 1, 0, 2], [1, 0, 2, 1])
    assert read.tie.tolist() == [False, True, False, False]
    assert read.annotator is None


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("c.csv", lambda frame, path: frame.to_csv(path)),
        ("c.csv", lambda frame, path: frame.to_csv(path, index=False, sep=";", na_rep="NaN")),
        ("c.csv.gz", lambda frame, path: frame.to_csv(path, index=False)),
        ("c.tsv", lambda frame, path: frame.to_csv(path, sep="\t", encoding="utf-8-sig", lineterminator="\r\n")),
        ("c.jsonl", lambda frame, path: frame.to_json(path, orient="records", lines=True)),
        ("c.jsonl.gz", lambda frame, path: frame.to_json(path, orient="records", lines=True)),
        ("c.json", lambda frame, path: frame.to_json(path, orient="records", indent=2)),
        ("c.parquet", lambda frame, path: frame.to_parquet(path)),
        ("c.parquet", lambda frame, path: frame.set_index("winner").to_parquet(path)),
    ],
)
def test_comparisons_of_pandas_are_read(tmp_path, name, write):
    write(table(), tmp_path / name)
    right(comparisons.read(tmp_path / name))


def test_truth_values_of_a_data_frame_are_ties(tmp_path):
    table().assign(tie=[0.0, 1.0, np.nan, 0.0]).to_csv(tmp_path / "c.csv", index=False)
    right(comparisons.read(tmp_path / "c.csv"))
    table().assign(tie=[False, True, False, False]).to_parquet(tmp_path / "c.parquet")
    right(comparisons.read(tmp_path / "c.parquet"))


@pytest.mark.parametrize("orient", ["columns", "index", "split", "values"])
def test_other_forms_of_pandas_are_refused_in_words(tmp_path, orient):
    table().to_json(tmp_path / "c.json", orient=orient)
    with pytest.raises(ValueError, match=r"c\.json cannot be read:\n  line 1: "):
        comparisons.read(tmp_path / "c.json")


def test_damaged_parquet_is_told(tmp_path):
    table().to_parquet(tmp_path / "c.parquet")
    whole = (tmp_path / "c.parquet").read_bytes()
    (tmp_path / "c.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="it is not a whole parquet file"):
        comparisons.read(tmp_path / "c.parquet")
    table().rename(columns={"loser": "other"}).to_parquet(tmp_path / "d.parquet")
    with pytest.raises(ValueError, match="line 1: the loser is missing; the columns are 'winner', 'other', 'tie'"):
        comparisons.read(tmp_path / "d.parquet")


def test_folders_of_the_package_imitation_are_read(tmp_path, datasets):
    """It stores one episode a row, with one observation more than actions."""
    obs = [np.arange(8.0).reshape(4, 2), 10 + np.arange(6.0).reshape(3, 2)]
    rows = {"obs": [one.tolist() for one in obs], "acts": [[0, 1, 1], [1, 0]], "infos": [["{}"] * 3, ["{}"] * 2]}
    datasets.Dataset.from_dict(rows | {"terminal": [True, False]}).save_to_disk(str(tmp_path / "rollouts"))
    shown = demonstrations.load(tmp_path / "rollouts", actions=2)
    assert shown.observation.tolist() == [[0, 1], [2, 3], [4, 5], [10, 11], [12, 13]]
    assert (shown.action.tolist(), shown.episode.tolist()) == ([0, 1, 1, 1, 0], [0, 0, 0, 1, 1])
    datasets.Dataset.from_dict({"other": [1]}).save_to_disk(str(tmp_path / "other"))
    with pytest.raises(ValueError, match="is no folder of demonstrations of the package imitation"):
        demonstrations.load(tmp_path / "other", actions=2)
