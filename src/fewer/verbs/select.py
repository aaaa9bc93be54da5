"""Choose the columns of a table: read it, cross-validate a sparse model, and keep the certificate."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewer.method import FewerError, Paper, citations, find, nearest

__all__ = ["ESTIMATORS", "Chosen", "Selection", "select_columns"]

#: Which estimator answers for a family; groups of columns (categories) take the second, where there is one.
ESTIMATORS: dict[str, tuple[str, str]] = {
    "gaussian": ("LassoCV", "GroupLassoCV"),
    "binomial": ("SparseLogisticCV", ""),
    "multinomial": ("SparseMultinomialCV", ""),
    "poisson": ("SparsePoissonCV", ""),
    "cox": ("SparseCoxCV", ""),
    "ordinal": ("OrdinalLogitCV", ""),
    "quantile": ("SparseQuantileCV", ""),
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """A column that stays, with its coefficient(s) in the units of the data."""

    name: str
    coefficients: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which columns were chosen, along which path, and how far the answer is from the optimum.

    `gap` is a proven bound on the distance of the objective from its minimum, relative to the objective without any
    penalised column. `path` holds coefficients (columns that are ever chosen x strengths); `mean` and `error` are the
    held-out loss along the strengths.
    """

    source: str
    target: str
    family: str
    rows: int
    columns: int
    rule: str
    folds: int
    alpha: float
    chosen: tuple[Chosen, ...]
    intercept: tuple[float, ...]
    classes: tuple[str, ...]
    gap: float
    kkt: float
    converged: bool
    alphas: tuple[float, ...]
    mean: tuple[float, ...]
    error: tuple[float, ...]
    sizes: tuple[int, ...]
    path_names: tuple[str, ...]
    path: tuple[tuple[float, ...], ...]
    notes: tuple[str, ...]
    seconds: float
    citations: tuple[str, ...]

    def to_html(self, path: str) -> str:
        """Write one self-contained page that opens offline; returns the path."""
        from fewer.report.selection import to_html

        return to_html(self, path)


def select_columns(
    path: str | Path,
    target: str,
    *,
    family: str = "gaussian",
    rule: str = "1se",
    folds: int = 5,
    n_alphas: int = 100,
    eps: float = 1e-3,
    drop: Sequence[str] = (),
    missing: str = "error",
    max_levels: int = 50,
    levels: Sequence[str] = (),
    factors: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Selection:
    r"""Read a table and choose the columns that explain its target.

    Columns are standardised for the penalty; coefficients come back in the units of the table.

    Args:
        path: CSV, Parquet, Arrow or svmlight file.
        target: column to explain; `time,event` for Cox.
        family: distribution of the target.
        rule: `min`, or `1se` for the sparsest model within one standard error of the best.
        folds: of the cross-validation; rows are shuffled with `seed`.
        n_alphas: strengths on the path.
        eps: end of the path, relative to its start.
        drop: columns to leave out.
        missing: `error`, `mean` or `drop`.
        max_levels: most levels of a text column.
        levels: order of an ordinal target.
        factors: penalty factors by column name.
        seed: of the folds.

    Raises:
        FewerError: one line for whatever is wrong with the table or the request.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "t.csv"
    >>> _ = file.write_text("a,b,y\n" + "".join(f"{i},{i * 7 % 5},{2 * i}\n" for i in range(30)))
    >>> [c.name for c in select_columns(file, "y").chosen]
    ['a']
    """
    import numpy as np

    from fewer.linear.table import read_table

    start = time.perf_counter()
    table = read_table(
        path,
        target,
        family=family,
        drop=drop,
        missing=missing,
        max_levels=max_levels,
        levels=levels,
    )
    n = table.X.shape[0]
    if not 2 <= folds <= n:
        raise FewerError(f"{folds} folds for {n} rows; use between 2 and {n}")
    model = _estimator(table, family, rule, _splitter(table, family, folds, seed), n_alphas, eps, factors)
    y = table.y if table.event is None else np.column_stack([table.y, table.event])
    model.fit(table.X, y)
    return _selection(model, table, str(path), family, rule, folds, time.perf_counter() - start)


def _splitter(table: Any, family: str, folds: int, seed: int) -> Any:
    from sklearn.model_selection import KFold, StratifiedKFold

    if family in ("binomial", "multinomial"):
        import numpy as np

        fewest = int(np.bincount(table.y.astype(int)).min())
        if fewest >= folds:
            return StratifiedKFold(folds, shuffle=True, random_state=seed)
    return KFold(folds, shuffle=True, random_state=seed)


def _estimator(
    table: Any, family: str, rule: str, cv: Any, n_alphas: int, eps: float, factors: Mapping[str, float] | None
) -> Any:
    import fewer.linear.estimators as estimators
    from fewer.linear.factors import Manual

    single, grouped = ESTIMATORS[family]
    by_name = {name: value for name, value in (factors or {}).items()}
    for name in by_name:
        if name not in table.names:
            raise FewerError(f"penalty factor for '{name}': no such column{nearest(name, table.names)}")
    options: dict[str, Any] = {"rule": rule, "cv": cv, "n_alphas": n_alphas, "eps": eps, "standardize": True}
    categories = len(set(table.groups.tolist())) < len(table.names)
    if categories and grouped and hasattr(estimators, grouped) and not by_name:
        return getattr(estimators, grouped)(groups=table.groups, **options)
    if by_name:
        options["penalty_factors"] = Manual([by_name.get(name, 1.0) for name in table.names])
    return getattr(estimators, single)(**options)


def _selection(model: Any, table: Any, source: str, family: str, rule: str, folds: int, seconds: float) -> Selection:
    import numpy as np

    coef = np.atleast_2d(model.coef_)
    path, solution = model.path_, model.solution_
    kept = np.flatnonzero(np.any(coef != 0, axis=0))
    values = path.values if path.values.ndim == 2 else np.linalg.norm(path.values, axis=2)
    strongest = np.argsort(-np.abs(values).max(axis=1, initial=0.0))[:40] if values.size else np.arange(0)
    scale = _spread(table.X, path.columns[strongest])
    entry = find("estimator", _slug(type(model).__name__))
    return Selection(
        source=source, target=table.target, family=family, rows=table.X.shape[0], columns=table.X.shape[1],
        rule=rule, folds=folds, alpha=float(model.alpha_),
        chosen=tuple(Chosen(table.names[j], tuple(float(v) for v in coef[:, j])) for j in kept),
        intercept=tuple(float(v) for v in np.atleast_1d(model.intercept_)), classes=table.classes,
        gap=float(solution.gap / solution.null) if solution.null else 0.0, kkt=float(solution.kkt),
        converged=bool(solution.converged), alphas=tuple(map(float, model.alphas_)),
        mean=tuple(map(float, model.cv_mean_)), error=tuple(map(float, model.cv_error_)),
        sizes=tuple(int(s) for s in np.count_nonzero(values, axis=0)),
        path_names=tuple(table.names[j] for j in path.columns[strongest]),
        path=tuple(tuple(map(float, row * s)) for row, s in zip(values[strongest], scale, strict=True)),
        notes=table.notes, seconds=seconds,
        citations=tuple(citations([entry]) or [str(Paper("Regression Shrinkage and Selection via the Lasso", 1996))]),
    )  # fmt: skip


def _spread(X: Any, columns: Any) -> Any:
    """Standard deviations of some columns, so that a path can be drawn in comparable units."""
    import numpy as np

    part = X[:, columns]
    part = part.toarray() if hasattr(part, "toarray") else part
    return np.std(part, axis=0) if part.size else np.ones(len(columns))


def _slug(name: str) -> str:
    """`LassoCV` -> `lasso-cv`: the catalogue's name of an estimator."""
    import re

    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
