"""The command line: one program, one file a verb."""

from __future__ import annotations

from fewer.cli.group import COMMANDS, main, program

__all__ = ["COMMANDS", "main", "program"]
