"""Markup built from Python values; whatever comes from data is escaped here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

__all__ = ["Attributes", "Markup", "clip", "join", "mark", "picture", "tag", "text"]

Attributes = Mapping[str, str | float | int | None]


class Markup(str):
    """Text that is markup already; every other string is escaped when it becomes a child or an attribute."""

    __slots__ = ()


def _value(value: str | float | int) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return escape(str(value), quote=True)


def tag(name: str, attributes: Attributes | None = None, *children: str) -> Markup:
    """One element; attributes that are None are left out.

    >>> tag("text", {"x": 1.50, "class": None}, "a < b", tag("b", None, "c"))
    '<text x="1.5">a &lt; b<b>c</b></text>'
    """
    head = "".join(f' {key}="{_value(value)}"' for key, value in (attributes or {}).items() if value is not None)
    return Markup(f"<{name}{head}>{join(children)}</{name}>")


def join(children: Iterable[str]) -> Markup:
    """Children in a row, escaped unless they are markup.

    >>> join(["<", Markup("<br>")])
    '&lt;<br>'
    """
    return Markup("".join(c if isinstance(c, Markup) else escape(c, quote=False) for c in children))


def text(x: float, y: float, content: str, attributes: Attributes | None = None) -> Markup:
    """A piece of text in a drawing.

    >>> text(1, 2, "x", {"class": "tick"})
    '<text x="1" y="2" class="tick">x</text>'
    """
    return tag("text", {"x": x, "y": y, **(attributes or {})}, content)


def clip(content: str, limit: int) -> str:
    """`content` with an ellipsis where it is longer than `limit` characters.

    >>> clip("magnitude", 5), clip("obs", 5)
    ('magn…', 'obs')
    """
    return content if len(content) <= limit else content[: limit - 1] + "…"


def mark(shape: str, x: float, y: float, r: float, attributes: Attributes | None = None) -> Markup:
    """A point of a chart; shapes differ so that colour is never the only difference.

    >>> mark("circle", 1, 2, 3)
    '<circle cx="1" cy="2" r="3"></circle>'
    """
    given = attributes or {}
    if shape == "circle":
        return tag("circle", {"cx": x, "cy": y, "r": r, **given})
    corners = {
        "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        "diamond": [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
        "up": [(0, -1.2), (1.2, 0.95), (-1.2, 0.95)],
        "down": [(0, 1.2), (1.2, -0.95), (-1.2, -0.95)],
        "left": [(-1.2, 0), (0.95, 1.2), (0.95, -1.2)],
        "right": [(1.2, 0), (-0.95, 1.2), (-0.95, -1.2)],
        "cross": [
            *((-1.2, -0.6), (-0.6, -1.2), (0, -0.6), (0.6, -1.2), (1.2, -0.6), (0.6, 0)),
            *((1.2, 0.6), (0.6, 1.2), (0, 0.6), (-0.6, 1.2), (-1.2, 0.6), (-0.6, 0)),
        ],
    }[shape]
    points = " ".join(f"{_value(float(x + r * a))},{_value(float(y + r * b))}" for a, b in corners)
    return tag("polygon", {"points": points, **given})


def picture(width: float, height: float, label: str, *children: str) -> Markup:
    """A drawing that scales with its column; `label` is what a screen reader says.

    >>> picture(10, 5, "empty")
    '<svg viewBox="0 0 10 5" role="img" aria-label="empty"></svg>'
    """
    return tag(
        "svg", {"viewBox": f"0 0 {_value(width)} {_value(height)}", "role": "img", "aria-label": label}, *children
    )
