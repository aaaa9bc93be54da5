"""Generated problems with all that is awkward in a design matrix."""

from __future__ import annotations

import numpy as np

INF = float("inf")


def draw(seed, n, p, kind):
    """A problem with duplicated, collinear and constant columns, weights, and factors with 0 and inf."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + (3.0 if "offset" in kind else 0.0)
    if "sparse" in kind:
        X *= rng.random((n, p)) < 0.2
    if p > 4:
        X[:, 1] = X[:, 0]
        X[:, 2] = 7.0
        X[:, 3] = X[:, 0] - 2 * X[:, 4]
    y = X[:, : min(p, 5)].sum(axis=1) + rng.normal(size=n) + 2
    given = {}
    if "weights" in kind:
        given["weights"] = rng.uniform(0, 2, n) * (rng.random(n) < 0.9) + 1e-3
    if "factors" in kind:
        given["factors"] = rng.choice([0.5, 1.0, 2.0], p)
        given["factors"][p // 2] = INF
        if "free" in kind:
            given["factors"][0] = 0.0
    if "mix" in kind:
        given["mix"] = 0.4
    return X, y, given


KINDS = ("", "offset", "sparse", "weights factors", "weights factors free", "mix", "offset mix weights factors free")
