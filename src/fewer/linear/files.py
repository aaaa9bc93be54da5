"""Files as tables: CSV in its dialects, Parquet, Arrow; and svmlight as a sparse matrix. Nothing is repaired."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewer.method import FewerError

__all__ = ["SPARSE", "SparseFile", "kind_in_words", "numbers", "open_sparse", "open_table"]

_TEXT = (".csv", ".tsv", ".txt")
_BINARY = (".parquet", ".arrow", ".feather", ".ipc")
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
    if kind in (*_TEXT, *_BINARY) and not path.stat().st_size:
        raise FewerError(f"{path.name} is empty")
    try:
        if kind in _TEXT:
            frame, notes = _csv(path, kind)
        elif kind == ".parquet":
            from pyarrow import parquet

            frame = parquet.ParquetFile(path).read()
        elif kind in _BINARY:
            frame = _arrow(path)
        else:
            raise FewerError(f"{path.name}: unknown kind of file '{path.suffix}'; use {_KINDS}")
        frame.column_names  # noqa: B018  names are decoded when they are asked for
    except UnicodeDecodeError:
        raise FewerError(f"{path.name} is not UTF-8; save it as UTF-8") from None
    except (pa.ArrowException, OSError) as error:
        raise FewerError(f"{path.name} {_why(str(error), kind)}") from None
    return _with_nulls(frame), notes


#: What pyarrow says of a broken file, in our words.
_BROKEN = (
    ("cannot infer number of columns", "holds no table: no line with the names of columns"),
    ("straddl", "has a line of more than 1 MB, or a quote that is never closed"),
    ("CSV parse error", "has a line that is no row of its table"),
)


def _why(said: str, kind: str) -> str:
    """What is wrong with a file that pyarrow cannot read."""
    for mark, words in _BROKEN if kind in _TEXT else ():
        if mark in said:
            return words
    if kind == ".parquet":
        return "is no whole Parquet file: it is damaged, cut off, or of another kind"
    if kind in _BINARY:
        return "is no whole Arrow or Feather file: it is damaged, cut off, or of another kind"
    return f"could not be read: {said.splitlines()[0]}"


def kind_in_words(kind: Any) -> str:
    """What a pyarrow type holds.

    >>> import pyarrow as pa
    >>> kind_in_words(pa.timestamp("s")), kind_in_words(pa.list_(pa.int64()))
    ('dates with times', 'lists')
    """
    from pyarrow import types

    kinds = (
        (types.is_date, "dates"), (types.is_timestamp, "dates with times"), (types.is_time, "times of day"),
        (types.is_duration, "durations"), (types.is_struct, "records"), (types.is_map, "mappings"),
        (types.is_nested, "lists"), (types.is_null, "nothing"),
    )  # fmt: skip
    return next((words for test, words in kinds if test(kind)), f"values of type {kind}")


def _csv(path: Path, kind: str) -> tuple[Any, list[str]]:
    import pyarrow as pa
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
    wrong: list[Any] = []

    def uneven(row: Any) -> str:
        wrong.append(row)
        return "error"

    def read(threads: bool) -> Any:
        return csv.read_csv(
            path,
            read_options=csv.ReadOptions(use_threads=threads),
            parse_options=csv.ParseOptions(delimiter=between, newlines_in_values=True, invalid_row_handler=uneven),
            convert_options=csv.ConvertOptions(strings_can_be_null=True, decimal_point="," if comma else "."),
        )

    try:
        table = read(True)
    except pa.ArrowInvalid:
        if not wrong:
            raise
        wrong.clear()
        with contextlib.suppress(pa.ArrowInvalid):
            read(False)  # only one thread knows which row it is at
        raise FewerError(_uneven(path.name, wrong[0])) from None
    names = {";": "semicolons", "\t": "tabs", "|": "bars"}
    notes = [f"columns are separated by {names[between]}"] if kind != ".tsv" and between != "," else []
    notes += ["numbers have decimal commas"] if comma else []
    return table, [*notes, *_leading_zeros(path, table, between)]


def _uneven(name: str, row: Any) -> str:
    """A row with more or fewer fields than the header."""
    place = f"row {row.number - 1}" if row.number else "the row"  # pyarrow counts the header
    text = (row.text.splitlines() or [""])[0][:40]
    return (
        f"{name}: {place} '{text}' has {row.actual_columns} field(s), the header {row.expected_columns}; "
        "quote fields that hold the separator"
    )


def _leading_zeros(path: Path, table: Any, between: str) -> list[str]:
    """Notes on whole numbers written like 007, which may be codes: read as numbers they lose their zeros."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    whole = [
        name for name, kind in zip(table.column_names, table.schema.types, strict=True) if pa.types.is_integer(kind)
    ]
    if not whole or not _may_hold_codes(path, between):
        return []
    written = csv.read_csv(
        path,
        parse_options=csv.ParseOptions(delimiter=between, newlines_in_values=True),
        convert_options=csv.ConvertOptions(include_columns=whole, column_types=dict.fromkeys(whole, pa.string())),
    )
    notes = []
    for name in whole:
        found = written[name].filter(pc.match_substring_regex(written[name], r"^\s*[+-]?0\d"))
        if len(found):
            example = found[0].as_py()
            notes.append(
                f"'{name}' holds numbers with leading zeros ({example}), read as {int(example)}; codes should be text"
            )
    return notes


def _may_hold_codes(path: Path, between: str) -> bool:
    """Whether any field begins with a 0 and another digit, a sign before it or not: quick, for files of any size."""
    begins, signs, digits = np.zeros((3, 256), dtype=bool)
    begins[[*b'\n"', ord(between)]], signs[[*b"+-"]], digits[[*b"0123456789"]] = True, True, True
    tail = b"\n\n"
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            text = np.frombuffer(tail + piece, dtype=np.uint8)
            at = np.flatnonzero(text[2:-1] == ord("0")) + 2
            before = text[at - 1]
            if (digits[text[at + 1]] & (begins[before] | (signs[before] & begins[text[at - 2]]))).any():
                return True
            tail = bytes(text[-3:])
    return False


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
