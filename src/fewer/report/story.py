"""The answer in words: what a reader should know who reads one sentence."""

from __future__ import annotations

import math

from fewer.report.numbers import factor, nats, perplexity
from fewer.report.order import Setting, settings, times_closer
from fewer.verbs.result import Candidate, Comparison

__all__ = ["also", "answer", "headline", "verdict"]


def headline(comparison: Comparison) -> Setting | None:
    """The setting that the page talks about first: the one with the most methods, of equals that nearest to half."""
    found = settings(comparison)
    return max(found, key=lambda s: (len(s.methods), ":" not in s.pattern, -abs(s.keep - 0.5)), default=None)


def verdict(setting: Setting, comparison: Comparison) -> str:
    """One sentence on one setting."""
    if not setting.methods:
        return f"At {setting.place}, only random selections were measured."
    best = setting.methods[0]
    cost = _cost(best, comparison.dense)
    closer = times_closer(best, comparison)
    if closer is None:
        return f"At {setting.place}, {best.label} stays nearest to the dense model: {cost}."
    if closer <= 1:
        return f"At {setting.place}, no method beats a random selection; the nearest is {best.label}: {cost}."
    times = factor(closer).rstrip("×")
    nearest = f"At {setting.place}, {best.label} stays nearest to the dense model"
    return f"{nearest}: {cost}, {times} times closer than random."


def _cost(best: Candidate, dense: Candidate) -> str:
    if math.isnan(dense.quality.perplexity):
        return f"its outputs differ by {nats(best.quality.output_error)} of their norm"
    own, before = perplexity(best.quality.perplexity), perplexity(dense.quality.perplexity)
    return f"perplexity {own} against {before} dense (context {dense.quality.context})"


def answer(comparison: Comparison) -> str:
    """The sentence at the head of a report."""
    setting = headline(comparison)
    if setting is None:
        dense = comparison.dense.quality
        if math.isnan(dense.perplexity):
            return "The dense model alone; nothing was pruned."
        return f"The dense model alone: perplexity {perplexity(dense.perplexity)} at context {dense.context}."
    return verdict(setting, comparison)


def also(comparison: Comparison, limit: int = 3) -> list[str]:
    """Sentences on other settings: the sparsest one of each pattern."""
    first = headline(comparison)
    sparsest = {s.pattern: s for s in settings(comparison) if s.methods}
    return [verdict(s, comparison) for s in sparsest.values() if first is None or s.place != first.place][:limit]
