"""Where the parameters of a model come from: their stored values, which the model's own number type may not hold.

A float32 tensor in a model that computes in bfloat16 is rounded when it is loaded. What was not changed is written
back as it was stored, not as it was rounded; what was changed is held exactly from then on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewer.adapt.naming import Parts
from fewer.adapt.shards import bytes_of
from fewer.events import followed
from fewer.method import FewerError

__all__ = ["Origin", "Origins", "digest_of", "retype"]


class Origin:
    """The stored values of one parameter."""

    def __init__(self, parts: Parts, name: str) -> None:
        self._parts = parts
        self._name = name
        self.dtype = parts.dtype(name)
        #: The parameter as it was last written, where the model's type cannot hold it.
        self.written: Tensor | None = None

    def exact(self, value: Tensor) -> Tensor:
        """The parameter in its stored type.

        Args:
            value: the parameter as the model holds it. Entries that are what the stored ones round to are given as
                they are stored; on the meta device nothing was changed.
        """
        if value.device.type == "meta":
            return self._parts.read(self._name, value.shape)
        if value.dtype == self.dtype:
            return value
        if self.holds(value.dtype):
            return value.to(self.dtype)
        stored = self._stored(value)
        same = stored.to(value.dtype) == value
        if bool(same.all()):
            return stored
        # Not a zero that a small number was rounded to: somebody has dropped the weight.
        return torch.where(same & (value != 0), stored, value.to(self.dtype))

    def holds(self, dtype: torch.dtype) -> bool:
        """Whether every stored value can be told from what it is rounded to in another type."""
        return torch.promote_types(dtype, self.dtype) == dtype

    def parts_of(self, value: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The stored tensors that make up the parameter, by name, each in its own type."""
        exact = self.exact(value.detach())
        for part in self._parts.of[self._name]:
            dtype = self._parts.shards.tensors[part.tensor].dtype
            yield part.tensor, part.of(exact).to(dtype).contiguous()

    def _stored(self, value: Tensor) -> Tensor:
        if self.written is not None:
            return self.written
        try:
            return self._parts.read(self._name, value.shape).to(value.device)
        except (OSError, FewerError) as error:
            raise FewerError(
                f"the stored values of '{self._name}' cannot be read any more ({error}): keep the directory of a "
                "checkpoint as long as its model is in use"
            ) from None


class Origins(Mapping[str, Origin]):
    """The origins of a model's parameters and saved buffers, by name."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._of = {name: Origin(parts, name) for name in parts.of}

    def __getitem__(self, name: str) -> Origin:
        """The origin of one parameter."""
        return self._of[name]

    def __iter__(self) -> Iterator[str]:
        """Names of parameters."""
        return iter(self._of)

    def __len__(self) -> int:
        """Number of parameters."""
        return len(self._of)

    def homes(self) -> dict[str, str]:
        """The parameter that each stored tensor belongs to."""
        return {part.tensor: name for name, parts in self._parts.of.items() for part in parts}

    def copy(self) -> Origins:
        """The same for a copy of the model."""
        made = Origins(self._parts)
        for name, origin in self._of.items():
            made[name].written = origin.written
        return made


def retype(folder: Path, origins: Origins, state: Mapping[str, Tensor]) -> None:
    """Put the tensors of a saved model into the types that its checkpoint has them in.

    Args:
        folder: where the model was just saved, in the types that it computes in.
        origins: of its parameters.
        state: its parameters and saved buffers by name.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    homes = origins.homes()
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(str(file), framework="pt") as opened:
            about, found = opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        for name in {homes[tensor] for tensor in found.keys() & homes.keys()}:
            if name in state:
                found |= {tensor: piece for tensor, piece in origins[name].parts_of(state[name]) if tensor in found}
        save_file(found, str(file), metadata=about)


def digest_of(tensors: Mapping[str, Tensor], origins: Mapping[str, Origin]) -> str:
    """SHA-256 over names, shapes, types and bytes of tensors, as they are stored."""
    digest = hashlib.sha256()
    for name, value in followed("hashing", sorted(tensors.items())):
        origin = origins.get(name)
        kind: Any = value.dtype if origin is None else origin.dtype
        digest.update(f"{name}:{kind}:{tuple(value.shape)}:".encode())
        pieces = [value] if origin is None else [piece for _, piece in origin.parts_of(value)]
        for piece in pieces:
            digest.update(bytes_of(piece.detach().cpu().contiguous()))
    return digest.hexdigest()
