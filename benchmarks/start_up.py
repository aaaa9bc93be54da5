"""How long the program takes to start, beside Python itself and beside what it must not load.

    python -m benchmarks.start_up            21 rounds, every command once a round, least of wall and processor time
    python -m benchmarks.start_up --rounds 5

Writes results/start_up.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import resource
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


def clocks() -> tuple[float, float]:
    """Wall time, and processor time of all programs started so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter(), used.ru_utime + used.ru_stime


def measure(rounds: int) -> dict[str, tuple[float, float]]:
    """Least seconds of every command, interleaved: what else the machine does only adds."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, arguments in COMMANDS.items():
            before = clocks()
            subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
            after = clocks()
            times[name].append((after[0] - before[0], after[1] - before[1]))
    return {name: (min(t[0] for t in found), min(t[1] for t in found)) for name, found in times.items()}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    found = measure(rounds)
    rows = [f"| `{name}` | {wall:.3f} | {used:.3f} |" for name, (wall, used) in found.items()]
    head = f"Least of {rounds} rounds, interleaved; wall time holds what else the machine did. {machine()}."
    title = "| command | wall, seconds | processor, seconds |"
    table = "\n".join(["# Start-up", "", f"{head} {datetime.date.today()}.", "", title, "|---|---|---|", *rows, ""])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(table, "utf-8")
    print(table)


if __name__ == "__main__":
    main()
