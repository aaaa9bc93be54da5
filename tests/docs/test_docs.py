"""What the documents say is true: examples run, commands parse, links lead somewhere, words are explained."""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

import fewer
from fewer import demo
from fewer.cli.group import program
from fewer.method import catalogue
from fewer.recipe import WITHIN, Recipe
from fewer.types import UNITS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = PAGES[0].read_text("utf-8")


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text):
    """Lines of code blocks that call the program, comments and continuation lines resolved."""
    found = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)).replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in found.splitlines() if line.startswith("fewer ")]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, and a short text to measure on."""
    short = tmp_path / "evaluation.txt"
    short.write_text(demo.evaluation_path().read_text("utf-8")[:12_000], "utf-8")
    monkeypatch.setattr(demo, "evaluation_path", lambda: short)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_example_of_the_readme_runs(here):
    names: dict[str, object] = {}
    exec(blocks(README, "python")[0], names)
    assert (here / "report.html").stat().st_size > 10_000
    assert names["sparse"].sparsity == pytest.approx(0.5, abs=1e-3)


def test_the_example_for_tables_runs():
    import numpy as np

    x = np.random.default_rng(0).standard_normal((60, 8))
    names = {"X": x, "y": x[:, 0] - 2 * x[:, 3]}
    exec(blocks(README, "python")[1], names)
    assert set(names["model"].selected_) >= {0, 3} and names["model"].dual_gap_ >= 0


WRITTEN = [(page.name, line) for page in PAGES for line in commands(page.read_text("utf-8")) if "..." not in line]


@pytest.mark.parametrize(
    ("page", "line"), WRITTEN, ids=lambda value: value if isinstance(value, str) else "-".join(value)
)
def test_a_command_that_is_written_down_is_understood(page, line):
    with program.make_context("fewer", line[1:2]) as ctx:
        command = program.get_command(ctx, line[1])
        assert command is not None, line
        command.make_context(line[1], line[2:], parent=click.Context(program))


def test_there_are_commands_to_check():
    assert len(WRITTEN) >= 7


def anchors(file):
    """What a heading of a page is reached by."""
    heads = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w-]", "", head.lower().replace(" ", "-")) for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    targets = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    for target in targets:
        place, _, anchor = target.partition("#")
        file = (page.parent / place) if place else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_room_has_its_place_in_the_walk():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    order = re.search(r"^```\n(method.*?)^```", text, re.DOTALL | re.MULTILINE)[1]
    rooms = {p.stem for p in (ROOT / "src" / "fewer").iterdir() if p.is_dir() or p.suffix == ".py"}
    missing = {room for room in rooms if not room.startswith("_") and not re.search(rf"\b{room}\b", order)}
    assert missing == set()


def test_the_glossary_explains_the_words_of_recipes_and_of_the_catalogue():
    text = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    known = {word.lower() for word in re.findall(r"\*\*(.*?)\*\*", text)}
    plain = {"name", "paper", "model", "out", "data", "seed"}
    words = {f.name for f in dataclasses.fields(Recipe) if not f.name.endswith("_options")}
    words |= {method.kind for method in catalogue()}
    assert words - plain - known == set()
    body = text.lower()
    assert [word for word in (*WITHIN, *UNITS) if word not in body] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_python_in_the_documents_is_python(page):
    for block in blocks(page.read_text("utf-8"), "python"):
        ast.parse(block)


MINE = '''

@method("score", "magnitude-to-the", formula="|w|^power", unit="weight", status="ours")
def mine(weight: Array, /, *, power: float = 3.0) -> Array:
    """Magnitude to a power.

    >>> import numpy as np
    >>> mine(np.array([[-2.0]]))
    array([[8.]])
    """
    return array_namespace(weight).abs(weight) ** power
'''
PRUNE = ("prune", "demo", "--score", "magnitude-to-the", "--keep", "0.5", "--only", "*.0.mlp.up_proj", "--json")


def program_of(path, *arguments):
    command = [sys.executable, "-W", "ignore", "-m", "fewer", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(path)})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_score_is_added_by_the_steps_of_its_page(tmp_path):
    package = shutil.copytree(Path(fewer.__file__).parent, tmp_path / "src" / "fewer")
    family, export = package / "score" / "weights.py", package / "score" / "__init__.py"
    family.write_text(family.read_text("utf-8") + MINE, "utf-8")
    export.write_text(export.read_text("utf-8") + "\nfrom fewer.score.weights import mine\n\n__all__ += ['mine']\n")
    assert "|w|^power" in program_of(tmp_path / "src", "methods", "--kind", "score")
    assert '"sparsity": 0.5' in program_of(tmp_path / "src", *PRUNE, "--out", tmp_path / "out")


@pytest.mark.slow
def test_a_score_of_another_package_comes_through_its_entry_point(tmp_path):
    head = (
        "from array_api_compat import array_namespace\nfrom fewer.method import method\nfrom fewer.types import Array\n"
    )
    (tmp_path / "my_scores.py").write_text(head + MINE)
    (tmp_path / "my_scores-1.dist-info").mkdir()
    (tmp_path / "my_scores-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: my-scores\nVersion: 1\n")
    (tmp_path / "my_scores-1.dist-info" / "entry_points.txt").write_text("[fewer.methods]\nmine = my_scores\n")
    path = f"{tmp_path}:{Path(fewer.__file__).parents[1]}"
    assert "Magnitude to a power." in program_of(path, "methods", "magnitude-to-the")
    assert '"sparsity": 0.5' in program_of(path, *PRUNE, "--out", tmp_path / "out")
