"""The columns of the table, the same in the terminal and on the page."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from fewer.report import numbers
from fewer.report.order import times_closer
from fewer.verbs.result import Candidate, Comparison

__all__ = ["Column", "columns"]


@dataclass(frozen=True, slots=True)
class Column:
    """A short name for the terminal, a longer one for the page, the value, how it is written; whether it judges."""

    short: str
    long: str
    get: Callable[[Candidate], float | None]
    write: Callable[[float | None], str]
    judges: bool = True


def columns(comparison: Comparison) -> tuple[Column, ...]:
    """Those that the comparison has numbers for; sparsity, size and time always."""
    context = comparison.dense.quality.context
    quality = (
        Column(f"ppl@{context}", f"perplexity @{context}", lambda c: c.quality.perplexity, numbers.perplexity),
        Column("KL nats", "KL, nats/token", lambda c: c.quality.kl, numbers.nats),
        Column("top-1", "top-1 agreement", lambda c: c.quality.top1_agreement, numbers.percent),
        Column("worst ppl", "worst slice", lambda c: c.quality.worst_slice_perplexity, numbers.perplexity),
        Column("out error", "output error", lambda c: c.quality.output_error, numbers.nats),
        Column("vs random", "closer than random", lambda c: times_closer(c, comparison), numbers.factor),
    )
    everybody = (comparison.dense, *comparison.candidates)
    return (
        Column("sparsity", "sparsity", lambda c: c.sparsity, numbers.percent, False),
        *(column for column in quality if any(_known(column.get(c)) for c in everybody)),
        Column("packed", "packed size", lambda c: c.packed_bytes, lambda v: numbers.size(int(v or 0)), False),
        Column("time", "time", lambda c: c.seconds, lambda v: numbers.seconds(v or 0.0), False),
    )


def _known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)
