"""Authors' code, unchanged, under a current transformers and without a GPU.

What their scripts expect of the world around them is put in its place: a package `datasets` (nothing of it is used),
a loader that hands out our windows, GPU calls that do nothing, and the rotary angles that decoder layers are given
by their model nowadays.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

__all__ = ["around", "imported"]

#: Packages that the scripts import and that nothing here uses.
_STUBS = ("datasets", "matplotlib", "matplotlib.pyplot", "accelerate")


def imported(checkout: Path, name: str, windows: Tensor) -> ModuleType:
    """A module of a checkout, such as `lib.prune`, whose loader gives these windows (windows, length)."""
    before = {key: value for key, value in sys.modules.items() if key == "lib" or key.startswith("lib.")}
    for key in before:
        del sys.modules[key]
    sys.path.insert(0, str(checkout))
    try:
        with _stubs():
            module = importlib.import_module(name)
    finally:
        sys.path.remove(str(checkout))
        for key in [key for key in sys.modules if key.split(".")[0] == name.split(".")[0]]:
            del sys.modules[key]
        sys.modules.update(before)
    module.get_loaders = lambda *_, **__: ([(row[None], None) for row in windows], None)  # type: ignore[attr-defined]
    return module


@contextlib.contextmanager
def _stubs() -> Iterator[None]:
    made = {name: ModuleType(name) for name in _STUBS}
    made["datasets"].load_dataset = None  # type: ignore[attr-defined]
    made["matplotlib"].pyplot = made["matplotlib.pyplot"]  # type: ignore[attr-defined]
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(sys.modules, made))
        stack.enter_context(mock.patch.object(importlib.metadata, "version", lambda _: ""))
        transformers = importlib.import_module("transformers")
        stack.enter_context(mock.patch.object(transformers, "AdamW", torch.optim.AdamW, create=True))
        yield


@contextlib.contextmanager
def around(model: nn.Module, length: int) -> Iterator[None]:
    """What a model and torch must look like while their code runs."""
    model.seqlen, model.hf_device_map = length, {}  # type: ignore[assignment]
    inner = model.model
    layers = inner.decoder.layers if hasattr(inner, "decoder") else inner.layers
    rotary = getattr(inner, "rotary_emb", None)

    def angles(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if rotary is not None and kwargs.get("position_embeddings") is None:
            kwargs["position_embeddings"] = rotary(args[0], kwargs["position_ids"])
        return args, kwargs

    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_pre_hook(angles, with_kwargs=True).remove)
        stack.enter_context(mock.patch.object(Tensor, "cuda", lambda self, *_, **__: self))
        stack.enter_context(mock.patch.object(torch.cuda, "synchronize", lambda *_: None))
        # Their stand-in for the first layer has none of its attributes.
        stack.enter_context(mock.patch.object(nn.Module, "attention_type", "full_attention", create=True))
        stack.enter_context(contextlib.redirect_stdout(_Silent()))
        yield


class _Silent:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass
