"""Cross-validation of small problems: 100 x 5, 100 penalties, 5 folds, every family, CPU seconds on one thread.

    python benchmarks/linear/small.py [--only NAME ...] [--out FILE]

Each line is the least of three runs of `fit` after a first one that loads what is loaded lazily. `missed` counts the
solutions on all rows whose certificate is looser than asked for (`path_.converged`).
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from functools import partial
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402

from fewer import penalty  # noqa: E402
from fewer.linear import estimators as made  # noqa: E402

GROUPS = [0, 0, 1, 1, 1]
PAIRS = ((0, 1), (2, 3, 4))


def targets(X, rng):
    """One target for each kind of loss, all led by the first two columns."""
    z = X[:, 0] - 0.7 * X[:, 1]
    times = np.column_stack([rng.exponential(np.exp(-z)), rng.random(len(z)) < 0.8])
    return {
        "number": z + rng.normal(size=len(z)),
        "classes": (z + rng.logistic(size=len(z)) > 0).astype(int),
        "levels": np.digitize(z + rng.logistic(size=len(z)), [-1.0, 0.5, 1.5]),
        "counts": rng.poisson(np.exp(0.5 * z)).astype(float),
        "times": times,
    }


def families():
    """Name -> (estimator, kind of target)."""
    any_loss = partial(made.SparseRegressorCV, cv=5, n_alphas=100)
    sparse = {"groups": GROUPS, "cv": 5}
    return {
        "lasso": (made.LassoCV(cv=5), "number"),
        "elastic net": (made.ElasticNetCV(cv=5, l1_ratio=0.5), "number"),
        "adaptive lasso": (made.AdaptiveLassoCV(cv=5), "number"),
        "relaxed lasso": (made.RelaxedLassoCV(cv=5), "number"),
        "logistic": (made.SparseLogisticCV(cv=5), "classes"),
        "multinomial": (made.SparseMultinomialCV(cv=5), "levels"),
        "ordinal": (made.OrdinalLogitCV(cv=5), "levels"),
        "poisson": (made.SparsePoissonCV(cv=5), "counts"),
        "cox, breslow": (made.SparseCoxCV(cv=5), "times"),
        "cox, efron": (made.SparseCoxCV(cv=5, ties="efron"), "times"),
        "huber": (made.SparseHuberCV(cv=5), "number"),
        "quantile": (made.SparseQuantileCV(cv=5), "number"),
        "group lasso": (made.GroupLassoCV(**sparse), "number"),
        "sparse group lasso": (made.SparseGroupLassoCV(**sparse), "number"),
        "logistic, groups": (made.SparseLogisticCV(**sparse), "classes"),
        "multinomial, groups": (made.SparseMultinomialCV(**sparse), "levels"),
        "poisson, groups": (made.SparsePoissonCV(**sparse), "counts"),
        "cox, groups": (made.SparseCoxCV(**sparse), "times"),
        "ordinal, groups": (made.OrdinalLogitCV(**sparse), "levels"),
        "huber, groups": (made.SparseHuberCV(**sparse), "number"),
        "quantile, groups": (made.SparseQuantileCV(**sparse), "number"),
        "fused lasso": (made.FusedLassoCV(cv=5), "number"),
        "fused lasso, sparse": (made.FusedLassoCV(cv=5, sparse=0.5), "number"),
        "best subset": (made.BestSubsetCV(cv=5), "number"),
        "SLOPE": (any_loss(penalty=penalty.Slope(tuple(np.linspace(2, 0.5, 5)))), "number"),
        "k-support": (any_loss(penalty=penalty.KSupport(2), alphas=np.geomspace(1, 1e-2, 100)), "number"),
        "MCP": (any_loss(penalty=penalty.MCP()), "number"),
        "SCAD": (any_loss(penalty=penalty.SCAD()), "number"),
        "logistic, SLOPE": (any_loss(loss="logistic", penalty=penalty.Slope(tuple(np.linspace(2, 0.5, 5)))), "classes"),
        "logistic, MCP": (any_loss(loss="logistic", penalty=penalty.MCP()), "classes"),
        "poisson, MCP": (any_loss(loss="poisson", penalty=penalty.MCP()), "counts"),
        "cox, SCAD": (any_loss(loss="cox", penalty=penalty.SCAD()), "times"),
        "huber, MCP": (any_loss(loss="huber", penalty=penalty.MCP()), "number"),
        "quantile, MCP": (any_loss(loss="quantile", penalty=penalty.MCP()), "number"),
        "log-sum": (any_loss(penalty=penalty.LogSum(eps=0.1)), "number"),
        "group, by penalty": (any_loss(penalty=penalty.Group(PAIRS)), "number"),
        "lasso, by penalty": (any_loss(penalty="l1"), "number"),
        "elastic net, by penalty": (any_loss(penalty="elastic-net"), "number"),
        "cox, SLOPE": (any_loss(loss="cox", penalty=penalty.Slope(tuple(np.linspace(2, 0.5, 5)))), "times"),
        "quantile, k-support": (
            any_loss(loss="quantile", penalty=penalty.KSupport(2), alphas=np.geomspace(1, 1e-2, 100)),
            "number",
        ),
        "poisson, fused": (
            any_loss(loss="poisson", penalty=penalty.Fused(sparse=0.05), alphas=np.geomspace(1, 1e-2, 100)),
            "counts",
        ),
    }


def measured(model, X, y, runs=3):
    seconds = []
    while len(seconds) <= runs and not (seconds and seconds[-1] > 2):
        started = time.process_time()
        model.fit(X, y)
        seconds.append(time.process_time() - started)
    best = min(seconds[1:] or seconds)
    path = model.path_
    return best, int(np.sum(~np.asarray(path.converged))), int(np.max(path.iterations))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 5)) + 0.5 * rng.normal(size=(100, 1))
    y = targets(X, rng)
    lines = ["| family | CPU s | missed of 100 | most rounds |", "|---|---|---|---|"]
    for name, (model, kind) in families().items():
        if chosen.only and name not in chosen.only:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                used, missed, rounds = measured(model, X, y[kind])
                lines.append(f"| {name} | {used:.3f} | {missed} | {rounds} |")
            except Exception as error:
                lines.append(f"| {name} | {type(error).__name__}: {error} | | |")
        print(lines[-1], flush=True)
    if chosen.out:
        chosen.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
