"""What happens to the weights that stay: nothing, or a repair of what the dropped ones did."""

from __future__ import annotations

from fewer.update.least_squares import least_squares
from fewer.update.sweep import sweep
from fewer.update.updated import Updated
from fewer.update.zero import zero

__all__ = ["Updated", "least_squares", "sweep", "zero"]
