"""Budgets: how many units stay in each layer; schedules: when."""

from __future__ import annotations

from fewer.budget.allocation import er, erk, global_, lamp, owl, table, uniform
from fewer.budget.schedule import constant, cosine, cubic, linear

__all__ = ["constant", "cosine", "cubic", "er", "erk", "global_", "lamp", "linear", "owl", "table", "uniform"]
