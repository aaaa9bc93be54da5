"""Mask files as text: what one holds, and what two have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fewer.report.text import aligned

__all__ = ["difference", "overview"]

_WIDTH = 20


def overview(about: Mapping[str, Any]) -> str:
    """What `MaskFile.to_dict` says, for people."""
    rows = about["layers"]
    kept, total = (sum(row[key] for row in rows.values()) for key in ("kept", "total"))
    facts = [
        ("dense model", about["dense"][:12]),
        ("density", f"{about['density']:.2%}: {kept:,} of {total:,} weights in {len(rows)} layers stay"),
        *_origin(about["provenance"]),
        ("undo", f"{about['undo']}: fewer mask undo MASK PRUNED {_dense(about['undo'])}--out DIR"),
    ]
    table: list[tuple[str, ...] | str] = [("layer", "shape", "pattern", "kept", "density", ""), "="]
    for name, row in rows.items():
        shape, share = f"{row['shape'][0]} x {row['shape'][1]}", row["density"]
        table.append((name, shape, row["pattern"], f"{row['kept']:,}", f"{share:.2%}", _bar(share)))
    return "\n".join([*(f"{name:<12}  {_clean(text)}" for name, text in facts), "", *aligned(table)])


def difference(document: Mapping[str, Any]) -> str:
    """What two masks keep, layer by layer; chance is the overlap of two random masks of the same densities."""
    table: list[tuple[str, ...] | str] = [("layer", "both", "only A", "only B", "neither", "overlap", "by chance"), "="]
    table += [_counts(name, row) for name, row in document["layers"].items()]
    table += ["=", _counts("all layers", document["total"])]
    head = [f"A  {_clean(document['first'])}", f"B  {_clean(document['second'])}"]
    note = "overlap: kept by both over kept by either; by chance: that of random masks of the same densities"
    return "\n".join([*head, "", *aligned(table), "", note])


def _counts(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    numbers = [f"{row[key]:,}" for key in ("both", "first", "second", "neither")]
    return (name, *numbers, f"{row['overlap']:.2%}", f"{row['chance']:.2%}")


def _origin(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where a mask comes from; what a stranger's file says is shown as it is, without control characters."""
    recipe = provenance.get("recipe")
    recipe = recipe if isinstance(recipe, dict) else {}
    parts = [f"keep {provenance['keep']}"] if "keep" in provenance else []
    parts += [f"{key} {recipe[key]}" for key in ("pattern", "within", "budget") if key in recipe]
    method = str(provenance.get("method", "not said"))
    rows = [("method", method + (f" ({', '.join(parts)})" if parts else ""))]
    if provenance.get("calibration"):
        rows.append(("data", f"{provenance['calibration']} (sha256 {str(provenance.get('data', ''))[:12]})"))
    for place, parent in enumerate(provenance.get("parents") or ()):
        said = parent.get("method", "not said") if isinstance(parent, dict) else "not said"
        rows.append((f"  of {'AB'[place : place + 1] or place + 1}", str(said)))
    return rows


def _dense(undo: str) -> str:
    return "--dense MODEL " if "checkpoint" in undo else ""


def _bar(density: float) -> str:
    full = round(density * _WIDTH)
    return "#" * full + "." * (_WIDTH - full)


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
