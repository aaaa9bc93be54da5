"""Patterns: which sets of weights may be kept.

Every pattern sees a layer (out, in) as a grid of units. `grid` counts them, `pool` sums scores over each, `spread`
turns a mask over units into a mask over weights; `check` refuses a shape that the pattern does not divide.
"""

from __future__ import annotations

from fewer.pattern.shapes import NM, Block, Columns, Pattern, Rows, Unstructured, Whole, parse

__all__ = ["NM", "Block", "Columns", "Pattern", "Rows", "Unstructured", "Whole", "parse"]
