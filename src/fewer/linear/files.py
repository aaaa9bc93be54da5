"""Files as tables: CSV in its dialects, Parquet, Arrow; and svmlight as a sparse matrix. Nothing is repaired."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewer.method import FewerError

__all__ = ["SPARSE", "SparseFile", "numbers", "open_sparse", "open_table"]

_TEXT = (".csv", ".tsv", ".txt")
SPARSE = (".svmlight", ".libsvm")
_KINDS = ".csv, .tsv, .parquet, .arrow, .feather or .svmlight"
#: Whole numbers beyond it are not all numbers of 64 bits.
_EXACT = 2**53


def open_table(path: Path) -> tuple[Any, list[str]]:
    """The file as a pyarrow table whose missing values are null, and notes on its dialect.

    Raises:
        FewerError: one line for a file that is missing, of another kind, or broken.
    """
    if not path.is_file():
        raise FewerError(f"'{path}' is a directory; name a file" if path.is_dir() else f"no such file: {path}")
    try:
        import pyarrow as pa
    except ModuleNotFoundError:
        raise FewerError("reading tables needs pyarrow: pip install 'fewer[tables]'") from None
    notes: list[str] = []
    kind = path.suffix.lower()
    try:
        if kind in _TEXT:
            frame, notes = _csv(path, kind)
        elif kind == ".parquet":
            from pyarrow import parquet

            frame = parquet.ParquetFile(path).read()
        elif kind in (".arrow", ".feather", ".ipc"):
            frame = _arrow(path)
        else:
            raise FewerError(f"{path.name}: unknown kind of file '{path.suffix}'; use {_KINDS}")
        frame.column_names  # noqa: B018  names are decoded when they are asked for
    except UnicodeDecodeError:
        raise FewerError(f"{path.name} is not UTF-8; save it as UTF-8") from None
    except (pa.ArrowException, OSError) as error:
        raise FewerError(f"{path.name} could not be read: {str(error).splitlines()[0]}") from None
    return _with_nulls(frame), notes


def _csv(path: Path, kind: str) -> tuple[Any, list[str]]:
    from pyarrow import csv

    with path.open("rb") as file:
        head = file.read(1 << 16)
    if not head:
        raise FewerError(f"{path.name} is empty")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise FewerError(f"{path.name} is UTF-16; save it as UTF-8")
    lines = head.decode("utf-8", "replace").splitlines()
    between = "\t" if kind == ".tsv" else _separator(lines[0])
    comma = between != "," and _decimal_commas(lines[1:], between)
    table = csv.read_csv(
        path,
        parse_options=csv.ParseOptions(delimiter=between, newlines_in_values=True),
        convert_options=csv.ConvertOptions(strings_can_be_null=True, decimal_point="," if comma else "."),
    )
    names = {";": "semicolons", "\t": "tabs", "|": "bars"}
    notes = [f"columns are separated by {names[between]}"] if kind != ".tsv" and between != "," else []
    return table, [*notes, *(["numbers have decimal commas"] if comma else [])]


def _separator(header: str) -> str:
    """The commonest of comma, semicolon, tab and bar outside quotes in the first line."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(",;\t|", key=bare.count)


def _decimal_commas(lines: list[str], between: str) -> bool:
    """Whether numbers are written 1,5: some are, and none is written 1.5."""
    cells = [cell.strip().strip('"') for line in lines for cell in line.split(between)]
    return any(re.fullmatch(r"[+-]?\d+,\d+", cell) for cell in cells) and not any(
        re.fullmatch(r"[+-]?\d*\.\d+", cell) for cell in cells
    )


def _arrow(path: Path) -> Any:
    """Arrow's file format (Feather), or its streaming format."""
    import pyarrow as pa
    from pyarrow import feather

    try:
        return feather.read_table(path)
    except pa.ArrowInvalid:
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
            return stream.read_all()


def _with_nulls(frame: Any) -> Any:
    """Not-a-number is a missing value, whatever wrote the file."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for at, column in enumerate(frame.columns):
        if not pa.types.is_floating(column.type):
            continue
        wide = column.cast(pa.float64())
        lost = pc.is_nan(wide)
        if pc.any(lost).as_py():
            frame = frame.set_column(at, frame.column_names[at], pc.if_else(lost, pa.scalar(None, pa.float64()), wide))
    return frame


def numbers(column: Any, what: str) -> np.ndarray:
    """A pyarrow column of numbers or booleans as float64, missing values as NaN.

    Raises:
        FewerError: whole numbers that float64 cannot tell apart.
        TypeError: not a column of numbers.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.types
    if kind.is_integer(column.type):
        ends = pc.min_max(column).as_py()
        far = next((v for v in (ends["max"], ends["min"]) if v is not None and abs(v) > _EXACT), None)
        if far is not None:
            raise FewerError(f"{what} holds {far}: beyond 2^53 numbers are not exact; rescale it, or make it text")
    elif not (kind.is_floating(column.type) or kind.is_boolean(column.type) or kind.is_decimal(column.type)):
        raise TypeError(f"{what} is of type {column.type}")
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class SparseFile:
    """What an svmlight file holds.

    Attributes:
        X: (n, u) CSC, the columns that are not empty.
        y: (n,) targets.
        columns: (u,) their numbers in the file.
        width: columns in the file, empty ones included; a file whose column 0 is empty counts from one.
    """

    X: Any
    y: np.ndarray
    columns: np.ndarray
    width: int


def open_sparse(path: Path) -> SparseFile:
    """An svmlight file: the target first, then `column:value` pairs.

    Raises:
        FewerError: one line for a file that is missing or broken.
    """
    from sklearn.datasets import load_svmlight_file

    if not path.is_file():
        raise FewerError(f"no such file: {path}")
    try:
        X, y = load_svmlight_file(str(path), zero_based=True)
    except (ValueError, OverflowError) as error:
        raise FewerError(f"{path.name} is no svmlight file: {str(error).splitlines()[0]}") from None
    if X.shape[0] < 2:
        raise FewerError(f"{path.name} has {X.shape[0]} usable row(s); at least 2 are needed")
    if not np.isfinite(X.data).all():
        raise FewerError(f"{path.name} holds values that are not finite")
    # Numbers of columns may be hashes up to 2^31: only those in use are laid out.
    X.eliminate_zeros()
    columns, places = np.unique(X.indices, return_inverse=True)
    used = type(X)((X.data, places, X.indptr), shape=(X.shape[0], len(columns))).tocsc()
    return SparseFile(used, y, columns, X.shape[1] - int(len(columns) > 0 and columns[0] > 0))
