"""The command: what it prints, its exit codes, and how it tells what cannot be imported."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

import rlhf_lab.__main__
from rlhf_lab import audit
from rlhf_lab.audit.__main__ import imported, main
from rlhf_lab.audit.binding import Trouble

SOURCE = """
from rlhf_lab.audit.zoo import pairs
import neighbour

right = pairs.dpo_loss
wrong = pairs.beta_twice
number = neighbour.NUMBER


def inside(policy_chosen, policy_rejected, reference_chosen, reference_rejected):
    return pairs.dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, 0.3)


class Losses:
    right = staticmethod(pairs.dpo_loss)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "losses.py").write_text(SOURCE)
    (tmp_path / "neighbour.py").write_text("NUMBER = 0.3")
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "leaves.py").write_text("import sys; sys.exit(3)")
    (tmp_path / "garbled.py").write_text("def f(:")
    (tmp_path / "empty.py").write_text("")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("losses", "neighbour", "empty"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("where", ["losses:right", "losses.py:right", "{}/losses.py:right", "losses:Losses.right"])
def test_a_right_function_is_0(folder, capsys, where):
    assert main(["dpo_loss", where.format(folder)]) == 0
    told, nothing = capsys.readouterr()
    assert told.startswith("dpo_loss(dpo_loss): right\n")
    assert nothing == ""
    assert str(folder) not in sys.path


def test_a_wrong_function_is_1_and_told(folder, capsys):
    assert main(["dpo_loss", "losses.py:wrong"]) == 1
    assert capsys.readouterr().out == f"{audit.dpo_loss(imported('losses.py:wrong'))}\n"


def test_the_report_is_json_for_programs(folder, capsys):
    assert main(["dpo_loss", "losses.py:wrong", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report == audit.dpo_loss(imported("losses.py:wrong")).as_dict() | {
        name: report[name] for name in ("conventions", "clues")
    }
    assert report["verdict"] == "beta twice"
    assert report["ok"] is False


def test_the_options_of_an_audit_are_options_of_the_command(folder, capsys):
    assert main(["dpo_loss", "losses:inside", "--beta", "0.3"]) == 0
    assert main(["dpo_loss", "losses:inside", "--beta", "0.2"]) == 1
    capsys.readouterr()
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["dpo_loss", "losses:inside", "--beta", "large"])
    assert "argument --beta: invalid float value: 'large'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("losses", "name a function as module:function or path/to/file.py:function; got 'losses'"),
        (":right", "name a function as"),
        ("losses.py:", "name a function as"),
        ("nowhere.py:f", "there is no file nowhere.py"),
        ("nowhere:f", "nowhere cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("broken.py:f", "broken.py cannot be imported: ZeroDivisionError: division by zero"),
        ("leaves:f", "leaves cannot be imported: SystemExit: 3"),
        ("garbled.py:f", "garbled.py cannot be imported: SyntaxError"),
        ("losses.py:rihgt", "losses.py has no rihgt; it has right, wrong, inside, Losses"),
        ("empty.py:f", "empty.py has no f; it has no function"),
        ("losses.py:Losses.left", "losses.py has no Losses.left; it has right"),
        ("losses.py:number", "losses.py:number is no function but float"),
    ],
)
def test_what_cannot_be_audited_is_1_and_told_in_words(folder, capsys, where, told):
    assert main(["dpo_loss", where]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"dpo_loss({where}): not audited\n  {told}")
    assert "Traceback" not in out + err
    assert main(["dpo_loss", where, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["told"].startswith(told)
    assert report["ok"] is False


def test_an_option_of_words_is_read_as_words(folder, capsys):
    grpo = "from rlhf_lab.audit.zoo.grpo import grpo_loss"
    (folder / "group.py").write_text(grpo)
    assert main(["grpo_loss", "group.py:grpo_loss", "--aggregation", "sequence"]) == 0
    assert main(["grpo_loss", "group.py:grpo_loss", "--aggregation", "token"]) == 1
    assert "another aggregation" in capsys.readouterr().out


def test_the_last_colon_parts_file_and_function(folder):
    (folder / "c:").mkdir()
    (folder / "c:" / "losses.py").write_text("def right():\n    return 4")
    assert imported("c:/losses.py:right")() == 4


def test_functions_that_a_module_has_are_named_eight_at_most_and_none_of_its_own(folder):
    (folder / "many.py").write_text("def _own(): ...\n" + "".join(f"def f{k}(): ...\n" for k in range(10)))
    with pytest.raises(Trouble, match=r"it has f0, f1, f2, f3, f4, f5, f6, f7$"):
        imported("many.py:f10")


def test_an_interrupt_is_no_trouble_of_a_module(folder):
    (folder / "stopped.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        imported("stopped.py:f")
    assert str(folder) not in sys.path
    with pytest.raises(Trouble):
        imported("broken.py:f")
    assert str(folder) not in sys.path


@pytest.mark.parametrize("name", audit.AUDITS)
def test_every_audit_says_what_it_takes(name, capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main([name, "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert told.startswith(f"usage: python -m rlhf_lab.audit {name} [-h] [--json]")
    assert "module:function, or path/to/file.py:function" in told


def test_audits_are_listed_with_a_line_each(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    told = capsys.readouterr().out
    assert "The exit code is 0 if nothing is, else 1." in told
    assert all(f"\n    {name}" in told for name in audit.AUDITS)
    for nothing in ([], ["no_loss", "losses:right"]):
        with pytest.raises(SystemExit, match=r"^2$"):
            main(nothing)


def test_it_is_a_command_of_the_package(folder):
    command = [sys.executable, "-m", "rlhf_lab", "audit", "dpo_loss", "losses.py:wrong"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=None)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("dpo_loss(beta_twice): beta twice\n")
    assert rlhf_lab.__main__.main(["audit", "dpo_loss", "losses.py:right"]) == 0


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("dpo_loss", "beta"),
        ("ipo_loss", "tau"),
        ("token_rewards", "beta"),
        ("ppo_loss", "clip_range"),
        ("grpo_loss", "clip_range"),
        ("grpo_loss", "beta"),
        ("value_loss", "clip_range"),
    ],
)
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "0.1"])
def test_a_weight_is_a_finite_number_above_0(name, option, value):
    with pytest.raises(ValueError, match=f"^{option} must be a finite number above 0; got {value!r}$"):
        audit.AUDITS[name](lambda *inputs: inputs[0], **{option: value})


def test_a_wrong_option_is_2_and_told_in_words(folder, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["dpo_loss", "losses.py:right", "--beta", "nan"])
    assert "beta must be a finite number above 0; got nan" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such timer on this system")
@pytest.mark.parametrize("where", ["waits.py:right", "losses.py:ends"])
def test_what_never_ends_is_told(folder, capsys, monkeypatch, where):
    monkeypatch.setattr("rlhf_lab.audit.__main__.PATIENCE", 0.3)
    (folder / "waits.py").write_text("while True:\n    pass")
    (folder / "losses.py").write_text("def ends(a, b, c, d, beta):\n    while True:\n        pass")
    before = signal.getsignal(signal.SIGALRM)
    assert main(["dpo_loss", where]) == 1
    assert "There is no answer after 0.3 s" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_without_a_timer_it_is_as_patient_as_its_user(folder, monkeypatch):
    monkeypatch.delattr(signal, "setitimer", raising=False)
    assert main(["dpo_loss", "losses.py:right"]) == 0


def test_a_weight_may_be_a_number_of_numpy():
    assert audit.dpo_loss(lambda a, b, c, d: np.logaddexp(0, -0.5 * (a - b - c + d)), beta=np.float32(0.5))
