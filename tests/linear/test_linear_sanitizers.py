"""The compiled core under AddressSanitizer and UBSan, where gcc has them: its tests, and a proof that it looks."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OVERRUN = """
import ctypes, fewer._native as native
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
G, out, places = (libc.malloc(ctypes.c_size_t(size)) for size in (16 * 8, (16 - SHORT) * 8, 4 * 8))
ctypes.memset(G, 0, 16 * 8)
for k in range(4):
    ctypes.c_int64.from_address(places + 8 * k).value = k
native.gram_block(G, 4, places, 4, out)
print("unseen")
"""


@pytest.fixture(scope="module")
def sanitised(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command on the sanitised core, which is built once for all workers."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine")
    asked = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True)
    if not Path(asked.stdout.strip()).is_absolute():
        pytest.skip("gcc has no sanitizers on this machine")
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "sanitised"

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        script = ["sh", str(ROOT / "tests" / "linear" / "asan.sh"), sys.executable, *command]
        return subprocess.run(script, capture_output=True, text=True, env={**os.environ, "SANITISED": str(shared)})

    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run("true").returncode == 0
    return run


@pytest.mark.slow
def test_the_core_is_clean(sanitised) -> None:
    ran = sanitised()
    assert ran.returncode == 0 and "100%" in ran.stdout, ran.stdout[-4000:] + ran.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.parametrize("short", [0, 1])
def test_the_check_sees_a_write_outside(sanitised, short: int) -> None:
    ran = sanitised(sys.executable, "-c", OVERRUN.replace("SHORT", str(short)))
    assert ("unseen" in ran.stdout) == (short == 0)
    assert ("heap-buffer-overflow" in ran.stderr) == (short == 1), ran.stderr[-2000:]
