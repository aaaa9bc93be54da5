"""One streamed run as a program, to be killed: `streamed.py MODEL OUT SAMPLES LENGTH [FILE]`.

FILE is told the peak memory in kB.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from fewer import adapt, evidence


def halve(layers, store):
    """Wanda at 1:2, which is quick: one of each two neighbours stays."""
    kept = {}
    for layer in layers:
        weight = layer.read()
        score = weight.abs().float() * store[layer.name]["input_norm"]
        left, right = score[:, 0::2], score[:, 1::2]
        mask = torch.stack([left >= right, left < right], dim=-1).reshape(score.shape)
        layer.write(torch.where(mask, weight, 0.0))
        kept[layer.name] = int(mask.sum())
    return kept


def run(model, out, samples=4, length=32):
    """From directory to directory."""
    ids = torch.randint(3, 64, (samples, length), generator=torch.Generator().manual_seed(1))
    stream = adapt.stream.Stream(model, out, key="half")
    results = evidence.sequential(stream, adapt.data.batches(ids, batch=2), ["input_norm"], halve)
    stream.finish(mark={"kept": results})
    return results


def peak():
    """Most memory this program has held, in kB; None where the system does not tell.

    Not `ru_maxrss`: a child inherits that figure from the process that started it.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5]))
    for place in sys.argv[5:]:
        Path(place).write_text(str(peak() or ""))
