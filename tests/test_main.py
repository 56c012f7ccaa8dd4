"""The command line does what the package does, and refuses before it begins."""

import io
import os
import re
import subprocess
import sys

import pytest
from compared import TEXT

import rlhf_lab
from rlhf_lab.__main__ import COMMANDS, main
from rlhf_lab.leaderboard import comparisons
from rlhf_lab.leaderboard.board import format_table, leaderboard


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_the_command_prints_the_table_and_writes_the_files(source, tmp_path, capsys):
    files = ["--csv", str(tmp_path / "out.csv"), "--figure", str(tmp_path / "out.svg")]
    assert main(["rank", str(source), "--level", "0.9", *files]) == 0
    board = leaderboard(comparisons.read(source), 0.9)
    assert capsys.readouterr().out == format_table(board)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 4
    first = (tmp_path / "out.svg").read_bytes()
    assert main(["rank", str(source), "--level", "0.9", *files]) == 2
    assert capsys.readouterr() == (
        "",
        f"error: {tmp_path / 'out.csv'} is there already; pass --overwrite to replace it\n",
    )
    assert main(["rank", str(source), "--level", "0.9", *files, "--overwrite"]) == 0
    assert (tmp_path / "out.svg").read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.csv", "out.csv", "out.svg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--level", "95"], "level is the probability that an interval covers the strength, between 0 and 1; got 95.0"),
        (["--csv", "{}/none/out.csv"], "there is no folder .*none to write out.csv to; make it first"),
        (["--csv", "{}", "--overwrite"], "is a folder; name another file to write to"),
        (["--csv", "{}/c.csv", "--overwrite"], "c.csv is the input; name another file to write to"),
        (["--csv", "{}/o.svg", "--figure", "{}/o.svg"], "the table and the figure cannot both be .*o.svg; name two"),
        (["--figure", "{}/out.pdf"], "a figure is a file that ends in .svg or .png; got out.pdf"),
    ],
)
def test_the_command_refuses_with_one_line_and_writes_nothing(source, tmp_path, capsys, options, message):
    assert main(["rank", str(source), *(option.format(tmp_path) for option in options)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert re.search(message, err)
    assert [p.name for p in tmp_path.iterdir()] == ["c.csv"]
    assert source.read_text(encoding="utf-8") == TEXT


def test_outputs_are_checked_before_the_input_is_read(tmp_path, capsys):
    missing = str(tmp_path / "missing.csv")
    assert main(["rank", missing, "--figure", str(tmp_path / "x.gif")]) == 2
    assert "ends in .svg or .png" in capsys.readouterr().err
    assert main(["rank", missing]) == 2
    assert "missing.csv" in capsys.readouterr().err


def run(source, encoding):
    code = f"import sys; from rlhf_lab.__main__ import main; c = main(['rank', {str(source)!r}])"
    code += "; print('matplotlib' in sys.modules); sys.exit(c)"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)


def test_a_terminal_without_the_letters_gets_codes_and_no_figure_needs_no_matplotlib(source):
    source.write_text("winner,loser\n東,b\nb,東\n", encoding="utf-8")
    done = run(source, "ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u6771" in done.stdout
    assert done.stdout.split()[-1] == b"False"


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", b"\\u6771"), ("utf-8", "東".encode())])
def test_a_terminal_gets_the_letters_that_it_has(source, monkeypatch, encoding, shown):
    source.write_text("winner,loser\n東,b\nb,東\n", encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert main(["rank", str(source)]) == 0
    sys.stdout.flush()
    assert shown in sys.stdout.buffer.getvalue()


def test_a_page_without_an_encoding_gets_every_letter(source, monkeypatch):
    source.write_text("winner,loser\n東,b\nb,東\n", encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert main(["rank", str(source)]) == 0
    assert "東" in sys.stdout.getvalue()


def test_without_a_command_all_are_listed_with_a_line_each(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main([])
    told = capsys.readouterr().out
    assert told.startswith("usage: python -m rlhf_lab [-h] [--version] command ...\n")
    for name, (line, _) in COMMANDS.items():
        assert re.search(rf"^  {name} +{line}$", told, re.MULTILINE)


def test_a_wrong_command_is_told(capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["sort"])
    assert "invalid choice: 'sort' (choose from" in capsys.readouterr().err


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"{rlhf_lab.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_how_it_is_used(name, capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main([name, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: python -m rlhf_lab {name} [-h]")


def test_what_follows_the_command_is_read_from_the_command_line(source, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rlhf-lab", "rank", str(source)])
    assert main() == 0
    assert capsys.readouterr().out.startswith("rank  item  strength")


def test_the_level_is_95_percent_unless_told_otherwise(source, capsys):
    assert main(["rank", str(source)]) == 0
    assert capsys.readouterr().out == format_table(leaderboard(comparisons.read(source), 0.95))


def test_what_the_package_refuses_as_a_command_is_an_exit_code(source):
    source.write_text("winner,loser\na,a\n", encoding="utf-8")
    command = [sys.executable, "-m", "rlhf_lab", "rank", source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {source} cannot be read:\n  line 2: 'a' is compared with itself\n"
