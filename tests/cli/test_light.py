"""Start-up: what is loaded, and how long it takes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fewer.cli.group import COMMANDS

HEAVY = ("numpy", "torch", "transformers", "sklearn", "scipy", "safetensors", "tokenizers", "array_api_compat")


def loaded(program, heavy=HEAVY):
    """Which heavy packages a fresh interpreter has loaded after a program."""
    code = f"import sys\n{program}\nprint(*(name for name in {heavy} if name in sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stderr.splitlines()[-1].split()


@pytest.mark.parametrize(
    "program",
    [
        "import fewer; dir(fewer)",
        "from fewer.cli.group import call; assert call(['--help']) == 0",
        *(f"from fewer.cli.group import call; assert call(['{name}', '--help']) == 0" for name in COMMANDS),
        "from fewer.cli.group import call; assert call(['prnue']) == 2",
        "from fewer.cli.group import call; assert call(['methods']) == 0",
    ],
)
def test_nothing_heavy_is_loaded(program):
    assert loaded(program) == []


def test_headers_outlines_and_the_choice_of_layers_need_no_framework():
    assert loaded("from fewer.adapt import headers, outlines, select_layers") == []


@pytest.mark.parametrize("options", [[], ["--json", "--score", "wanda"], ["--unit", "input"], ["--budget", "erk"]])
def test_a_plan_reads_a_configuration_and_headers_without_a_framework(options):
    found = loaded(f"from fewer.cli.group import call; assert call({['plan', 'demo', *options]}) == 0")
    assert {"torch", "transformers", "safetensors", "scipy", "sklearn"}.isdisjoint(found)


@pytest.mark.parametrize("arguments", [["methods", "wanda"], ["prune", "demo", "--score", "wnada", "--out", "x"]])
def test_no_framework_is_loaded_to_show_a_card_or_to_refuse_a_name(arguments):
    assert {"torch", "transformers", "sklearn"}.isdisjoint(
        loaded(f"from fewer.cli.group import call; call({arguments})")
    )


def modules(program):
    """How many modules a fresh interpreter has loaded after a program."""
    code = f"import sys\n{program}\nprint(len(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stderr)


@pytest.mark.parametrize(
    ("program", "base", "more"),
    [("import fewer", "pass", 50), ("from fewer.cli.group import call; call(['--help'])", "import click", 100)],
)
def test_start_up_loads_few_modules(program, base, more):
    """What start-up costs, counted: numpy alone is 140. Times are taken by `benchmarks.start_up`."""
    assert modules(program) <= modules(base) + more


@pytest.mark.slow
def test_prune_and_eval_load_nothing_that_belongs_to_tables_or_pictures(tmp_path):
    """What transformers itself imports for a language model is beyond us: scipy and torch's compiler among it."""
    text, out = tmp_path / "text.txt", str(tmp_path / "out")
    text.write_text("def f(x):\n    return x + 1\n" * 40)
    prune = ["prune", "demo", "--score", "magnitude", "--only", "*.0.mlp.up_proj", "--out", out]
    evaluate = ["eval", out, "--data", str(text), "--context", "32"]
    program = f"from fewer.cli.group import call; assert call({prune}) == call({evaluate}) == 0"
    unused = ("sklearn", "pandas", "numba", "pyarrow", "joblib", "dask", "torchvision", "matplotlib", "fewer.linear")
    assert loaded(program, unused) == []
