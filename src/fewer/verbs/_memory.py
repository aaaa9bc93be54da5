"""Whether a whole model fits in memory, where a run cannot go through it block by block."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from fewer.method import FewerError

if TYPE_CHECKING:
    from fewer.plan import Plan

__all__ = ["check_memory"]


def check_memory(plan: Plan, reason: str, instead: str = "") -> None:
    """Refuse what needs the whole model at once on a machine that cannot hold it.

    Args:
        plan: of the run.
        reason: what needs the whole model, as the subject of a sentence.
        instead: what would stream, where another recipe does.

    Raises:
        FewerError: the weights, a copy of them and the evidence take more than is free.
    """
    need = 2 * plan.bytes + 4 * plan.total + plan.evidence_bytes
    free = _free_memory()
    if need > free:
        raise FewerError(
            f"{reason} needs the whole model in memory: about {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
            + (f"; {instead}" if instead else "")
        )


def _free_memory() -> float:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        table = dict(line.split(":", 1) for line in lines)
        return 1024.0 * int(table["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return math.inf
