"""Cuts of inputs beside the weights of an ordinary checkpoint: one small JSON file that transformers ignores.

    {"format": "fewer-inputs", "version": 1, "score": "wina", "seed": 0,
     "layers": {"model.layers.0.mlp.up_proj": {"threshold": 0.41, "count": 0, "group": 0, "observed": 0.5}}}

The factors of the inputs are not stored: they follow from the score and the weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fewer.adapt.opened import tensors_of
from fewer.adapt.origin import Origin
from fewer.arguments import checked
from fewer.method import FewerError, catalogue
from fewer.runtime.inputs import InputSparse, install
from fewer.runtime.skipping import Cut, GatedCut, SkippingLinear
from fewer.runtime.store import distinct, write_directory

__all__ = ["FILE", "Cuts", "apply_cuts", "cuts_text", "read_cuts", "save_beside"]

FILE = "fewer-inputs.json"
FORMAT, VERSION = "fewer-inputs", 1
#: More than any model's list of layers needs; a longer file is refused unread.
_MOST_BYTES = 64 << 20
_FIELDS: dict[str, tuple[type, ...]] = {
    "threshold": (float, int), "count": (int,), "group": (int,), "observed": (float, int),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cuts:
    """What the file holds: the score with its seed, and for every layer the cut and the share that stayed."""

    score: str
    seed: int
    cuts: dict[str, Cut]
    observed: dict[str, float]


def cuts_text(result: InputSparse) -> str:
    """The file's content for a calibrated model."""
    layers = {
        name: {"threshold": one.threshold, "count": one.count, "group": one.group, "observed": result.observed[name]}
        for name, one in result.cuts.items()
    }
    table = {"format": FORMAT, "version": VERSION, "score": result.score, "seed": result.seed, "layers": layers}
    return json.dumps(table, indent=1, allow_nan=False) + "\n"


@checked
def read_cuts(folder: str | Path) -> Cuts | None:
    """The cuts beside a checkpoint, or None where there are none.

    Raises:
        FewerError: a file that is not one of ours, of another version, or with values that are out of range.
    """
    file = Path(folder) / FILE
    if not file.is_file():
        return None
    if file.stat().st_size > _MOST_BYTES:
        raise FewerError(f"'{file}' has {file.stat().st_size} bytes, more than any list of layers needs")
    try:
        table = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        raise FewerError(f"'{file}' is not readable JSON") from None
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise FewerError(f"'{file}' is not a list of input cuts: its format is not '{FORMAT}'")
    if table.get("version") != VERSION:
        raise FewerError(f"'{file}' has version {table.get('version')!r}, this fewer reads version {VERSION}")
    score, seed, layers = table.get("score"), table.get("seed"), table.get("layers")
    if score not in {entry.name for entry in catalogue("input-score")} or type(seed) is not int:
        raise FewerError(f"'{file}' names the score {score!r} with the seed {seed!r}, which fewer does not know")
    if not isinstance(layers, dict) or not layers:
        raise FewerError(f"'{file}' names no layers")
    rows = {name: _row(file, name, entry) for name, entry in layers.items()}
    observed = {name: float(layers[name]["observed"]) for name in rows}
    return Cuts(str(score), seed, rows, observed)


@checked
def apply_cuts(model: nn.Module, folder: str | Path) -> Cuts | None:
    """Swap in the layers that skip inputs, as the file beside a checkpoint says; without one nothing happens.

    Raises:
        FewerError: as `read_cuts`, or a layer that the model does not have.
    """
    found = read_cuts(folder)
    if found is not None:
        try:
            install(model, found.score, found.cuts, found.observed, found.seed)
        except FewerError as error:
            raise FewerError(f"'{Path(folder) / FILE}': {error}") from None
    return found


def save_beside(
    result: InputSparse,
    out: str | Path,
    extras: Mapping[str, str] | None = None,
    mark: Mapping[str, Any] | None = None,
    origins: Mapping[str, Origin] | None = None,
) -> Path:
    """Write the model as an ordinary dense checkpoint with the cuts beside it, whole or not at all.

    Args:
        result: a calibrated model.
        out: the directory; it must not exist, be empty, or be one that fewer wrote.
        extras: more text files to put in, by plain file name.
        mark: what to say in `fewer.json`.
        origins: stored values by name, where the model computes in other types.
    """
    state = dict(tensors_of(result.model))
    for name, module in result.model.named_modules():
        if isinstance(module, SkippingLinear):
            for part in ("norms", "threshold", "weight_t", "mask", "values", "offsets"):
                state.pop(f"{name}.{part}", None)
            state[f"{name}.weight"] = module.dense()
        elif isinstance(module, GatedCut):
            state.pop(f"{name}.threshold", None)
    files = {**(extras or {}), FILE: cuts_text(result)}
    known = origins or {}
    stored = {name: known[name].exact(value) if name in known else value for name, value in distinct(state).items()}
    return write_directory(result.model, stored, Path(out), {"format": "pt"}, files, mark or {})


def _row(file: Path, name: str, entry: Any) -> Cut:
    if not isinstance(entry, dict) or set(entry) != set(_FIELDS):
        raise FewerError(f"'{file}': layer '{name}' must have {', '.join(_FIELDS)} and nothing else")
    for field, kinds in _FIELDS.items():
        value = entry[field]
        if type(value) not in kinds or not math.isfinite(value) or not 0 <= value < 2**63:
            raise FewerError(f"'{file}': layer '{name}' has no valid '{field}'")
    if entry["observed"] > 1:
        raise FewerError(f"'{file}': layer '{name}' has no valid 'observed'")
    return Cut(float(entry["threshold"]), entry["count"], entry["group"])
