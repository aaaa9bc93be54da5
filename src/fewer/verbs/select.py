"""Choose the columns of a table: read it, cross-validate a sparse model, and keep the certificate."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fewer.arguments import checked
from fewer.method import FewerError, Paper, citations, find, nearest

__all__ = ["ESTIMATORS", "Chosen", "Selection", "select_columns"]

#: Which estimator answers for a family; least squares has names of its own for groups and for a mix.
ESTIMATORS: dict[str, str] = {
    "gaussian": "LassoCV",
    "binomial": "SparseLogisticCV",
    "multinomial": "SparseMultinomialCV",
    "poisson": "SparsePoissonCV",
    "cox": "SparseCoxCV",
    "ordinal": "OrdinalLogitCV",
    "quantile": "SparseQuantileCV",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the model, apart from the table."""

    family: str = "gaussian"
    rule: str = "1se"
    folds: int = 5
    n_alphas: int = 100
    eps: float | None = None
    mix: Sequence[float] = (1.0,)
    relaxed: bool = False
    quantile: float = 0.5
    ties: str = "breslow"
    factors: Mapping[str, float] | None = None
    beliefs: Mapping[str, float] | Any = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """A column that stays, with its coefficient(s) in the units of the data; `source` is the table's column.

    `effects` are the coefficients times the spread of the column, so that columns can be compared.
    """

    name: str
    coefficients: tuple[float, ...]
    effects: tuple[float, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Combination:
    """A mix, a share phi of the lasso and a vector of factors: least held-out loss and its standard error."""

    factors: str
    mix: float
    phi: float
    loss: float
    error: float


@dataclass(frozen=True, slots=True)
class Selection:
    """Which columns were chosen, along which path, and how far the answer is from the optimum.

    `gap` is a proven bound on the distance of the objective from its minimum, relative to the objective without any
    penalised column. `phi` is the share of the lasso in the coefficients, the rest is least squares on its support: 1
    unless a relaxed refit was asked for; gap and KKT distance are those of the lasso that chose. `path` holds
    coefficients (columns that are ever chosen x strengths); `mean` and `error` are the held-out loss along the
    strengths. Columns and sizes count the columns of the table; a category is one of them.
    """

    source: str
    target: str
    family: str
    rows: int
    columns: int
    rule: str
    folds: int
    estimator: str
    alpha: float
    mix: float
    phi: float
    factors: str
    tried: tuple[Combination, ...]
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


@checked
def select_columns(
    path: str | Path,
    target: str,
    *,
    family: str = "gaussian",
    rule: str = "1se",
    folds: int = 5,
    n_alphas: int = 100,
    eps: float | None = None,
    mix: Sequence[float] = (1.0,),
    relaxed: bool = False,
    quantile: float = 0.5,
    ties: str = "breslow",
    drop: Sequence[str] = (),
    missing: str = "error",
    max_levels: int = 50,
    levels: Sequence[str] = (),
    weights: str | None = None,
    groups: str | None = None,
    factors: Mapping[str, float] | None = None,
    beliefs: Mapping[str, float] | Callable[..., Any] | None = None,
    seed: int = 0,
) -> Selection:
    r"""Read a table and choose the columns that explain its target.

    Columns are standardised for the penalty; coefficients come back in the units of the table. The columns that stand
    for one category enter together or not at all, for every family.

    Args:
        path: CSV, Parquet, Arrow or svmlight file.
        target: column to explain; `time,event` for Cox.
        family: distribution of the target.
        rule: `min`, or `1se` for the sparsest model within one standard error of the best.
        folds: of the cross-validation; rows are shuffled with `seed`, classes and events spread evenly.
        n_alphas: strengths on the path.
        eps: end of the path, relative to its start; None is 1e-3, or 1e-2 with more columns than rows.
        mix: shares of L1 against ridge, in (0, 1]; cross-validation chooses among several.
        relaxed: take shrinkage back: blend the coefficients with least squares on the chosen columns; cross-validation
            chooses the share, down to none (gaussian only).
        quantile: which quantile, for the family of that name.
        ties: `breslow` or `efron`, for Cox.
        drop: columns to leave out.
        missing: `error`, `mean` or `drop`.
        max_levels: most levels of a text column.
        levels: order of an ordinal target.
        weights: column of row weights.
        groups: column of labels, such as a patient: rows with the same one stay in one fold, and explain nothing.
        factors: penalty factors by column name; 0 keeps a column, inf excludes it.
        beliefs: by column name, larger for columns thought not to matter; or a callable from names to such numbers.
            Cross-validation chooses how far to trust them, down to not at all.
        seed: of the folds.

    Raises:
        FewerError: one line for whatever is wrong with the table or the request.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "t.csv"
    >>> _ = file.write_text("a,b,y\n" + "".join(f"{i},{i * 7 % 5},{2 * i}\n" for i in range(30)))
    >>> [c.name for c in select_columns(file, "y").chosen]
    ['a']
    """
    from fewer.linear.table import read_table

    start = time.perf_counter()
    asked = Request(
        family, rule, folds, n_alphas, eps, tuple(mix), relaxed, quantile, ties, dict(factors or {}), beliefs, seed,
    )  # fmt: skip
    _check(asked)
    table = read_table(
        path,
        target,
        family=family,
        drop=drop,
        missing=missing,
        max_levels=max_levels,
        levels=levels,
        weights=weights,
        groups=groups,
    )
    n = table.X.shape[0]
    if not 2 <= folds <= n:
        raise FewerError(f"{folds} folds for {n} rows; use between 2 and {n}")
    if table.X.shape[1] == 0:
        raise FewerError(f"{Path(path).name} has no column beside its target")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", UserWarning)
        model, middle, scale = fit(table, asked)
    said = (str(warning.message) for warning in heard if issubclass(warning.category, UserWarning))
    table = replace(table, notes=(*table.notes, *dict.fromkeys(said)))
    return _selection(model, table, middle, scale, str(path), asked, time.perf_counter() - start)


def _check(asked: Request) -> None:
    """Refuse what no table could satisfy."""
    from fewer.linear.table import FAMILIES

    for what, value, known in (
        ("family", asked.family, FAMILIES), ("rule", asked.rule, ("min", "1se")),
        ("ties", asked.ties, ("breslow", "efron")),
    ):  # fmt: skip
        if value not in known:
            raise FewerError(f"unknown {what} '{value}'{nearest(str(value), known)}; known: {', '.join(known)}")
    if not asked.mix or any(not 0 < share <= 1 for share in asked.mix):
        raise FewerError(f"mix is {', '.join(f'{m:g}' for m in asked.mix) or 'empty'}; give shares of L1 in (0, 1]")
    if not 0 < asked.quantile < 1:
        raise FewerError(f"quantile is {asked.quantile:g}; it must lie between 0 and 1")
    if asked.relaxed and asked.family != "gaussian":
        raise FewerError(f"--relaxed refits by least squares; the family is {asked.family}, not gaussian")
    if asked.relaxed and tuple(asked.mix) != (1.0,):
        raise FewerError("--relaxed and --mix cannot be given together: both blend the lasso, one with ridge")
    if not 0 <= asked.seed < 2**32:
        raise FewerError(f"seed is {asked.seed}; it must lie in 0 .. 2^32 - 1")
    if asked.factors and asked.beliefs is not None:
        raise FewerError("penalty factors and beliefs cannot be given together")


def fit(table: Any, asked: Request) -> tuple[Any, Any, Any]:
    """The fitted estimator on comparable columns, and the means and scales that made them so."""
    import numpy as np

    import fewer.linear.estimators as estimators

    n, p = table.X.shape
    scale = table.spreads()
    if hasattr(table.X, "multiply"):
        middle, X = np.zeros(p), table.X.multiply(1.0 / scale).tocsc()
    else:  # centred here, where nothing is lost to columns far from zero
        middle = table.X.mean(axis=0)
        X = (table.X - middle) / scale
    wide = 1e-2 if p >= n else 1e-3
    options: dict[str, Any] = {
        "rule": asked.rule, "cv": _splits(table, asked), "n_alphas": asked.n_alphas,
        "eps": wide if asked.eps is None else asked.eps, "penalty_factors": _factors(table, asked),
    }  # fmt: skip
    name, mixed = ESTIMATORS[asked.family], tuple(asked.mix) != (1.0,)
    if asked.family == "gaussian":
        name = "ElasticNetCV" if mixed else "GroupLassoCV" if table.categories else name
        name = "RelaxedLassoCV" if asked.relaxed else name
    if mixed:
        options["l1_ratio"] = list(asked.mix)
    if table.categories:
        options["groups"] = table.groups
    if asked.family == "quantile":
        options["q"] = asked.quantile
    if asked.family == "cox":
        options["ties"] = asked.ties
    y = table.y if table.event is None else np.column_stack([table.y, table.event])
    return getattr(estimators, name)(**options).fit(X, y, table.weights), middle, scale


def _splits(table: Any, asked: Request) -> Any:
    """Folds that spread classes and events evenly, and keep groups of rows together."""
    import numpy as np
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    codes, many = _strata(table, asked), int(asked.folds)
    together = table.together
    if together is not None and together.max() + 1 < many:
        raise FewerError(f"{many} folds, but {together.max() + 1} group(s) of rows that stay together; use fewer folds")
    options: dict[str, Any] = {"n_splits": many, "shuffle": True, "random_state": asked.seed}
    if codes is None and together is None:
        return KFold(**options)
    if codes is None:
        return list(GroupKFold(**options).split(table.y, groups=together))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fewer rows of a class than folds: still spread
        kind = StratifiedKFold if together is None else StratifiedGroupKFold
        return list(kind(**options).split(np.zeros(len(codes)), codes, together))


def _strata(table: Any, asked: Request) -> Any:
    """(n,) codes to spread over the folds, or None; several classes of two rows cannot be spread over five folds."""
    import numpy as np

    counted = asked.family == "poisson" and bool(np.any(table.y == 0))
    if not counted and asked.family not in ("binomial", "multinomial", "ordinal", "cox"):
        return None
    codes = (table.y > 0 if counted else table.y if table.event is None else table.event).astype(int)
    rows = np.bincount(codes)
    if table.event is not None and rows[1] < 2:
        raise FewerError(f"{table.target}: one event only; cross-validation needs two at least")
    if counted and rows[1] < 2:
        raise FewerError(f"target '{table.target}' is above 0 in one row only; cross-validation needs two at least")
    if table.event is None and not counted and rows.min() < 2:
        rare = table.classes[int(rows.argmin())]
        raise FewerError(f"class '{rare}' of '{table.target}' has one row only; cross-validation needs two of each")
    if asked.folds > rows.max():
        what = "events or censored times" if table.event is not None else "rows of any class"
        what = "counts or zeros" if counted else what
        raise FewerError(f"{asked.folds} folds, but no more than {rows.max()} {what}; use fewer folds")
    return codes


def _factors(table: Any, asked: Request) -> Any:
    """Penalty factors or beliefs about columns of the table, spread over the columns that they became."""
    import numpy as np

    from fewer.linear.factors import Manual, Prior

    for name in asked.factors or {}:
        if name not in table.sources:
            raise FewerError(f"penalty factor for '{name}': no such column{nearest(name, table.sources)}")
    if asked.factors:
        each = np.array([float(asked.factors.get(name, 1.0)) for name in table.sources])
        return Manual(each[table.groups])
    if asked.beliefs is None:
        return None
    found = asked.beliefs(list(table.sources)) if callable(asked.beliefs) else asked.beliefs
    missing = [name for name in table.sources if name not in found]
    if missing:
        raise FewerError(f"no belief about '{missing[0]}' ({len(missing)} of {len(table.sources)} columns have none)")
    return Prior(np.array([float(found[name]) for name in table.sources])[table.groups])


def _selection(
    model: Any, table: Any, middle: Any, scale: Any, source: str, asked: Request, seconds: float
) -> Selection:
    import numpy as np

    effects = np.atleast_2d(model.coef_)
    path, solution = model.path_, model.solution_
    strong = np.abs(effects).max(axis=0, initial=0.0)
    kept = np.flatnonzero(strong > 1e-9 * strong.max(initial=0.0))  # less is what rounding leaves of a zero
    coef = effects / scale
    values = path.values if path.values.ndim == 2 else np.linalg.norm(path.values, axis=2)
    strongest = np.argsort(-np.abs(values).max(axis=1, initial=0.0))[:40] if values.size else np.arange(0)
    entry, owner = find("estimator", _slug(type(model).__name__)), table.groups[path.columns]
    shift = coef @ middle  # columns were centred
    constant = model.cuts_ + shift if hasattr(model, "cuts_") else np.atleast_1d(model.intercept_) - shift
    return Selection(
        source=source, target=table.target, family=asked.family, rows=table.X.shape[0], columns=table.width,
        rule=asked.rule, folds=asked.folds, estimator=type(model).__name__, alpha=float(model.alpha_),
        mix=1.0 if asked.relaxed else float(model.l1_ratio_), phi=float(model.l1_ratio_) if asked.relaxed else 1.0,
        factors=model.factors_, tried=tuple(_combination(tried, asked.relaxed) for tried in model.tried_),
        chosen=tuple(_chosen(table, coef, scale, int(j)) for j in kept),
        intercept=tuple(float(v) for v in constant), classes=table.classes,
        gap=float(solution.gap / solution.null) if solution.null else 0.0, kkt=float(solution.kkt),
        converged=bool(solution.converged), alphas=tuple(map(float, model.alphas_)),
        mean=tuple(map(float, model.cv_mean_)), error=tuple(map(float, model.cv_error_)),
        sizes=tuple(len(np.unique(owner[values[:, k] != 0])) for k in range(len(path))),
        path_names=tuple(table.names[j] for j in path.columns[strongest]),
        path=tuple(tuple(map(float, row)) for row in values[strongest]),
        notes=table.notes, seconds=seconds,
        citations=tuple(citations([entry]) or [str(Paper("Regression Shrinkage and Selection via the Lasso", 1996))]),
    )  # fmt: skip


def _chosen(table: Any, coef: Any, scale: Any, j: int) -> Chosen:
    values = tuple(float(v) for v in coef[:, j])
    return Chosen(table.names[j], values, tuple(v * float(scale[j]) for v in values), table.sources[table.groups[j]])


def _combination(tried: Any, relaxed: bool) -> Combination:
    at, share = tried.pick("min"), float(tried.l1_ratio)
    mix, phi = (1.0, share) if relaxed else (share, 1.0)
    return Combination(tried.label, mix, phi, float(tried.mean[at]), float(tried.error[at]))


def _slug(name: str) -> str:
    """`LassoCV` -> `lasso-cv`: the catalogue's name of an estimator."""
    import re

    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
