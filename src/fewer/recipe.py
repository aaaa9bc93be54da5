"""A run as data: the recipe, its strict TOML form, and what its blanks stand for.

The frozen dataclasses below are the only definition. The help text of each field becomes the help of the command
line option; the TOML loader accepts these keys and no others. Names come from the catalogue, never from a path into
code, so a recipe from a stranger can choose methods but cannot run anything else.

A share `keep` is a number, a list of numbers interpolated over the depth of the model, or name filters:

    keep = [0.8, 0.5, 0.8]        # first, middle and last block; linear in between

    [[where]]                      # the first filter that matches a layer's name wins over `keep`
    match = "*.mlp.*"
    keep = 0.4
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from fewer import input_recipe
from fewer.arguments import check_fields, checked
from fewer.compute import check as check_compute
from fewer.method import FewerError, Method, find, matches, nearest
from fewer.toml_text import to_toml

__all__ = ["DataSettings", "Keep", "Recipe", "Where", "load_recipe", "parse_recipe"]

#: A share in (0, 1], or several that are interpolated linearly over the depth of the model.
Keep: TypeAlias = float | tuple[float, ...]

#: The pattern that a bare unit stands for.
UNIT_PATTERNS = {"weight": "unstructured", "row": "row", "column": "column", "layer": "layer"}
#: Units of which a layer has one alone compete over the model.
_WIDE = {"layer": "model"}
#: The update of a recipe that names neither a score nor an update.
DEFAULT_UPDATE = "auto"
WITHIN = ("row", "column", "group", "layer", "model")
ORDERS = ("sequential", "at-once")
CHOOSERS = ("score", "update")
COMPATS = ("wanda", "sparsegpt")
DAMAGES = ("auto", "gram", "none")
#: Knobs that the engine fills in itself; a recipe cannot set them.
ENGINE_KNOBS = frozenset({"rule", "limits"})


def _field(default: Any, text: str) -> Any:
    metadata = {"help": text}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Where:
    """A name filter: layers whose name matches the glob get their own share."""

    match: str = _field("*", "glob over layer names")
    keep: Keep = field(default=0.5, metadata={"help": "share kept here: a number, or a list over depth"})

    def __post_init__(self) -> None:
        """Refuse other types."""
        check_fields(self, "where.")

    def matches(self, name: str) -> bool:
        """Whether the glob matches a layer's name; brackets are literal, because `experts.down_proj[3]` is a name.

        >>> Where("*.down_proj[3]").matches("experts.down_proj[3]")
        True
        """
        return matches(name, self.match)


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Which calibration data a run reads, and how it is cut."""

    text: str = _field("", "calibration data: a text, .jsonl, .json, .csv or .parquet file, or the word demo")
    text_field: str = _field("", "column of the texts or chats in such a file: text, or the only one, by default")
    samples: int = _field(128, "number of calibration windows")
    length: int = _field(256, "tokens in a window")
    seed: int = _field(0, "seed of the choice of windows")

    def __post_init__(self) -> None:
        """Refuse other types, and sizes below one."""
        check_fields(self, "data.")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a pruning run does, apart from the model and the data themselves.

    Blank fields take the default that belongs to the others: `resolve` fills them in. A recipe that has been
    resolved, printed and loaded again is the same recipe.

    >>> Recipe(pattern="2:4").resolve().keep
    0.5
    """

    name: str = _field("", "name of the recipe, for reports")
    paper: str = _field("", "title of the paper that it follows")
    score: str = _field("", "what a weight is worth: wanda (obs where the update solves), or 'product(wanda, taylor)'")
    keep: Keep | None = field(default=None, metadata={"help": "share that stays, in (0, 1]: a number, or a list"})
    pattern: str = _field("", "legal sets: unstructured, 2:4 (keep 2 of 4), 16x1 (rows x columns), row, column, layer")
    unit: str = _field("", "what is kept or dropped: weight (or what the pattern implies), or input: skip small inputs")
    within: str = _field("", "who competes with whom: row, column, group, layer, model; the score's habit by default")
    budget: str = _field("", "how the kept weights are shared out over layers: uniform by default")
    update: str = _field("", "what happens to the weights that stay: auto, or zero where a score is named")
    choose: str = _field("", "who has the last word on the mask: score, or update (by default with the score obs)")
    order: str = _field("sequential", "sequential: later blocks see the pruned earlier ones; at-once: none do")
    steps: int = _field(1, "number of rounds; in each, the kept share follows the schedule")
    schedule: str = _field("cubic", "how the kept share moves over the rounds")
    compat: str = _field("", "reproduce an implementation's rounding: wanda or sparsegpt")
    compute: str = _field(
        "auto", "number type of forward passes: auto (the stored one, float32 where that is slow), float32, bfloat16"
    )
    damage: str = _field("auto", "measure each layer's error: auto (where it is cheap), gram (always), none")
    seed: int = _field(0, "seed of every random choice")
    only: tuple[str, ...] = _field((), "globs: prune these layers alone")
    skip: tuple[str, ...] = _field((), "globs: leave these layers alone")
    model: str = _field("", "model directory, or the word demo")
    out: str = _field("", "directory to write")
    score_options: Mapping[str, Any] = _field({}, "knobs of the score")
    budget_options: Mapping[str, Any] = _field({}, "knobs of the budget")
    update_options: Mapping[str, Any] = _field({}, "knobs of the update")
    schedule_options: Mapping[str, Any] = _field({}, "knobs of the schedule")
    data: DataSettings = field(default_factory=DataSettings, metadata={"help": "calibration data"})
    reference: DataSettings = field(default_factory=DataSettings, metadata={"help": "second text, as a reference"})
    where: tuple[Where, ...] = _field((), "name filters with their own share; the first match wins")

    def __post_init__(self) -> None:
        """Refuse what no catalogue is needed to refuse."""
        check_fields(self)
        if self.keep is not None:
            _check_keep(self.keep, "keep")
        for place, row in enumerate(self.where):
            _check_keep(row.keep, f"where[{place}].keep")
        if self.choose:
            _one_of("choose", self.choose, CHOOSERS)
        _one_of("order", self.order, ORDERS)
        _one_of("damage", self.damage, DAMAGES)
        check_compute(self.compute)
        if self.within:
            _one_of("within", self.within, WITHIN)
        if self.compat:
            _one_of("compat", self.compat, COMPATS)
            if self.steps > 1:
                raise FewerError(f"compat '{self.compat}' reproduces one pass; it cannot be spread over {self.steps}")

    def resolve(self) -> Recipe:
        """Fill in the blanks and check every name and knob against the catalogue.

        Raises:
            FewerError: unknown method or option, or choices that contradict each other.
        """
        if self.unit == "input":
            full: Recipe = input_recipe.resolve(self, _check_knobs)
            return full
        from fewer.pattern import parse

        pattern = parse(self._pattern_text())
        if self.unit and self.unit != pattern.unit and UNIT_PATTERNS.get(self.unit) != str(pattern):
            raise FewerError(f"unit '{self.unit}' contradicts pattern '{pattern}', whose unit is '{pattern.unit}'")
        # A score that a paper uses without an update keeps that habit; unnamed, the best solver gets the word.
        update = self.update or (DEFAULT_UPDATE if self.score in ("", "obs") else "zero")
        solves = "rule" in find("update", update).knobs
        score = self.score or ("obs" if solves else "wanda")
        full = dataclasses.replace(
            self,
            score=score,
            choose=self.choose or ("update" if solves and score == "obs" else "score"),
            pattern=str(pattern),
            unit=pattern.unit,
            keep=self._keep(pattern.keep, str(pattern)),
            budget=self.budget or ("global" if "model" in (self.within, _WIDE.get(pattern.unit)) else "uniform"),
            update=update,
        )
        for kind in ("score", "budget", "update", "schedule"):
            _check_knobs(find(kind, getattr(full, kind)), getattr(full, f"{kind}_options"))
        if full.choose == "update" and not solves:
            raise FewerError(
                f"update '{update}' keeps the mask that it is given; choose = 'update' has no one to choose"
            )
        full.shares_of_rounds()
        full = dataclasses.replace(full, within=full._within(pattern))
        full._check_shares(pattern.keep)
        return full

    @property
    def varied(self) -> bool:
        """Whether the share differs by layer: the recipe itself is then the allocation."""
        return bool(self.where) or isinstance(self.keep, tuple)

    def keep_for(self, name: str, depth: float) -> float:
        """The share asked of one layer.

        Args:
            name: dotted name of the layer.
            depth: where it stands, from 0 (first block) to 1 (last).

        >>> Recipe(keep=(0.2, 0.6)).keep_for("layer", 0.5)
        0.4
        """
        for row in self.where:
            if row.matches(name):
                return _at(row.keep, depth)
        return _at(0.5 if self.keep is None else self.keep, depth)

    def mean_keep(self) -> float:
        """The one number that names this recipe in a table: the share, or the mean of the listed shares."""
        if isinstance(self.keep, tuple):
            return sum(self.keep) / len(self.keep)
        return 0.5 if self.keep is None else self.keep

    def methods(self) -> tuple[Method, ...]:
        """The catalogue entries that it names."""
        if self.unit == "input":
            return input_recipe.methods_of(self)
        kinds = ["score", "budget", "update"] + (["schedule"] if self.steps > 1 else [])
        return tuple(find(kind, getattr(self, kind)) for kind in kinds if getattr(self, kind))

    def to_dict(self) -> dict[str, Any]:
        """Plain data: what JSON and TOML can hold. Blank fields are left out."""
        table = _plain(dataclasses.asdict(self)) | ({"reference": None} if self.reference == DataSettings() else {})
        return {key: value for key, value in table.items() if value not in ("", None, [], {})}

    def to_toml(self) -> str:
        """The recipe as TOML; `parse_recipe` gives the same recipe back."""
        return to_toml(self.to_dict())

    def _pattern_text(self) -> str:
        if self.pattern or not self.unit:
            return self.pattern or "unstructured"
        if self.unit == "block":
            raise FewerError("unit 'block' needs a pattern that says its size, such as '16x1' (rows x columns)")
        if self.unit not in UNIT_PATTERNS:
            raise FewerError(
                f"unit '{self.unit}' cannot be pruned; known: {', '.join([*UNIT_PATTERNS, 'block', 'input'])}"
            )
        return UNIT_PATTERNS[self.unit]

    def _keep(self, fixed: float | None, pattern: str) -> Keep:
        if fixed is None:
            return 0.5 if self.keep is None else self.keep
        asked = [self.keep] if self.keep is not None else []
        asked += [row.keep for row in self.where]
        for value in asked:
            if isinstance(value, tuple) or abs(value - fixed) > 1e-9:
                raise FewerError(f"pattern '{pattern}' keeps {fixed:g}, but keep is {value}; leave keep out")
        return fixed

    def _within(self, pattern: Any) -> str:
        if pattern.keep is not None:
            if self.within not in ("", "group"):
                raise FewerError(f"pattern '{pattern}' competes within 'group', not within '{self.within}'")
            return "group"
        if self.within == "model":
            if self.budget not in ("", "global"):
                raise FewerError(f"within 'model' is the budget 'global'; budget '{self.budget}' contradicts it")
            return "layer"  # One threshold over the model: what is above it in a layer is also its top.
        if self.within:
            return self.within
        habit: str = getattr(find("score", self.score), "within", "")
        return habit if habit and pattern.unit == "weight" else "layer"

    def shares_of_rounds(self) -> tuple[float, ...]:
        """The share that each of several rounds asks for; empty for one round."""
        from fewer.budget.schedule import rounds

        return rounds(self.schedule, self.steps, self.mean_keep(), self.schedule_options) if self.steps > 1 else ()

    def _check_shares(self, fixed: float | None) -> None:
        if fixed is None and not self.varied:
            return
        if self.budget != "uniform":
            what = "a pattern such as 2:4" if fixed is not None else "a share that varies by layer"
            raise FewerError(f"{what} already fixes every layer's count; budget '{self.budget}' has nothing to do")
        if self.steps > 1 and fixed is not None:
            raise FewerError(f"pattern '{self.pattern}' has one sparsity; steps = {self.steps} has no way to get there")


@checked
def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe from a TOML file.

    Raises:
        FewerError: not readable, not TOML, an unknown key, a wrong type; the message names the place in the file.
    """
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FewerError(f"cannot read recipe '{path}': {getattr(error, 'strerror', None) or error}") from None
    return parse_recipe(text, where=str(path))


@checked
def parse_recipe(text: str, *, where: str = "recipe") -> Recipe:
    """A recipe from TOML text.

    >>> parse_recipe('score = "magnitude"').score
    'magnitude'
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FewerError(f"{where}: not valid TOML: {error}") from None
    return typing.cast(Recipe, _build(Recipe, table, where))


def _build(record: type, table: Mapping[str, Any], where: str) -> Any:
    """One dataclass from one table; every fault names its place."""
    hints, values = typing.get_type_hints(record), {}
    for key, value in table.items():
        if key not in hints:
            raise FewerError(f"{where}: unknown key '{key}'{nearest(key, hints)}; known: {', '.join(hints)}")
        values[key] = _convert(hints[key], value, f"{where}: {key}")
    try:
        return record(**values)
    except FewerError as error:
        raise FewerError(str(error) if str(error).startswith(where) else f"{where}: {error}") from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    """The value as the type that the field declares, or an error that names both."""
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _build(typing.cast(type, hint), value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return _convert_keep(value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(arguments[0], item, f"{where}[{place}]") for place, item in enumerate(value))
    if origin is not None and isinstance(value, dict) and origin is not tuple:
        return value
    if isinstance(hint, type) and not dataclasses.is_dataclass(hint) and type(value) is hint:
        return value
    wanted = "a list of tables" if origin is tuple and dataclasses.is_dataclass(arguments[0]) else _words(hint)
    raise FewerError(f"{where}: {_literal(value)} is not {wanted}")


def _convert_keep(value: Any, where: str) -> Keep:
    if type(value) in (int, float):
        return float(value)
    if isinstance(value, list) and value and all(type(item) in (int, float) for item in value):
        return tuple(float(item) for item in value)
    raise FewerError(f"{where}: {_literal(value)} is not a number or a list of numbers")


def _words(hint: Any) -> str:
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    return "a list of texts" if typing.get_origin(hint) is tuple else names.get(hint, "a table")


def _literal(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _check_keep(keep: Any, where: str) -> None:
    values = keep if isinstance(keep, tuple) else (keep,)
    if not values:
        raise FewerError(f"{where} is an empty list; give at least one share in (0, 1]")
    for value in values:
        if not 0.0 < value <= 1.0:
            raise FewerError(f"{where} is {value:g}; the share that stays must be in (0, 1]")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise FewerError(f"unknown {name} '{value}'{nearest(value, known)}; known: {', '.join(known)}")


def _check_knobs(method: Method, given: Mapping[str, Any]) -> None:
    """Names against the signature, and plain values against the type of the default."""
    method.check_knobs(given)
    for name in ENGINE_KNOBS & given.keys():
        raise FewerError(f"{method.kind} '{method.name}': option '{name}' is set by the engine, not by a recipe")


def _at(keep: Keep, depth: float) -> float:
    """Linear interpolation of a list over depth."""
    if not isinstance(keep, tuple):
        return float(keep)
    place = min(max(depth, 0.0), 1.0) * (len(keep) - 1)
    low = min(int(place), max(len(keep) - 2, 0))
    high = min(low + 1, len(keep) - 1)
    return keep[low] + (keep[high] - keep[low]) * (place - low)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
