"""Stand-ins for torch modules and tensors: a model class can be constructed with them, to learn its parameters' shapes.

They do what the constructors of model classes need: hold submodules and parameters by name, in the order in which they
are made, with the shapes that torch would give them. Whatever else a constructor touches is an `Anything`, which
answers every call with another one; as soon as a decision would hang on it, `NotKnown` is raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["Anything", "Module", "NotKnown", "PreTrainedModel", "Shape", "torch_namespace"]

#: What a class says of the layout of fused weights.
_OF_EXPERTS = ("is_transposed", "num_experts")
#: Modules of one model at most.
_LIMIT = 100_000


class NotKnown(Exception):
    """Something depends on what stand-ins do not know; the model has to be made in earnest."""


def _refuse(self: Any, *_: Any) -> Any:
    raise NotKnown("a decision depends on what is not known")


class Anything:
    """What is not known. Every operation on it gives another; every question about it raises `NotKnown`."""

    def __init__(self, name: str = "anything") -> None:
        self.__name__ = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As a decorator it leaves a class as it is."""
        return args[0] if len(args) == 1 and not kwargs and isinstance(args[0], type) else Anything()

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        """As a base class it brings nothing."""
        return (type(self.__name__, (), {}),)

    def _more(self, *_: Any) -> Any:
        return Anything()

    __getitem__ = __or__ = __ror__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _more
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __pow__ = __rpow__ = __neg__ = _more
    __bool__ = __iter__ = __len__ = __index__ = __contains__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __eq__ = __ne__ = _refuse  # type: ignore[assignment]
    __hash__ = object.__hash__


class Shape:
    """A tensor of which the shape is known, or (None) not even that."""

    dtype = None

    def __init__(self, shape: tuple[int, ...] | None) -> None:
        if shape is not None and not all(type(size) is int and size >= 0 for size in shape):
            raise NotKnown("a size is not known")
        self.known = shape

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        if self.known is None:
            raise NotKnown("a shape is not known")
        return self.known

    @property
    def ndim(self) -> int:
        """Number of its dimensions."""
        return len(self.shape)


class Module:
    """Stands for `torch.nn.Module`: submodules, parameters and buffers by name, in the order of their making."""

    def __new__(cls, *_: Any, **__: Any) -> Module:
        """Ready to hold parts before any constructor has run."""
        self = object.__new__(cls)
        for table in ("_modules", "_parameters", "_buffers"):
            object.__setattr__(self, table, {})
        return self

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Module):
            self._modules[name] = value
        elif isinstance(value, Shape):
            self._parameters[name] = value
        elif name in self._modules or name in self._parameters or (isinstance(value, Anything) and "expert" in name):
            raise NotKnown(f"{name} is replaced, or not known")
        else:
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        for table in ("_modules", "_parameters", "_buffers"):
            if name in self.__dict__[table]:
                return self.__dict__[table][name]
        if name.startswith("__") or (name in _OF_EXPERTS and not self._fused):
            raise AttributeError(name)
        raise NotKnown(f"{name} may be defined by the framework")

    @property
    def _fused(self) -> bool:
        """Whether it holds weights of several matrices, of which the decorators of its class say how they lie."""
        return any(value is not None and value.ndim > 2 for value in self._parameters.values())

    def __delattr__(self, name: str) -> None:
        raise NotKnown(f"{name} is deleted")

    def register_parameter(self, name: str, value: Any) -> None:
        """As torch does it; None is an absent one."""
        if value is not None and not isinstance(value, Shape):
            raise NotKnown(f"parameter {name} is not known")
        self._parameters[name] = value

    def register_buffer(self, name: str, value: Any, persistent: bool = True) -> None:
        """As torch does it; only those that are saved matter."""
        if persistent and value is not None:
            self._buffers[name] = Shape(None)
        else:
            object.__setattr__(self, name, value)

    def add_module(self, name: str, module: Any) -> None:
        """As torch does it."""
        if not isinstance(module, Module):
            raise NotKnown(f"module {name} is not known")
        self._modules[name] = module

    register_module = add_module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Direct submodules, each once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """Direct submodules, each once."""
        return (module for _, module in self.named_children())

    def named_modules(self, seen: set[int] | None = None, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """The module itself and all below it, each once."""
        seen = set() if seen is None else seen
        if id(self) in seen:
            return
        seen.add(id(self))
        if len(seen) > _LIMIT:
            raise NotKnown("too many modules")
        yield prefix, self
        for name, module in self._modules.items():
            yield from module.named_modules(seen, f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """The module itself and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Shape]]:
        """Parameters by dotted name, each once."""
        return self._named("_parameters")

    def named_buffers(self) -> Iterator[tuple[str, Shape]]:
        """Buffers that are saved, by dotted name, each once."""
        return self._named("_buffers")

    def _named(self, table: str) -> Iterator[tuple[str, Shape]]:
        seen: set[int] = set()
        for name, module in self.named_modules():
            for key, value in module.__dict__[table].items():
                if value is not None and id(value) not in seen:
                    seen.add(id(value))
                    yield f"{name}.{key}" if name else key, value


class Linear(Module):
    """Stands for `torch.nn.Linear`."""

    def __init__(self, in_features: Any, out_features: Any, bias: Any = True, **_: Any) -> None:
        self.weight = Shape((out_features, in_features))
        self.register_parameter("bias", Shape((out_features,)) if bias else None)


class Embedding(Module):
    """Stands for `torch.nn.Embedding`."""

    def __init__(self, num_embeddings: Any, embedding_dim: Any, *_: Any, **__: Any) -> None:
        self.weight = Shape((num_embeddings, embedding_dim))


class Conv2d(Module):
    """Stands for `torch.nn.Conv2d` with keywords for what is rare."""

    def __init__(
        self, in_channels: Any, out_channels: Any, kernel_size: Any, *few: Any, groups: int = 1, bias: Any = True,
        **_: Any,
    ) -> None:  # fmt: skip
        if len(few) > 3:
            raise NotKnown("groups given by place")
        self.groups, self.in_channels = groups, in_channels
        kernel = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
        self.weight = Shape((out_channels, in_channels // groups, *kernel))
        self.register_parameter("bias", Shape((out_channels,)) if bias else None)


class LayerNorm(Module):
    """Stands for `torch.nn.LayerNorm`."""

    def __init__(
        self, normalized_shape: Any, eps: Any = 0.0, elementwise_affine: Any = True, bias: Any = True, **_: Any
    ) -> None:
        sizes = tuple(normalized_shape) if isinstance(normalized_shape, list | tuple) else (normalized_shape,)
        self.register_parameter("weight", Shape(sizes) if elementwise_affine else None)
        self.register_parameter("bias", Shape(sizes) if elementwise_affine and bias else None)


class _Container(Module):
    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __getitem__(self, index: int) -> Module:
        if type(index) is not int:
            raise NotKnown("part of a container")
        found: Module = list(self._modules.values())[index]
        return found

    def append(self, module: Any) -> None:
        """Add one at the end."""
        self.add_module(str(len(self)), module)

    def extend(self, modules: Iterable[Any]) -> None:
        """Add several at the end."""
        for module in modules:
            self.append(module)


class ModuleList(_Container):
    """Stands for `torch.nn.ModuleList`."""

    def __init__(self, modules: Iterable[Any] = ()) -> None:
        self.extend(modules)


class Sequential(_Container):
    """Stands for `torch.nn.Sequential`."""

    def __init__(self, *modules: Any) -> None:
        if len(modules) == 1 and isinstance(modules[0], dict):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            self.extend(modules)


class Activation(Module):
    """Stands for modules of torch without parameters."""


class PreTrainedModel(Module):
    """Stands for the base class of the models of transformers."""

    main_input_name = "input_ids"
    _tied_weights_keys: Any = None

    def __init__(self, config: Any, *_: Any, **__: Any) -> None:
        self.config = config

    def post_init(self) -> None:
        """Nothing: weights are initialised there, and tied; neither makes a parameter."""


#: Names of `torch.nn` without parameters.
_BARE = ("Dropout", "Identity", "ReLU", "GELU", "SiLU", "Tanh", "Sigmoid", "Softmax")
#: Functions of `torch` that make a tensor of a size.
_MAKERS = ("ones", "zeros", "empty", "randn", "rand")


def _made(*sizes: Any, **_: Any) -> Any:
    one = tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], list | tuple) else sizes
    return Shape(one) if all(type(size) is int for size in one) else Anything()


def _parameter(data: Any = None, requires_grad: Any = True) -> Shape:
    return data if isinstance(data, Shape) else Shape(None)


class _Namespace(Anything):
    """A module of a framework: some names are known, the others anything."""

    def __init__(self, name: str, known: dict[str, Any]) -> None:
        super().__init__(name)
        self.__dict__.update(known)


def torch_namespace() -> Any:
    """What `import torch` gives a model class."""
    homes = {
        Module: "module", Linear: "linear", Embedding: "sparse", Conv2d: "conv", LayerNorm: "normalization",
        ModuleList: "container", Sequential: "container",
    }  # fmt: skip
    for kind, home in homes.items():
        kind.__module__ = f"torch.nn.modules.{home}"
    PreTrainedModel.__module__ = "transformers.modeling_utils"
    known: dict[str, Any] = {kind.__name__: kind for kind in homes}
    known |= {name: type(name, (Activation,), {}) for name in _BARE}
    nn = _Namespace("torch.nn", known | {"Parameter": _parameter})
    return _Namespace("torch", {"nn": nn} | dict.fromkeys(_MAKERS, _made))
