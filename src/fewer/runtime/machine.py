"""What a measurement was made on."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from fewer.runtime.dispatch import tier, tiers

__all__ = ["Machine", "machine"]

_TELLING = ("avx2", "avx512f", "avx512_vbmi2", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "sve")


@dataclass(frozen=True, slots=True)
class Machine:
    """Processor, the instruction sets that matter here, versions, threads and tiers."""

    cpu: str
    cores: int
    flags: tuple[str, ...]
    torch: str
    threads: int
    tier: str
    tiers: tuple[str, ...]

    def __str__(self) -> str:
        """One line for the head of a table."""
        return (
            f"{self.cpu}, {self.cores} cores ({' '.join(self.flags)}), torch {self.torch}, "
            f"{self.threads} thread{'s' * (self.threads != 1)}, tier {self.tier}"
        )


def machine() -> Machine:
    """Describe this machine as it is now."""
    import os

    info = _cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    name = info.get("model name") or platform.processor() or platform.machine()
    family = f"{name} (family {info['cpu family']}, model {info['model']})" if "cpu family" in info else name
    return Machine(
        cpu=family,
        cores=os.cpu_count() or 1,
        flags=tuple(flag for flag in _TELLING if flag in flags),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        tier=tier(),
        tiers=tiers(),
    )


def _cpuinfo() -> dict[str, str]:
    place = Path("/proc/cpuinfo")
    if not place.is_file():
        return {}
    lines = (line.partition(":") for line in place.read_text("utf-8").split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}
