"""The command line does what the package does, and refuses before it begins."""

import csv
import gzip
import io
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from compared import TEXT

import rlhf_lab
from rlhf_lab.__main__ import COMMANDS, main
from rlhf_lab.leaderboard import __main__ as rank
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


ARENA = "model_a,model_b,winner,judge\na,b,model_a,x\nb,a,model_a,x\na,b,tie,y\nc,a,model_b,y\na,c,model_b,x\n"


def bytes_in(data):
    return SimpleNamespace(buffer=io.BytesIO(data))


def test_comparisons_are_read_from_the_standard_input_and_written_to_the_standard_output(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", bytes_in(gzip.compress(ARENA.encode())))
    assert main(["rank", "-", "--csv", "-", "--scale", "elo", "--anchor", "a=1000", "--sandwich"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    rows = list(csv.DictReader(out.splitlines()))
    assert {row["item"] for row in rows} == {"a", "b", "c"}
    assert next(row for row in rows if row["item"] == "a")["strength"] == "1000.000000"
    assert "robust_low" in rows[0]


def test_options_name_columns_and_leave_lines_and_items_out(tmp_path, capsys):
    path, who = tmp_path / "c.tsv", tmp_path / "who.csv"
    rows = "l r choice k mind n/a b a 2 x 1/b a right 1 x 1/b a left 1 y 1/a c left 1 x 1/c c left 1 x 1"
    path.write_text(rows.replace(" ", "\t").replace("/", "\n"))
    options = ["--sides", "l", "r", "--winner", "choice", "--count", "k", "--annotator", "mind", "--ignore", "n"]
    options += ["--skip-bad", "--min-comparisons", "2", "--annotators", str(who)]
    assert main(["rank", str(path), *options]) == 0
    out, err = capsys.readouterr()
    assert err == "left out:\n  line 6: 'c' is compared with itself\n"
    assert [line.split()[1] for line in out.splitlines()[1:3]] == ["a", "b"]
    assert "Left out: 1 line that cannot be read." in out
    assert "Left out, with fewer than 2 comparisons among the others: c." in out
    assert who.read_text().splitlines()[0] == "name,comparisons,agreement,expected"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--csv", "/dev/null", "--overwrite"],
            "/dev/null is no file that could be replaced; --csv - writes to the st",
        ),
        (["--figure", "-"], "only --csv can go to the standard output; name a file"),
        (["--annotators", "-"], "only --csv can go to the standard output; name a file"),
        (["--annotators", "{}/who.csv"], None),
        (["--anchor", "a"], "an anchor is an item and where it stands, NAME=NUMBER; got 'a'"),
        (["--anchor", "q=1"], "the anchor 'q' is not among the items: a, b, c"),
        (["--winner", "best"], "there is no column 'best' for the winner; the columns are 'winner', 'loser', 'tie', "),
        (["--min-comparisons", "99"], "no item has 99 comparisons with others that have as many; ask for fewer"),
    ],
)
def test_what_options_ask_for_is_done_or_refused(source, tmp_path, capsys, options, message):
    code = main(["rank", str(source), *(option.format(tmp_path) for option in options)])
    err = capsys.readouterr().err
    assert (code, err) == (0, "") if message is None else (code == 2 and message in err)


def test_a_table_of_annotators_needs_annotators(source, tmp_path, capsys):
    source.write_text("winner,loser\na,b\nb,a\n", encoding="utf-8")
    assert main(["rank", str(source), "--annotators", str(tmp_path / "who.csv")]) == 2
    assert "the comparisons have no column annotator; name it with --annotator" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["c.csv"]


def test_who_reads_only_the_beginning_of_the_output_sees_no_traceback(source):
    command = f"{sys.executable} -m rlhf_lab rank {source} | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_no_traceback_is_shown(source, monkeypatch, capsys, error):
    def stop(*arguments, **options):
        raise error

    monkeypatch.setattr(comparisons, "read", stop)
    assert main(["rank", str(source)]) == {KeyboardInterrupt: 130, MemoryError: 2}[error]
    told = capsys.readouterr().err
    assert told in (
        "\nstopped; nothing was written\n",
        "error: the comparisons do not fit into memory; rank fewer at once\n",
    )


def test_a_folder_that_cannot_be_written_to_is_told_before_the_input_is_read(tmp_path, monkeypatch, capsys):
    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(rank, "TemporaryFile", refuse)
    assert main(["rank", str(tmp_path / "missing.csv"), "--csv", str(tmp_path / "out.csv")]) == 2
    told = f"error: nothing can be written to the folder {tmp_path} (Permission denied); name another\n"
    assert capsys.readouterr().err == told
