"""Activation sparsity: calibrate where to cut each layer's inputs, and swap in layers that skip what is cut."""

from __future__ import annotations

import copy as copying
import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fewer.adapt.blocks import find_blocks
from fewer.adapt.computing import dtype_of
from fewer.arguments import checked
from fewer.compute import AUTO
from fewer.method import FewerError, find
from fewer.pattern import NM, parse
from fewer.runtime.gather import Sample, block_calls, run_watched, sample_inputs, swapped
from fewer.runtime.model import chosen, linear_layers, replace
from fewer.runtime.skipping import ActivationSparseLinear, Cut, GatedCut, largest
from fewer.score.inputs import cut, greedy_keeps, keep_within

__all__ = ["InputSparse", "gates_of", "install", "keep_for_tolerance", "shared_copy", "sparsify_inputs"]

_DTYPES = (torch.float32, torch.bfloat16)
#: Factor of an input that a fixed choice keeps: what is multiplied by it lies above any threshold.
_LARGE = 1e30


@dataclass(frozen=True, slots=True)
class InputSparse:
    """A model whose layers skip inputs, and what was decided for each: shares kept were measured on the data.

    `unseen` are layers that no token of the data reached, or zeros alone, with the tokens that each saw: they read
    every input.
    """

    model: nn.Module
    score: str
    cuts: Mapping[str, Cut]
    keeps: Mapping[str, float]
    observed: Mapping[str, float]
    sizes: Mapping[str, int]
    seed: int = 0
    unseen: Mapping[str, int] = field(default_factory=dict)

    @property
    def thresholds(self) -> dict[str, float]:
        """The threshold of every layer; 0 where the largest inputs are counted."""
        return {name: one.threshold for name, one in self.cuts.items()}

    @property
    def keep(self) -> float:
        """Share of the weights read for a token, over the layers that were changed."""
        return sum(self.observed[n] * size for n, size in self.sizes.items()) / max(sum(self.sizes.values()), 1)


@checked
def sparsify_inputs(
    model: nn.Module,
    data: Iterable[Any],
    *,
    score: str = "wina",
    keep: float | Mapping[str, float] = 0.5,
    budget: Literal["uniform", "greedy"] = "uniform",
    pattern: str = "unstructured",
    within: Literal["layer", "row"] = "layer",
    step: float = 0.1,
    seed: int = 0,
    only: Sequence[str] = (),
    skip: Sequence[str] = ("*lm_head", "*embed*"),
    copy: bool = False,
    compute: str | torch.dtype = AUTO,
) -> InputSparse:
    """Calibrate a cut for the inputs of every linear layer and swap in layers that skip what lies below.

    Formula: t = quantile of the worth at 1 - keep; then y = sum over j with worth_j > t of x_j W_:j.

    Args:
        model: a torch module on the CPU with float32 or bfloat16 linear layers.
        data: batches, each a mapping of named tensors or one tensor; read more than once by `greedy`.
        score: an input score: `wina`, `magnitude` (TEAL), `random` (a fixed random choice of inputs: the control),
            or `cats` (the gate of gated blocks is cut, and the layer after it skips what became zero).
        keep: share of inputs to keep: one for all layers, or by name (layers without one stay as they are); with
            `greedy` the share overall, weighted by the sizes of the layers.
        budget: shares as given, or TEAL's greedy allocation inside each block.
        pattern: `unstructured`, or N:M: the N largest of every M neighbours.
        within: `layer` (one threshold for all tokens) or `row` (the same number of inputs of every token: top-k).
        step: see `greedy_keeps`; smaller is slower and finer.
        seed: of `random`.
        only: names of the layers to change, with shell wildcards; empty for all.
        skip: names to leave out.
        copy: change a copy, which shares the weights that it does not transpose; otherwise the model itself.
        compute: number type of the passes: "auto" (the stored one, or float32 where the processor has no fast
            products of it), "float32", "bfloat16".

    Returns:
        The model with cuts, shares asked for and shares measured.

    Raises:
        FewerError: an unknown score or budget, keep outside of (0, 1], no layers, or data that does not reach one.
    """
    find("input-score", score)
    if budget not in ("uniform", "greedy") or within not in ("layer", "row"):
        raise FewerError(f"budget is 'uniform' or 'greedy' and within 'layer' or 'row', not '{budget}' and '{within}'")
    if not all(0 < share <= 1 for share in (keep.values() if isinstance(keep, Mapping) else [keep])):
        raise FewerError(f"keep must be in (0, 1], not {keep}")
    named = tuple(keep) if isinstance(keep, Mapping) else None
    if copy:
        model = shared_copy(model)
    batches, dtype = list(data), dtype_of(model, compute)
    if score == "cats":
        wanted = {name: gate for name, gate in gates_of(model).items() if _wanted(name, only, skip, named)}
        return _gated(model, wanted, batches, keep, dtype)
    layers = _layers(model, only, skip, named)
    samples, unseen = _seen(sample_inputs(model, batches, layers, dtype))
    layers = {name: layer for name, layer in layers.items() if name in samples}
    rule = _Rule(score, pattern, within, seed)
    worths = {name: _Worth(layer, name, rule, samples[name]) for name, layer in layers.items()}
    sizes = {name: layer.weight.numel() for name, layer in layers.items()}
    keeps = {name: keep[name] if isinstance(keep, Mapping) else keep for name in layers}
    if budget == "greedy":
        share = sum(keeps[name] * size for name, size in sizes.items()) / sum(sizes.values())
        keeps = _greedy(model, batches, layers, worths, share, step, dtype)
    cuts = {name: worth.cut(max(keeps[name], 1e-6)) for name, worth in worths.items()}
    observed = {name: float(worth.mask(worth.inputs, cuts[name]).float().mean()) for name, worth in worths.items()}
    install(model, score, cuts, observed, seed)
    return InputSparse(model, score, cuts, keeps, observed, sizes, seed, unseen)


def install(
    model: nn.Module, score: str, cuts: Mapping[str, Cut], observed: Mapping[str, float], seed: int = 0
) -> None:
    """Swap in the layers that skip inputs, for cuts that are known.

    Args:
        model: changed in place.
        score: decides the factors of the inputs.
        cuts: by layer name.
        observed: shares that stayed on the calibration data, by layer name.
        seed: of the score `random`.

    Raises:
        FewerError: a layer that the model does not have, or a cut that it cannot have.
    """
    layers = {name: layer for *_, name, layer in linear_layers(model)}
    gates = gates_of(model) if score == "cats" else layers
    for name in cuts:
        if name not in gates:
            raise FewerError(f"the model has no {'gate before the' if score == 'cats' else 'linear'} layer '{name}'")
    made: dict[int, nn.Module] = {}
    for name, one in cuts.items():
        layer = layers[name]
        if score == "cats":
            gates[name].act_fn = GatedCut(gates[name].act_fn, one.threshold)  # type: ignore[arg-type]
            sparse = ActivationSparseLinear(layer.weight, 0.0, bias=layer.bias)
        else:
            factors = _factors(layer, name, score, one, seed)
            kept = Cut() if score == "random" else one
            sparse = ActivationSparseLinear(layer.weight, kept, norms=factors, bias=layer.bias)
        sparse.observed = observed.get(name)
        made[id(layer)] = sparse
    replace(model, lambda layer: made.get(id(layer), layer))


def shared_copy(model: nn.Module) -> nn.Module:
    """A copy whose modules can be exchanged while parameters and buffers stay the same tensors."""
    tensors = [*model.parameters(), *model.buffers()]
    return copying.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def gates_of(model: nn.Module) -> dict[str, nn.Module]:
    """Gated blocks (`gate_proj`, `up_proj`, `down_proj`, `act_fn`) by the name of the layer after the gate."""
    return {
        f"{name}.down_proj".lstrip("."): module
        for name, module in model.named_modules()
        if isinstance(getattr(module, "act_fn", None), nn.Module)
        and all(type(getattr(module, part, None)) is nn.Linear for part in ("gate_proj", "up_proj", "down_proj"))
    }


def _wanted(name: str, only: Sequence[str], skip: Sequence[str], named: Sequence[str] | None = None) -> bool:
    return name in named if named is not None else chosen(name, only, skip)


def _layers(
    model: nn.Module, only: Sequence[str], skip: Sequence[str], named: Sequence[str] | None
) -> dict[str, nn.Linear]:
    """The layers to change by name, each once."""
    found: dict[str, nn.Linear] = {}
    for *_, name, layer in linear_layers(model):
        new = all(layer is not other for other in found.values())
        if _wanted(name, only, skip, named) and new and layer.weight.dtype in _DTYPES:
            found[name] = layer
    if not found:
        raise FewerError("no float32 or bfloat16 linear layer of the model was chosen: check `only` and `skip`")
    return found


@dataclass(frozen=True, slots=True)
class _Rule:
    score: str
    pattern: str
    within: str
    seed: int

    def count(self, inputs: int, keep: float) -> tuple[int, int]:
        """How many of how many neighbours stay; zeros where a threshold decides."""
        pattern = parse(self.pattern)
        if isinstance(pattern, NM):
            return pattern.n, pattern.m
        return (max(1, round(keep * inputs)), 0) if self.within == "row" or self.score == "random" else (0, 0)


def _factors(layer: nn.Linear, name: str, score: str, one: Cut, seed: int) -> Tensor | None:
    """What |x_j| is multiplied by: the score of inputs that are all one; a fixed choice is huge or zero."""
    ones = torch.ones(1, layer.in_features)
    entry = find("input-score", score)
    if "column_norm" in entry.needs:
        norms: Tensor = entry.target(ones, layer.weight.detach().to(torch.float32).norm(dim=0))[0]
        return norms
    if score == "random":
        drawn = entry.target(ones, seed=zlib.crc32(name.encode()) ^ seed)[0]
        return torch.where(largest(drawn, one.count, one.group), _LARGE, 0.0)
    return None


class _Worth:
    """The worth of a layer's inputs: the rule that cuts them, and the values seen in calibration, sorted."""

    def __init__(self, layer: nn.Linear, name: str, rule: _Rule, sample: Sample) -> None:
        self.layer, self.name, self.rule = layer, name, rule
        self.inputs = sample.values(name)
        self.norms = _factors(layer, name, rule.score, Cut(), rule.seed) if rule.score != "random" else None
        worth = self.inputs.abs() if self.norms is None else self.inputs.abs() * self.norms
        self.sorted = worth.reshape(-1).sort().values

    def cut(self, keep: float) -> Cut:
        """The cut at a share kept."""
        count, group = self.rule.count(self.inputs.shape[1], keep)
        if count:
            return Cut(0.0, count, group)
        # `score.inputs.cut` of values that were sorted once, because greedy allocation asks hundreds of times.
        dropped = math.ceil((1 - keep) * len(self.sorted) - 1e-9)
        return Cut(float(self.sorted[dropped - 1]) if dropped else 0.0)

    def mask(self, x: Tensor, one: Cut) -> Tensor:
        """Which inputs stay."""
        worth = x.to(torch.float32).abs()
        if self.rule.score == "random":
            factors = _factors(self.layer, self.name, "random", one, self.rule.seed)
            assert factors is not None
            return (factors > 0).expand(x.shape)
        worth = worth if self.norms is None else worth * self.norms
        return largest(worth, one.count, one.group) if one.count else worth > one.threshold


class _Masked:
    def __init__(self, worth: _Worth, keep: float) -> None:
        self.worth, self.cut = worth, worth.cut(keep)

    def __call__(self, x: Tensor) -> Tensor:
        return self.worth.mask(x, self.cut)


def _greedy(
    model: nn.Module,
    batches: list[Any],
    layers: Mapping[str, nn.Linear],
    worths: Mapping[str, _Worth],
    keep: float,
    step: float,
    dtype: torch.dtype,
) -> dict[str, float]:
    keeps = dict.fromkeys(layers, keep)
    for block in find_blocks(model):
        inside = {name: layer for name, layer in layers.items() if name.startswith(f"{block.name}.")}
        if not inside:
            continue
        calls = block_calls(model, batches[:1], block.module, dtype)

        def error(tried: Mapping[str, float], inside: Mapping[str, nn.Linear] = inside, calls: Any = calls) -> float:
            masks = {name: _Masked(worths[name], max(share, 1e-6)) for name, share in tried.items()}
            with swapped(inside, masks):
                return float(calls.error())

        sizes = {name: layer.weight.numel() for name, layer in inside.items()}
        keeps.update(greedy_keeps(sizes, error, keep, step=step))
    return keeps


def _gated(
    model: nn.Module,
    gates: Mapping[str, nn.Module],
    batches: list[Any],
    keep: float | Mapping[str, float],
    dtype: torch.dtype,
) -> InputSparse:
    """CATS: in every module with a gate, an activation and a layer after them, cut the activated gate."""
    if not gates:
        raise FewerError("score 'cats' needs gated blocks (gate_proj, up_proj, down_proj and act_fn); none was found")
    samples = {name: Sample() for name in gates}
    real: list[Tensor | None] = [None]
    handles = [
        gate.act_fn.register_forward_hook(lambda _m, _a, output, sample=samples[name]: sample.add(output, real[0]))  # type: ignore[union-attr, operator]
        for name, gate in gates.items()
    ]
    run_watched(model, batches, handles, real, dtype)
    samples, unseen = _seen(samples)
    gates = {name: gate for name, gate in gates.items() if name in samples}
    keeps = {name: keep[name] if isinstance(keep, Mapping) else keep for name in gates}
    worth = find("input-score", "cats").target
    seen = {name: worth(samples[name].values(name)) for name in gates}
    cuts = {name: Cut(cut(values, keeps[name])) for name, values in seen.items()}
    observed = {name: float((values >= cuts[name].threshold).float().mean()) for name, values in seen.items()}
    sizes = {name: gate.down_proj.weight.numel() for name, gate in gates.items()}  # type: ignore[union-attr, operator]
    install(model, "cats", cuts, observed)
    return InputSparse(model, "cats", cuts, keeps, observed, sizes, unseen=unseen)


def _seen(samples: dict[str, Sample]) -> tuple[dict[str, Sample], dict[str, int]]:
    """The samples from which a cut can be taken, and how many tokens the other layers saw."""
    found = {name: sample for name, sample in samples.items() if sample.tells}
    if not found:
        raise FewerError(f"no token of the data reached a layer to be cut, first '{next(iter(samples))}'")
    return found, {name: sample.seen for name, sample in samples.items() if name not in found}


@checked
def keep_for_tolerance(
    model: nn.Module,
    data: Iterable[Any],
    perplexity: Callable[[nn.Module], float],
    *,
    tolerance: float = 0.01,
    resolution: float = 1 / 64,
    names: Sequence[str] = (),
    **options: Any,
) -> float:
    """The smallest share of inputs at which a model's perplexity rises by no more than a tolerance (PPL-p%).

    Args:
        model: left unchanged.
        data: calibration batches.
        perplexity: function of a model.
        tolerance: allowed relative rise.
        resolution: width of the bracket at which the search ends.
        names: layers to cut; empty for those that `only` and `skip` leave.
        options: of `sparsify_inputs`.
    """
    batches = list(data)

    def measure(keep: float) -> float:
        if keep >= 1.0:
            return float(perplexity(model))
        shares: float | dict[str, float] = dict.fromkeys(names, keep) if names else keep
        return float(perplexity(sparsify_inputs(model, batches, keep=shares, copy=True, **options).model))

    return keep_within(measure, tolerance=tolerance, resolution=resolution)
