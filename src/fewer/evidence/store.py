"""Evidence as measured: kept, stored, merged, summed over processes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewer.adapt.headers import read_header, read_json
from fewer.adapt.output import whole, write_extras
from fewer.adapt.shards import Shards
from fewer.arguments import checked
from fewer.evidence.accumulate import KINDS, Accumulator
from fewer.method import FewerError

__all__ = ["Measured", "Store", "all_reduce"]

_FORMAT = 1


class Measured(Mapping[str, Tensor]):
    """One layer's evidence, finalised once, when it is asked for, and how much of it there is (`count`)."""

    def __init__(self, sums: Mapping[str, Accumulator], layer: str) -> None:
        self._sums = sums
        self._layer = layer
        self._made: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._sums:
            raise KeyError(f"no {name} was measured for '{self._layer}'; there is: {', '.join(self._sums)}")
        if name not in self._made:
            self._made[name] = self._sums[name].finalise()
        return self._made[name]

    def count(self, name: str) -> int | None:
        """How many rows (tokens or samples) are in one kind of evidence; None if it needs none."""
        return None if self._sums[name].given else self._sums[name].count

    @property
    def tokens(self) -> int | None:
        """How many tokens reached the layer; None where only gradients were measured."""
        return next((held.count for held in self._sums.values() if held.source == "input"), None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sums)

    def __len__(self) -> int:
        return len(self._sums)


class Store(Mapping[str, Mapping[str, Tensor]]):
    """Evidence by layer, then by name: `store["model.layers.0.mlp.up_proj"]["input_norm"]`.

    `model` is the hash of the weights it was measured on, `data` the hashes of the batches, one a part merged,
    `compute` the number type of the passes.
    """

    def __init__(
        self, sums: Mapping[str, Mapping[str, Accumulator]], model: str, data: tuple[str, ...], compute: str = ""
    ) -> None:
        self.sums = {layer: dict(found) for layer, found in sums.items()}
        self.model = model
        self.data = data
        self.compute = compute

    def __getitem__(self, layer: str) -> Measured:
        return Measured(self.sums[layer], layer)

    def __iter__(self) -> Iterator[str]:
        return iter(self.sums)

    def __len__(self) -> int:
        return len(self.sums)

    @property
    def tokens(self) -> dict[str, int]:
        """How many tokens (rows) reached each layer; an expert may have seen none."""
        return {layer: self[layer].tokens or 0 for layer in self}

    def merge(self, other: Store) -> Store:
        """Both together, as if one pass had seen both data.

        Raises:
            FewerError: another model, other layers or names, or data that is already in it.
        """
        _check_adds_up(self.sums)
        if self.model != other.model:
            raise FewerError(f"evidence of model {other.model[:12]} cannot be merged into that of {self.model[:12]}")
        if self.compute != other.compute:
            raise FewerError(f"evidence computed in {other.compute} cannot be merged into that in {self.compute}")
        if set(self.data) & set(other.data):
            raise FewerError("both evidence stores hold the same data: it would be counted twice")
        if self._layout() != other._layout():
            raise FewerError("the two evidence stores hold different layers or kinds of evidence")
        sums = {
            layer: {name: mine.merge(other.sums[layer][name]) for name, mine in found.items()}
            for layer, found in self.sums.items()
        }
        return Store(sums, self.model, self.data + other.data, self.compute)

    def _layout(self) -> dict[str, dict[str, tuple[int, ...]]]:
        return {
            layer: {name: tuple(held.total.shape) for name, held in sorted(found.items())}
            for layer, found in self.sums.items()
        }

    def save(self, path: str | Path) -> Path:
        """Write the sums as safetensors and their counts and hashes as JSON, whole or not at all.

        Raises:
            FewerError: the directory exists and is not ours, or no space is left.
        """
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {}
        rows: list[dict[str, Any]] = []
        for layer, found in self.sums.items():
            for name, held in found.items():
                key = str(len(rows))
                tensors[key] = held.total.cpu().contiguous()
                rows.append({"layer": layer, "name": name, "count": held.count})
        about = {
            "format": _FORMAT, "model": self.model, "data": list(self.data), "compute": self.compute, "entries": rows,
        }  # fmt: skip
        with whole(Path(path), sum(value.nbytes for value in tensors.values())) as partial:
            save_file(tensors, str(partial / "evidence.safetensors"))
            write_extras(partial, {"evidence.json": json.dumps(about) + "\n"}, {"kind": "evidence"})
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, *, model: str | None = None, data: str | None = None) -> Store:
        """Read a store; `model` and `data` are the hashes that it must have been measured on, where given.

        Raises:
            FewerError: unreadable, or measured on something else.
        """
        place = Path(path)
        about = read_json(place / "evidence.json")
        header = Shards(place, read_header(place / "evidence.safetensors"))
        try:
            data_of = tuple(map(str, about["data"]))
            store = cls(_sums(about, header), str(about["model"]), data_of, str(about.get("compute", "")))
        except (KeyError, TypeError, ValueError):
            raise FewerError(f"'{place / 'evidence.json'}' is not evidence of format {_FORMAT}") from None
        if model is not None and model != store.model:
            raise FewerError(f"the evidence in '{place}' was measured on model {store.model[:12]}, not on {model[:12]}")
        if data is not None and (data,) != store.data:
            found = "+".join(part[:12] for part in store.data)
            raise FewerError(f"the evidence in '{place}' was measured on data {found}, not on {data[:12]}")
        return store


def _check_adds_up(sums: Mapping[str, Mapping[str, Accumulator]]) -> None:
    """Refuse to join what has to be measured on all the data at once."""
    lost = sorted({name for found in sums.values() for name, held in found.items() if not held.adds_up})
    if lost:
        raise FewerError(f"{', '.join(lost)} of two parts of the data do not add up: measure all the data at once")


def _sums(about: Mapping[str, Any], header: Shards) -> dict[str, dict[str, Accumulator]]:
    if about["format"] != _FORMAT or len(about["entries"]) != len(header.tensors):
        raise ValueError("format")
    sums: dict[str, dict[str, Accumulator]] = {}
    for place, row in enumerate(about["entries"]):
        count = row["count"]
        if type(count) is not int or count < 0:
            raise ValueError("count")
        held = KINDS[row["name"]](header.read(str(place)), count)
        sums.setdefault(str(row["layer"]), {})[row["name"]] = held
    return sums


@checked
def all_reduce(store: Store) -> Store:
    """The store of all processes together: every process calls it and gets the same result.

    Sums are gathered one at a time and merged in rank order, so all ranks end with the same bits. Without an
    initialised process group it is the store itself.

    Raises:
        FewerError: the processes measured different models, layers or overlapping data.
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return store
    _check_adds_up(store.sums)
    world = dist.get_world_size()
    heads: list[Any] = [None] * world
    counts = {layer: {name: held.count for name, held in found.items()} for layer, found in store.sums.items()}
    dist.all_gather_object(heads, (store.model, store.data, store._layout(), counts, store.compute))
    if any(head[0] != store.model or head[2] != store._layout() or head[4] != store.compute for head in heads):
        raise FewerError("the processes measured different models, layers, kinds of evidence or number types")
    data = tuple(part for head in heads for part in head[1])
    if len(set(data)) != len(data):
        raise FewerError("two processes measured the same data: give each its own part (Batches.part)")
    sums: dict[str, dict[str, Accumulator]] = {}
    for layer, found in store.sums.items():
        for name, held in found.items():
            shares = [torch.empty_like(held.total) for _ in range(world)]
            dist.all_gather(shares, held.total.contiguous())
            joined = type(held)(shares[0], heads[0][3][layer][name])
            for head, share in zip(heads[1:], shares[1:], strict=True):
                joined = joined.merge(type(held)(share, head[3][layer][name]))
            sums.setdefault(layer, {})[name] = joined
    return Store(sums, store.model, data, store.compute)
