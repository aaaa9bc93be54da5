"""The C kernels under AddressSanitizer and UndefinedBehaviorSanitizer, where a compiler has them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(p for p in (ROOT / "native" / "runtime").glob("*.c") if p.stem not in ("table", "threads"))
FLAGS = ["-O1", "-g", "-std=c11", "-fno-sanitize-recover=all", "-Wall", "-Wextra", "-Werror"]


def build(tmp_path: Path, *options: str) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    probe, out = tmp_path / "probe.c", tmp_path / "driver"
    probe.write_text("int main(void) { return 0; }\n")
    sanitizers = "-fsanitize=address,undefined"
    asked = [compiler, sanitizers, str(probe), "-o", str(out)]
    if subprocess.run(asked, capture_output=True).returncode or subprocess.run([out], capture_output=True).returncode:
        pytest.skip(f"{compiler} has no working address and undefined sanitizers")
    command = [compiler, *FLAGS, sanitizers, *options, f"-I{ROOT / 'native' / 'runtime'}"]
    command += [str(ROOT / "tests" / "runtime" / "driver.c"), *map(str, SOURCES), "-lm", "-o", str(out)]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return out


@pytest.mark.slow
def test_kernels_are_clean(tmp_path: Path) -> None:
    ran = subprocess.run([build(tmp_path)], capture_output=True, text=True)
    assert ran.returncode == 0 and "0 failures" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.slow
def test_the_check_sees_a_read_outside(tmp_path: Path) -> None:
    ran = subprocess.run([build(tmp_path, "-DSHORT_PAD")], capture_output=True, text=True)
    assert ran.returncode != 0 and "AddressSanitizer" in ran.stderr


@pytest.mark.slow
def test_kernels_compile_without_x86(tmp_path: Path) -> None:
    ran = subprocess.run([build(tmp_path, "-DFEWER_PORTABLE")], capture_output=True, text=True)
    assert ran.returncode == 0 and "1 levels, 0 failures" in ran.stdout, ran.stdout + ran.stderr
