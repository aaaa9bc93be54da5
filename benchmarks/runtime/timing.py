"""Fair timing: contenders interleaved in random order, cold rings of operands, thread CPU time, low percentile."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping

import torch

RING_BYTES = 200_000_000


def race(contenders: Mapping[str, Callable[[int], object]], seconds: float, least: int = 8) -> dict[str, float]:
    """Seconds a call (20th percentile) of each contender; each is called with a growing number, to pick an operand."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for call in contenders.values():
        call(0)
    order, turn, stop = list(contenders), 0, time.monotonic() + seconds
    clock = time.thread_time_ns if torch.get_num_threads() == 1 else time.perf_counter_ns
    while time.monotonic() < stop or min(map(len, times.values())) < least:
        random.shuffle(order)
        for name in order:
            turn += 1
            start = clock()
            contenders[name](turn)
            times[name].append((clock() - start) / 1e9)
    return {name: sorted(seen)[len(seen) // 5] for name, seen in times.items()}


def ring(make: Callable[[], object], size: int) -> list:
    """Enough copies of an operand of `size` bytes that none is in a cache when its turn comes again."""
    return [make() for _ in range(max(2, RING_BYTES // max(size, 1)))]
