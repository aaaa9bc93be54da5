"""Every check of the repository, one line each with its time; exit code 1 if any of them fails.

python scripts/check.py              all of them
python scripts/check.py types docs   those that are named
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "fewer"
PYTHON = sys.executable
sys.path.insert(0, str(ROOT / "scripts"))


def tool(*arguments: str) -> Callable[[], str]:
    """A check that is another program; what it wrote is shown when it fails."""

    def run() -> str:
        done = subprocess.run([PYTHON, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else (done.stdout + done.stderr).strip() or f"exit code {done.returncode}"

    return run


def imports() -> str:
    """Which room imports which."""
    from check_imports import faults

    return "\n".join(faults(SOURCE))


def shape() -> str:
    """Sizes of files and functions, names of files, and the two numbers that say how the catalogue grows."""
    from check_shape import faults, numbers, twins

    print(f"         {numbers(SOURCE)}")
    return "\n".join([*faults(SOURCE), *twins(ROOT / "tests")])


CHECKS: dict[str, Callable[[], str]] = {
    "lint": tool("-m", "ruff", "check", "."),
    "format": tool("-m", "ruff", "format", "--check", "."),
    "types": tool("-m", "mypy"),
    "imports": imports,
    "shape": shape,
    "docs": tool("scripts/generate_docs.py", "--check"),
    "doctests": tool("-m", "pytest", "--doctest-modules", "src/fewer", "-q", "-p", "no:cacheprovider"),
    "battery": tool("-m", "pytest", "tests/battery", "-q", "-p", "no:cacheprovider"),
}


def main(names: list[str]) -> int:
    """Run the named checks, or all; returns the exit code."""
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        print(f"unknown check '{unknown[0]}'; known: {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    failed = 0
    for name in names or CHECKS:
        start = time.perf_counter()
        fault = CHECKS[name]()
        failed += bool(fault)
        print(f"{'FAILED' if fault else 'ok':<6}   {name:<9} {time.perf_counter() - start:6.1f} s", flush=True)
        if fault:
            print(fault, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
