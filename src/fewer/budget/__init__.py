"""Budgets: how many units stay in each layer; schedules: when."""

from __future__ import annotations

from fewer.budget.allocation import er, erk, global_, lamp, owl, table, uniform
from fewer.budget.curve import balanced, essential, sensitivity
from fewer.budget.depth import arithmetic, spectral
from fewer.budget.schedule import constant, cosine, cubic, linear
from fewer.budget.search import affordable, evolution, tolerance

__all__ = [
    "affordable", "arithmetic", "balanced", "constant", "cosine", "cubic", "er", "erk", "essential", "evolution",
    "global_", "lamp", "linear", "owl", "sensitivity", "spectral", "table", "tolerance", "uniform",
]  # fmt: skip
