"""Options made from the recipe's fields, so that no name and no help text is written twice."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from fewer.method import FewerError, nearest
from fewer.recipe import DataSettings, Recipe, Where, load_recipe

__all__ = [
    "FIELDS",
    "KINDS",
    "TEXT_FIELD",
    "as_json",
    "compute",
    "data_of",
    "model",
    "numbers",
    "recipe_from",
    "recipe_options",
]

F = TypeVar("F", bound=Callable[..., Any])

#: Kinds of methods whose knobs `--set` reaches.
KINDS = ("score", "budget", "update", "schedule")
#: Fields of the recipe that are options of the same name; the others have a form of their own.
FIELDS = tuple(
    field.name
    for field in dataclasses.fields(Recipe)
    if field.name
    not in ("name", "paper", "model", "out", "data", "reference", "where", *(f"{kind}_options" for kind in KINDS))
)
#: Fields of the calibration data, and the options that set them.
DATA_FIELDS = {
    "text": "data",
    "text_field": "text_field",
    "samples": "samples",
    "length": "length",
    "seed": "data_seed",
}
#: Help of the option that names the column of held-out texts.
TEXT_FIELD = "Column of the texts or chats, where the data is a .jsonl, .json, .csv or .parquet file."
model = click.argument("model", metavar="MODEL")
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Result as JSON; progress and faults as JSON lines on stderr."
)

#: For commands that have no recipe of their own; "" leaves the choice to the recipes that they are given.
compute = click.option(
    "--compute", metavar="TEXT", default="",
    help="Number type of forward passes: auto, float32, bfloat16.  [default: auto]",
)  # fmt: skip


def recipe_options(command: F) -> F:
    """Add every option that a recipe has to a command."""
    known = {field.name: field for field in dataclasses.fields(Recipe)}
    data = {field.name: field for field in dataclasses.fields(DataSettings)}
    made = [_option(known[name], name) for name in FIELDS]
    made += [_option(data[name], option) for name, option in DATA_FIELDS.items()]
    made += [
        click.option("--reference", metavar="TEXT", help=_sentence(known["reference"].metadata["help"])),
        click.option("--where", multiple=True, metavar="GLOB=KEEP", help="Layers with their own share; repeatable."),
        click.option(
            "--set", "knobs", multiple=True, metavar="KIND.KNOB=VALUE",
            help="A knob of a method, as in score.power=2; repeatable.",
        ),
        click.option(
            "--recipe", "base", metavar="FILE",
            help="Start from a recipe in TOML; the options given beside it win.",
        ),
    ]  # fmt: skip
    for option in reversed(made):
        command = option(command)
    return command


def recipe_from(given: Mapping[str, Any]) -> Recipe:
    """The recipe that the options describe.

    Args:
        given: values by parameter name, as click passes them; what was not given is None or empty.

    Raises:
        FewerError: a share that is no number, an unknown knob's kind, a malformed pair.
    """
    recipe = load_recipe(given["base"]) if given.get("base") else Recipe()
    changes: dict[str, Any] = {name: given[name] for name in FIELDS if given.get(name) not in (None, ())}
    if "keep" in changes:
        changes["keep"] = _keep(changes["keep"], "--keep")
    if given.get("where"):
        changes["where"] = tuple(_where(pair) for pair in given["where"])
    data = {name: given[option] for name, option in DATA_FIELDS.items() if given.get(option) is not None}
    if "seed" in changes:
        data.setdefault("seed", changes["seed"])
    if data:
        changes["data"] = dataclasses.replace(recipe.data, **data)
    if given.get("reference"):
        # The second text is cut like the first, unless a recipe says otherwise.
        changes["reference"] = dataclasses.replace(recipe.reference, **{**data, "text": given["reference"]})
    for pair in given.get("knobs") or ():
        kind, knob, value = _knob(pair)
        field = f"{kind}_options"
        changes[field] = {**changes.get(field, getattr(recipe, field)), knob: value}
    return dataclasses.replace(recipe, **changes)


def data_of(recipe: Recipe, source: str) -> str | None:
    """The calibration text: the recipe's own; for the demo model the demo text, unless something else is given."""
    return recipe.data.text or ("demo" if source == "demo" else None)


def _option(field: dataclasses.Field[Any], name: str) -> Callable[[F], F]:
    many = field.type.startswith("tuple") if isinstance(field.type, str) else False
    number = field.type == "int"
    text = _sentence(field.metadata["help"])
    shown = "" if many or field.default in ("", None) else f"  [default: {field.default}]"
    return click.option(
        f"--{name.replace('_', '-')}",
        name,
        multiple=many,
        type=click.INT if number else click.STRING,
        metavar="N" if number else "TEXT",
        help=text + shown,
    )


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def numbers(text: str, where: str) -> tuple[float, ...]:
    """Numbers with commas between them.

    Raises:
        FewerError: one of them is no number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise FewerError(f"{where} is '{text}'; it must be a share in (0, 1], or several with commas") from None


def _keep(text: str, where: str) -> float | tuple[float, ...]:
    values = numbers(text, where)
    return values if len(values) > 1 else values[0]


def _where(pair: str) -> Where:
    match, equals, keep = pair.rpartition("=")
    if not equals or not match:
        raise FewerError(f"--where '{pair}' must look like GLOB=KEEP, for example '*.mlp.*=0.4'")
    return Where(match, _keep(keep, f"--where '{pair}': the share"))


def _knob(pair: str) -> tuple[str, str, Any]:
    name, equals, value = pair.partition("=")
    kind, dot, knob = name.partition(".")
    if not equals or not dot or not knob:
        raise FewerError(f"--set '{pair}' must look like KIND.KNOB=VALUE, for example score.power=2")
    if kind not in KINDS:
        raise FewerError(f"--set '{pair}': unknown kind '{kind}'{nearest(kind, KINDS)}; known: {', '.join(KINDS)}")
    try:
        return kind, knob, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return kind, knob, value
