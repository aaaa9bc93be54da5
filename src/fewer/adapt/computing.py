"""Computing a model in a wider number type than it is stored in, a block at a time.

The parameters stay the objects that they are (and so do ties, hooks and identities): what they hold is exchanged for a
wider copy while their block runs, and put back afterwards. Widening is exact, so that it makes no difference where and
when it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fewer.adapt.blocks import Block
from fewer.compute import AUTO, most, resolve

__all__ = ["computing", "dtype_of", "name_of", "wide", "widened"]


def dtype_of(module: nn.Module, asked: str | torch.dtype = AUTO, *, authors: bool = False) -> torch.dtype:
    """The number type of a module's forward passes, of what somebody asked for (see `fewer.compute.resolve`).

    Args:
        module: the model.
        asked: `auto`, the name of a type, or a type: that is taken as it is.
        authors: as in `resolve`.

    >>> dtype_of(nn.Linear(2, 2), "auto")
    torch.float32
    """
    if isinstance(asked, torch.dtype):
        return asked
    values = [value for value in (*module.parameters(), *module.buffers()) if value.is_floating_point()]
    stored = most((name_of(value.dtype), value.nbytes) for value in values)
    device = next((value.device.type for value in values if value.device.type != "meta"), "cpu")
    return wide(stored if asked == stored else resolve(asked, stored, device=device, authors=authors))


def name_of(dtype: torch.dtype) -> str:
    """A type's name without its package: "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def wide(name: str) -> torch.dtype:
    """The type of a name."""
    found = getattr(torch, name)
    assert isinstance(found, torch.dtype)
    return found


@contextmanager
def computing(module: nn.Module, dtype: torch.dtype, blocks: Sequence[Block] = ()) -> Iterator[None]:
    """A module computes in a number type until the context ends; half precision becomes float32, the rest stays.

    Args:
        module: the model, or one block of it.
        dtype: what it computes in.
        blocks: those of its blocks that are widened only while each of them runs, to save memory; a block that runs on
            several threads at once must not be among them.
    """
    inner = {id(part) for block in blocks for part in block.module.modules()}
    with ExitStack() as stack:
        if dtype == torch.float32:
            stack.callback(module.register_forward_pre_hook(_inputs_too, with_kwargs=True, prepend=True).remove)
        stack.enter_context(_widened((part for part in module.modules() if id(part) not in inner), dtype))
        for block in blocks:
            turn = _Turn(block.module, dtype)
            stack.callback(turn.leave)
            stack.callback(block.module.register_forward_pre_hook(turn.enter, prepend=True).remove)
            stack.callback(block.module.register_forward_hook(turn.leave, always_call=True).remove)
        yield


def _inputs_too(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Inputs in half precision are widened with the weights that they meet."""

    def wider(value: Any) -> Any:
        return widened(value, torch.float32) if isinstance(value, Tensor) else value

    return tuple(map(wider, args)), {name: wider(value) for name, value in kwargs.items()}


class _Turn:
    """A block is wide from the beginning of its forward pass to the end, whatever ends it."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        self._module = module
        self._dtype = dtype
        self._stack = ExitStack()

    def enter(self, *_: Any) -> None:
        self._stack.enter_context(_widened(self._module.modules(), self._dtype))

    def leave(self, *_: Any) -> None:
        self._stack.close()


@contextmanager
def _widened(parts: Iterable[nn.Module], dtype: torch.dtype) -> Iterator[None]:
    """The own parameters and buffers of some modules in a wider type; tied parameters are widened once."""
    undo: list[Callable[[], None]] = []
    try:
        for part in parts:
            if type(part)._apply is not nn.Module._apply and not isinstance(part, nn.RNNBase):
                undo.append(_ask(part, dtype))
                continue
            for value in (*part._parameters.values(), *part._buffers.values()):
                if value is not None and _narrow(value, dtype):
                    undo.append(_exchange(value, dtype))
        yield
    finally:
        for back in reversed(undo):
            back()


def widened(value: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor in float32 where it holds half precision and `dtype` is float32; else itself."""
    return value.to(dtype) if _narrow(value, dtype) else value


def _narrow(value: Tensor, dtype: torch.dtype) -> bool:
    return dtype == torch.float32 and value.dtype in (torch.bfloat16, torch.float16)


def _exchange(value: Tensor, dtype: torch.dtype) -> Callable[[], None]:
    stored = value.data
    value.data = stored.to(dtype)

    def back() -> None:
        value.data = stored

    return back


def _ask(part: nn.Module, dtype: torch.dtype) -> Callable[[], None]:
    """A module that moves its own arrays, such as a packed layer, is asked to: it knows what must stay as it is."""
    former = getattr(part, "dtype", None)
    if dtype != torch.float32 or former not in (torch.bfloat16, torch.float16):
        return lambda: None
    parameters, buffers = dict(part._parameters), dict(part._buffers)
    part._apply(lambda value: widened(value, dtype), recurse=False)  # type: ignore[no-untyped-call]

    def back() -> None:
        part._apply(lambda value: value.to(former) if value.dtype == dtype else value, recurse=False)  # type: ignore[no-untyped-call]
        part._parameters.update(parameters)
        part._buffers.update(buffers)

    return back
