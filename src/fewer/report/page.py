"""One page that opens anywhere: style, drawings and script inside, nothing fetched."""

from __future__ import annotations

import math

from fewer.arguments import checked
from fewer.report import layers, quality, run
from fewer.report.document import document, write
from fewer.report.numbers import factor, nats, percent, perplexity, size
from fewer.report.order import looks, times_closer
from fewer.report.records import to_json
from fewer.report.story import also, answer, headline
from fewer.report.svg import Markup, tag
from fewer.verbs.result import Comparison

__all__ = ["page", "to_html"]


@checked
def to_html(comparison: Comparison, path: str) -> str:
    """Write one self-contained page, whole or not at all.

    Args:
        comparison: what was measured.
        path: file to write; missing directories are made, an older report is replaced.

    Returns:
        The path.

    Raises:
        FewerError: the file cannot be written.
    """
    return write(path, page(comparison))


def page(comparison: Comparison) -> str:
    """The page as text: an HTML document whose every value from data is escaped."""
    drawn = looks(comparison.candidates)
    parts = (
        _header(comparison),
        quality.section(comparison, drawn),
        layers.section(comparison, drawn),
        run.section(comparison),
    )
    return document(f"fewer: {comparison.provenance.model}", parts, to_json(comparison, indent=None))


def _header(comparison: Comparison) -> Markup:
    others = also(comparison)
    source = comparison.provenance
    return tag(
        "header",
        None,
        tag("p", {"class": "kicker"}, tag("b", None, "fewer"), f" · {source.model} · {source.date}"),
        tag("h1", None, answer(comparison)),
        tag("ul", {"class": "also"}, *(tag("li", None, line) for line in others)) if others else Markup(""),
        tag("dl", {"class": "facts"}, *_facts(comparison)),
    )


def _facts(comparison: Comparison) -> list[Markup]:
    dense = comparison.dense
    rows: list[tuple[str, str, str]] = []
    spoken = not math.isnan(dense.quality.perplexity)
    if spoken:
        note = f"perplexity, context {dense.quality.context}, {dense.quality.tokens:,} tokens"
        rows.append(("Dense model", perplexity(dense.quality.perplexity), note))
    first = headline(comparison)
    if first is not None and first.methods:
        best = first.methods[0]
        if spoken:
            name = f"{best.label}, {first.title}"
            rows.append((name, perplexity(best.quality.perplexity), "perplexity, same text"))
        if not spoken and best.quality.output_error is not None:
            rows.append(("Change of the outputs", nats(best.quality.output_error), "of their norm"))
        elif best.quality.kl is not None:
            closer = times_closer(best, comparison)
            beside = f"nats per token (KL); random is {factor(closer)} as far" if closer else "nats per token (KL)"
            rows.append(("Its distance from dense", nats(best.quality.kl), beside))
            rows.append(("Same first choice", percent(best.quality.top1_agreement), "of tokens"))
        kept = percent(best.nonzero / max(1, best.parameters))
        rows.append(("Parameters left", kept, f"{size(best.packed_bytes)} packed, {size(best.bytes)} with the zeros"))
    return [
        tag("div", None, tag("dt", None, name), tag("dd", None, value, tag("small", None, note)))
        for name, value, note in rows
    ]
