"""What happens to the weights that stay: nothing, or a repair of what the dropped ones did."""

from __future__ import annotations

from fewer.update.admm import admm
from fewer.update.alps import alps
from fewer.update.auto import auto
from fewer.update.bias import bias
from fewer.update.dsnot import dsnot
from fewer.update.least_squares import least_squares
from fewer.update.levels import solve_levels
from fewer.update.net_trim import net_trim
from fewer.update.path_following import path_following
from fewer.update.sweep import sweep
from fewer.update.updated import Updated
from fewer.update.wasserstein import entropic_wasserstein
from fewer.update.zero import zero

__all__ = [
    "Updated",
    "admm",
    "alps",
    "auto",
    "bias",
    "dsnot",
    "entropic_wasserstein",
    "least_squares",
    "net_trim",
    "path_following",
    "solve_levels",
    "sweep",
    "zero",
]
