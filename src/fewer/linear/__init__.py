"""Sparse estimation for tables: one solver core that returns certificates, and the estimators on top of it.

The solver layer needs numpy alone (scipy where data are sparse) and loads neither scikit-learn nor torch:

    solve(X, y, lam, ...)         one solution of the weighted elastic net
    path(X, y, ...)               solutions along decreasing penalties
    batch(X, Y, ...)              many targets, row weights or penalty factors against one X
    gram_path(G, c, yy, ...)      a path from second moments alone
    lambda_max(X, y, ...)         where every penalised coefficient becomes zero

    minimise   1/n sum_i s_i loss(y_i, b0 + x_i b)  +  lam sum_j f_j (mix |b_j| + (1 - mix)/2 b_j^2)

with penalty factors f_j in [0, inf] (0 leaves a column free, inf excludes it), row weights s_i, bounds, an intercept and
standardisation that leave sparse data sparse. The squared loss is (y - eta)^2 / 2. Every answer carries its duality gap,
its dual point, its KKT distance and its rounds (`Solution`, `Path`); tolerances are relative to the null objective; a path
is always as long as asked for, and `converged` says which of its solutions can be trusted.

Names are imported when they are first used, so that `import fewer.linear` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewer.linear.paths import batch, gram_path, lambda_max, path, solve
    from fewer.linear.result import Path, Solution

#: Module of every public name; estimators and losses add their rows here.
_HOMES: dict[str, str] = {
    "Path": "result",
    "Solution": "result",
    "batch": "paths",
    "gram_path": "paths",
    "lambda_max": "paths",
    "path": "paths",
    "solve": "paths",
}

__all__ = ["Path", "Solution", "batch", "gram_path", "lambda_max", "path", "solve"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"fewer.linear.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'fewer.linear' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
