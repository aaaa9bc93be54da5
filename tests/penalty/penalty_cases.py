"""One instance of every penalty at work, for d = 6 (or a 2 x 3 matrix): the list over which the laws run."""

from __future__ import annotations

import numpy as np

from fewer import penalty as P

GROUPS = ((0, 3), (1, 2, 4))

SEPARABLE = {
    "l1": P.L1(0.7),
    "weighted-l1": P.WeightedL1([0.0, 1.0, 2.0, 0.5, np.inf, 1.0], lam=0.6),
    "elastic-net": P.ElasticNet(0.8, mix=0.3),
    "box": P.Box(-0.4, 1.1),
    "l0": P.L0(0.4),
    "l05": P.L05(0.6),
    "log-sum": P.LogSum(0.5, eps=0.3),
    "mcp": P.MCP(0.5, gamma=2.5),
    "scad": P.SCAD(0.4, gamma=3.1),
}
JOINT = {
    "group": P.Group(GROUPS, lam=0.5),
    "sparse-group": P.SparseGroup(GROUPS, lam=0.6, mix=0.4, weights=(1.0, 2.0)),
    "slope": P.Slope((1.5, 1.5, 1.0, 0.5, 0.1, 0.0), lam=0.6),
    "k-support": P.KSupport(2, lam=0.7),
    "fused": P.Fused(0.4, sparse=0.2),
    "n-m": P.NMProjection(1, 3),
}
VECTOR = SEPARABLE | JOINT
MATRIX = {"nuclear": P.Nuclear(0.6)}
ALL = VECTOR | MATRIX
CONVEX = {name: p for name, p in ALL.items() if p.convex}


def shape(name: str) -> tuple[int, ...]:
    return (2, 3) if name in MATRIX else (6,)


def draw(name: str, seed: int, scale: float = 1.5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape(name)) * scale
