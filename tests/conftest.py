"""What a machine lacks is skipped by its marker, with the reason."""

from __future__ import annotations

import importlib.util
import os
import signal

# One thread a process, before anything starts a pool: tests are small, and `make test` runs one worker a core.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# How long a command runs on a busy machine must not change what it says.
os.environ["FEWER_SILENCE"] = "86400"

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# The same examples in every run, so that a failure is one of the change that it stands beside; new ones on request:
# pytest --hypothesis-profile=explore
settings.register_profile("same", derandomize=True, database=None)
settings.register_profile("explore", derandomize=False)
settings.load_profile("same")


def pytest_configure(config):
    # A runner started in the background ignores interrupts, and so would every program that the tests interrupt.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("native") and importlib.util.find_spec("fewer._native") is None:
            item.add_marker(pytest.mark.skip(reason="the compiled extension was not built"))
        if item.get_closest_marker("gpu") and not _cuda():
            item.add_marker(pytest.mark.skip(reason="no GPU on this machine"))


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()
