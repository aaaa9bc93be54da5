"""The checks themselves: each must find the fault that it is there for."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def load(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check_imports, check_shape, generate_docs = map(load, ("check_imports", "check_shape", "generate_docs"))


def package(root, **files):
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("place", "text", "fault"),
    [
        ("score__first", "from fewer.adapt import open", "score imports adapt, which does not stand below it"),
        ("score__first", "import fewer.verbs", "score imports verbs, which does not stand below it"),
        ("score__first", "def f():\n    from fewer.select import top", "score imports select, which does not"),
        ("adapt__first", "from fewer import evidence", "adapt imports evidence, which does not stand below it"),
        ("score__first", "import torch.nn", "score may not import torch"),
        ("linear__first", "if True:\n    import torch", "linear may not import torch"),
        ("strange__first", "x = 1", "room 'strange' has no place"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path, place, text, fault):
    found = check_imports.faults(package(tmp_path, **{place: text}))
    assert len(found) == 1 and fault in found[0]


@pytest.mark.parametrize(
    "text",
    [
        "from fewer.method import method",
        "from fewer.score import _fast",
        "from fewer import FewerError, __version__",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch",
        "import numpy",
    ],
)
def test_an_allowed_import_is_not(tmp_path, text):
    assert check_imports.faults(package(tmp_path, score__first=text)) == []


def test_every_room_of_the_package_has_a_place():
    rooms = {path.stem for path in (SCRIPTS.parent / "src" / "fewer").iterdir() if path.suffix in ("", ".py")}
    placed = {room for row in check_imports.ROWS for room in row}
    assert rooms - placed - check_imports.FREE - {"__init__", "__pycache__", "py"} == set()


def test_large_files_long_functions_and_drawers_are_found(tmp_path):
    body = "def f():\n" + "    x = 1\n" * 41
    found = check_shape.faults(package(tmp_path, score__utils="", score__big="x = 1\n" * 401, score__long=body))
    assert [line.split(": ", 1)[1] for line in found] == [
        "401 lines; the limit is 400",
        "f has 41 lines; limit 40",
        "'utils' is a drawer; name the file after what stands in it",
    ]


def test_a_solver_may_be_long(tmp_path):
    assert check_shape.faults(package(tmp_path, linear__path="def f():\n" + "    x = 1\n" * 80)) == []


def test_docstrings_are_not_counted_as_code():
    tree = ast.parse(
        'class A:\n    """Doc.\n\n    More.\n    """\n\n    def f(self):\n        """Doc."""\n        return 1\n'
    )
    assert check_shape.code_lines(tree.body[0]) == 4


def test_documents_that_are_not_current_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generate_docs, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(sys, "argv", ["generate_docs.py"])
    assert generate_docs.main() == 0
    page = tmp_path / "docs" / "cli.md"
    assert "## fewer prune" in page.read_text() and "--pattern" in page.read_text()
    monkeypatch.setattr(sys, "argv", ["generate_docs.py", "--check"])
    capsys.readouterr()
    assert generate_docs.main() == 0 and capsys.readouterr().out == ""
    page.write_text(page.read_text() + "x")
    (tmp_path / "docs" / "methods" / "gone.md").write_text("")
    assert generate_docs.main() == 1
    assert [line.split(";")[0] for line in capsys.readouterr().out.splitlines()] == [
        "not current: docs/cli.md",
        "not current: docs/methods/gone.md",
    ]


def test_a_card_escapes_what_would_break_its_table():
    assert generate_docs.escape("|w g|\nmore") == "\\|w g\\| more"


def test_two_test_modules_of_one_name_are_found(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "test_x.py").write_text("")
    assert [line.split(": ")[0] for line in check_shape.twins(tmp_path)] == [str(tmp_path / "b" / "test_x.py")]
    (tmp_path / "b" / "__init__.py").write_text("")
    assert check_shape.twins(tmp_path) == []
