"""How numbers are written in every report, so that the terminal, the page and the tests agree."""

from __future__ import annotations

import math

__all__ = ["factor", "nats", "percent", "perplexity", "seconds", "share", "size", "tick"]

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _fixed(value: float, digits: int) -> str:
    """`value` with `digits` significant digits, without an exponent; the caller keeps it in a sane range."""
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"


def _broken(value: float | None) -> str | None:
    if value is None:
        return "–"
    if math.isnan(value):
        return "nan"
    return ("∞" if value > 0 else "-∞") if math.isinf(value) else None


def perplexity(value: float | None) -> str:
    """A perplexity: two decimals below a hundred, whole thousands above, an exponent past a million.

    >>> [perplexity(v) for v in (7.1234, 123.456, 12345.6, 2.5e7, float("inf"), None)]
    ['7.12', '123.5', '12,346', '2.5e+07', '∞', '–']
    """
    if value is None or not math.isfinite(value):
        return str(_broken(value))
    if value >= 1e6:
        return f"{value:.1e}"
    return f"{value:,.{2 if value < 100 else 1 if value < 1000 else 0}f}"


def nats(value: float | None) -> str:
    """A divergence in nats per token, three significant digits.

    >>> [nats(v) for v in (0.0, 0.01234, 1.5, 12.345, 3.2e-6, None)]
    ['0', '0.0123', '1.50', '12.3', '3.2e-06', '–']
    """
    if value is None or not math.isfinite(value):
        return str(_broken(value))
    return f"{value:.1e}" if 0 < abs(value) < 1e-4 else _fixed(value, 3)


def percent(value: float | None) -> str:
    """A share of one as a percentage with one decimal.

    >>> percent(0.5), percent(0.98765), percent(None)
    ('50.0 %', '98.8 %', '–')
    """
    return _broken(value) or f"{100 * value:.1f} %" if value is not None else "–"


def share(value: float) -> str:
    """A requested share as people say it: no digits that nobody asked for.

    >>> share(0.5), share(0.625), share(1 / 3)
    ('50 %', '62.5 %', '33.3 %')
    """
    return f"{round(100 * value, 1):g} %"


def size(value: int) -> str:
    """A number of bytes in decimal units.

    >>> size(999), size(9_640_000), size(2_600_000_000)
    ('999 B', '9.64 MB', '2.60 GB')
    """
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= step:
            return f"{_fixed(value / step, 3)} {unit}"
    return f"{value} B"


def seconds(value: float) -> str:
    """A duration.

    >>> seconds(0.04), seconds(12.34), seconds(605), seconds(7290)
    ('0.04 s', '12.3 s', '10 min 5 s', '2 h 1 min')
    """
    if value < 100:
        return f"{value:.{1 if value >= 1 else 2}f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def factor(value: float | None) -> str:
    """A ratio: how many times.

    >>> factor(18.24), factor(9.97), factor(2.345), factor(0.5), factor(1234.5), factor(None)
    ('18×', '10×', '2.3×', '0.50×', '1,234×', '–')
    """
    if value is None or not math.isfinite(value):
        return str(_broken(value))
    return f"{value:,.{2 if value < 1 else 1 if value < 9.95 else 0}f}×"


def tick(value: float) -> str:
    """A label on an axis: plain digits where they are short, a power of ten where they are not.

    >>> tick(0.01), tick(0.5), tick(1000.0), tick(1e-5), tick(3e6), tick(0.0)
    ('0.01', '0.5', '1,000', '10⁻⁵', '3·10⁶', '0')
    """
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:,.10g}"
    power = math.floor(math.log10(abs(value)) + 1e-9)
    lead = value / 10.0**power
    tail = "10" + str(power).translate(_SUPERSCRIPT)
    return tail if abs(lead - 1) < 1e-6 else f"{lead:g}·{tail}"
