"""Cross-validation: 10 folds x 100 penalties x 20 penalty-factor vectors on case b, against looping a peer's path.

    python benchmarks/linear/cross.py [--sample 4]

Ours is measured whole. A peer's loop is the same call 200 times on training rows, so `--sample` of its fits are run
and scaled up. Factors become column scales for peers without them (exact for L1). Every sampled answer, ours too, is
verified like the paths of `run.py`: suboptimality <= 1e-6 in the fold's unit, by dual bounds recomputed from scratch.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
import scipy.sparse as sp  # noqa: E402

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import datasets  # noqa: E402
import objective  # noqa: E402
from run import pythons  # noqa: E402

from fewer.linear import cross_paths  # noqa: E402


def worst(X, y, lams, coefs, low):
    return float(np.max(objective.primal(X, y, "gaussian", lams, coefs) - low)) / objective.unit(y, "gaussian")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=4)
    parser.add_argument("--peers", type=Path, default=HERE, help="the folder of the peers' environments")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    X, y, _ = datasets.DATA["b"]()
    n, p = X.shape
    rng = np.random.default_rng(0)
    folds = np.array_split(rng.permutation(n), 10)
    factors = np.exp(rng.normal(size=(p, 20)) * 0.5)
    relative = 10 ** (-2 * np.arange(100) / 99)
    # One grid for all: every factor vector starts where its own path starts, within a factor of two.
    lams = float(np.max(np.abs(X.T @ y) / factors.max(axis=1))) / n * relative
    picks = [(int(rng.integers(0, 10)), int(rng.integers(0, 20))) for _ in range(chosen.sample)]
    lines = ["", "| contender | CPU s for 200 paths | times fewer's | worst sub | tol |", "|---|---|---|---|---|"]
    tight = {pick: low_bound(X, y, folds, factors, lams, pick) for pick in picks}
    for tol in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        started = time.process_time()
        found = cross_paths(X, y, folds, factors=factors, lams=lams, intercept=False, tol=tol)
        ours = time.process_time() - started
        subs = []
        for f, k in picks:
            A, t, low = tight[f, k]
            subs.append(worst(A, t, lams, found[k][f].coefs * factors[:, [k]], low))
        if max(subs) <= 1e-6:
            break
    lines.append(f"| fewer | {ours:.2f} | 1.00 | {max(subs):.0e} | {tol} |")
    print(lines[-1], flush=True)
    peers = pythons(chosen.peers)
    for name in ("sklearn", "adelie", "adelie_gram", "skglm"):
        if peers[name]:
            lines.append(peer(name, peers[name], tight, lams, ours))
            print(lines[-1], flush=True)
    if chosen.out:
        chosen.out.write_text("\n".join(lines[1:]) + "\n")


def low_bound(X, y, folds, factors, lams, pick):
    """Training data with the factors as column scales, and the best lower bounds of its path."""
    from fewer.linear import path

    f, k = pick
    keep = np.delete(np.arange(len(y)), folds[f])
    A, t = np.asfortranarray(X[keep] / factors[:, k]), y[keep]
    tight = path(A, t, lams=lams, intercept=False, tol=1e-9, duals=False)
    return A, t, objective.dual(A, t, "gaussian", lams, tight.coefs)


def peer(name, python, tight, lams, ours):
    env = dict(os.environ, NUMBA_NUM_THREADS="1")
    with tempfile.TemporaryDirectory() as folder:
        stem, out = folder + "/case", folder + "/out.npz"
        for tol in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9):
            seconds, sub = [], 0.0
            for A, t, low in tight.values():
                np.savez(stem + ".npz", X=A, y=t, lams=lams, family="gaussian")
                call = [python, str(HERE / "worker.py"), name, stem, str(tol), "1", out]
                done = subprocess.run(call, capture_output=True, text=True, env=env)
                if done.returncode:
                    return f"| {name} | {done.stderr.strip().splitlines()[-1][:60]} | | | |"
                seconds.append(float(done.stdout.split()[0]))
                sub = max(sub, worst(A, t, lams, sp.load_npz(out).toarray(), low))
            if sub <= 1e-6:
                whole = 200 * float(np.mean(seconds))
                return f"| {name} | {whole:.1f} | {whole / ours:.1f} | {sub:.0e} | {tol} |"
    return f"| {name} | never passed | | | |"


if __name__ == "__main__":
    main()
