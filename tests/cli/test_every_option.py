"""Wrong values for every option of every command: one line and exit code 2, or a result; never a traceback."""

from __future__ import annotations

import click
import pytest

from fewer.cli.group import program

#: Commands and what stands behind them; where a run would be long, something else in it is wrong.
BASE = {
    "plan": ("MODEL", "--score", "magnitude"),
    "prune": ("MODEL", "--out", "out"),
    "eval": ("MODEL", "--data", "/nowhere"),
    "compare": ("MODEL", "none.toml", "--data", "/nowhere"),
    "sweep": ("MODEL", "--eval", "/nowhere"),
    "materialise": ("/nowhere", "0.5", "MODEL", "--out", "out"),
    "mask show": ("/nowhere",),
    "mask diff": ("/nowhere", "/nowhere"),
    "mask union": ("/nowhere", "/nowhere", "--out", "out"),
    "mask intersect": ("/nowhere", "/nowhere", "--out", "out"),
    "mask apply": ("/nowhere", "MODEL", "--out", "out"),
    "mask undo": ("/nowhere", "MODEL", "--out", "out"),
    "run": ("none.toml",),
    "pack": ("/nowhere", "--out", "out"),
    "bench": ("/nowhere",),
    "select": ("/nowhere.csv", "--target", "y"),
    "methods": (),
}
VALUES = ("", "-1", "nan", "no-such", "x" * 300)


def options(command):
    """Options of a command that take a value; those of the recipe are tried on `plan` alone."""
    found = program
    for word in command.split():
        found = found.get_command(click.Context(found), word)
    shared = set() if command == "plan" else {p.opts[0] for p in program.get_command(None, "plan").params}
    return [
        p.opts[0] for p in found.params
        if isinstance(p, click.Option) and not p.is_flag and p.opts[0] not in shared
    ]  # fmt: skip


def test_no_command_is_forgotten():
    assert {name.split()[0] for name in BASE} == set(program.list_commands(None)) - {"demo"}


@pytest.mark.parametrize("command", BASE)
def test_a_wrong_value_is_one_line(fewer, command, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = [str(made) if word == "MODEL" else word for word in BASE[command]]
    for option in options(command):
        for value in VALUES:
            ended = fewer(*command.split(), *base, f"{option}={value}")
            lines = ended.err.splitlines()
            said = [line for line in lines if line.startswith("fewer: ")]
            assert ended.code in (0, 2), (option, value)
            assert ended.code == 0 or (len(lines) == 1 and said == lines), (option, value, lines)
