"""Which form of a product pays at which batch: a rule drawn from `benchmarks/runtime`, never slower than torch.

The rule is a list of (largest batch, form); beyond the last one, torch multiplies by the dense weight. It errs to the
side of torch: where a kernel wins by less than a tenth, torch stays.
"""

from __future__ import annotations

import torch

from fewer.runtime.format import Packed
from fewer.runtime.kernels import forms

__all__ = ["Rule", "dense_rule", "rule"]

#: (largest batch, form), by growing batch; the form `torch` leaves a gap to torch.
Rule = tuple[tuple[int, str], ...]


def rule(packed: Packed, tier: str) -> Rule:
    """The forms that pay for a packed weight on a tier, by batch.

    Args:
        packed: the weight.
        tier: as `dispatch.tier()` names it.

    Returns:
        Pairs by growing batch; empty where torch is as good throughout.

    >>> from fewer.runtime.format import pack_weight
    >>> rule(pack_weight(torch.eye(64)), "dense")
    ()
    """
    sparsity, offered = packed.sparsity, forms(packed, tier)
    if tier == "numba":
        return ((1, "index"),) if "index" in offered and sparsity >= 0.75 else ()
    if "blocks" in offered:
        return _blocks(packed.dtype, sparsity, tier)
    if "bitmask" not in offered or tier == "extension-portable":
        return dense_rule(packed.dtype, tier) if tier.startswith("extension-") and packed.dtype == torch.float32 else ()
    if packed.dtype == torch.float32:
        return _float32(sparsity, tier)
    return _narrow(packed.dtype, sparsity, tier)


def dense_rule(dtype: torch.dtype, tier: str) -> Rule:
    """The batches at which the own dense kernel beats torch."""
    if tier == "extension-portable" or not tier.startswith("extension-"):
        return ()
    return ((1, "dense"),) if dtype in (torch.float32, torch.bfloat16) else ()


def _float32(sparsity: float, tier: str) -> Rule:
    if tier == "extension-avx2":
        return _float32_avx2(sparsity)
    if sparsity < 0.2:
        return ((1, "dense"),)
    if sparsity < 0.45:
        return ((2, "bitmask"),)
    return ((4, "bitmask"), (64, "index"))


def _float32_avx2(sparsity: float) -> Rule:
    """Single inputs are bound by the expansion of the mask there, not by memory: half has to be gone before it pays."""
    if sparsity < 0.3:
        return ()
    if sparsity < 0.45:
        return ((1, "torch"), (2, "bitmask"))
    return ((2, "bitmask"),) if sparsity < 0.6 else ((4, "bitmask"), (12, "torch"), (32, "index"))


def _narrow(dtype: torch.dtype, sparsity: float, tier: str) -> Rule:
    if sparsity < 0.2:
        return dense_rule(dtype, tier)
    return ((1, "bitmask"),) if tier == "extension-avx2" else ((4, "bitmask"),)


def _blocks(dtype: torch.dtype, sparsity: float, tier: str) -> Rule:
    if tier == "extension-portable":
        return ()
    if dtype == torch.float32:
        return ((64, "blocks"),) if sparsity >= 0.3 else ((1, "blocks"),)
    return ((8, "blocks"),) if sparsity >= 0.4 and tier == "extension-avx512" else ((1, "blocks"),)
