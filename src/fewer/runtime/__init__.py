"""Runtime: sparsity that is faster on an ordinary CPU.

Weights that are zero are packed (a bit mask and the kept values) and multiplied by kernels that read only what is
kept; inputs that are small are skipped together with their columns. `tier()` says which code runs.
"""

from __future__ import annotations

from fewer.runtime.dispatch import tier, tiers
from fewer.runtime.format import Packed, pack_weight, unpack_weight
from fewer.runtime.inputs import InputSparse, TopKLinear, keep_for_tolerance, sparsify_inputs, top_k, train_top_k
from fewer.runtime.linear import ActivationSparseLinear, GemvLinear, PackedLinear
from fewer.runtime.model import pack
from fewer.runtime.store import load, save

__all__ = [
    "ActivationSparseLinear", "GemvLinear", "InputSparse", "Packed", "PackedLinear", "TopKLinear",
    "keep_for_tolerance", "load", "pack", "pack_weight", "save", "sparsify_inputs", "tier", "tiers", "top_k",
    "train_top_k", "unpack_weight",
]  # fmt: skip
