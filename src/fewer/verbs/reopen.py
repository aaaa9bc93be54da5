"""A pruned checkpoint from disk, as `prune` handed it out before it was written."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewer.arguments import checked
from fewer.method import FewerError
from fewer.verbs._given import load

if TYPE_CHECKING:
    from torch import Tensor

    from fewer.adapt import Layer
    from fewer.maskfile import LayerMask
    from fewer.verbs.pruned import Pruned

__all__ = ["reopen"]


@checked
def reopen(path: str | Path) -> Pruned:
    """Read a directory that fewer wrote; masks come from its mask file, or from the exact zeros of its weights.

    The zeros win where a weight that the mask file drops is not zero: somebody has trained the checkpoint since.

    Args:
        path: the directory.

    Returns:
        What `prune` returned, except for time and histograms, which are not written.

    Raises:
        FewerError: not a checkpoint, or one without the recipe and the report that fewer writes beside the weights.
    """
    from fewer.plan import make_plan
    from fewer.recipe import load_recipe
    from fewer.verbs.masks import Masks
    from fewer.verbs.prune_inputs import reopen_inputs
    from fewer.verbs.pruned import Pruned
    from fewer.verbs.result import LayerResult

    folder = Path(path)
    if not (folder / "fewer-recipe.toml").is_file():
        raise FewerError(f"'{path}' was not pruned by fewer: it has no fewer-recipe.toml; `fewer eval` measures it")
    recipe = load_recipe(folder / "fewer-recipe.toml")
    account = _account(folder / "fewer-report.json")
    if recipe.unit == "input":
        return reopen_inputs(folder, recipe, account)
    opened = load(folder)
    plan = make_plan(opened, recipe)
    # What it was computed in belongs to the machine that made it.
    plan = dataclasses.replace(plan, compute=str(account.get("compute", plan.compute)))
    known = {row["name"]: row for row in account["layers"]}
    stored = _stored(folder)
    masks, rows = Masks(), []
    for layer in opened.candidates:
        if layer.name in known:
            masks.put(layer.name, _mask(layer, stored))
            kept, total = masks.kept(layer.name), layer.shape[0] * layer.shape[1]
            row, zeros = known[layer.name], total - int(layer.read().count_nonzero())
            counts = (kept, total, row.get("damage"), zeros, row.get("zeros_before"))
            rows.append(LayerResult(layer.name, layer.block, layer.shape, *counts))
    return Pruned(
        source=opened,
        masks=masks,
        plan=plan,
        layers=tuple(rows),
        seconds=0.0,
        notes=tuple(account["notes"]),
        calibration=account["calibration"],
        calibration_hash=account["calibration_hash"],
        model_hash=account["model_hash"],
    )


def _stored(folder: Path) -> Mapping[str, LayerMask]:
    """The masks of the file beside the weights, if there is one."""
    from fewer import maskfile

    return maskfile.read(folder).layers if (folder / maskfile.NAME).is_file() else {}


def _mask(layer: Layer, stored: Mapping[str, LayerMask]) -> Tensor:
    import torch

    value = layer.read() != 0
    mask = stored.get(layer.name)
    if mask is None or mask.shape != layer.shape:
        return value
    kept = torch.from_numpy(mask.unpack())
    return value if bool((value & ~kept).any()) else kept


def _account(path: Path) -> dict[str, Any]:
    """The report beside the weights, with the types that are relied on."""
    wanted = {"layers": list, "notes": list, "calibration": str, "calibration_hash": str, "model_hash": str}
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise FewerError(f"cannot read '{path}': {getattr(error, 'strerror', None) or error}") from None
    for key, kind in wanted.items():
        if not isinstance(found, dict) or not isinstance(found.get(key), kind):
            raise FewerError(f"'{path}' is not a report of fewer: '{key}' is missing or has the wrong type")
    rows = found["layers"]
    if not all(isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows):
        raise FewerError(f"'{path}' is not a report of fewer: a layer has no name")
    if not all(isinstance(row.get("damage"), float | int | None) for row in rows):
        raise FewerError(f"'{path}' is not a report of fewer: a layer's damage is not a number")
    if not all(isinstance(row.get("zeros_before"), int | None) for row in rows):
        raise FewerError(f"'{path}' is not a report of fewer: a layer's zeros before the run are no number")
    return dict(found)
