"""What a run leaves behind: plain frozen records that reports and the command line turn into text, JSON or HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Candidate", "Comparison", "Histogram", "LayerResult", "Provenance", "Quality", "SpeedReport"]


@dataclass(frozen=True, slots=True)
class Quality:
    """How a model does on held-out tokens; a perplexity is never quoted without its context length.

    `nll` and `kl` are nats per token; `kl`, `top1_agreement` and the damage of layers compare with the dense model
    and are None for the dense model itself. A slice is a contiguous part of the evaluation data. For a model that
    does not predict the next token, `nll` and the perplexities are NaN, `output_error` is ||f' - f||_F / ||f||_F, and
    `kl` is that of its classes, if it has any.
    `compute` is the number type of the forward passes.
    """

    tokens: int
    context: int
    nll: float
    perplexity: float
    worst_slice_perplexity: float
    worst_slice: str
    kl: float | None
    top1_agreement: float | None
    slices: Mapping[str, float]
    data: str
    output_error: float | None = None
    compute: str = ""


@dataclass(frozen=True, slots=True)
class LayerResult:
    """One layer after pruning. `damage` is ||X (W - W')^T||_F / ||X W^T||_F on the calibration inputs, if known.

    `kept` counts the mask, `zeros` the weights that are zero, `zeros_before` those that were before the run; both are
    None where the run drops no weight.
    """

    name: str
    block: int | None
    shape: tuple[int, int]
    kept: int
    total: int
    damage: float | None = None
    zeros: int | None = None
    zeros_before: int | None = None

    @property
    def dropped(self) -> int:
        """Weights that are zero; where the run drops none, those that are not read."""
        return self.total - self.kept if self.zeros is None else self.zeros

    @property
    def sparsity(self) -> float:
        """Share of exact zeros."""
        return self.dropped / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between `edges` (one more than counts), of the logarithm (base 10) of absolute values."""

    title: str
    edges: tuple[float, ...]
    kept: tuple[int, ...]
    dropped: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model in a comparison. `group` joins the points of one method over several sparsities into one curve.

    `bytes` is what the checkpoint takes, zeros included; `packed_bytes` what it takes with one bit for every place and
    the kept values alone (as `fewer.runtime` stores it), in every pruned layer where that is less.
    """

    label: str
    group: str
    keep: float
    pattern: str
    random: bool
    quality: Quality
    layers: tuple[LayerResult, ...]
    parameters: int
    nonzero: int
    bytes: int
    packed_bytes: int
    seconds: float
    recipe: Mapping[str, Any] = field(default_factory=dict)
    histograms: tuple[Histogram, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sparsity(self) -> float:
        """Exact share of zeros in the pruned layers."""
        total = sum(row.total for row in self.layers)
        return sum(row.dropped for row in self.layers) / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Provenance:
    """What was run: resolved versions, hashes, machine, and the papers behind the methods.

    `compute` names the number types that passes were computed in, and the one that the weights are stored in.
    """

    model: str
    model_hash: str
    calibration: str
    evaluation: str
    versions: Mapping[str, str]
    machine: str
    date: str
    citations: tuple[str, ...]
    compute: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The dense model and what was made of it, random selections at the same allocation among them."""

    dense: Candidate
    candidates: tuple[Candidate, ...]
    provenance: Provenance

    def to_json(self) -> str:
        """The whole comparison as JSON."""
        from fewer.report import to_json

        return to_json(self)

    def to_text(self) -> str:
        """A table for the terminal."""
        from fewer.report import to_text

        return to_text(self)

    def to_html(self, path: str) -> str:
        """Write one self-contained page that opens offline; returns the path."""
        from fewer.report import to_html

        return to_html(self, path)


@dataclass(frozen=True, slots=True)
class SpeedReport:
    """Timings of one model in several makes, both dense controls among them, on a named machine.

    `timings` are records of contender, phase, batch, tokens_per_second, milliseconds, milliseconds_per_layer,
    bytes_per_token and samples; `quality` holds makes whose outputs differ, and random selections like theirs.
    """

    model: str
    machine: str
    tier: str
    clock: str
    layers: int
    baselines: tuple[str, str]
    timings: tuple[Mapping[str, Any], ...]
    quality: Mapping[str, Quality]
    notes: tuple[str, ...]
    date: str

    def ratio(self, contender: str, against: str, *, phase: str = "decode", batch: int = 1) -> float | None:
        """How many times faster a make is than another; None where either was not timed."""
        speeds = {
            row["contender"]: row["tokens_per_second"]
            for row in self.timings
            if (row["phase"], row["batch"]) == (phase, batch)
        }
        pair = speeds.get(contender), speeds.get(against)
        return pair[0] / pair[1] if pair[0] and pair[1] else None

    def to_json(self) -> str:
        """Everything as JSON."""
        from fewer.report.speed import to_json

        return to_json(self)

    def to_text(self) -> str:
        """A table for the terminal."""
        from fewer.report.speed import to_text

        return to_text(self)

    def to_html(self, path: str) -> str:
        """Write one self-contained page with a chart."""
        from fewer.report.speed_page import to_html

        return to_html(self, path)
