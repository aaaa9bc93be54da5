"""Scores made of scores, by name: `product(wanda, magnitude)`, `contrast(fisher, reference(fisher))`.

Wherever a score is named (recipe, command line, Python) such an expression may stand. Its grammar:

    score = NAME | NAME(knob=value, ...) | COMBINE(score, score, ..., knob=value, ...) | reference(score)

NAME is a score and COMBINE a combinator of the catalogue, a value a number, a text in quotes, true, false or a list
of values in brackets. `reference` takes a score's gradients on the reference data instead of the calibration data.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fewer.method import FewerError, Method, Paper, catalogue, find, nearest
from fewer.types import EVIDENCE

__all__ = ["composed"]

_TOKEN = re.compile(r'\s*(?:(?P<word>[A-Za-z][\w-]*)|(?P<value>-?[\d.][\w.+-]*|"[^"]*")|(?P<mark>[(),=\[\]]))')
_WORDS = {"true": True, "false": False}
#: Characters of the longest expression.
_LONGEST = 1000
#: What the name of evidence on the reference data begins with.
_REFERENCE = "reference_"


def composed(text: str) -> Method:
    """The score that an expression describes, as an entry that the catalogue could hold.

    Its evidence is that of its parts, its options are those of the outer combinator; options of a part stand in the
    part's own brackets.

    Args:
        text: the expression.

    Raises:
        FewerError: a word that is neither a score nor a combinator, an unknown option, or a bracket too many or too
            few; the place is named.

    >>> made = composed("product(wanda, magnitude(power=2))")
    >>> made.name, made.needs
    ('product(wanda, magnitude(power=2))', ('weight', 'input_norm'))
    """
    if len(text) > _LONGEST:
        raise FewerError(f"a score of {len(text)} characters is too long: at most {_LONGEST}")
    reader = _Reader(text)
    part = reader.score()
    reader.end()
    return Method(
        kind="score",
        name=str(part),
        target=_function(part),
        papers=tuple(dict.fromkeys(part.papers)),
        formula=str(part),
        unit="weight",
        status="ours",
        note="a combination of scores",
        within=part.within,
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """A score with its knobs, or a combinator over parts; `renamed` leads from evidence asked for to evidence given."""

    method: Method
    knobs: Mapping[str, Any]
    parts: tuple[_Part, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        words = [str(part) for part in self.parts]
        words += [f"{name}={json.dumps(value)}" for name, value in self.knobs.items()]
        text = f"{self.method.name}({', '.join(words)})" if words else self.method.name
        return f"reference({text})" if self.renamed else text

    @property
    def needs(self) -> tuple[str, ...]:
        own = () if self.parts else tuple(self.renamed.get(name, name) for name in self.method.needs)
        return tuple(dict.fromkeys([*own, *(name for part in self.parts for name in part.needs)]))

    @property
    def papers(self) -> tuple[Paper, ...]:
        return (*self.method.papers, *(paper for part in self.parts for paper in part.papers))

    @property
    def within(self) -> Literal[""] | str:
        """Who competes with whom, where all parts agree on it."""
        habits = {part.within for part in self.parts} or {self.method.within}
        return habits.pop() if len(habits) == 1 else ""

    @property
    def draws(self) -> bool:
        """Whether a part is random and takes the run's seed."""
        return ("seed" in self.method.knobs and "seed" not in self.knobs) or any(part.draws for part in self.parts)

    def value(self, supply: Mapping[str, Any], options: Mapping[str, Any], seed: int | None) -> Any:
        """The scores; `options` are further knobs of this part."""
        if self.parts:
            held = [part.value(supply, {}, seed) for part in self.parts]
        else:
            held = [supply[self.renamed.get(name, name)] for name in self.method.needs]
        given = {**self.knobs, **options}
        if seed is not None and "seed" in self.method.knobs:
            given.setdefault("seed", seed)
        return self.method.target(*held, **given)


def _function(part: _Part) -> Callable[..., Any]:
    """A function with the signature of a score: evidence by position, knobs by name."""
    kind = inspect.Parameter
    needs = part.needs
    knobs = {name: value for name, value in part.method.knobs.items() if name not in part.knobs}
    if part.draws:
        knobs.setdefault("seed", 0)

    def score(*evidence: Any, **options: Any) -> Any:
        seed = options.get("seed") if part.draws else None
        own = {name: value for name, value in options.items() if name in part.method.knobs}
        return part.value(dict(zip(needs, evidence, strict=True)), own, seed)

    parameters = [kind(name, kind.POSITIONAL_ONLY) for name in needs]
    parameters += [kind(name, kind.KEYWORD_ONLY, default=value) for name, value in knobs.items()]
    score.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    score.__doc__ = f"{part}."
    return score


class _Reader:
    """Reads an expression from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    def score(self) -> _Part:
        """NAME, NAME(knobs), COMBINE(scores, knobs) or reference(score)."""
        name = self._take("word", "the name of a score")
        if name == "reference":
            self._mark("(")
            inner = self.score()
            self._mark(")")
            return self._on_reference(inner)
        method = self._method(name)
        parts, knobs = self._brackets(method) if self._peek() == "(" else ([], {})
        method.check_knobs(knobs)
        if method.kind == "combine" and not parts:
            raise self._wrong(f"'{name}' combines scores: give them in brackets, as in {name}(wanda, magnitude)")
        _check_number(method, parts, self._wrong)
        return _Part(method, knobs, tuple(parts))

    def end(self) -> None:
        """Nothing may follow."""
        if self._text[self._place :].strip():
            raise self._wrong("there is something after the end")

    def _brackets(self, method: Method) -> tuple[list[_Part], dict[str, Any]]:
        parts: list[_Part] = []
        knobs: dict[str, Any] = {}
        self._mark("(")
        while True:
            if re.match(r"\s*[A-Za-z_]\w*\s*=", self._text[self._place :]):
                name = self._take("word", "an option")
                self._mark("=")
                knobs[name] = self._value()
            elif method.kind == "combine":
                parts.append(self.score())
            else:
                raise self._wrong(f"'{method.name}' is a score: only options such as power=2 stand in its brackets")
            if self._peek() != ",":
                break
            self._mark(",")
        self._mark(")")
        return parts, knobs

    def _method(self, name: str) -> Method:
        kinds = {entry.name: kind for kind in ("score", "combine") for entry in catalogue(kind)}
        if name not in kinds:
            raise self._wrong(f"unknown score or combinator '{name}'{nearest(name, [*kinds, 'reference'])}")
        return find(kinds[name], name)

    def _on_reference(self, part: _Part) -> _Part:
        if part.parts:
            return _Part(part.method, part.knobs, tuple(self._on_reference(inner) for inner in part.parts))
        renamed = {name: _REFERENCE + name for name in part.method.needs if _REFERENCE + name in EVIDENCE}
        left = [name for name in part.method.needs if name != "weight" and name not in renamed]
        if left or not renamed:
            known = ", ".join(name.removeprefix(_REFERENCE) for name in EVIDENCE if name.startswith(_REFERENCE))
            what = f"needs {', '.join(left)}" if left else "needs no data"
            raise self._wrong(f"'{part.method.name}' {what}; on the reference data there is {known} alone")
        return _Part(part.method, part.knobs, (), renamed)

    def _value(self) -> Any:
        if self._peek() == "[":
            self._mark("[")
            values = [self._value()]
            while self._peek() == ",":
                self._mark(",")
                values.append(self._value())
            self._mark("]")
            return values
        found = _TOKEN.match(self._text, self._place)
        if found is None or found["mark"]:
            raise self._wrong("expected a value: a number, true, false, or a text in quotes")
        self._place = found.end()
        try:
            return _WORDS[found["word"]] if found["word"] else json.loads(found["value"])
        except (KeyError, ValueError):
            raise self._wrong(f"{found[0].strip()} is no value: texts stand in quotes") from None

    def _peek(self) -> str:
        found = _TOKEN.match(self._text, self._place)
        return (found["mark"] or "") if found else ""

    def _mark(self, mark: str) -> None:
        if self._take("mark", f"'{mark}'") != mark:
            raise self._wrong(f"expected '{mark}'")

    def _take(self, group: str, what: str) -> str:
        found = _TOKEN.match(self._text, self._place)
        if found is None or found[group] is None:
            raise self._wrong(f"expected {what}")
        self._place = found.end()
        return str(found[group])

    def _wrong(self, problem: str) -> FewerError:
        return FewerError(f"score '{self._text}', at character {self._place + 1}: {problem}")


def _check_number(method: Method, parts: list[_Part], wrong: Callable[[str], FewerError]) -> None:
    """A combinator of a fixed number of scores gets that many."""
    if method.kind == "combine" and method.needs and len(parts) != len(method.needs):
        raise wrong(
            f"'{method.name}' combines {len(method.needs)} scores ({', '.join(method.needs)}), not {len(parts)}"
        )
