"""The authors' ALPS on any model that fewer opens: their solver as it is, a driver that goes block by block.

Their file is read from a checkout that the user brings. It names a GPU literally; those names are replaced in memory
so that it runs on the CPU. Nothing else of it is changed.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from fewer import adapt
from fewer.adapt.run import evaluating

_ON_CPU = {"'cuda:0'": "'cpu'", "torch.cuda.synchronize()": "None", "torch.cuda.empty_cache()": "None"}


def load(checkout: Path) -> ModuleType:
    """Their alps.py as a module that runs on the CPU."""
    text = (checkout / "alps.py").read_text("utf-8")
    for name, instead in _ON_CPU.items():
        text = text.replace(name, instead)
    module = ModuleType("authors_alps_source")
    exec(compile(text, str(checkout / "alps.py"), "exec"), module.__dict__)
    return module


@torch.no_grad()
def prune_as_authors(module: ModuleType, model: adapt.Opened, data: Any, keep: float, n: int, m: int) -> None:
    """Their layer-sequential loop: Gram matrices of a block, one solve a layer, the block's new outputs go on.

    At `keep` 1 nothing is solved: the passes alone.
    """
    linear = {layer.name for layer in model.layers}
    with evaluating(model.module):
        calls = [_first_call(model, batch) for batch in data]
        for block in model.blocks:
            solvers = {
                layer: module.ALPS_prune(layer, len(data), data.length)
                for name, layer in block.module.named_modules()
                if f"{block.name}.{name}" in linear
            }
            hooks = [x.register_forward_hook(lambda _, i, o, s=s: s.add_batch(i[0], o)) for x, s in solvers.items()]
            for args, kwargs in calls:
                block.module(*args, **kwargs)
            for hook in hooks:
                hook.remove()
            for solver in solvers.values() if keep < 1 else ():
                solver.ALPS_admm(sp=1 - keep, nm_n=n, nm_m=m)
                solver.free()
            calls = [((_hidden(block.module(*args, **kwargs)), *args[1:]), kwargs) for args, kwargs in calls]


class _Reached(Exception):
    """The first block was reached."""


def _first_call(model: adapt.Opened, batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the first block is given for one batch."""
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def stop(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append((args, kwargs))
        raise _Reached

    hook = model.blocks[0].module.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        model.module(**batch, use_cache=False)
    except _Reached:
        pass
    finally:
        hook.remove()
    return seen[0]


def _hidden(output: Any) -> torch.Tensor:
    found: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return found
