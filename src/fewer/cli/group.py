"""The program itself: which commands there are, and how a fault becomes one line and an exit code."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from fewer import __version__
from fewer.arguments import SYNONYMS, instead
from fewer.method import FewerError, nearest

__all__ = ["COMMANDS", "OK", "INTERRUPTED", "WRONG", "Suggesting", "call", "main", "program", "resume_with"]

#: Exit codes.
OK, WRONG, INTERRUPTED = 0, 2, 130

#: Every command and where it is: a module that holds it as `command`, or a module and a name; adding one is a row.
COMMANDS: dict[str, str] = {
    "demo": "fewer.cli.demo",
    "plan": "fewer.cli.plan",
    "prune": "fewer.cli.prune",
    "eval": "fewer.cli.evaluate",
    "compare": "fewer.cli.compare",
    "sweep": "fewer.cli.sweep",
    "materialise": "fewer.cli.sweep:materialise",
    "mask": "fewer.cli.mask",
    "run": "fewer.cli.run",
    "pack": "fewer.cli.pack",
    "bench": "fewer.cli.bench",
    "select": "fewer.cli.select",
    "methods": "fewer.cli.methods",
}

#: Which extra brings a package that a command may miss.
_EXTRAS = {
    "torch": "models", "transformers": "models", "tokenizers": "models", "safetensors": "models",
    "scipy": "tables", "sklearn": "tables", "pyarrow": "tables",
}  # fmt: skip


class Suggesting(click.Group):
    """A group that lists its commands in their own order and answers an unknown one with the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with the nearest names where there is none."""
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            raise FewerError(f"unknown command '{args[0]}'{nearest(args[0], known)}; known: {', '.join(known)}")
        return super().resolve_command(ctx, args)


class _Program(Suggesting):
    """A group that imports the file of a command when somebody asks for it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name or "command")
        assert isinstance(command, click.Command)
        return command


@click.command(cls=_Program, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fewer", message="%(prog)s %(version)s")
@click.pass_context
def program(ctx: click.Context) -> None:
    """Keep what matters: prune a model, see what it cost, and compare with random.

    MODEL is a checkpoint directory or the word `demo`; DATA is a text file or the word `demo`.

    Exit codes: 0 done, 2 wrong input (one line says what), 130 interrupted.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def resume_with(line: str) -> None:
    """Set what is said when the running command is interrupted."""
    click.get_current_context().find_root().meta["fewer.resume"] = line


def call(arguments: Sequence[str]) -> int:
    """Run the program and return its exit code; every expected fault is one line on standard error.

    With --json that line is an object whose `event` is `error`, as progress is.
    """
    ctx: click.Context | None = None
    tell = _tell_json if "--json" in arguments else _tell
    try:
        with program.make_context("fewer", list(arguments)) as ctx:
            program.invoke(ctx)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except FewerError as error:
        return tell(str(error), WRONG)
    except click.UsageError as error:
        return tell(_usage(error, arguments), WRONG)
    except click.ClickException as error:
        return tell(error.format_message(), WRONG)
    except (KeyboardInterrupt, click.Abort):
        line = "nothing was written" if ctx is None else ctx.meta.get("fewer.resume", "nothing was written")
        return tell(f"interrupted; {line}", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has gone; Python would complain again while closing it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except ModuleNotFoundError as error:
        return tell(_missing(error), WRONG)
    except OSError as error:
        where = f"'{error.filename}': " if error.filename else ""
        return tell(f"{where}{error.strerror or error}", WRONG)
    return OK


def main() -> NoReturn:
    """Entry point of the `fewer` program."""
    sys.exit(call(sys.argv[1:]))


def _tell(message: str, code: int) -> int:
    click.echo(f"fewer: {' '.join(message.split())}", err=True)
    return code


def _tell_json(message: str, code: int) -> int:
    fault = {"event": "error", "message": " ".join(message.split()), "exit_code": code}
    click.echo(json.dumps(fault, ensure_ascii=False), err=True)
    return code


def _usage(error: click.UsageError, arguments: Sequence[str]) -> str:
    """Click's message, with the nearest names and the place of the help."""
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        names = [name for p in error.ctx.command.get_params(error.ctx) for name in p.opts]
        meant = _meant(error.option_name, arguments, names) or nearest(error.option_name, names)
        message = f"unknown option '{error.option_name}'{meant}"
    path = error.ctx.command_path if error.ctx is not None else "fewer"
    return f"{message}; `{path} --help` lists what there is"


def _meant(option: str, arguments: Sequence[str], known: Sequence[str]) -> str:
    """What an option of other tools is called here, with its value; empty if it has no name here."""
    word, value = option.lstrip("-").replace("-", "_"), _value(option, arguments)
    if word == "model" and "model" in known:
        return f"; MODEL stands first, without an option: {value or 'a directory'}"
    meant = SYNONYMS.get(word, "")
    if f"--{meant}" not in known:
        return ""
    return f"; did you mean {instead(word, meant, value, '--{} {}').strip()}?"


def _value(option: str, arguments: Sequence[str]) -> str:
    """What stands behind an option on the command line."""
    for place, argument in enumerate(arguments):
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
        if argument == option:
            return next((x for x in arguments[place + 1 : place + 2] if not x.startswith("-")), "")
    return ""


def _missing(error: ModuleNotFoundError) -> str:
    package = (error.name or "").split(".")[0]
    if package not in _EXTRAS:
        raise error
    return f"this command needs {package}, which is not installed: pip install 'fewer[{_EXTRAS[package]}]'"
