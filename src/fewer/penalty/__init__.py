"""What a unit must pay to stay: penalties, each with value, prox, residual and (where it makes sense) lam_max.

Files follow the structure of the prox: `separable` (convex, per coordinate), `nonconvex` (per coordinate), `group`,
`sorted` (by order of magnitude), `chain` (neighbours), `matrix` (spectrum). The contract stands in `contract`.
"""

from __future__ import annotations

from fewer.penalty.chain import Fused
from fewer.penalty.contract import Penalty
from fewer.penalty.group import Group, SparseGroup
from fewer.penalty.matrix import Nuclear
from fewer.penalty.nonconvex import L0, L05, MCP, SCAD, LogSum
from fewer.penalty.separable import L1, Box, ElasticNet, WeightedL1
from fewer.penalty.sorted import KSupport, NMProjection, Slope

__all__ = [
    "L0",
    "L05",
    "L1",
    "MCP",
    "SCAD",
    "Box",
    "ElasticNet",
    "Fused",
    "Group",
    "KSupport",
    "LogSum",
    "NMProjection",
    "Nuclear",
    "Penalty",
    "Slope",
    "SparseGroup",
    "WeightedL1",
]
