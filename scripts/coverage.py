"""Which papers of a list are covered by which entries of the catalogue, and which of the catalogue's are not in it.

python scripts/coverage.py METHODS.jsonl                    every row of relevance 3 with its entries
python scripts/coverage.py METHODS.jsonl --family prune     one family
python scripts/coverage.py METHODS.jsonl --check            fail where a title is a row's but for its spelling

The list has one JSON object a line with the keys `id`, `paper` (the title), `family` and `relevance`.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fewer.method import Method, catalogue

#: Titles more alike than this are one paper spelt in two ways.
_ALIKE = 0.9


def main(arguments: list[str]) -> int:
    """Print the tables; returns the exit code."""
    parser = argparse.ArgumentParser(description="which papers are covered by which entries of the catalogue")
    parser.add_argument("list", type=Path, metavar="METHODS.jsonl")
    parser.add_argument("--family", help="rows of this family alone")
    parser.add_argument("--relevance", type=int, default=3, help="rows of at least this relevance (default: 3)")
    parser.add_argument("--check", action="store_true", help="fail where a title is misspelt")
    given = parser.parse_args(arguments)
    rows = [json.loads(line) for line in given.list.read_text("utf-8").splitlines() if line.strip()]
    entries = catalogue()
    chosen = [row for row in rows if row["relevance"] >= given.relevance and given.family in (None, row["family"])]
    print("\n".join(covered(chosen, entries)))
    wrong = misspelt(rows, entries)
    strangers = unlisted(rows, entries)
    print("\ntitles of the catalogue that are in no row:", *strangers, sep="\n  ")
    if wrong:
        print("\ntitles that differ from a row's by spelling:", *wrong, sep="\n  ")
    return 1 if wrong and given.check else 0


def covered(rows: Iterable[Mapping[str, Any]], entries: Iterable[Method]) -> list[str]:
    """One line a row: its id, family, and the entries that name its paper."""
    homes: dict[str, list[str]] = {}
    for entry in entries:
        for paper in entry.papers:
            homes.setdefault(paper.title, []).append(f"{entry.kind}/{entry.name}")
    held = list(rows)
    lines = [
        f"{row['id']}  {row['family']:<13} {row['paper'][:70]:<70}  {', '.join(homes.get(row['paper'], ['-']))}"
        for row in held
    ]
    found = sum(row["paper"] in homes for row in held)
    return [*lines, f"{found} of {len(held)} rows are covered"]


def unlisted(rows: Iterable[Mapping[str, Any]], entries: Iterable[Method]) -> list[str]:
    """Titles of the catalogue that are in no row."""
    known = {row["paper"] for row in rows}
    return sorted({paper.title for entry in entries for paper in entry.papers} - known)


def misspelt(rows: Iterable[Mapping[str, Any]], entries: Iterable[Method]) -> list[str]:
    """Titles of the catalogue that are in no row but nearly are."""
    plain = {_plain(row["paper"]): row["paper"] for row in rows}
    lines = []
    for title in unlisted(({"paper": paper} for paper in plain.values()), entries):
        near = difflib.get_close_matches(_plain(title), plain, n=1, cutoff=_ALIKE)
        if near:
            lines.append(f"'{title}' should read '{plain[near[0]]}'")
    return lines


def _plain(title: str) -> str:
    return re.sub(r"\W+", " ", title.casefold()).strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
