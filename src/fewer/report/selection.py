"""The choice of columns as text and as one page: coefficients, path, cross-validation, certificate."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from fewer.method import FewerError
from fewer.report.numbers import seconds, tick
from fewer.report.scale import Linear, linear
from fewer.report.svg import Markup, clip, join, picture, tag, text
from fewer.verbs.select import Chosen, Selection

__all__ = ["page", "summary", "to_html"]

WIDE, HIGH = 720.0, 330.0
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def summary(found: Selection) -> str:
    """A table for the terminal."""
    lines = [answer(found), ""]
    rows = [(printable(c.name), c.coefficients) for c in _ordered(found.chosen)]
    width = max((len(name) for name, _ in rows), default=0)
    lines += [f"  {name:<{width}}  {_numbers(values)}" for name, values in rows]
    lines += ["", *(f"{name:<12}  {value}  {note}".rstrip() for name, value, note in facts(found))]
    return "\n".join([*lines, *(f"note: {printable(note)}" for note in found.notes)])


def printable(name: str) -> str:
    """A name on one line of a terminal: what cannot be printed is a space."""
    return "".join(letter if letter.isprintable() else " " for letter in name)


def answer(found: Selection) -> str:
    """The result in one sentence."""
    count = len({c.source for c in found.chosen})
    verb = "explains" if count == 1 else "explain"
    if flat(found):
        return (
            f"the held-out loss of {printable(found.target)} is the same at every penalty: nothing can be chosen by it"
        )
    words = "no column explains" if count == 0 else f"{count} of {found.columns} columns {verb}"
    return f"{words} {printable(found.target)} ({found.family}, {found.rows} rows, rule {found.rule})"


def flat(found: Selection) -> bool:
    """Whether the held-out loss tells no penalties apart although coefficients differ along the path."""
    good = [value for value in found.mean if math.isfinite(value)]
    differ = any(value != row[0] for row in found.path for value in row)
    return differ and len(good) > 1 and max(good) - min(good) <= 1e-13 * max(map(abs, good))


def _finite(value: float) -> str:
    return f"{value:.5g}" if math.isfinite(value) else "none that is finite"


#: What the loss of a family is, a row.
LOSSES = {
    "gaussian": "half the mean squared error", "quantile": "mean check loss", "poisson": "mean of mu - y log mu",
    "binomial": "mean log loss", "multinomial": "mean log loss", "ordinal": "mean log loss",
    "cox": "what a fold adds to minus the log partial likelihood, a row",
}  # fmt: skip


def facts(found: Selection) -> list[tuple[str, str, str]]:
    """What a careful reader asks next: name, value, and what it means."""
    at = min(range(len(found.alphas)), key=lambda k: abs(found.alphas[k] - found.alpha))
    proven = "of the objective without columns, proven" if found.converged else "NOT the gap that was asked for"
    proven += ", for the lasso that chose" if any(one.phi < 1 for one in found.tried) else ""
    gap = "not convex" if math.isnan(found.gap) else f"{found.gap:.1e}"
    return [
        ("penalty", f"{found.alpha:.4g}", f"from {found.alphas[0]:.4g} down to {found.alphas[-1]:.4g}"),
        (
            "held-out loss",
            f"{found.mean[at]:.5g}",
            f"± {found.error[at]:.2g} over {found.folds} folds; {_finite(found.mean[0])} at the strongest penalty; "
            f"{LOSSES[found.family]}",
        ),
        ("duality gap", gap, f"{proven}; KKT distance {found.kkt:.1e}"),
        *_extras(found),
        *([] if found.family == "cox" else [_constants(found)]),
        ("time", seconds(found.seconds), ""),
    ]


def _extras(found: Selection) -> list[tuple[str, str, str]]:
    """What cross-validation chose beside the penalty, where it had a choice."""
    rows = []
    if len({one.mix for one in found.tried}) > 1 or found.mix != 1:
        others = sorted({one.mix for one in found.tried})
        rows.append(("mix", f"{found.mix:g}", f"share of L1, from {', '.join(f'{m:g}' for m in others)}"))
    if any(one.phi < 1 for one in found.tried):
        least = {one.phi: min(o.loss for o in found.tried if o.phi == one.phi) for one in found.tried}
        losses = ", ".join(f"{phi:g}: {loss:.5g}" for phi, loss in sorted(least.items()))
        rows.append(("phi", f"{found.phi:g}", f"share of the lasso, the rest is its refit; least losses {losses}"))
    if any(one.factors.startswith("trust") for one in found.tried):
        best = {one.factors: min(o.loss for o in found.tried if o.factors == one.factors) for one in found.tried}
        losses = ", ".join(f"{name.removeprefix('trust ')}: {loss:.4g}" for name, loss in best.items())
        rows.append(("trust", found.factors.removeprefix("trust "), f"exponent of the beliefs; least losses {losses}"))
    return rows


def _constants(found: Selection) -> tuple[str, str, str]:
    return ("cut points" if found.family == "ordinal" else "intercept", _numbers(found.intercept), _of_classes(found))


def _of_classes(found: Selection) -> str:
    if found.family == "multinomial":
        return "for " + ", ".join(found.classes)
    if found.family == "binomial":
        return f"log odds of '{found.classes[1]}'"
    return "between " + " < ".join(found.classes) if found.family == "ordinal" else ""


def to_html(found: Selection, path: str) -> str:
    """Write the page, whole or not at all; returns the path."""
    target = Path(path)
    partial = target.with_name(target.name + ".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(page(found), "utf-8")
        partial.replace(target)
    except OSError as error:
        raise FewerError(f"cannot write report '{path}': {error.strerror or error}") from None
    return str(path)


def page(found: Selection) -> str:
    """The page as text; every value from data is escaped."""
    body = tag(
        "main", None,
        tag("header", None,
            tag("p", {"class": "kicker"}, tag("b", None, "fewer"), f" · {Path(found.source).name}"),
            tag("h1", None, answer(found)),
            tag("dl", {"class": "facts"}, *map(_fact, facts(found)))),
        _section("Chosen columns", _LEAD + _colours(found), _bars(found)),
        _section("Path", "Coefficients times the spread of their column, along the penalty; dashed, the choice.",
                 _path(found)),
        _section(
            "Cross-validation",
            f"Held-out loss ({LOSSES[found.family]}), one standard error either side.",
            _curve(found),
        ),
        _notes(found),
    )  # fmt: skip
    style = Path(__file__).with_name("style.css").read_text("utf-8")
    head = join(
        [
            Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
            Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
            tag("title", None, f"fewer: {found.target}"),
            tag("style", None, Markup(style + _STYLE)),
        ]
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'


def _fact(row: tuple[str, str, str]) -> Markup:
    name, value, note = row
    return tag("div", None, tag("dt", None, name), tag("dd", None, value, tag("small", None, note)))


_LEAD = "Bars: coefficients times the spread of their column. Numbers: coefficients in the units of the table."


def _colours(found: Selection) -> str:
    """Which class a bar stands for, in the order in which bars are drawn."""
    return f" Bars of a column from top to bottom: {', '.join(found.classes)}." if _several(found) else ""


def _several(found: Selection) -> bool:
    return any(len(c.coefficients) > 1 for c in found.chosen)


_STYLE = """
main section svg{display:block;width:100%;max-width:58rem;height:auto}
.line{fill:none;stroke-width:1.6}.band{opacity:.18}.grid{stroke:currentColor;opacity:.14}
.pick{stroke:currentColor;stroke-dasharray:3 3;opacity:.6}.bar{opacity:.85}
"""
#: Colours of the style sheet, which knows light and dark.
_COLOURS = tuple(f"var(--c{k})" for k in range(8))


def _section(title: str, lead: str, drawing: Markup) -> Markup:
    return tag("section", None, tag("h2", None, title), tag("p", {"class": "lead"}, lead), drawing)


def _ordered(chosen: Sequence[Chosen]) -> list[Chosen]:
    """Sources by their largest effect, the columns of each together."""
    size = {c.name: max(map(abs, c.effects)) for c in chosen}
    most: dict[str, float] = {}
    for c in chosen:
        most[c.source] = max(most.get(c.source, 0.0), size[c.name])
    return sorted(chosen, key=lambda c: (-most[c.source], c.source, -size[c.name]))


def _numbers(values: Sequence[float]) -> str:
    return "  ".join(f"{value:+.5g}" for value in values)


def _bars(found: Selection) -> Markup:
    """One bar a column, largest first."""
    rows = _ordered(found.chosen)[:40]
    if not rows:
        return tag("p", None, "None: the best model has an intercept only.")
    thick = 13.0 if _several(found) else 14.0
    pitch = thick * len(rows[0].effects) + 9
    high = pitch * len(rows) + 8
    across = linear([0.0, *(v for c in rows for v in c.effects)], 190, WIDE - 110)
    zero = across(0.0)
    drawn: list[Markup] = [tag("line", {"x1": zero, "x2": zero, "y1": 0, "y2": high, "class": "grid"})]
    for i, row in enumerate(rows):
        top = pitch * i + 6
        drawn.append(text(182, top + (pitch - 9) / 2 + 4, clip(row.name, 28), {"text-anchor": "end"}))
        for k, (value, effect) in enumerate(zip(row.coefficients, row.effects, strict=True)):
            end, y = across(effect), top + k * thick
            box = {"x": min(zero, end), "y": y, "width": max(abs(end - zero), 1), "height": thick - 1}
            drawn.append(tag("rect", {**box, "style": f"fill:{_COLOURS[k % 8]}", "class": "bar"}))
            drawn.append(text(WIDE - 4, y + thick / 2 + 3.5, f"{value:+.4g}", {"text-anchor": "end"}))
    return picture(WIDE, high, f"Coefficients of {len(rows)} chosen columns", *drawn)


def _axes(found: Selection, upright: Linear, across: Linear) -> list[Markup]:
    """Grid lines, tick labels, and the line of the chosen penalty; the penalty falls from left to right."""
    drawn: list[Markup] = []
    for value in upright.ticks():
        y = upright(value)
        drawn.append(tag("line", {"x1": 60, "x2": WIDE - 150, "y1": y, "y2": y, "class": "grid"}))
        drawn.append(text(54, y + 4, tick(value), {"text-anchor": "end"}))
    for k in range(0, len(found.alphas), max(1, len(found.alphas) // 5)):
        x = across(-math.log10(found.alphas[k]))
        drawn.append(text(x, HIGH - 8, f"{found.alphas[k]:.2g}", {"text-anchor": "middle"}))
        drawn.append(text(x, 12, str(found.sizes[k]), {"text-anchor": "middle"}))
    if found.alpha > 0:
        x = across(-math.log10(found.alpha))
        drawn.append(tag("line", {"x1": x, "x2": x, "y1": 20, "y2": HIGH - 24, "class": "pick"}))
    drawn.append(text(WIDE - 146, 12, "columns", {}))
    return [*drawn, text(WIDE - 146, HIGH - 8, "penalty", {})]


def _across(found: Selection) -> Linear:
    return Linear(-math.log10(found.alphas[0]), -math.log10(found.alphas[-1]) + 1e-12, 60, WIDE - 150)


def _points(across: Linear, upright: Linear, alphas: Sequence[float], values: Sequence[float]) -> str:
    return " ".join(
        f"{across(-math.log10(a)):.1f},{upright(v):.1f}" for a, v in zip(alphas, values, strict=True) if a > 0
    )


def _path(found: Selection) -> Markup:
    """Coefficients along the penalty; the ten strongest are named at the right end."""
    if not found.path:
        return tag("p", None, "No column enters the path.")
    across = _across(found)
    upright = linear([v for row in found.path for v in row], HIGH - 24, 20)
    drawn = _axes(found, upright, across)
    ends: list[tuple[float, int]] = []
    for i, row in enumerate(found.path):
        shape = {"points": _points(across, upright, found.alphas, row), "class": "line"}
        drawn.append(tag("polyline", {**shape, "style": f"stroke:{_COLOURS[i % 8]}"}))
        if i < 10:
            ends.append((upright(row[-1]), i))
    ends.sort()
    for y, (_, i) in zip(_spread([y + 4 for y, _ in ends], 26, HIGH - 24), ends, strict=True):
        look = {"style": f"fill:{_COLOURS[i % 8]}"}
        drawn.append(text(WIDE - 146, y, clip(found.path_names[i], 22), look))
    return picture(WIDE, HIGH, "Coefficients along the penalty", *drawn)


def _spread(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """Ascending places of lines of text, 13 apart, as near as that lets them be to where they are wanted."""
    places: list[float] = []
    for y in wanted:
        places.append(max(y, places[-1] + 13 if places else low))
    for k in reversed(range(len(places))):
        places[k] = min(places[k], places[k + 1] - 13 if k + 1 < len(places) else high)
    return places


def _curve(found: Selection) -> Markup:
    """Held-out loss with a band of one standard error."""
    across = _across(found)
    on = [k for k, value in enumerate(found.mean) if math.isfinite(value)]
    alphas, mean, error = (tuple(values[k] for k in on) for values in (found.alphas, found.mean, found.error))
    sizes = tuple(found.sizes[k] for k in on)
    found = dataclasses.replace(found, alphas=alphas, mean=mean, error=error, sizes=sizes)
    low = [m - e for m, e in zip(found.mean, found.error, strict=True)]
    top = [m + e for m, e in zip(found.mean, found.error, strict=True)]
    upright = linear([*low, *top], HIGH - 24, 20)
    band = _points(across, upright, found.alphas, top) + " "
    band += _points(across, upright, tuple(reversed(found.alphas)), tuple(reversed(low)))
    drawn = _axes(found, upright, across)
    drawn.append(tag("polygon", {"points": band, "class": "band", "style": f"fill:{_COLOURS[0]}"}))
    line = {"points": _points(across, upright, found.alphas, found.mean), "class": "line"}
    drawn.append(tag("polyline", {**line, "style": f"stroke:{_COLOURS[0]}"}))
    return picture(WIDE, HIGH, "Held-out loss along the penalty", *drawn)


def _notes(found: Selection) -> Markup:
    rows = [*found.notes, *found.citations]
    return tag("section", None, tag("h2", None, "Notes"), tag("ul", None, *(tag("li", None, row) for row in rows)))
