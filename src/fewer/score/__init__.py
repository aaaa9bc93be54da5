"""Scores: what each weight is worth. Pure array mathematics over a weight (out, in) and named evidence."""

from __future__ import annotations

from fewer.score.activation import ria, wanda
from fewer.score.combine import contrast, product, total
from fewer.score.curvature import obs
from fewer.score.gradient import fisher, gblm, taylor
from fewer.score.weights import magnitude, random

__all__ = [
    "contrast", "fisher", "gblm", "magnitude", "obs", "product", "random", "ria", "taylor", "total", "wanda",
]  # fmt: skip
