"""Runs the program in this process and hands back what a shell would see."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from fewer.cli.group import call


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def fewer(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def run(*arguments: object) -> Ended:
        code = call([str(a) for a in arguments])
        caught = capsys.readouterr()
        return Ended(code, caught.out, caught.err)

    return run


@pytest.fixture
def refused(fewer: Callable[..., Ended]) -> Callable[..., str]:
    """For wrong input: exit code 2, nothing on standard output, one line on standard error, which is returned."""

    def run(*arguments: object) -> str:
        ended = fewer(*arguments)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith("fewer: ") and ended.err.count("\n") == 1
        return ended.err.removeprefix("fewer: ").rstrip("\n")

    return run
