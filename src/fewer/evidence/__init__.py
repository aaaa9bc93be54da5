"""What is measured: accumulators, the passes that fill them, and the store that keeps them."""

from __future__ import annotations

from fewer.evidence.accumulate import (
    KINDS,
    Accumulator,
    BlockSimilarity,
    Grad,
    GradAbs,
    GradSq,
    HessianGrad,
    InputGram,
    InputMean,
    InputNorm,
    InputVar,
    OutputGradNorm,
    ReferenceGrad,
    ReferenceGradSq,
    SynflowGrad,
)
from fewer.evidence.factored import LoraA, LoraAGrad, LoraB, LoraBGrad, PstA, PstB, PstColumns, PstRows
from fewer.evidence.gather import collect, data_hash, sequential
from fewer.evidence.samples import InputSample, InputVarWithin
from fewer.evidence.store import Store, all_reduce

__all__ = [
    "KINDS", "Accumulator", "BlockSimilarity", "Grad", "GradAbs", "GradSq", "HessianGrad", "InputGram", "InputMean",
    "InputNorm", "InputSample", "InputVar", "InputVarWithin", "LoraA", "LoraAGrad", "LoraB", "LoraBGrad",
    "OutputGradNorm", "PstA", "PstB", "PstColumns", "PstRows", "ReferenceGrad", "ReferenceGradSq", "Store",
    "SynflowGrad", "all_reduce", "collect", "data_hash", "sequential",
]  # fmt: skip
