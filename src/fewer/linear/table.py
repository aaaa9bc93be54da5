"""Files of rows and columns as a design matrix: numbers stay, categories become groups, nothing is guessed.

What happens to untidy data is stated here and tested:

==================  ==========
missing values      refused with the columns' names; `missing="mean"` fills numbers by their mean and gives categories
                    a level of their own, `missing="drop"` drops the rows; missing targets are always refused
infinite values     refused with column and row
text among numbers  a column that is mostly numbers with some text is refused with the first such row
text, booleans      text becomes one column a level, in one group; booleans become 0 and 1
constant columns    kept out of the model (their coefficient is zero) and listed in the notes
duplicated columns  kept; listed in the notes, because a penalty cannot tell them apart
one class, one row  refused; so is a class or an event seen in one row only, which cross-validation could not leave out
repeated names      refused
too many levels     a text column with more than `max_levels` levels is refused: it is usually an identifier
==================  ==========
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from fewer.method import FewerError, nearest

__all__ = ["FAMILIES", "Table", "read_table"]

FAMILIES = ("gaussian", "binomial", "multinomial", "poisson", "cox", "ordinal", "quantile")
MISSING = ("error", "mean", "drop")
#: Squares of larger numbers overflow once they are added up.
_LARGE = 1e140


@dataclass(frozen=True, slots=True)
class Table:
    """A design matrix with its names.

    Attributes:
        X: (n, p) float64, numpy or scipy CSC.
        y: (n,) float64; class codes 0..K-1 for binomial, multinomial and ordinal.
        names: p column names; a level of a category is `column=level`.
        groups: (p,) group number of each column; the columns of one category share theirs.
        sources: name of the table's column behind each group, in the order of their numbers.
        target: name of the target.
        classes: labels behind the class codes, in order; empty for numbers.
        event: (n,) 1 where the time in `y` is an event, 0 where it is censored (Cox only).
        weights: (n,) row weights, if a column of them was named.
        notes: what was done to untidy data, one line each.
    """

    X: Any
    y: np.ndarray
    names: tuple[str, ...]
    groups: np.ndarray
    target: str
    classes: tuple[str, ...] = ()
    event: np.ndarray | None = None
    sources: tuple[str, ...] = ()
    weights: np.ndarray | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def categories(self) -> bool:
        """Whether some column became several."""
        return len(self.sources) < int(self.X.shape[1])

    def spreads(self) -> np.ndarray:
        """(p,) standard deviations by which columns are made comparable; 1 for constant ones.

        The columns of a category share the root of their mean variance, so that rare levels are not blown up.
        """
        n = self.X.shape[0]
        mean = np.asarray(self.X.mean(axis=0)).ravel()
        square = self.X.multiply(self.X).sum(axis=0) / n if hasattr(self.X, "multiply") else (self.X**2).mean(axis=0)
        variance = np.maximum(np.asarray(square).ravel() - mean**2, 0.0)
        variance = np.where(variance > 1e-13 * mean**2, variance, 0.0)
        if self.categories:
            sizes = np.bincount(self.groups)
            variance = (np.bincount(self.groups, weights=variance) / np.maximum(sizes, 1))[self.groups]
        return np.asarray(np.where(variance > 0, np.sqrt(variance), 1.0))


def read_table(
    path: str | Path,
    target: str,
    *,
    family: str = "gaussian",
    drop: Sequence[str] = (),
    missing: str = "error",
    max_levels: int = 50,
    levels: Sequence[str] = (),
    weights: str | None = None,
) -> Table:
    r"""Read CSV, Parquet, Arrow (Feather) or svmlight and make a `Table` of it.

    Args:
        path: `.csv`, `.tsv`, `.parquet`, `.arrow`, `.feather`, or `.svmlight` / `.libsvm` (sparse; target inside).
        target: column to explain; for Cox, `time,event`.
        family: one of `FAMILIES`.
        drop: columns to leave out.
        missing: what to do with missing values, see the module's table.
        max_levels: most levels that a text column may have.
        levels: order of an ordinal target's labels; sorted if empty.
        weights: column of row weights, not negative.

    Raises:
        FewerError: one line naming file, column and row of the first fault.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "t.csv"
    >>> _ = file.write_text("x,colour,y\n1,red,2\n2,blue,3\n3,red,4\n")
    >>> read_table(file, "y").names
    ('x', 'colour=blue', 'colour=red')
    """
    path = Path(path)
    if family not in FAMILIES:
        raise FewerError(f"unknown family '{family}'{nearest(family, FAMILIES)}; known: {', '.join(FAMILIES)}")
    if missing not in MISSING:
        raise FewerError(f"unknown --missing '{missing}'{nearest(missing, MISSING)}; known: {', '.join(MISSING)}")
    if levels and family not in ("ordinal", "multinomial", "binomial"):
        raise FewerError(f"--levels orders the labels of classes; the family is {family}")
    if path.suffix in (".svmlight", ".libsvm"):
        return _sparse(path, family, levels, weights)
    frame = _open(path)
    wanted = [part.strip() for part in target.split(",")] if family == "cox" else [target]
    if family == "cox" and len(set(wanted)) != 2:
        raise FewerError("a Cox target is two columns, '--target time,event'")
    own = [*wanted, *([weights] if weights else [])]
    _named(frame, [*own, *drop], path.name)
    if set(own) & set(drop):
        raise FewerError(f"column '{next(iter(set(own) & set(drop)))}' is asked for and dropped at once")
    frame = frame.drop_columns([*dict.fromkeys(drop)]) if drop else frame
    if missing == "drop":
        frame = frame.drop_null()
    if frame.num_rows < 2:
        raise FewerError(f"{path.name} has {frame.num_rows} usable row(s); at least 2 are needed")
    columns, names, groups, notes = _features(frame, own, missing, max_levels, path.name)
    X = np.column_stack(columns) if columns else np.empty((frame.num_rows, 0))
    notes += _same_columns(X, names)
    y, classes = _target(frame[wanted[0]], wanted[0], family, levels)
    event = _event(frame[wanted[1]], wanted[1]) if family == "cox" else None
    sources = tuple(name for name in frame.column_names if name not in own)
    rows = _row_weights(frame[weights], weights) if weights else None
    return Table(
        X, y, tuple(names), np.asarray(groups, dtype=np.int64), target, classes, event, sources, rows, tuple(notes)
    )


def _named(frame: Any, wanted: Sequence[str], where: str) -> None:
    """Refuse repeated names, and names that are not there."""
    names = frame.column_names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise FewerError(f"{where} has {names.count(twice)} columns named '{twice}'; give each a name of its own")
    for name in wanted:
        if name not in names:
            raise FewerError(f"{where} has no column '{name}'{nearest(name, names)}")


def _open(path: Path) -> Any:
    """The file as a pyarrow table."""
    if not path.is_file():
        raise FewerError(f"no such file: {path}")
    try:
        import pyarrow as pa
    except ModuleNotFoundError:
        raise FewerError("reading tables needs pyarrow: pip install 'fewer[tables]'") from None
    try:
        if path.suffix in (".csv", ".tsv", ".txt"):
            from pyarrow import csv

            if path.stat().st_size == 0:
                raise FewerError(f"{path.name} is empty")
            options = csv.ParseOptions(delimiter="\t" if path.suffix == ".tsv" else ",")
            convert = csv.ConvertOptions(strings_can_be_null=True)
            return csv.read_csv(path, parse_options=options, convert_options=convert)
        if path.suffix == ".parquet":
            from pyarrow import parquet

            return parquet.read_table(path)
        if path.suffix in (".arrow", ".feather", ".ipc"):
            from pyarrow import feather

            return feather.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise FewerError(f"{path.name} could not be read: {str(error).splitlines()[0]}") from None
    raise FewerError(f"{path.name}: unknown kind of file '{path.suffix}'; use .csv, .parquet, .arrow or .svmlight")


def _features(
    frame: Any, targets: Sequence[str], missing: str, max_levels: int, where: str
) -> tuple[list[np.ndarray], list[str], list[int], list[str]]:
    columns: list[np.ndarray] = []
    names: list[str] = []
    groups: list[int] = []
    notes: list[str] = []
    holes = {n: frame[n].null_count for n in frame.column_names if n not in targets and frame[n].null_count}
    if holes and missing == "error":
        listed = ", ".join(f"'{n}' ({c})" for n, c in list(holes.items())[:5])
        raise FewerError(f"{where}: missing values in {listed}; use --missing mean or --missing drop")
    for group, name in enumerate(n for n in frame.column_names if n not in targets):
        made = _column(frame[name], name, max_levels, where)
        if name in holes:
            notes.append(
                f"'{name}': {holes[name]} missing value(s) "
                + ("filled by the mean" if len(made) == 1 and made[0][0] == name else "given a level of their own")
            )
        for label, values in made:
            columns.append(values)
            names.append(label)
            groups.append(group)
    return columns, names, groups, notes


def _column(column: Any, name: str, max_levels: int, where: str) -> list[tuple[str, np.ndarray]]:
    """The design columns of one table column, with their names."""
    import pyarrow.types as kinds

    kind = column.type
    if kinds.is_dictionary(kind) or kinds.is_string(kind) or kinds.is_large_string(kind):
        return _levels(column, name, max_levels, where)
    if not (kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind) or kinds.is_decimal(kind)):
        if kinds.is_null(kind):
            raise FewerError(f"{where}: column '{name}' is empty; leave it out with --drop '{name}'")
        raise FewerError(f"{where}: column '{name}' is of type {kind}; make it a number or a category, or --drop it")
    values = _numbers(column)
    if np.isinf(values).any():
        raise FewerError(f"{where}: column '{name}' is infinite in row {int(np.flatnonzero(np.isinf(values))[0]) + 1}")
    large = np.flatnonzero(np.abs(values) > _LARGE)
    if len(large):
        raise FewerError(f"{where}: column '{name}' holds {values[large[0]]:g} in row {int(large[0]) + 1}; rescale it")
    if np.isnan(values).any():
        values = np.where(np.isnan(values), np.nanmean(values), values)
    return [(name, values)]


def _numbers(column: Any) -> np.ndarray:
    """A numeric column as float64, missing values as NaN."""
    import pyarrow as pa

    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)


def _levels(column: Any, name: str, max_levels: int, where: str) -> list[tuple[str, np.ndarray]]:
    """One indicator column a level, levels sorted."""
    texts = ["(missing)" if v is None else str(v) for v in column.to_pylist()]
    known = [t for t in texts if t != "(missing)"]
    wrong = [i for i, t in enumerate(texts) if t != "(missing)" and not _is_number(t)]
    if known and 0 < len(wrong) < len(known) / 2:
        raise FewerError(
            f"{where}: column '{name}' holds numbers, but row {wrong[0] + 1} holds '{texts[wrong[0]][:40]}'"
        )
    levels = sorted(set(texts))
    if len(levels) > max_levels:
        raise FewerError(
            f"{where}: column '{name}' has {len(levels)} levels in {len(texts)} rows; "
            f"--drop '{name}' if it is an identifier, or raise --max-levels"
        )
    place = {level: i for i, level in enumerate(levels)}
    codes = np.asarray([place[t] for t in texts])
    return [(f"{name}={level}", (codes == i).astype(np.float64)) for i, level in enumerate(levels)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _target(column: Any, name: str, family: str, levels: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Target values, and the labels behind class codes."""
    if column.null_count:
        raise FewerError(f"target '{name}' has {column.null_count} missing value(s); drop those rows first")
    if family in ("binomial", "multinomial", "ordinal"):
        return _codes(column.to_pylist(), name, family, levels)
    try:
        y = _numbers(column)
    except Exception:
        raise FewerError(f"target '{name}' is not a number; for classes use --family binomial or multinomial") from None
    return _possible(y, name, family), ()


def _possible(y: np.ndarray, name: str, family: str) -> np.ndarray:
    """The numbers of a target, if its family allows them."""
    if not np.isfinite(y).all():
        raise FewerError(f"target '{name}' is not finite in row {int(np.flatnonzero(~np.isfinite(y))[0]) + 1}")
    if np.abs(y).max() > _LARGE:
        at = int(np.abs(y).argmax())
        raise FewerError(f"target '{name}' holds {y[at]:g} in row {at + 1}; rescale it")
    if family == "poisson" and (y < 0).any():
        raise FewerError(f"target '{name}' has negative counts (row {int(np.flatnonzero(y < 0)[0]) + 1})")
    if family == "cox" and (y <= 0).any():
        raise FewerError(f"time '{name}' must be positive (row {int(np.flatnonzero(y <= 0)[0]) + 1})")
    if np.ptp(y) == 0:
        raise FewerError(f"target '{name}' is constant; there is nothing to explain")
    return y


def _row_weights(column: Any, name: str) -> np.ndarray:
    try:
        values = _numbers(column)
    except Exception:
        raise FewerError(f"weights '{name}' are not numbers") from None
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(wrong):
        raise FewerError(f"weight '{name}' is {values[wrong[0]]:g} in row {int(wrong[0]) + 1}; give numbers >= 0")
    if not values.any():
        raise FewerError(f"weights '{name}' are all zero")
    return values


def _codes(values: list[Any], name: str, family: str, order: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    found = sorted(set(values), key=lambda v: (isinstance(v, str), v))
    labels = [str(v) for v in found]
    if order:
        if sorted(order) != sorted(labels):
            raise FewerError(f"--levels {','.join(order)} are not the labels of '{name}': {', '.join(labels[:10])}")
        labels = list(order)
    if len(labels) < 2:
        raise FewerError(f"target '{name}' has one class only ('{labels[0]}'); at least two are needed")
    if family == "binomial" and len(labels) > 2:
        raise FewerError(f"target '{name}' has {len(labels)} classes; use --family multinomial or ordinal")
    index = {label: i for i, label in enumerate(labels)}
    return np.asarray([index[str(v)] for v in values], dtype=np.float64), tuple(labels)


def _event(column: Any, name: str) -> np.ndarray:
    try:
        values = _numbers(column)
    except Exception:
        values = np.full(len(column), np.nan)
    if not np.isin(values, (0.0, 1.0)).all():
        raise FewerError(f"event column '{name}' must hold 0 (censored) and 1 (event) only")
    if not values.any():
        raise FewerError(f"event column '{name}' has no event; a Cox model cannot be fitted")
    return values


def _same_columns(X: np.ndarray, names: Sequence[str]) -> list[str]:
    """Notes on constant and duplicated columns."""
    notes = []
    constant = [names[j] for j in range(X.shape[1]) if np.ptp(X[:, j]) == 0]
    if constant:
        notes.append(f"constant, left out: {', '.join(constant[:10])}")
    first: dict[bytes, str] = {}
    for j, name in enumerate(names):
        key = blake2b(np.ascontiguousarray(X[:, j] + 0.0).tobytes()).digest()
        if key in first and name not in constant:
            notes.append(f"'{name}' equals '{first[key]}': their coefficients cannot be told apart")
        first.setdefault(key, name)
    return notes


def _sparse(path: Path, family: str, levels: Sequence[str], weights: str | None) -> Table:
    """An svmlight file: target first, then `column:value` pairs; columns are named by the numbers in the file."""
    if not path.is_file():
        raise FewerError(f"no such file: {path}")
    if family == "cox" or weights:
        raise FewerError(f"{path.name}: an svmlight file holds one target and no weights; use .csv or .parquet")
    from sklearn.datasets import load_svmlight_file

    try:
        X, y = load_svmlight_file(str(path), zero_based=True)
    except (ValueError, OverflowError) as error:
        raise FewerError(f"{path.name} is no svmlight file: {str(error).splitlines()[0]}") from None
    if X.shape[0] < 2:
        raise FewerError(f"{path.name} has {X.shape[0]} usable row(s); at least 2 are needed")
    if not np.isfinite(X.data).all():
        raise FewerError(f"{path.name} holds values that are not finite")
    classes: tuple[str, ...] = ()
    if family in ("binomial", "multinomial", "ordinal"):
        y, classes = _codes([f"{v:g}" for v in _possible(y, "target", family)], "target", family, levels)
    else:
        y = _possible(y, "target", family)
    X = X.tocsc()
    first = 1 if X.shape[1] and X.indptr[1] == 0 else 0  # most files count from one
    names = tuple(str(j) for j in range(first, X.shape[1]))
    X = X[:, first:]
    empty = int(np.count_nonzero(np.diff(X.indptr) == 0))
    notes = (f"{empty} column(s) hold zeros only, left out",) if empty else ()
    return Table(X, y, names, np.arange(X.shape[1]), "target", classes, None, names, None, notes)
