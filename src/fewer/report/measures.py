"""What quality is drawn as: a few measures, each with its scale, its better direction and its words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fewer.report import numbers
from fewer.report.scale import Linear, Log, linear, log
from fewer.verbs.result import Candidate, Quality

__all__ = ["MEASURES", "Measure", "tooltip"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a quality record; `dense` is the dense model's own value where a chart can show it."""

    title: str
    note: str
    get: Callable[[Quality], float | None]
    scale: Callable[[Iterable[float], float, float], Linear | Log]
    write: Callable[[float | None], str]
    tick: Callable[[float], str]
    lower_is_better: bool
    dense: Callable[[Quality], float | None]

    def of(self, candidate: Candidate) -> float | None:
        """The number of a candidate."""
        return self.get(candidate.quality)

    def base(self, dense: Candidate) -> float | None:
        """The dense model's own number, where the axis can show it."""
        value = self.dense(dense.quality)
        return None if value is None or not math.isfinite(value) else value

    def known(self, candidates: Iterable[Candidate]) -> bool:
        """Whether there is anything to draw."""
        return any(value is not None and not math.isnan(value) for value in map(self.of, candidates))

    def span(self, candidates: Iterable[Candidate], dense: Candidate) -> list[float]:
        """The values that an axis has to hold.

        A random selection may be so much worse that it would press everything else against the edge: what exceeds
        the spread of the methods twice over is left to stand off the scale.
        """
        found = [(c.random, v) for c in candidates if (v := self.of(c)) is not None and math.isfinite(v)]
        base = self.base(dense)
        near = [v for random, v in found if not random] + ([] if base is None else [base])
        if len(near) < 2 or not self.lower_is_better or min(near) <= 0:
            return near + [v for random, v in found if random]
        limit = max(near) * max(max(near) / min(near), 3.0) ** 2
        return near + [v for random, v in found if random and v <= limit]


MEASURES: tuple[Measure, ...] = (
    Measure(
        "Distance from dense",
        "KL divergence, nats per token, log scale; lower is better",
        lambda q: q.kl,
        log,
        numbers.nats,
        numbers.tick,
        True,
        lambda q: None,
    ),
    Measure(
        "Perplexity",
        "context of {context} tokens, log scale; lower is better",
        lambda q: q.perplexity,
        log,
        numbers.perplexity,
        numbers.tick,
        True,
        lambda q: q.perplexity,
    ),
    Measure(
        "Agreement",
        "share of tokens with the dense model's first choice; higher is better",
        lambda q: q.top1_agreement,
        linear,
        numbers.percent,
        lambda v: f"{100 * v:g} %",
        False,
        lambda q: 1.0,
    ),
    Measure(
        "Worst slice",
        "perplexity of the worst part of the text, log scale; lower is better",
        lambda q: q.worst_slice_perplexity,
        log,
        numbers.perplexity,
        numbers.tick,
        True,
        lambda q: q.worst_slice_perplexity,
    ),
    Measure(
        "Output error",
        "‖f′ − f‖ over ‖f‖, the change of the outputs, log scale; lower is better",
        lambda q: q.output_error,
        log,
        numbers.nats,
        numbers.tick,
        True,
        lambda q: None,
    ),
)


def tooltip(candidate: Candidate) -> str:
    """What a mark says when pointed at: the whole row, one fact a line."""
    quality = candidate.quality
    lines = [candidate.label, f"sparsity {numbers.percent(candidate.sparsity)}, {candidate.pattern}"]
    if quality.output_error is not None:
        lines.append(f"output error {numbers.nats(quality.output_error)}")
    if math.isnan(quality.perplexity):
        return "\n".join(lines)
    lines += [
        f"KL {numbers.nats(quality.kl)} nats per token",
        f"perplexity {numbers.perplexity(quality.perplexity)} at context {quality.context}",
        f"agreement {numbers.percent(quality.top1_agreement)}",
        f"worst slice {numbers.perplexity(quality.worst_slice_perplexity)} ({quality.worst_slice})",
    ]
    return "\n".join(lines)
