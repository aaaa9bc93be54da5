"""The documents on tables say what happens: their examples run."""

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", ["tables.md", "add-a-loss-or-a-penalty.md"])
def test_examples_of_a_document_run(name):
    found = doctest.testfile(str(DOCS / name), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 8 and found.failed == 0
