"""What `prune` hands back, and how it goes to disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewer.maskfile import NAME
from fewer.plan import Plan
from fewer.verbs.result import Histogram, LayerResult

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fewer.adapt import Opened
    from fewer.adapt.output import Extra
    from fewer.maskfile import MaskFile

__all__ = ["Pruned", "companions", "lost", "provenance", "saved"]


@dataclass(frozen=True)
class Pruned:
    """A pruned model with its masks, its plan, and the exact account of every layer.

    `source` is the opened model, or the directory that a streamed run wrote (opened when somebody asks). `layers`
    holds counts and damage, `layer_notes` what the update reported about single layers, `notes` the same for a
    reader. `calibration` and its hash say what the evidence was measured on; `model_hash` is the dense model's.
    `complement` holds dense values that the run changed, where they were asked for.
    """

    source: Opened | Path
    masks: Mapping[str, Tensor]
    plan: Plan
    layers: tuple[LayerResult, ...]
    seconds: float
    notes: tuple[str, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    layer_notes: Mapping[str, Mapping[str, float | str]] = field(default_factory=dict)
    calibration: str = ""
    calibration_hash: str = ""
    model_hash: str = ""
    complement: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    @cached_property
    def opened(self) -> Opened:
        """The pruned model, read from its directory if it was streamed."""
        from fewer import adapt

        return adapt.open(self.source) if isinstance(self.source, Path) else self.source

    @property
    def model(self) -> nn.Module:
        """The pruned torch module."""
        return self.opened.module

    @property
    def sparsity(self) -> float:
        """Exact share of zeros in the pruned layers."""
        total = sum(row.total for row in self.layers)
        return sum(row.dropped for row in self.layers) / total if total else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The account as plain data: the same for the same run, so without times and dates."""
        source = (self.calibration, self.calibration_hash, self.model_hash)
        return report(self.plan, self.layers, self.notes, self.layer_notes, *source)

    def mark(self) -> dict[str, Any]:
        """What `fewer.json` in an output directory says."""
        return {"kind": "pruned", "plan": self.plan.hash, "dense": self.model_hash}

    def save(self, out: str | Path) -> Path:
        """Write a checkpoint directory that transformers loads, with mask, recipe, plan and report beside it.

        Args:
            out: a directory that does not exist, is empty, or was written by fewer.

        Returns:
            The directory.

        Raises:
            FewerError: it is not ours, the disk is full, or a weight is not finite; nothing is left behind then.
        """
        from fewer.adapt import checkpoint

        extras: dict[str, Extra] = {**companions(self.plan, self.to_dict()), NAME: self.mask_file().save}
        return checkpoint.save(self.opened, out, extras=extras, mark=self.mark())

    def mask_file(self) -> MaskFile:
        """The masks as they go into a file, one bit a weight."""
        from fewer import maskfile
        from fewer.verbs.masks import Masks

        packed = Masks()
        for row in self.layers:
            packed.put(row.name, self.masks[row.name])
        kind = self.plan.recipe.pattern
        layers = {
            row.name: maskfile.LayerMask(
                row.shape, packed.packed(row.name)[1], kind if row.kept < row.total else "unstructured"
            )
            for row in self.layers
        }
        made = provenance(self.plan, self.calibration, self.calibration_hash)
        return maskfile.MaskFile(self.model_hash, layers, made, self.complement)


def saved(result: Pruned, out: str | Path) -> Pruned:
    """The result once it lies on the disk; if it cannot be written, the error carries it."""
    try:
        result.save(out)
    except Exception as error:
        error.pruned = result  # type: ignore[attr-defined]
        error.add_note("the result is kept: `except Exception as error: error.pruned.save(DIR)` writes it elsewhere")
        raise
    return result


def report(
    plan: Plan,
    layers: tuple[LayerResult, ...],
    notes: tuple[str, ...],
    layer_notes: Mapping[str, Mapping[str, float | str]],
    calibration: str,
    calibration_hash: str,
    model_hash: str,
) -> dict[str, Any]:
    """The account of a run as plain data."""
    kept, total = sum(row.kept for row in layers), sum(row.total for row in layers)
    dropped = sum(row.dropped for row in layers)
    rows = [asdict(row) | {"shape": list(row.shape), "sparsity": row.sparsity} for row in layers]
    for row in rows:
        row.update({"notes": dict(layer_notes[row["name"]])} if row["name"] in layer_notes else {})
    return {
        "format": "fewer-pruned",
        "version": 1,
        "model_hash": model_hash,
        "calibration": calibration,
        "calibration_hash": calibration_hash,
        "kept": kept,
        "total": total,
        "zeros": dropped,
        "sparsity": dropped / total if total else 0.0,
        "recipe": plan.recipe.to_dict(),
        "compute": plan.compute,
        "plan": plan.hash,
        "layers": rows,
        "notes": list(notes),
        "citations": list(plan.citations),
    }


def lost(pruned: Pruned, dense: Opened) -> dict[str, dict[str, Tensor]]:
    """The dense values that a run changed, by layer: what undoing it takes."""
    from fewer.maskfile.file import changed

    before, after = ({x.name: x for x in opened.candidates} for opened in (dense, pruned.opened))
    masks = pruned.mask_file().layers
    return {name: changed(mask, before[name].read(), after[name].read()) for name, mask in masks.items()}


def provenance(plan: Plan, calibration: str, calibration_hash: str) -> dict[str, Any]:
    """How a run's masks came about."""
    from fewer import __version__

    recipe = plan.recipe
    return {
        "fewer": __version__,
        "method": f"{recipe.score}, {recipe.update}",
        "keep": recipe.mean_keep(),
        "recipe": recipe.to_dict(),
        "compute": plan.compute,
        "data": calibration_hash,
        "calibration": calibration,
    }


def companions(plan: Plan, account: Mapping[str, Any]) -> dict[str, str]:
    """The text files that lie beside the weights of every output."""
    lines = ["Methods used in this checkpoint come from:", *(f"- {line}" for line in plan.citations)]
    return {
        "fewer-recipe.toml": plan.recipe.to_toml(),
        "fewer-plan.json": json.dumps(plan.to_dict(), indent=1) + "\n",
        "fewer-report.json": json.dumps(account, indent=1) + "\n",
        "fewer-citations.md": "\n".join(lines) + "\n",
    }
