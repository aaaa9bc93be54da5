"""Runs the linear benchmark and prints ratios side by side; see README.md."""

from __future__ import annotations

import argparse
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import scipy.sparse as sp

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import datasets  # noqa: E402
import objective  # noqa: E402

TARGET = 1e-6
ABOUT = "| case | contender | CPU s | times fewer's | sub | tol | first call s |"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def ask(python, *arguments, limit):
    """What the worker printed, or why it did not; the limit is on CPU seconds, imports and compiling included."""
    env = dict(os.environ, **dict.fromkeys(THREADS, "1"))
    done = subprocess.run(
        [python, str(HERE / "worker.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=env,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 5)),
    )
    if done.returncode == -signal.SIGXCPU:
        return "time limit"
    return done.stdout.split() if done.returncode == 0 else (done.stderr.strip().splitlines() or ["failed"])[-1]


def spent():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def pythons(folder):
    """Contender -> the Python that runs it: this one, or that of an environment in the folder; None where missing."""
    named = tomllib.loads((HERE / "peers.toml").read_text())
    found = {k: sys.executable if v == "this" else str(folder / v / "bin" / "python") for k, v in named.items()}
    return {name: python if Path(python).exists() else None for name, python in found.items()}


def reference(X, y, family, lams, folder, stem):
    """Best lower bounds known, from our tightest run, recomputed by the judge."""
    if Path(stem + ".low.npy").exists():
        return np.load(stem + ".low.npy")
    out = folder / "reference.npz"
    answer = ask(sys.executable, "fewer", stem, 1e-10, 1, out, limit=1800)
    if isinstance(answer, str):
        raise SystemExit(f"the reference run failed: {answer}")
    coefs = sp.load_npz(out).toarray()
    low, high = objective.dual(X, y, family, lams, coefs), objective.primal(X, y, family, lams, coefs)
    print(f"    reference gap {np.max(high - low) / objective.unit(y, family):.1e}", flush=True)
    np.save(stem + ".low.npy", low)
    return low


def contend(name, python, stem, data, low, folder, limit):
    """(CPU seconds, sub, tolerance, first call) of the loosest tolerance that passes, or why there is none."""
    X, y, family, lams = data
    tols = ask(python, name, stem, 0, 1, "-", limit=120)
    if isinstance(tols, str):
        return tols
    sub, started = np.inf, spent()
    for tol in tols:
        out = folder / f"{name}.npz"
        answer = ask(python, name, stem, tol, 3, out, limit=max(1, limit - (spent() - started)))
        if answer == "time limit":
            return f"not in {limit:.0f} s (at tol {tol}, before it sub {sub:.0e})"
        if isinstance(answer, str):
            return "does not apply" if "NotImplementedError" in answer else answer[:60]
        coefs = sp.load_npz(out).toarray()
        sub = float(np.max(objective.primal(X, y, family, lams, coefs) - low)) / objective.unit(y, family)
        if sub <= TARGET:
            return float(answer[0]), sub, tol, float(answer[1])
    return f"never passed (last sub {sub:.0e})"


def lay_down(case, key, relative, folder):
    """The problem as files, made once for a folder: ((X, y, family, lams), the stem of the files)."""
    stem = str(folder / case)
    if not Path(stem + ".npz").exists():
        X, y, family = datasets.DATA[key]()
        lams = objective.lam_max(X, y, family) * np.array(relative)
        if sp.issparse(X):
            sp.save_npz(stem + ".X.npz", X)
        np.savez(stem + ".npz", y=y, lams=lams, family=family, **({} if sp.issparse(X) else {"X": X}))
    found = np.load(stem + ".npz")
    X = found["X"] if "X" in found else sp.load_npz(stem + ".X.npz")
    return (X, found["y"], str(found["family"]), found["lams"]), stem


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", help="like b-path-1e-2; default all")
    parser.add_argument("--contender", action="append", help="default all in peers.toml; ours always runs beside them")
    parser.add_argument("--peers", type=Path, default=HERE, help="the folder of the peers' environments")
    parser.add_argument("--limit", type=float, default=240, help="CPU seconds for all runs of one contender on a case")
    parser.add_argument("--keep", type=Path, help="folder for problems and references, used again by the next call")
    parser.add_argument("--only-prepare", action="store_true", help="make the problems and references, time nothing")
    parser.add_argument("--out", type=Path, help="write the table to this file; rows of other cases there stay")
    chosen = parser.parse_args()
    cases = [(f"{key}-{grid}", key, rel) for key in datasets.DATA for grid, rel in datasets.GRIDS[key].items()]
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for case, key, relative in cases:
            if chosen.case and case not in chosen.case:
                continue
            data, stem = lay_down(case, key, relative, folder)
            print(case, data[0].shape, flush=True)
            low = reference(*data[:3], data[3], folder, stem)
            if not chosen.only_prepare:
                measure(case, data, stem, low, folder, chosen)


def measure(case, data, stem, low, folder, chosen):
    """Every contender on one case; prints, and writes the rows into the table."""
    rows = {}
    for name, python in pythons(chosen.peers).items():
        if python and (name == "fewer" or not chosen.contender or name in chosen.contender):
            rows[name] = contend(name, python, stem, data, low, folder, chosen.limit)
            print("   ", name, rows[name], flush=True)
    lines = render(case, rows)
    print("\n".join(lines))
    if chosen.out:
        merge(chosen.out, case, lines)


def render(case, rows):
    """Lines of the table for one case; ratios are those of one call."""
    ours, lines = rows["fewer"], []
    for name, found in rows.items():
        if isinstance(found, str):
            lines.append(f"| {case} | {name} | {found.replace('|', '/')} | | | | |")
        else:
            seconds, sub, tol, first = found
            ratio = f"{seconds / ours[0]:.2f}" if not isinstance(ours, str) else ""
            lines.append(f"| {case} | {name} | {seconds:.4f} | {ratio} | {sub:.0e} | {tol} | {first:.2f} |")
    return lines


def merge(out, case, lines):
    """Put the lines of one case in place of what the file holds for it, cases in the order of `datasets`."""
    old = out.read_text().splitlines() if out.exists() else []
    kept = {}
    for line in [x for x in old if x.startswith("| ") and x != ABOUT and not x.startswith(f"| {case} |")] + lines:
        kept.setdefault(line.split("|")[1].strip(), []).append(line)
    order = [f"{key}-{grid}" for key in datasets.DATA for grid in datasets.GRIDS[key]]
    head = [
        f"Machine: {os.cpu_count()} cores of {cpu()} ({platform.machine()}); one thread; process CPU seconds.",
        f"Verified by independent dual bounds: worst suboptimality on the path <= {TARGET:g} in the case's unit.",
        "The ratios of a case were measured in one run. First call: imports and a first small fit in a fresh process.",
        "",
        ABOUT,
        "|" + "---|" * 7,
    ]
    out.write_text("\n".join(head + [x for c in order for x in kept.get(c, [])]) + "\n")


def cpu():
    try:
        text = Path("/proc/cpuinfo").read_text()
        return next(line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown processor"


if __name__ == "__main__":
    main()
