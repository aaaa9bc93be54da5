"""Results to text, JSON and HTML: pure functions of a comparison."""

from __future__ import annotations

from fewer.report.page import to_html
from fewer.report.records import to_json
from fewer.report.text import to_text

__all__ = ["to_html", "to_json", "to_text"]
