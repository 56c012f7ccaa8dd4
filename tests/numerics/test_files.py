"""Results are written whole, read back unchanged, and refused when they cannot be trusted."""

import json

import numpy as np
import pytest

from rlhf_lab.numerics import files


def test_what_is_saved_is_loaded(tmp_path):
    path = tmp_path / "r.json"
    files.save(path, {"ratio": np.array([1.5, 2.0]), "n": np.int64(3), "name": "süß", "nested": {"x": [1, None]}})
    assert files.load(path) == {"ratio": [1.5, 2.0], "n": 3, "name": "süß", "nested": {"x": [1, None]}}
    assert json.loads(path.read_text(encoding="utf-8"))["format"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_nothing_is_overwritten_unless_asked(tmp_path):
    path = tmp_path / "r.json"
    files.save(path, {"x": 1})
    with pytest.raises(FileExistsError, match=r"r.json is there already; pass overwrite=True to replace it$"):
        files.save(path, {"x": 2})
    assert files.load(path) == {"x": 1}
    files.save(path, {"x": 2}, overwrite=True)
    assert files.load(path) == {"x": 2}


@pytest.mark.parametrize("bad", [np.nan, np.inf, np.array([1.0, np.nan])])
def test_numbers_that_are_none_are_refused_and_the_old_file_stays(tmp_path, bad):
    path = tmp_path / "r.json"
    files.save(path, {"x": 1})
    with pytest.raises(ValueError, match=r"results for r.json were not saved: .* every number must be finite"):
        files.save(path, {"x": bad}, overwrite=True)
    assert files.load(path) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_other_things_are_refused(tmp_path):
    with pytest.raises(TypeError, match="results hold numbers, text, lists, dicts and arrays; got object"):
        files.save(tmp_path / "r.json", {"x": object()})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged: it is not JSON; delete it and run its command again"),
        ("", "is damaged: it is not JSON; delete it and run its command again$"),
        ("[1]", "has no format number, this package reads 1; delete it and run its command again$"),
        ("{}", "has no format number, this package reads 1"),
        ('{"format": 0, "results": {}}', "has format 0, this package reads 1; delete it and run its command again"),
        ('{"format": 2, "results": {}}', "has format 2, this package reads 1"),
        ('{"format": 1}', "is damaged: it holds no results; delete it and run its command again$"),
        ('{"format": 1, "results": [1]}', "is damaged: it holds no results"),
        ('{"format": 1, "results": null}', "is damaged: it holds no results"),
    ],
)
def test_damaged_and_foreign_files_are_told(tmp_path, text, message):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        files.load(path)


def test_files_are_easy_to_read_and_to_compare(tmp_path):
    files.save(tmp_path / "r.json", {"x": [1.5]})
    assert (tmp_path / "r.json").read_text() == '{\n "format": 1,\n "results": {\n  "x": [\n   1.5\n  ]\n }\n}\n'


def write_half(path, **options):
    with files.whole(path, **options) as fresh:
        fresh.write_text("half")
        raise RuntimeError("half way")


def test_a_file_is_made_where_nothing_else_stands(tmp_path):
    mine = tmp_path / "t.txt.partial"
    mine.write_text("mine")
    (tmp_path / "plain").write_text("as every file")
    with files.whole(tmp_path / "t.txt") as fresh:
        assert not fresh.exists()
        fresh.write_text("half")
        (hidden,) = {p.name for p in tmp_path.iterdir()} - {"t.txt.partial", "plain"}
        assert hidden.startswith(".")
        assert fresh.parent == tmp_path / hidden
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plain", "t.txt", "t.txt.partial"]
    assert mine.read_text() == "mine"
    assert (tmp_path / "t.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^there is no folder .*none to write t.txt to; make it first$"):
        files.write_text(tmp_path / "none" / "t.txt", "text")
    assert not list(tmp_path.iterdir())


def test_a_file_that_fails_half_way_leaves_nothing_behind(tmp_path):
    path = tmp_path / "t.txt"
    with pytest.raises(RuntimeError, match="half way"):
        write_half(path)
    assert list(tmp_path.iterdir()) == []
    files.write_text(path, "süß\n")
    assert path.read_text(encoding="utf-8") == "süß\n"
    with pytest.raises(FileExistsError, match=r"t.txt is there already; pass overwrite=True"):
        files.write_text(path, "other")
    with pytest.raises(RuntimeError, match="half way"):
        write_half(path, overwrite=True)
    with pytest.raises(FileExistsError, match=r"t.txt is there already; pass overwrite=True"):
        write_half(path)
    assert path.read_text(encoding="utf-8") == "süß\n"
    files.write_text(path, "other", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["t.txt"]
    assert path.read_text() == "other"
