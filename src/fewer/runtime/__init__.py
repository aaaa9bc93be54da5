"""Runtime: sparsity that is faster on an ordinary CPU.

Weights that are zero are packed (a bit mask and the kept values) and multiplied by kernels that read only what is
kept; inputs that are small are skipped together with their columns. `tier()` says which code runs.
"""

from __future__ import annotations

from fewer.runtime.cuts import apply_cuts, read_cuts
from fewer.runtime.dispatch import tier, tiers
from fewer.runtime.format import Packed, pack_weight, unpack_weight
from fewer.runtime.inputs import InputSparse, keep_for_tolerance, sparsify_inputs
from fewer.runtime.linear import GemvLinear, PackedLinear
from fewer.runtime.model import pack
from fewer.runtime.reopen import load, open_as_stored
from fewer.runtime.skipping import ActivationSparseLinear, Cut, PackedSkippingLinear
from fewer.runtime.store import save
from fewer.runtime.top_k import TopKLinear, top_k, train_top_k

__all__ = [
    "ActivationSparseLinear", "Cut", "GemvLinear", "InputSparse", "Packed", "PackedLinear", "PackedSkippingLinear",
    "TopKLinear",
    "apply_cuts", "keep_for_tolerance", "load", "open_as_stored", "pack", "pack_weight", "read_cuts", "save",
    "sparsify_inputs", "tier", "tiers", "top_k", "train_top_k", "unpack_weight",
]  # fmt: skip
