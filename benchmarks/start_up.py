"""How long the program takes to start, beside Python itself and beside what it must not load.

    python -m benchmarks.start_up            21 rounds, every command once a round, medians of wall time
    python -m benchmarks.start_up --rounds 5

Writes results/start_up.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import subprocess
import sys
import time
from pathlib import Path

from fewer.runtime.machine import machine

RESULTS = Path(__file__).parent / "results" / "start_up.md"
COMMANDS: dict[str, tuple[str, ...]] = {
    "python -c pass": ("-c", "pass"),
    "import click": ("-c", "import click"),
    "import fewer": ("-c", "import fewer"),
    "fewer --help": ("-m", "fewer", "--help"),
    "fewer methods": ("-m", "fewer", "methods"),
    "fewer methods wanda": ("-m", "fewer", "methods", "wanda"),
    "fewer prune demo --score wnada": ("-m", "fewer", "prune", "demo", "--score", "wnada", "--out", "never"),
    "import numpy": ("-c", "import numpy"),
    "import torch": ("-c", "import torch"),
}


def measure(rounds: int) -> dict[str, float]:
    """Median seconds of every command, interleaved."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, arguments in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    found = measure(rounds)
    rows = [f"| `{name}` | {seconds:.3f} |" for name, seconds in found.items()]
    head = f"Median wall time of {rounds} rounds, interleaved. {machine()}. {datetime.date.today()}."
    table = "\n".join(["# Start-up", "", head, "", "| command | seconds |", "|---|---|", *rows, ""])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(table, "utf-8")
    print(table)


if __name__ == "__main__":
    main()
