"""One layer: score, choose, update, measure. Everything the engine does once a weight and its evidence are there."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fewer.method import FewerError, Method, find
from fewer.recipe import Recipe
from fewer.verbs._unmeasured import Worth, lack_of, unrepaired, worth_of
from fewer.verbs.result import Histogram

if TYPE_CHECKING:
    from torch import Tensor

    from fewer.pattern import Pattern
    from fewer.select import Rule
    from fewer.update import Updated

__all__ = ["Histograms", "Job", "Solved", "relative_damage"]

#: Histograms count at most this many values of a layer, evenly spaced: enough for a picture, cheap for any size.
_SAMPLE = 1 << 14
_LOW, _HIGH, _BINS = -12.0, 6.0, 144


@dataclass(frozen=True, slots=True)
class Solved:
    """One layer after its update; `bias` is what to add to its bias, if the update asks for that.

    `zeros_before` counts the weights that were zero before.
    """

    weight: Tensor
    mask: Tensor
    bias: Tensor | None
    damage: float | None
    notes: Mapping[str, float | str]
    zeros_before: int


@dataclass(frozen=True, slots=True)
class Job:
    """A resolved recipe with its methods looked up: solves one layer after another.

    With `windowed`, evidence is per window, as authors' scripts measure it, and the knob `length` is 1. `shares` are
    those that the counts of the layers were rounded from, where the budget has them.
    """

    recipe: Recipe
    pattern: Pattern
    score: Method
    update: Method
    histograms: Histograms
    windowed: bool = False
    shares: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, recipe: Recipe) -> Job:
        """Look the names of a resolved recipe up."""
        from fewer.pattern import parse

        if recipe.unit == "input":
            raise FewerError("unit 'input' changes no weight: `fewer prune` calibrates it, nothing here can solve it")
        score, update = find("score", recipe.score), find("update", recipe.update)
        return cls(recipe, parse(recipe.pattern), score, update, Histograms())

    @property
    def bears_windows(self) -> bool:
        """Whether score and update work on evidence per window: they are free of its scale, or know the length."""
        scaled = ({"input_mean", "input_var", "input_var_within"} & set(m.needs) for m in (self.score, self.update))
        return all(not s or "length" in m.knobs for s, m in zip(scaled, (self.score, self.update), strict=True))

    def _knobs(self, method: Method, options: Mapping[str, Any], layer: str) -> dict[str, Any]:
        """The user's knobs, a seed of its own for every layer, and the length of the windows."""
        given = _seeded(method, options, self.recipe.seed, layer)
        return given | ({"length": 1} if self.windowed and "length" in method.knobs else {})

    def worth(self, name: str, weight: Tensor, evidence: Mapping[str, Tensor]) -> Worth:
        """What every weight of one layer is worth, refused if not finite; magnitude where nothing was measured."""
        import torch

        def ask() -> Tensor:
            arguments = [_given(evidence, weight, need, self.score, name) for need in self.score.needs]
            scores: Tensor = self.score.target(*arguments, **self._knobs(self.score, self.recipe.score_options, name))
            return scores

        found = worth_of(self.score, weight, evidence, ask)
        if not bool(torch.isfinite(found.scores).all()):
            raise FewerError(f"score '{self.score.name}' is NaN or infinite in layer '{name}'")
        return found

    def measured(self, stored: Tensor, weight: Tensor) -> Tensor:
        """The weight that scores are computed from: as it is stored where the authors' script takes it so."""
        return stored if self.recipe.compat == "wanda" else weight

    def solve(
        self,
        name: str,
        stored: Tensor,
        evidence: Mapping[str, Tensor],
        count: int,
        *,
        before: Tensor | None = None,
        worth: Worth | None = None,
    ) -> Solved:
        """Prune one layer.

        Args:
            name: of the layer, for messages and seeds.
            stored: its weight (out, in) in the stored dtype.
            evidence: what was measured about it.
            count: units that stay.
            before: mask of an earlier round; what it dropped stays dropped.
            worth: what its weights are worth, where somebody has computed that already.
        """
        import torch

        weight = working(name, stored)
        found = self.worth(name, self.measured(stored, weight), evidence) if worth is None else worth
        scores = found.scores
        if before is not None:
            scores = torch.where(before, scores, scores.min() - 1.0)
        chosen = self.rule(name, stored, count)
        mask = chosen.select(scores)
        lack = found.lack or lack_of(self.update, evidence)
        if lack:
            made = unrepaired(weight, mask, lack, "the largest weights" if found.lack else "")
        else:
            made = self._updated(name, weight, mask, chosen, evidence)
        return self.finish(name, stored, weight, scores, made, evidence)

    def _updated(
        self, name: str, weight: Tensor, mask: Tensor, chosen: Rule, evidence: Mapping[str, Tensor]
    ) -> Updated:
        """What the update makes of a layer."""
        options = self._knobs(self.update, self.recipe.update_options, name)
        if self.recipe.choose == "update":
            options["rule"] = chosen
        if "limits" in self.update.knobs:
            options["limits"] = chosen
        given = [
            mask if need == "mask" else _given(evidence, weight, need, self.update, name) for need in self.update.needs
        ]
        made: Updated = self.update.target(*given, **options)
        return made

    def rule(self, name: str, stored: Tensor, count: int) -> Rule:
        """What the mask of this layer has to satisfy."""
        from fewer.select import rule

        recipe, shape = self.recipe, (int(stored.shape[0]), int(stored.shape[1]))
        share = self._share(name)
        units = count if share is None else None
        return rule(shape, share, count=units, pattern=self.pattern, within=recipe.within, compat=recipe.compat)

    def finish(
        self, name: str, stored: Tensor, weight: Tensor, scores: Tensor, made: Updated, evidence: Mapping[str, Tensor]
    ) -> Solved:
        """Check what an update made, put it in the stored dtype, and measure it."""
        import torch

        if bool((made.weight[~made.mask] != 0).any()):
            raise FewerError(
                f"update '{self.update.name}' leaves weights that its mask drops in layer '{name}': "
                "prune sets them to zero, so an update that dampens has no place here"
            )
        after = made.weight.to(stored.dtype)
        if not bool(torch.isfinite(after).all()):
            raise FewerError(f"update '{self.update.name}' gives NaN or infinity in layer '{name}'; nothing is written")
        self.histograms.add(weight, scores, made.mask)
        gram = evidence.get("input_gram")
        told = gram is not None and bool(gram.any())
        damage = relative_damage(weight, after.to(weight.dtype), gram) if gram is not None and told else None
        return Solved(after, made.mask, made.bias, damage, {**made.notes, **self._singular(gram, made)}, _zeros(stored))

    def _singular(self, gram: Tensor | None, made: Updated) -> dict[str, str]:
        """A note where the solver worked on a Gram matrix that has no inverse of its own."""
        from fewer.update._gram import SINGULAR, singular

        silent = gram is None or "singular" in made.notes or "evidence" in made.notes
        if silent or "input_gram" not in self.update.needs or bool(made.mask.all()):
            return {}
        return {"singular": SINGULAR} if singular(gram) else {}

    def _share(self, name: str) -> float | None:
        """The share that a count was rounded from, where an implementation's own rounding starts from it."""
        recipe = self.recipe
        if self.pattern.keep is not None:
            return float(self.pattern.keep)
        if not recipe.compat or recipe.varied:
            return None
        return recipe.mean_keep() if recipe.budget == "uniform" else self.shares.get(name) or None


def _zeros(weight: Tensor) -> int:
    """How many weights are exactly zero."""
    return weight.numel() - int(weight.count_nonzero())


def working(name: str, stored: Tensor) -> Tensor:
    """The weight in the precision that the arithmetic is done in, refused if not finite."""
    import torch

    if not bool(torch.isfinite(stored).all()):
        raise FewerError(f"the weight of layer '{name}' holds NaN or infinity; repair the checkpoint first")
    return stored if stored.dtype == torch.float64 else stored.float()


def relative_damage(weight: Tensor, after: Tensor, gram: Tensor) -> float:
    """||X (W - W')^T||_F / ||X W^T||_F from the Gram matrix of X.

    >>> import torch
    >>> relative_damage(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 4.0]]), torch.eye(2))
    0.6
    """
    gram = gram.to(weight.dtype)
    gone = weight - after
    lost = float(((gone @ gram) * gone).double().sum())
    whole = float(((weight @ gram) * weight).double().sum())
    return float((max(lost, 0.0) / whole) ** 0.5) if whole > 0.0 else 0.0


@dataclass(slots=True)
class Histograms:
    """Counts of log10 |value| over all layers, kept and dropped apart."""

    counts: dict[tuple[str, bool], Any] = field(default_factory=dict)

    def add(self, weight: Tensor, scores: Tensor, mask: Tensor) -> None:
        """Count one layer: its dense weights and its scores."""
        stride = max(1, weight.numel() // _SAMPLE)
        keep = mask.reshape(-1)[::stride]
        for title, values in (("weights", weight), ("scores", scores)):
            flat = values.reshape(-1)[::stride]
            self._count(title, True, flat[keep])
            self._count(title, False, flat[~keep])

    def finish(self) -> tuple[Histogram, ...]:
        """The histograms, empty ends cut off."""
        import numpy as np

        edges = np.linspace(_LOW, _HIGH, _BINS + 1)
        found = []
        for title in dict.fromkeys(title for title, _ in self.counts):
            kept, dropped = self.counts[title, True], self.counts[title, False]
            used = np.flatnonzero(kept + dropped)
            if used.size:
                part = slice(int(used[0]), int(used[-1]) + 1)
                ends = edges[part.start : part.stop + 1].tolist()
                found.append(Histogram(title, tuple(ends), *(tuple(c[part].tolist()) for c in (kept, dropped))))
        return tuple(found)

    def _count(self, title: str, kept: bool, values: Tensor) -> None:
        import torch

        sizes = values.abs()
        logs = sizes[sizes > 0].float().log10().clamp(_LOW, _HIGH)
        counts = torch.histc(logs.cpu(), _BINS, _LOW, _HIGH).long().numpy()
        self.counts[title, kept] = self.counts.get((title, kept), 0) + counts


def _given(evidence: Mapping[str, Tensor], weight: Tensor, need: str, method: Method, layer: str) -> Tensor:
    if need == "weight":
        return weight
    if need not in evidence:
        raise FewerError(f"{method.kind} '{method.name}' needs {need}, which was not measured for layer '{layer}'")
    return evidence[need]


def _seeded(method: Method, options: Mapping[str, Any], seed: int, layer: str) -> dict[str, Any]:
    """The user's knobs, and for a random method a seed of its own for every layer."""
    given = dict(options)
    if "seed" in method.knobs:
        given["seed"] = (int(given.get("seed", seed)) + zlib.crc32(layer.encode())) % (1 << 31)
    return given
