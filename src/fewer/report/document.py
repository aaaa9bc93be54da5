"""The frame of every page: one file that opens anywhere, with style, script and numbers inside and nothing fetched."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from fewer.arguments import check_path
from fewer.method import FewerError
from fewer.report.svg import Markup, join, tag

__all__ = ["document", "write"]

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
_HATCH = (
    '<svg class="defs" aria-hidden="true"><defs><pattern id="hatch" width="5" height="5" '
    'patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><line x1="0" y1="0" x2="0" y2="5" '
    'style="stroke:var(--hatch)" stroke-width="1.1"/></pattern></defs></svg>'
)


def document(title: str, parts: Iterable[str], data: str) -> str:
    """A whole page.

    Args:
        title: of the window.
        parts: what stands in the page; every value from data is escaped by then.
        data: the numbers as JSON, embedded.

    >>> document("a < b", ["text"], "{}").startswith("<!doctype html>")
    True
    """
    here = Path(__file__)
    head = join(
        [
            Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
            Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
            tag("title", None, title),
            tag("style", None, Markup(here.with_name("style.css").read_text("utf-8"))),
        ]
    )
    foot = tag("footer", None, "Written by fewer. The page is complete in itself; its numbers are embedded as JSON.")
    tail = join(
        [
            Markup('<div id="tip" role="tooltip" hidden></div>'),
            tag("script", {"type": "application/json", "id": "data"}, Markup(data.replace("<", "\\u003c"))),
            tag("script", None, Markup(here.with_name("script.js").read_text("utf-8"))),
        ]
    )
    body = tag("main", None, *parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{_HATCH}{body}{foot}{tail}</body></html>\n'


def write(path: str, page: str) -> str:
    """Write a page, whole or not at all; missing directories are made, an older page is replaced.

    Raises:
        FewerError: the file cannot be written.
    """
    check_path("path", path)
    target = Path(path)
    if not target.name:
        raise FewerError(f"cannot write report '{path}': it names no file")
    partial = target.with_name(target.name + ".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(page, "utf-8")
        partial.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise FewerError(f"cannot write report '{path}': {error.strerror or error}") from None
    return str(path)
