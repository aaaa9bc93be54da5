"""Several processes on one calibration: each measures its own part of the data, and all get the same sums.

    torchrun --nproc-per-node 2 -m fewer prune MODEL --data corpus.txt --out DIR

Every process holds the model and ends with the same masks; the first one writes and speaks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fewer.method import FewerError

if TYPE_CHECKING:
    from fewer.adapt.data import Batches

__all__ = ["joined", "place", "share"]


def place() -> tuple[int, int]:
    """Which of how many processes this is; (0, 1) without an initialised process group."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def share(batches: Batches | None) -> Batches | None:
    """The part of the data that this process measures; all of it where there is one process alone.

    Raises:
        FewerError: fewer batches than processes.
    """
    rank, count = place()
    if batches is None or count == 1:
        return batches
    if len(batches) < count:
        raise FewerError(f"{len(batches)} batches of calibration data cannot be shared by {count} processes")
    return batches.part(rank, count)


@contextmanager
def joined() -> Iterator[bool]:
    """Join the processes that `torchrun` started, if it did; tells whether this one writes and speaks."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
        yield True
        return
    import torch.distributed as dist

    dist.init_process_group("gloo")
    try:
        yield dist.get_rank() == 0
    finally:
        dist.destroy_process_group()
