"""Which stored tensors make up which parameter of the model.

Mostly names are equal. Some checkpoints leave out or add the prefix of the base model, some rename, and experts
stored one by one are parts of one fused parameter. transformers knows the renamings of every family; this module
asks it and keeps, for each parameter, where its parts come from, so that they can be read and written in place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from fewer.adapt.opened import tensors_of
from fewer.adapt.shards import Shards
from fewer.method import FewerError

__all__ = ["Part", "Parts", "Unstreamable", "parts_of"]


class Unstreamable(FewerError):
    """A checkpoint that cannot be gone through block by block; in memory it can."""


@dataclass(frozen=True, slots=True)
class Part:
    """One stored tensor and its place in the parameter: all of it, or rows `start:stop` of expert `expert`."""

    tensor: str
    expert: int | None = None
    start: int = 0
    stop: int = 0

    def of(self, parameter: Tensor) -> Tensor:
        """The view of the parameter that this part fills."""
        return parameter if self.expert is None else parameter[self.expert, self.start : self.stop]


@dataclass(frozen=True)
class Parts:
    """Reads parameters from shards."""

    shards: Shards
    of: Mapping[str, tuple[Part, ...]]

    def dtype(self, name: str) -> torch.dtype:
        """The stored type of a parameter; where its parts differ, the one that holds them all."""
        types = [self.shards.tensors[part.tensor].dtype for part in self.of[name]]
        return reduce(torch.promote_types, types)

    def read(self, name: str, shape: torch.Size) -> Tensor:
        """One parameter, put together."""
        parts = self.of[name]
        if len(parts) == 1 and parts[0].expert is None:
            return self.shards.read(parts[0].tensor)
        value = torch.empty(shape, dtype=self.dtype(name))
        for part in parts:
            part.of(value).copy_(self.shards.read(part.tensor))
        return value


def parts_of(module: nn.Module, shards: Shards) -> Parts:
    """Match a model's parameters and saved buffers with stored tensors.

    Raises:
        FewerError: a parameter without a tensor, a tensor of another shape, or a layout that cannot be read in parts.
    """
    wanted = tensors_of(module)
    tied = {name: value for name, value in module.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    first = {id(value): name for name, value in wanted.items()}
    found: dict[str, list[Part]] = {}
    plain, groups = _targets(module, shards, set(tied))
    for target, tensor in plain.items():
        if target in tied:
            found.setdefault(first[id(tied[target])], [Part(tensor)])
    for target, columns in groups.items():
        if target in wanted:
            found[target] = _experts(target, columns, shards)
    for name, value in wanted.items():
        _check(name, value, found.get(name), shards)
    return Parts(shards, {name: tuple(found[name]) for name in wanted})


def _targets(module: nn.Module, shards: Shards, names: set[str]) -> tuple[dict[str, str], dict[str, list[list[str]]]]:
    """Model names of stored tensors, and for fused parameters the stored names by source pattern."""
    if not hasattr(module, "config"):
        return {name: name for name in shards.tensors}, {}
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

    rules = get_model_conversion_mapping(module)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    plain: dict[str, str] = {}
    groups: dict[str, list[list[str]]] = {}
    state = module.state_dict()
    for tensor in sorted(shards.tensors, key=dot_natural_key):
        if tensor in names:
            plain[tensor] = tensor
            continue
        target, pattern = rename_source_key(tensor, renamings, converters, module.base_model_prefix, state)
        rule = next((rule for rule in converters if pattern is not None and pattern in rule.source_patterns), None)
        if rule is None:
            plain.setdefault(target, tensor)
        elif target in names:
            _check_rule(rule, tensor)
            columns = groups.setdefault(target, [[] for _ in rule.source_patterns])
            columns[rule.source_patterns.index(pattern)].append(tensor)
    return plain, groups


def _check_rule(rule: Any, tensor: str) -> None:
    steps = [(type(step).__name__, getattr(step, "dim", None)) for step in rule.operations]
    if steps not in ([("MergeModulelist", 0)], [("MergeModulelist", 0), ("Concatenate", 1)]):
        raise Unstreamable(f"tensor '{tensor}' is stored in a layout that cannot be streamed")


def _experts(target: str, columns: list[list[str]], shards: Shards) -> list[Part]:
    parts: list[Part] = []
    for names in zip(*columns, strict=False):
        start = 0
        for name in names:
            stop = start + shards.tensors[name].shape[0]
            parts.append(Part(name, len(parts) // len(columns), start, stop))
            start = stop
    if len({len(column) for column in columns}) != 1:
        raise FewerError(f"the experts of '{target}' are not complete in the checkpoint")
    return parts


def _check(name: str, value: Tensor, parts: list[Part] | None, shards: Shards) -> None:
    """Refuse a parameter that the stored tensors do not fill exactly."""
    if not parts:
        raise FewerError(f"'{shards.path}' has no tensor for parameter '{name}'")
    filled = 0
    for part in parts:
        shape = shards.tensors[part.tensor].shape
        want = tuple(value.shape) if part.expert is None else (part.stop - part.start, *value.shape[2:])
        filled += math.prod(shape)
        if shape != want:
            raise FewerError(f"'{shards.path}': tensor '{part.tensor}' has shape {shape}, the model needs {want}")
    if filled != value.numel():
        raise FewerError(f"'{shards.path}': the tensors of '{name}' do not fill its shape {tuple(value.shape)}")
