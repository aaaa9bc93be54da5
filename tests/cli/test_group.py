from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys

import click
import pytest

from fewer import __version__
from fewer.cli import group
from fewer.cli.show import progress, result
from fewer.events import BlockDone, EvidenceProgress, LayerDone, Note, RunDone, RunStarted, StageStarted
from fewer.method import FewerError


@pytest.fixture
def failing(monkeypatch, fewer):
    """A command that raises what it is told to raise."""

    def run(error):
        @click.command("demo")
        def command():
            group.resume_with("the same command goes on")
            raise error

        monkeypatch.setattr(group._Program, "get_command", lambda self, ctx, name: command)
        return fewer("demo")

    return run


def test_without_a_command_there_is_help(fewer):
    ended = fewer()
    assert ended.code == 0 and ended.err == ""
    assert all(f"\n  {name}  " in ended.out for name in group.COMMANDS)


def test_version(fewer):
    assert fewer("--version") == (0, f"fewer {__version__}\n", "")


@pytest.mark.parametrize("name", list(group.COMMANDS))
def test_every_command_has_help_that_says_what_it_does(fewer, name):
    command = group.program.get_command(None, name)
    for inside in getattr(command, "commands", {"": None}):
        words = [name, inside] if inside else [name]
        ended = fewer(*words, "--help")
        assert ended.code == 0 and ended.out.startswith(f"Usage: fewer {' '.join(words)} ")
        assert "--json" in ended.out


def test_an_unknown_command_suggests_the_nearest(refused):
    assert refused("prnue", "demo").startswith("unknown command 'prnue'; did you mean 'prune'")


def test_an_unknown_option_suggests_the_nearest(refused):
    line = refused("prune", "demo", "--patern", "2:4")
    assert line.startswith("unknown option '--patern'; did you mean '--pattern'")
    assert line.endswith("; `fewer prune --help` lists what there is")


def test_a_missing_argument(refused):
    assert refused("plan") == "missing argument 'MODEL'; `fewer plan --help` lists what there is"


def test_a_value_of_the_wrong_type(refused):
    line = refused("prune", "demo", "--out", "x", "--samples", "many")
    assert line.startswith("invalid value for '--samples': 'many' is not a valid integer; ")


def test_a_fault_is_one_line_whatever_its_message(failing):
    assert failing(FewerError("first\nsecond")) == (2, "", "fewer: first second\n")


def test_no_space_left_is_one_line(failing):
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/out/model.safetensors")
    assert failing(error) == (2, "", "fewer: '/out/model.safetensors': No space left on device\n")


def test_a_missing_package_names_the_extra(failing):
    ended = failing(ModuleNotFoundError("No module named 'torch'", name="torch"))
    assert ended == (2, "", "fewer: this command needs torch, which is not installed: pip install 'fewer[models]'\n")


def test_a_fault_of_ours_is_not_hidden(failing):
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())
    with pytest.raises(ModuleNotFoundError):
        failing(ModuleNotFoundError("No module named 'fewer.nothing'", name="fewer.nothing"))


def test_an_interruption_says_how_to_go_on(failing):
    assert failing(KeyboardInterrupt()) == (130, "", "fewer: interrupted; the same command goes on\n")


def test_a_reader_that_leaves_is_no_fault():
    code = "from fewer.cli.group import call; import sys; sys.exit(call(['prune', '--help']))"
    done = subprocess.run(
        f"{sys.executable} -c \"{code}\" | true; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


EVENTS = (
    RunStarted("prune", "wanda, keep 0.5", 42, 6),
    StageStarted("evidence", 16),
    EvidenceProgress(3, 16),
    LayerDone("model.layers.0.q", 0, 5, 10, float("nan")),
    BlockDone(0, 6, 1.25),
    Note("damping was raised"),
    RunDone("prune", 65.0, "50 % are zero"),
)


def test_without_a_terminal_there_is_a_line_for_what_is_worth_one(capsys):
    with progress(as_json=False) as show:
        for event in EVENTS:
            show(event)
    caught = capsys.readouterr()
    assert caught.out == ""
    assert caught.err.splitlines() == [
        "prune: wanda, keep 0.5 (42 layers in 6 blocks)",
        "  evidence",
        "  block 1 of 6, 1.2 s",
        "note: damping was raised",
        "prune: 50 % are zero in 65.0 s",
    ]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_fault_before_any_work_is_done_stands_alone(capsys, as_json):
    with pytest.raises(FewerError), progress(as_json=as_json) as show:
        show(EVENTS[0])
        show(EVENTS[1])
        show(EVENTS[2])
        raise FewerError("NaN in batch 3")
    assert capsys.readouterr().err == ""


def test_what_was_announced_is_shown_in_the_end_even_if_nothing_came_of_it(capsys):
    with progress(as_json=False) as show:
        show(StageStarted("random selections"))
    assert capsys.readouterr().err == "  random selections\n"


@pytest.mark.parametrize("arguments", [("prune", "demo", "--out", "x", "--keep", "2"), ("plan",), ("prnue",)])
def test_with_json_a_fault_is_a_line_of_json(fewer, arguments):
    ended = fewer(*arguments, "--json")
    fault = json.loads(ended.err)
    assert (ended.code, ended.out, fault["event"], fault["exit_code"]) == (2, "", "error", 2)
    assert fault["message"] and ended.err.count("\n") == 1


def test_with_json_every_event_is_a_line_of_strict_json(capsys):
    with progress(as_json=True) as show:
        for event in EVENTS:
            show(event)
    lines = [json.loads(line, parse_constant=pytest.fail) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == [
        "run_started", "stage_started", "evidence_progress", "layer_done", "block_done", "note", "run_done",
    ]  # fmt: skip
    assert lines[3]["damage"] is None and lines[3]["kept"] == 5


def test_on_a_terminal_the_display_moves_and_notes_stay(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress(as_json=False) as show:
        for event in EVENTS:
            show(event)
    assert "note: damping was raised" in capsys.readouterr().err


def test_a_result_is_text_or_strict_json(capsys):
    result({"a": float("inf")}, lambda: "text", as_json=True)
    assert json.loads(capsys.readouterr().out) == {"a": None}
    result({"a": 1}, lambda: "text", as_json=False)
    assert capsys.readouterr().out == "text\n"


def test_ctrl_c_in_a_real_process_is_130_and_one_line():
    code = (
        "import os, signal, fewer.cli.methods as m, fewer.cli.group as g\n"
        "def stop():\n    os.kill(os.getpid(), signal.SIGINT)\n    import time; time.sleep(5)\n"
        "m.listing = stop\nraise SystemExit(g.call(['methods']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "fewer: interrupted; nothing was written\n")
    assert signal.SIGINT == 2
