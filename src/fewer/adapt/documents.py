"""Documents of a file: plain text is one; JSON lines, JSON, CSV and Parquet have one in every row.

A row holds a text, or a chat: a list of messages with a role and a content. What a file is follows from its name, and
for plain text from its content too, so that nothing else is taken for text.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from fewer.method import FewerError

__all__ = ["Document", "documents"]

#: A text, or the messages of a chat.
Document: TypeAlias = str | list[dict[str, Any]]
Row: TypeAlias = Mapping[str, Any]

_KINDS = "plain text, .jsonl, .json, .csv, .tsv or .parquet"
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar", ".tar", ".tgz", ".lz4")
_MAGIC = {
    b"\x1f\x8b": "a gzip file: unpack it first",
    b"PK\x03\x04": "a zip archive (or an office document): unpack it, or save it as text",
    b"BZh": "a bzip2 file: unpack it first",
    b"\xfd7zXZ": "an xz file: unpack it first",
    b"(\xb5/\xfd": "a zstd file: unpack it first",
    b"%PDF": "a PDF: extract its text first",
    b"PAR1": "a Parquet file: name it .parquet",
    b"ARROW1": "an Arrow file: save it as .parquet",
    b"\x80\x04": "a pickle, which can run code when read",
    b"\x93NUMPY": "an array of numpy: load it in Python",
    b"\xff\xfe": "not a UTF-8 text but a UTF-16 one: save it as UTF-8",
    b"\xfe\xff": "not a UTF-8 text but a UTF-16 one: save it as UTF-8",
}


def documents(path: Path, field: str = "") -> list[Document]:
    """The documents of a file, in order.

    Args:
        path: plain text (UTF-8), JSON lines, a JSON list of records, CSV, TSV or Parquet.
        field: the column that holds them; by default `text`, else `messages`, else the only column of texts. Plain
            text has none.

    Raises:
        FewerError: another kind of file, a broken one, no such column, or no text in it; one line naming the file.
    """
    kind = path.suffix.lower()
    if kind in _PACKED:
        raise FewerError(f"'{path}' is packed ({kind}): unpack it first")
    if kind == ".parquet":
        return _column(path, _parquet(path, field), field)
    text = _decoded(path, _bytes(path))
    read = _READERS.get(kind) or _told_apart(text)
    return [text] if read is None else _column(path, read(path, text), field)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except IsADirectoryError:
        raise FewerError(f"'{path}' is a directory: name a file of {_KINDS}") from None
    except OSError as error:
        raise FewerError(f"cannot read the text '{path}': {error.strerror}{_of_a_hub(path)}") from None


def _of_a_hub(path: str | Path) -> str:
    """What to say of a text that is not there and is called as data sets are."""
    if not re.fullmatch(r"[\w-]+(/[\w-]+)?", str(path)):
        return ""
    return "; if it is the name of a data set: nothing is fetched, give a text file"


def _decoded(path: Path, raw: bytes) -> str:
    """The text of a file; what is none is refused by its name."""
    for magic, what in _MAGIC.items():
        if raw.startswith(magic):
            raise FewerError(f"'{path}' is {what}")
    if b"\0" in raw:
        raise FewerError(f"'{path}' holds NUL bytes: it is not a text file")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FewerError(f"'{path}' is not a UTF-8 text file") from None
    if not text.strip():
        raise FewerError(f"'{path}' is empty")
    return text


def _told_apart(text: str) -> Callable[[Path, str], list[Row]] | None:
    """How to read a file whose name says nothing, if it is not plain text."""
    start = text.lstrip()
    if start[:1] not in ("{", "["):
        return None
    for piece, read in ((text, _json), (start.splitlines()[0], _lines)):
        try:
            found = json.loads(piece)
        except (ValueError, RecursionError):
            continue
        return read if read is _json or isinstance(found, dict) else None
    return None


def _lines(path: Path, text: str) -> list[Row]:
    rows: list[Row] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise FewerError(f"'{path}' line {number} is not JSON: every line must be an object") from None
        if not isinstance(row, dict):
            raise FewerError(f"'{path}' line {number} is not an object with columns, such as {{\"text\": ...}}")
        rows.append(row)
    return rows


def _json(path: Path, text: str) -> list[Row]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        # Many files of JSON lines are called .json.
        if text.lstrip()[:1] == "{":
            return _lines(path, text)
        raise FewerError(f"'{path}' is not valid JSON") from None
    if isinstance(found, dict) and len(text.strip().splitlines()) == 1:
        return [found]
    rows = [{"text": row} if isinstance(row, str) else row for row in found] if isinstance(found, list) else []
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise FewerError(f"'{path}' is JSON, but no list of records such as [{{\"text\": ...}}]")
    return rows


def _table(path: Path, text: str) -> list[Row]:
    bare = re.sub(r'"[^"]*"', "", text.split("\n", 1)[0])
    between = "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=bare.count)
    former = csv.field_size_limit(len(text) + 1)
    try:
        found = list(csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True))
    except csv.Error as error:
        raise FewerError(f"'{path}' is not a valid table: {error}") from None
    finally:
        csv.field_size_limit(former)
    head, rows = found[0], [row for row in found[1:] if row]
    for number, row in enumerate(rows, 2):
        if len(row) != len(head):
            raise FewerError(f"'{path}' row {number} has {len(row)} columns, the first row has {len(head)}")
    return [dict(zip(head, row, strict=True)) for row in rows]


_READERS: dict[str, Callable[[Path, str], list[Row]]] = {
    ".jsonl": _lines, ".ndjson": _lines, ".json": _json, ".csv": _table, ".tsv": _table,
}  # fmt: skip


def _parquet(path: Path, field: str) -> list[Row]:
    """The rows, without columns that cannot hold the documents: a file may have many, and large ones."""
    if not path.is_file():
        raise FewerError(f"cannot read the text '{path}': {'it is a directory' if path.is_dir() else 'no such file'}")
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise FewerError(f"reading '{path}' needs pyarrow: pip install 'fewer[tables]'") from None
    try:
        file = parquet.ParquetFile(path)
        kinds = {item.name: item.type for item in file.schema_arrow}
        if field and field not in kinds:
            raise _lacks(path, field, list(kinds))
        wanted = (
            [field] if field in kinds else [name for name, kind in kinds.items() if not pa.types.is_primitive(kind)]
        )
        rows: list[Row] = file.read(columns=wanted or list(kinds)).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise FewerError(f"'{path}' could not be read: {str(error).splitlines()[0]}") from None
    return rows


def _column(path: Path, rows: Sequence[Row], field: str) -> list[Document]:
    """The documents of one column; rows without one are left out."""
    if not rows:
        raise FewerError(f"'{path}' has no rows")
    names = list(dict.fromkeys(name for row in rows for name in row))
    name = field or _usual(path, rows, names)
    if name not in names:
        raise _lacks(path, name, names)
    found = [_document(path, number, name, row.get(name)) for number, row in enumerate(rows, 1)]
    kept = [document for document in found if document]
    if not kept:
        raise FewerError(f"'{path}' holds no text in its column '{name}'")
    return kept


def _lacks(path: Path, name: str, names: Sequence[str]) -> FewerError:
    return FewerError(f"'{path}' has no column '{name}'; it has: {', '.join(names)}")


def _usual(path: Path, rows: Sequence[Row], names: Sequence[str]) -> str:
    """The column that holds the documents when nobody names it."""
    texts = [name for name in names if _all(rows, name, lambda value: isinstance(value, str))]
    if "text" in texts:
        return "text"
    if "messages" in names and _all(rows, "messages", _is_chat):
        return "messages"
    if path.suffix.lower() in (".csv", ".tsv"):
        texts = [name for name in texts if not _all(rows, name, _is_number)]
    if len(texts) == 1:
        return texts[0]
    many = "several columns of texts" if texts else "no column of texts"
    raise FewerError(f"'{path}' has {many}: name one with text_field (--text-field); it has: {', '.join(names)}")


def _all(rows: Sequence[Row], name: str, test: Callable[[Any], bool]) -> bool:
    """Whether a column has values, all of one kind."""
    values = [value for row in rows if (value := row.get(name)) not in (None, "")]
    return bool(values) and all(test(value) for value in values)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _is_chat(value: Any) -> bool:
    parts = value if isinstance(value, list) else [None]
    return all(isinstance(part, dict) and {"role", "content"} <= part.keys() for part in parts)


def _document(path: Path, number: int, name: str, value: Any) -> Document:
    if value is None or isinstance(value, str):
        return value.strip() and value if value else ""
    if _is_chat(value):
        return list(value)
    kind = type(value).__name__
    raise FewerError(f"'{path}' row {number}: column '{name}' holds a {kind}, neither a text nor a list of messages")
