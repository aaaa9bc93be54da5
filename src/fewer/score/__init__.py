"""Scores: what each weight is worth. Pure array mathematics over a weight (out, in) and named evidence."""

from __future__ import annotations

from fewer.score.activation import ria, wanda
from fewer.score.adapter import lora_prune, pst
from fewer.score.combine import contrast, product, sample, total
from fewer.score.curvature import obs
from fewer.score.flow import grasp, synflow
from fewer.score.gradient import fisher, gblm, gblm_l1, taylor, taylor_second
from fewer.score.inputs import (
    cut,
    gate_magnitude,
    greedy_keeps,
    input_magnitude,
    keep_within,
    random_inputs,
    top_inputs,
    wina,
)  # fmt: skip
from fewer.score.reference import d_pruner, gaprune
from fewer.score.spectral import lift, spectrum
from fewer.score.weights import magnitude, random

__all__ = [
    "contrast", "cut", "d_pruner", "fisher", "gaprune", "gate_magnitude", "gblm", "gblm_l1", "grasp", "greedy_keeps",
    "input_magnitude", "keep_within", "lift", "lora_prune", "magnitude", "obs", "product", "pst", "random",
    "random_inputs", "ria", "sample", "spectrum", "synflow", "taylor", "taylor_second", "top_inputs", "total", "wanda",
    "wina",
]  # fmt: skip
