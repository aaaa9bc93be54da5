"""Sparse estimation for tables: one solver core that returns certificates, and the estimators on top of it.

The solver layer needs numpy alone (scipy where data are sparse) and loads neither scikit-learn nor torch:

    solve(X, y, lam, ...)         one solution of the weighted elastic net
    path(X, y, ...)               solutions along decreasing penalties
    batch(X, Y, ...)              many targets, row weights or penalty factors against one X
    gram_path(G, c, yy, ...)      a path from second moments alone
    cross_paths(X, y, folds, ...) paths without each fold, for one or many penalty-factor vectors
    glm_solve, glm_path           the same for Logistic, Multinomial, Poisson, Gamma, Cox, Huber, Quantile, Ordinal
    group_path                    groups of columns as a whole, for every one of these losses
    general_path                  any smooth loss with any penalty of fewer.penalty, convex or not
    homotopy_path                 every knot of a path, for tiny supports
    trend_path                    fused lasso and trend filtering along the columns
    best_subset                   least squares on at most k columns, with local swaps
    square_root_path, graphical_lasso, quantile_solve, refit
    lambda_max(X, y, ...)         where every penalised coefficient becomes zero

    minimise   1/n sum_i s_i loss(y_i, b0 + x_i b)  +  lam sum_j f_j (mix |b_j| + (1 - mix)/2 b_j^2)

with penalty factors f_j in [0, inf] (0 leaves a column free, inf excludes it), row weights s_i, bounds, an intercept
and standardisation that leave sparse data sparse. The squared loss is (y - eta)^2 / 2. Every answer carries its
duality gap, its dual point, its KKT distance and its rounds (`Solution`, `Path`); tolerances are relative to the null
objective; a path is always as long as asked for, and `converged` says which of its solutions can be trusted.

Names are imported when they are first used, so that `import fewer.linear` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewer.linear.coupled import Cox, Multinomial, Ordinal
    from fewer.linear.cross import cross_paths
    from fewer.linear.general import general_path
    from fewer.linear.glm import glm_path, glm_solve
    from fewer.linear.grouped import group_path
    from fewer.linear.homotopy import homotopy_path
    from fewer.linear.losses import (
        Gamma,
        Huber,
        Logistic,
        Loss,
        Poisson,
        Quantile,
        Squared,
    )
    from fewer.linear.paths import batch, gram_path, lambda_max, path, solve
    from fewer.linear.result import Path, Solution
    from fewer.linear.special import Precision, graphical_lasso, quantile_solve, refit, square_root_path
    from fewer.linear.subset import best_subset
    from fewer.linear.trend import trend_path

#: Module of every public name; estimators and losses add their rows here.
_HOMES: dict[str, str] = {
    "Cox": "coupled",
    "Gamma": "losses",
    "Huber": "losses",
    "Logistic": "losses",
    "Loss": "losses",
    "Multinomial": "coupled",
    "Ordinal": "coupled",
    "Path": "result",
    "Poisson": "losses",
    "Precision": "special",
    "Quantile": "losses",
    "Solution": "result",
    "Squared": "losses",
    "batch": "paths",
    "best_subset": "subset",
    "cross_paths": "cross",
    "general_path": "general",
    "glm_path": "glm",
    "glm_solve": "glm",
    "gram_path": "paths",
    "graphical_lasso": "special",
    "homotopy_path": "homotopy",
    "group_path": "grouped",
    "lambda_max": "paths",
    "path": "paths",
    "quantile_solve": "special",
    "refit": "special",
    "solve": "paths",
    "square_root_path": "special",
    "trend_path": "trend",
}

__all__ = [
    "Cox",
    "Gamma",
    "Huber",
    "Logistic",
    "Loss",
    "Multinomial",
    "Ordinal",
    "Path",
    "Poisson",
    "Precision",
    "Quantile",
    "Solution",
    "Squared",
    "batch",
    "best_subset",
    "cross_paths",
    "general_path",
    "glm_path",
    "glm_solve",
    "gram_path",
    "graphical_lasso",
    "homotopy_path",
    "group_path",
    "lambda_max",
    "path",
    "quantile_solve",
    "refit",
    "solve",
    "square_root_path",
    "trend_path",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"fewer.linear.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'fewer.linear' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
