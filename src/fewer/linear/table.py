"""Files of rows and columns as a design matrix: numbers stay, categories become groups, nothing is guessed.

What happens to untidy data is stated here and tested:

==================  ==========
missing values      refused with the columns' names; `missing="mean"` fills numbers by their mean and gives categories
                    a level of their own, `missing="drop"` drops the rows; missing targets are refused unless they are
                    dropped; a NaN is a missing value in every format
infinite values     refused with column and row
text among numbers  a column that is mostly numbers with some text is refused with the first such row; so are numbers
                    written 1,000 or 5%
text, booleans      text becomes one column a level, in one group; booleans become 0 and 1
constant columns    kept out of the model (their coefficient is zero) and listed in the notes
duplicated columns  kept; listed in the notes, because a penalty cannot tell them apart; so is a column that is the
                    target times a number plus a number
leading zeros       numbers written like 007 are read as numbers, and noted
one class, one row  refused; so is a class or an event seen in one row only, which cross-validation could not leave out
names               repeated ones are refused, and a column without one (a row index, usually)
identifiers         a text column with more than `max_levels` levels, or with a level for every row, is refused; so are
                    whole numbers beyond 2^53
labels in order     ordinal labels that are text need `levels`, unless the file is Arrow and orders them
weights of zero     their rows are left out
==================  ==========
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from fewer.linear.files import SPARSE, kind_in_words, numbers, open_sparse, open_table
from fewer.linear.matrix import refuse_extremes
from fewer.linear.response import (
    CLASSES,
    codes,
    event_column,
    label_codes,
    possible,
    target_column,
    weight_column,
)
from fewer.method import FewerError, nearest

__all__ = ["FAMILIES", "Table", "read_table"]

FAMILIES = ("gaussian", "binomial", "multinomial", "poisson", "cox", "ordinal", "quantile")
MISSING = ("error", "mean", "drop")
#: Numbers in dress: thousands apart, decimal commas, per cent, currencies.
_DRESSED = re.compile(r"[+-]?[$€£]?\d+([,'’ ]\d{3})*([.,]\d+)?\s?[%$€£]?")


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
        width: how many columns the table offers, those that are left out included.
        together: (n,) codes of rows that stay in one fold of a cross-validation, if a column of labels was named.
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
    width: int = 0
    together: np.ndarray | None = None

    @property
    def categories(self) -> bool:
        """Whether some column became several."""
        return len(self.sources) < int(self.X.shape[1])

    def spreads(self) -> np.ndarray:
        """(p,) standard deviations by which columns are made comparable; 1 for constant ones.

        The columns of a category share the root of their mean variance, so that rare levels are not blown up.
        """
        n, sparse = self.X.shape[0], hasattr(self.X, "multiply")
        top = abs(self.X).max(axis=0)
        top = np.asarray(top.toarray() if sparse else top, dtype=np.float64).ravel()
        top = np.where(top > 0, top, 1.0)  # squares of very small numbers vanish
        if sparse:
            part = self.X.multiply(1.0 / top)
            mean = np.asarray(part.mean(axis=0)).ravel()
            variance = np.maximum(np.asarray(part.multiply(part).sum(axis=0)).ravel() / n - mean**2, 0.0)
            rounding = 1e-13 * mean**2
        else:
            variance, rounding = np.square((self.X - self.X.mean(axis=0)) / top).mean(axis=0), np.array(1e-28)
        spread = np.where(variance > rounding, np.sqrt(variance), 0.0) * top
        if self.categories:
            sizes = np.bincount(self.groups)
            shared = np.sqrt(np.bincount(self.groups, weights=spread**2) / np.maximum(sizes, 1))
            spread = np.where(sizes > 1, shared, spread[np.cumsum(sizes) - sizes])[self.groups]
        return np.asarray(np.where(spread > 0, spread, 1.0))


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
    groups: str | None = None,
) -> Table:
    r"""Read CSV, Parquet, Arrow (Feather) or svmlight and make a `Table` of it.

    Args:
        path: `.csv`, `.tsv`, `.parquet`, `.arrow`, `.feather`, or `.svmlight` / `.libsvm` (sparse; target inside).
        target: column to explain; for Cox, `time,event`.
        family: one of `FAMILIES`.
        drop: columns to leave out.
        missing: what to do with missing values, see the module's table.
        max_levels: most levels that a text column may have.
        levels: order of an ordinal target's labels; numbers need none.
        weights: column of row weights, not negative.
        groups: column of labels; rows with the same one stay in one fold.

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
    if levels and family not in CLASSES:
        raise FewerError(f"--levels orders the labels of classes; the family is {family}")
    if path.suffix.lower() in SPARSE:
        return _sparse(path, target, family, levels, weights or groups, drop)
    frame, notes = open_table(path)
    wanted = [part.strip() for part in target.split(",")] if family == "cox" else [target]
    if family == "cox" and len(set(wanted)) != 2:
        raise FewerError("a Cox target is two columns, '--target time,event'")
    own = [*wanted, *(name for name in (weights, groups) if name)]
    if len(set(own)) < len(own):
        twice = next(name for name in own if own.count(name) > 1)
        raise FewerError(f"column '{twice}' cannot be two of target, weights and groups")
    _named(frame, [*own, *drop], path.name)
    if set(own) & set(drop):
        raise FewerError(f"column '{next(iter(set(own) & set(drop)))}' is asked for and dropped at once")
    frame = frame.drop_columns([*dict.fromkeys(drop)]) if drop else frame
    if missing == "drop":
        before, frame = frame.num_rows, frame.drop_null()
        holes = before - frame.num_rows
        notes += [f"{holes} row(s) with missing values left out"] if holes else []
    rows, idle = None, 0
    if weights and frame.num_rows:
        rows = weight_column(frame[weights], weights)
        idle = int(np.count_nonzero(rows == 0))
        frame, rows = frame.filter(rows > 0), rows[rows > 0]
    notes += [f"{idle} row(s) of weight 0 left out"] if idle else []
    if frame.num_rows < 2:
        raise FewerError(f"{path.name} has {frame.num_rows} usable row(s); at least 2 are needed")
    columns, names, owners, more = _features(frame, own, missing, max_levels, path.name)
    X = np.column_stack(columns) if columns else np.empty((frame.num_rows, 0))
    y, classes = target_column(frame[wanted[0]], wanted[0], family, levels)
    event = event_column(frame[wanted[1]], wanted[1]) if family == "cox" else None
    notes += [*more, *_same_columns(X, names, y)]
    sources = tuple(name for name in frame.column_names if name not in own)
    place = np.asarray(owners, dtype=np.int64)
    together = label_codes(frame[groups], groups) if groups else None
    notes += [f"rows of one '{groups}' stay in one fold ({together.max() + 1} groups)"] if together is not None else []
    return Table(X, y, tuple(names), place, target, classes, event, sources, rows, tuple(notes), len(sources), together)


def _named(frame: Any, wanted: Sequence[str], where: str) -> None:
    """Refuse repeated names, and names that are not there."""
    names = frame.column_names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise FewerError(f"{where} has {names.count(twice)} columns named '{twice}'; give each a name of its own")
    for name in wanted:
        if name not in names:
            raise FewerError(f"{where} has no column '{name}'{nearest(name, names)}")
    if "" in names and "" not in wanted:
        at = names.index("") + 1
        raise FewerError(f"{where}: column {at} has no name, like an index; name it, or leave it out with --drop ''")


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
    what = f"{where}: column '{name}'"
    if len(column) == column.null_count:
        raise FewerError(f"{what} is empty; leave it out with --drop '{name}'")
    column = _as_text(column, what)
    if _is_text(column.type):
        return _levels(column, name, max_levels, what)
    try:
        values = numbers(column, what)
    except TypeError:
        raise FewerError(
            f"{what} holds {kind_in_words(column.type)}; make it a number or a category, or --drop it"
        ) from None
    if np.isinf(values).any():
        raise FewerError(f"{what} is infinite in row {int(np.flatnonzero(np.isinf(values))[0]) + 1}")
    refuse_extremes(np.nan_to_num(values)[:, None], lambda _: what)
    if np.isnan(values).any():
        values = np.where(np.isnan(values), np.nanmean(values), values)
    return [(name, values)]


def _is_text(kind: Any) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_dictionary(kind) or kinds.is_string(kind) or kinds.is_large_string(kind))


def _as_text(column: Any, what: str) -> Any:
    """Bytes and views of text as text; anything else as it is."""
    import pyarrow as pa

    kind = pa.types
    if not (kind.is_binary(column.type) or kind.is_large_binary(column.type) or kind.is_string_view(column.type)):
        return column
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        raise FewerError(f"{what} holds bytes that are not UTF-8; save the file as UTF-8") from None


def _levels(column: Any, name: str, max_levels: int, what: str) -> list[tuple[str, np.ndarray]]:
    """One indicator column a level, levels sorted."""
    texts = ["(missing)" if v is None else str(v) for v in column.to_pylist()]
    known = [t for t in texts if t != "(missing)"]
    wrong = [i for i, t in enumerate(texts) if t != "(missing)" and not _is_number(t)]
    if known and 0 < len(wrong) < len(known) / 2:
        raise FewerError(f"{what} holds numbers, but row {wrong[0] + 1} holds '{texts[wrong[0]][:40]}'")
    dressed = [t for t in known if _DRESSED.fullmatch(t.strip())]
    if len(dressed) > len(known) / 2:
        raise FewerError(f"{what} holds numbers written like '{dressed[0]}'; write them plainly, as 1000 or 0.05")
    levels = sorted(set(texts))
    if len(levels) > max_levels or len(set(known)) == len(texts) > 2:
        raise FewerError(
            f"{what} has {len(levels)} levels in {len(texts)} rows; "
            f"--drop '{name}' if it is an identifier{', or raise --max-levels' if len(levels) < len(texts) else ''}"
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


def _same_columns(X: np.ndarray, names: Sequence[str], y: np.ndarray) -> list[str]:
    """Notes on constant and duplicated columns, and on copies of the target."""
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
    return notes + _copies(X, names, y)


def _copies(X: Any, names: Sequence[str], y: np.ndarray) -> list[str]:
    """Notes on columns that are the target, or the target times a number plus a number: often a leak."""
    n, centred, sparse = len(y), y - y.mean(), hasattr(X, "toarray")
    means = np.asarray(X.mean(axis=0)).ravel()
    Z = X if sparse else X - means
    squares = np.asarray(Z.multiply(Z).sum(axis=0)).ravel() - n * means**2 if sparse else np.square(Z).sum(axis=0)
    cross, total = np.asarray(Z.T @ centred).ravel(), float(centred @ centred)
    near = np.abs(cross) >= 0.999 * np.sqrt(np.maximum(squares, 0.0)) * np.sqrt(total)
    notes: list[str] = []
    for j in np.flatnonzero(near & (squares > 0)).tolist():
        x = X[:, [j]].toarray().ravel() if sparse else X[:, j]
        factor = float(cross[j]) / total
        shift = float(means[j]) - factor * float(y.mean())
        if np.array_equal(x, y):
            notes.append(f"'{names[j]}' equals the target")
        elif n > 2 and np.abs(x - shift - factor * y).max() <= 1e-6 * np.ptp(x):
            shift = 0.0 if abs(shift) <= 1e-9 * np.abs(x).max() else shift
            notes.append(f"'{names[j]}' is {factor:.6g} times the target{f' plus {shift:.6g}' if shift else ''}")
    return notes


def _sparse(
    path: Path, target: str, family: str, levels: Sequence[str], weights: str | None, drop: Sequence[str]
) -> Table:
    """An svmlight file: target first, then `column:value` pairs; columns are named by the numbers in the file."""
    if family == "cox" or weights:
        raise FewerError(
            f"{path.name}: an svmlight file holds one target and no weights or groups; use .csv or .parquet"
        )
    if target != "target":
        raise FewerError(f"{path.name}: an svmlight file has no column '{target}'; its target is called 'target'")
    file = open_sparse(path)
    X, y, columns = file.X, file.y, file.columns
    for name in drop:
        if not name.isdecimal() or int(name) > file.width:
            raise FewerError(f"{path.name} has no column '{name}'; columns are named by their numbers, to {file.width}")
    kept = np.flatnonzero(~np.isin(columns, [int(name) for name in drop]))
    classes: tuple[str, ...] = ()
    y = possible(y, target, family)
    if family in CLASSES:
        y, classes = codes(y.tolist(), target, family, levels)
    names, width = tuple(map(str, columns[kept])), file.width - len(set(drop))
    notes = [f"{width - len(kept)} column(s) hold zeros only, left out"] if len(kept) < width else []
    notes += _copies(X[:, kept], names, y)
    return Table(X[:, kept], y, names, np.arange(len(kept)), target, classes, None, names, None, tuple(notes), width)
