"""Batches side by side: the passes of a small model, each on one core.

A small product that is shared out over all cores waits for the last of them, and one that another program is using
comes late: every product then takes as long as a time slice. Batches need nothing of one another, so that each is
computed on a core of its own and the others go on. Results come in the order of the batches, and none depends on how
many threads there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["Observer", "each", "side_by_side"]

R = TypeVar("R")
#: Parameters of the largest model whose batches are computed side by side: products of a larger one fill all cores.
MOST = 1 << 27
#: More passes at once would wait for the interpreter.
_THREADS = 16


class Observer(Protocol):
    """What the hooks see is kept apart by batch."""

    @property
    def apart(self) -> bool:
        """Whether batches may be seen on several threads at once."""

    def seeing(self, index: int, mask: Tensor | None) -> AbstractContextManager[None]:
        """Around the pass of one batch, with its mask of real tokens (None: all are), on any thread."""

    def take(self, index: int) -> None:
        """Called after the passes, in the order of the batches."""


def side_by_side(module: nn.Module) -> bool:
    """Whether a model's passes may run on several threads at once, and are small enough to gain by it.

    That is so for a model of transformers on the CPU with at most 2^27 parameters and no hooks: a module of one's own
    may keep what it saw in itself.
    """
    if not (hasattr(module, "main_input_name") and hasattr(module, "config")):
        return False
    small = sum(value.numel() for value in module.parameters()) <= MOST
    return small and not any(_keeps(part) for part in module.modules())


def _keeps(part: nn.Module) -> bool:
    moves = type(part)._apply is not nn.Module._apply
    away = any(value.device.type not in ("cpu", "meta") for value in part._parameters.values() if value is not None)
    return moves or away or bool(part._forward_hooks or part._forward_pre_hooks)


def each(run: Callable[[int], R], count: int, *, apart: bool) -> Iterator[R]:
    """The results of `run(0)`, `run(1)`, ... in order.

    Args:
        run: called with a number, on any thread.
        count: how many numbers.
        apart: whether calls may run side by side, as many as torch has threads (at most 16), each on one thread; at
            most one more than that waits to be taken. Otherwise one after the other, each on all of torch's threads.
    """
    former = torch.get_num_threads()
    threads = min(former, _THREADS, count)
    if not apart or threads < 2 or torch.is_autocast_enabled("cpu"):
        yield from map(run, range(count))
        return
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def job(index: int) -> R:
        with torch.inference_mode(inference), torch.set_grad_enabled(grad):
            return run(index)

    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    waiting = deque(pool.submit(job, index) for index in range(min(count, threads + 1)))
    try:
        for index in range(len(waiting), count + len(waiting)):
            value = waiting.popleft().result()
            if index < count:
                waiting.append(pool.submit(job, index))
            yield value
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(former)
