"""A model without its weights: built from the configuration alone, filled module by module from the shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fewer.adapt.blocks import Block
from fewer.adapt.computing import computing, widened
from fewer.adapt.naming import Parts

__all__ = ["Filler", "hollow", "retype"]


@contextmanager
def hollow(dtype: torch.dtype) -> Iterator[None]:
    """Modules made inside have parameters without memory; buffers (rotary frequencies) are real.

    Like `torch.device("meta")`, but for parameters only: buffers that no checkpoint holds are computed as usual.
    """
    original, former = nn.Module.register_parameter, torch.get_default_dtype()

    def register(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and param.device.type != "meta":
            param = nn.Parameter(param.detach().to("meta"), requires_grad=False)
        original(self, name, param)

    nn.Module.register_parameter = register  # type: ignore[method-assign]
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        nn.Module.register_parameter = original  # type: ignore[method-assign]
        torch.set_default_dtype(former)


def retype(module: nn.Module, types: Mapping[str, torch.dtype]) -> None:
    """Give the parameters and saved buffers of a hollow model the types that it is computed in, by name."""
    made: dict[int, Tensor] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        if value.dtype == types[name]:
            continue
        path, _, key = name.rpartition(".")
        owner = module.get_submodule(path)
        # Tied parameters stay tied.
        fresh = made.setdefault(id(value), value.detach().to(types[name]))
        if key in owner._buffers:
            owner._buffers[key] = fresh
        else:
            made[id(value)] = owner._parameters[key] = nn.Parameter(fresh, requires_grad=False)


class Filler:
    """Fills parts of a hollow model from the shards and empties them again."""

    def __init__(self, module: nn.Module, parts: Parts) -> None:
        self._module = module
        self._parts = parts
        self._first: dict[int, str] = {}
        self._types: dict[str, torch.dtype] = {}
        for name, value in module.state_dict(keep_vars=True).items():
            self._first.setdefault(id(value), name)
            self._types[name] = value.dtype

    def name_of(self, value: Tensor) -> str | None:
        """The stored name of a hollow parameter; tied ones share it."""
        return self._first.get(id(value))

    def type_of(self, name: str) -> torch.dtype:
        """The type that the model holds a parameter in."""
        return self._types[name]

    def fill(self, module: nn.Module) -> dict[tuple[int, str], Tensor]:
        """Give a module and all inside it their weights; returns what `empty` needs."""
        former: dict[tuple[int, str], Tensor] = {}
        shared: dict[int, nn.Parameter] = {}
        for part in module.modules():
            former.update(self.fill_own(part, shared=shared))
        return former

    def fill_own(
        self,
        module: nn.Module,
        dtype: torch.dtype | None = None,
        shared: dict[int, nn.Parameter] | None = None,
    ) -> dict[tuple[int, str], Tensor]:
        """Give one module its own weights, not those of its children; half precision widened to `dtype`.

        A parameter of several modules stays one: `shared` holds those that were read before.
        """
        shared = {} if shared is None else shared
        former: dict[tuple[int, str], Tensor] = {}
        for key, value in [*module._parameters.items(), *module._buffers.items()]:
            name = None if value is None else self._first.get(id(value))
            if value is None or name is None or name not in self._parts.of:
                continue
            former[id(module), key] = value
            if id(value) not in shared:
                loaded = self._parts.read(name, value.shape).to(self._types[name])
                loaded = loaded if dtype is None else widened(loaded, dtype)
                if key not in module._parameters:
                    module._buffers[key] = loaded
                    continue
                shared[id(value)] = nn.Parameter(loaded, requires_grad=False)
            module._parameters[key] = shared[id(value)]
        return former

    def empty(self, module: nn.Module, former: dict[tuple[int, str], Tensor]) -> None:
        """Take the weights away again."""
        for part in module.modules():
            for table in (part._parameters, part._buffers):
                for key in list(table):
                    if (id(part), key) in former:
                        table[key] = former[id(part), key]  # type: ignore[assignment]

    @contextmanager
    def outside(self, blocks: tuple[Block, ...], dtype: torch.dtype) -> Iterator[None]:
        """While inside, modules outside the blocks are filled when they are first called, and compute in `dtype`.

        Embedding tables are never read whole: the rows that a batch looks up are.
        """
        inner = {id(part) for block in blocks for part in block.module.modules()}
        former: dict[tuple[int, str], Tensor] = {}
        with ExitStack() as stack:
            stack.enter_context(computing(self._module, dtype, blocks))
            stack.enter_context(_Lookup(self._parts, self, dtype))
            for part in self._module.modules():
                if id(part) in inner or isinstance(part, nn.Embedding) or not _owns(part):
                    continue

                def load(module: nn.Module, args: Any) -> None:
                    if not any((id(module), key) in former for key in (*module._parameters, *module._buffers)):
                        former.update(self.fill_own(module, dtype))

                stack.callback(part.register_forward_pre_hook(load).remove)
            try:
                yield
            finally:
                self.empty(self._module, former)


def _owns(module: nn.Module) -> bool:
    return any(value is not None for value in (*module._parameters.values(), *module._buffers.values()))


class _Lookup(TorchFunctionMode):
    """Answers look-ups in hollow embedding tables with the rows that are asked for.

    Ids that a model first moves to the table's device stay where they are.
    """

    def __init__(self, parts: Parts, filler: Filler, dtype: torch.dtype) -> None:
        super().__init__()
        self._parts = parts
        self._filler = filler
        self._dtype = dtype

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.embedding:
            ids = args[0] if args else kwargs["input"]
            table = args[1] if len(args) > 1 else kwargs["weight"]
            name = self._filler.name_of(table) if table.device.type == "meta" else None
            if name is not None:
                tensor = self._parts.of[name][0].tensor
                wanted, places = torch.unique(ids, return_inverse=True)
                rows = self._parts.shards.read_rows(tensor, wanted.tolist()).to(self._filler.type_of(name))
                return functional.embedding(places, widened(rows, self._dtype))
        if func is Tensor.to and args[0].device.type != "meta":
            device = kwargs.get("device", args[1] if len(args) > 1 else None)
            if isinstance(device, torch.device) and device.type == "meta":
                return args[0]
        return func(*args, **kwargs)
