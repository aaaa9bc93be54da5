"""Beliefs about columns: read from a file, or asked of a language model (or of anybody) behind one callable.

A belief is a positive number, larger for columns that are thought not to matter. `fewer.linear.factors.Prior` turns
beliefs into penalty factors and lets cross-validation decide how far to trust them, down to not at all.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewer.arguments import Positive, check_fields, shown
from fewer.method import FewerError

__all__ = ["Ask", "read_beliefs"]

_SHAPE = "--beliefs holds columns and positive numbers: CSV lines 'column,belief', or a JSON object"


@dataclass(frozen=True)
class Ask:
    r"""Beliefs asked in words: a prompt for every batch of columns, and a strict reading of the answer.

    Attributes:
        answer: any callable from a prompt to a text, a language model for instance.
        target: what is to be explained, in words.
        context: what else the model should know about the data.
        low: belief for columns that surely matter.
        high: belief for columns that surely do not.
        batch: columns in one prompt.

    Raises:
        FewerError: an answer leaves a column out, or gives a number outside [low, high].

    >>> def model(prompt):
    ...     return "bmi: 2\nshoe size: 5"
    >>> Ask(model, "diabetes")(["bmi", "shoe size"])
    {'bmi': 2.0, 'shoe size': 5.0}

    The prompt is ours; the paper's also retrieve literature.

    Reference: Zhang et al. 2025 (LLM-Lasso), whose experiments on small data ask for factors between 2 and 5.
    """

    answer: Callable[[str], str]
    target: str
    context: str = ""
    low: Positive = 2.0
    high: Positive = 5.0
    batch: int = 40

    def __post_init__(self) -> None:
        """Check the fields."""
        check_fields(self)
        if self.low > self.high:
            raise FewerError(f"low is {self.low:g} and high {self.high:g}; low is the belief for columns that matter")

    def __call__(self, names: Sequence[str]) -> dict[str, float]:
        """A belief for every name."""
        found: dict[str, float] = {}
        for start in range(0, len(names), self.batch):
            part = names[start : start + self.batch]
            found.update(self._read(self.answer(self.prompt(part)), part))
        return found

    def prompt(self, names: Sequence[str]) -> str:
        """What is asked about some columns."""
        return "\n".join(
            [
                f"A regression is to explain: {self.target}.",
                *([self.context] if self.context else []),
                f"For every column below, answer with one line 'column: number', the number between {self.low:g} "
                f"(surely matters) and {self.high:g} (surely does not). No other text.",
                *names,
            ]
        )

    def _read(self, text: Any, names: Sequence[str]) -> dict[str, float]:
        if not isinstance(text, str):
            raise FewerError(f"answer gave {shown(text)}; it must give a text")
        found = {}
        for line in text.splitlines():
            name, _, number = line.strip().lstrip("-* ").rpartition(":")
            if name.strip() in names and re.fullmatch(
                r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", number.strip()
            ):
                found[name.strip()] = float(number)
        for name in names:
            if name not in found:
                raise FewerError(f"the answer says nothing about column '{name}'")
            if not self.low <= found[name] <= self.high:
                raise FewerError(f"the answer for '{name}' is {found[name]:g}; asked for {self.low:g} to {self.high:g}")
        return found


def read_beliefs(path: str | Path) -> Mapping[str, float]:
    r"""A table of beliefs: CSV lines `column,belief` (a heading is allowed), or a JSON object.

    Raises:
        FewerError: one line for whatever is wrong with the file.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "b.csv"
    >>> _ = file.write_text("column,belief\nage,2\nname,5\n")
    >>> read_beliefs(file)
    {'age': 2.0, 'name': 5.0}
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
        if path.suffix == ".json":
            rows = list(json.loads(text).items())
        else:
            rows = [row for row in csv.reader(text.splitlines()) if row]
            rows = rows[1:] if rows and rows[0][-1].strip().lower() == "belief" else rows
        found = {str(name).strip(): float(value) for name, value in rows}
    except OSError as error:
        raise FewerError(f"beliefs '{path}' cannot be read: {error.strerror}") from None
    except (ValueError, AttributeError, TypeError):
        raise FewerError(f"{path.name} is no table of beliefs; {_SHAPE}") from None
    wrong = [name for name, value in found.items() if not 0 < value < float("inf")]
    if wrong or len(found) < len(rows):
        what = f"'{wrong[0]}' has {found[wrong[0]]:g}" if wrong else "a column stands twice"
        raise FewerError(f"{path.name}: {what}; {_SHAPE}")
    return found
