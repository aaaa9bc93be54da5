"""In which order candidates stand, which random selection belongs to which, and how each one is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from fewer.report.numbers import share
from fewer.verbs.result import Candidate, Comparison

__all__ = ["Look", "Setting", "control", "distance", "kind_of", "looks", "settings", "times_closer"]

_SHAPES = ("circle", "square", "up", "diamond", "down", "cross", "right", "left")
_DASHES = (None, "7 3", "2 3", "9 3 2 3", "5 2", "1 4", "12 4", "4 4")


@dataclass(frozen=True, slots=True)
class Setting:
    """Candidates that removed equally much in the same pattern, best first, random last."""

    pattern: str
    keep: float
    candidates: tuple[Candidate, ...]

    @property
    def title(self) -> str:
        """What people call it: the pattern, and the sparsity where the pattern does not say it."""
        if ":" in self.pattern:
            return f"{self.pattern} pattern"
        sparsity = f"{share(1 - self.keep)} sparse"
        return sparsity if self.pattern == "unstructured" else f"{sparsity}, {self.pattern}"

    @property
    def place(self) -> str:
        """The same inside a sentence."""
        if ":" in self.pattern:
            return f"{self.pattern} sparsity"
        return self.title.replace("sparse", "sparsity")

    @property
    def methods(self) -> tuple[Candidate, ...]:
        """All but the random ones."""
        return tuple(c for c in self.candidates if not c.random)


@dataclass(frozen=True, slots=True)
class Look:
    """How the marks of one group are drawn: a colour class, a shape and a dash."""

    colour: str
    shape: str
    dash: str | None


def distance(candidate: Candidate) -> float | None:
    """How far from the dense model: the divergence, or the output error of what predicts no next token."""
    quality = candidate.quality
    found = quality.output_error if quality.kl is None or math.isnan(quality.perplexity) else quality.kl
    return None if found is None or math.isnan(found) else found


def _rank(candidate: Candidate) -> float:
    found = distance(candidate)
    value = candidate.quality.nll if found is None else found
    return math.inf if math.isnan(value) else value


def settings(comparison: Comparison) -> tuple[Setting, ...]:
    """The candidates by pattern and share: unstructured first, then in order of growing sparsity."""
    found: dict[tuple[str, float], list[Candidate]] = {}
    for candidate in comparison.candidates:
        found.setdefault((candidate.pattern, round(candidate.keep, 4)), []).append(candidate)
    ranked = sorted(found.items(), key=lambda item: (item[0][0] != "unstructured", item[0][0], -item[0][1]))
    return tuple(
        Setting(pattern, keep, tuple(sorted(rows, key=lambda c: (c.random, _rank(c)))))
        for (pattern, keep), rows in ranked
    )


def _allocation(candidate: Candidate) -> dict[str, int]:
    return {row.name: row.kept for row in candidate.layers}


def control(candidate: Candidate, comparison: Comparison) -> Candidate | None:
    """The random selection beside a candidate: that with the same count in every layer, else the same setting."""
    same = [
        other
        for other in comparison.candidates
        if other.random and other.pattern == candidate.pattern and abs(other.keep - candidate.keep) < 5e-3
    ]
    exact = [other for other in same if _allocation(other) == _allocation(candidate)]
    return next(iter([*exact, *same]), None)


def times_closer(candidate: Candidate, comparison: Comparison) -> float | None:
    """How many times nearer to the dense model than random: a ratio of divergences, or of output errors."""
    beside = control(candidate, comparison)
    if beside is None or candidate.random:
        return None
    own, other = distance(candidate), distance(beside)
    return None if not own or other is None else other / own


def looks(candidates: Iterable[Candidate]) -> dict[str, Look]:
    """One look for each group, the same in every chart; random is always the grey one."""
    found: dict[str, Look] = {}
    for candidate in candidates:
        if candidate.group in found:
            continue
        if candidate.random:
            found[candidate.group] = Look("random", "circle", "3 3")
        else:
            i = sum(look.colour != "random" for look in found.values())
            shift = i // 8
            found[candidate.group] = Look(f"c{i % 8}", _SHAPES[(i + shift) % 8], _DASHES[(i + shift) % 8])
    return found


def kind_of(name: str, block: int | None) -> str:
    """What stands after the block's number in a layer's name, without an expert's index.

    >>> kind_of("model.layers.3.mlp.gate_proj", 3), kind_of("h.0.moe.experts.up[5]", 0), kind_of("head.fc", None)
    ('mlp.gate_proj', 'moe.experts.up', 'head.fc')
    """
    if name.endswith("]"):
        name = name.rsplit("[", 1)[0]
    parts = name.split(".")
    if block is not None and str(block) in parts[:-1]:
        parts = parts[parts.index(str(block)) + 1 :]
    return ".".join(part for part in parts if not part.isdigit()) or name
