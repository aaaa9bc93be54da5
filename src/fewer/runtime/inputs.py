"""Activation sparsity: calibrate where to cut each layer's inputs, and swap in layers that skip what is cut."""

from __future__ import annotations

import copy as copying
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewer.adapt.blocks import find_blocks
from fewer.method import FewerError, Paper, find, method, nearest
from fewer.runtime.gather import Sample, block_calls, run, sample_inputs, swapped
from fewer.runtime.linear import ActivationSparseLinear
from fewer.runtime.model import linear_layers, replace
from fewer.score.inputs import cut, greedy_keeps, keep_within, top_inputs

__all__ = ["GatedCut", "InputSparse", "TopKLinear", "keep_for_tolerance", "sparsify_inputs", "top_k", "train_top_k"]

SCORES = ("wina", "magnitude", "random", "cats")
_Q_SPARSE = Paper("Q-Sparse: All Large Language Models can be Fully Sparsely-Activated", 2024, "2407.10969")
_LARGE = 1e30


@dataclass(frozen=True, slots=True)
class InputSparse:
    """A model whose layers skip inputs, and what was decided for each: shares kept were measured on the data."""

    model: nn.Module
    score: str
    thresholds: Mapping[str, float]
    keeps: Mapping[str, float]
    observed: Mapping[str, float]
    sizes: Mapping[str, int]

    @property
    def keep(self) -> float:
        """Share of the weights read for a token, over the layers that were changed."""
        return sum(self.observed[n] * size for n, size in self.sizes.items()) / max(sum(self.sizes.values()), 1)


def sparsify_inputs(
    model: nn.Module,
    data: Iterable[Any],
    *,
    score: str = "wina",
    keep: float = 0.5,
    budget: Literal["uniform", "greedy"] = "uniform",
    step: float = 0.1,
    seed: int = 0,
    only: Sequence[str] = (),
    skip: Sequence[str] = ("*lm_head", "*embed*"),
    copy: bool = False,
) -> InputSparse:
    """Calibrate a cut for the inputs of every linear layer and swap in layers that skip what lies below.

    Formula: t = quantile of the worth at 1 - keep; then y = sum over j with worth_j > t of x_j W_:j.

    Args:
        model: a torch module on the CPU with float32 or bfloat16 linear layers.
        data: batches, each a mapping of named tensors or one tensor; read more than once by `greedy`.
        score: `wina`, `magnitude` (TEAL), `random` (a fixed random choice of inputs: the control), or `cats` (the
            gate of gated blocks is cut, and the layer after it skips what became zero).
        keep: share of inputs to keep: overall, weighted by the sizes of the layers.
        budget: the same share everywhere, or TEAL's greedy allocation inside each block.
        step: see `greedy_keeps`; smaller is slower and finer.
        seed: of `random`.
        only: names of the layers to change, with shell wildcards; empty for all.
        skip: names to leave out.
        copy: work on a copy; otherwise the model itself is changed.

    Returns:
        The model with thresholds, shares asked for and shares measured.

    Raises:
        FewerError: an unknown score or budget, keep outside of (0, 1], no layers, or data that does not reach one.
    """
    if score not in SCORES:
        raise FewerError(f"unknown input score '{score}'{nearest(score, SCORES)}; there are: {', '.join(SCORES)}")
    if budget not in ("uniform", "greedy") or not 0 < keep <= 1:
        raise FewerError(f"keep must be in (0, 1] and budget 'uniform' or 'greedy', not {keep} and '{budget}'")
    if copy:
        model = copying.deepcopy(model)
    batches = list(data)
    if score == "cats":
        return _gated(model, batches, keep, only, skip)
    chosen: dict[str, nn.Linear] = {}
    ids: set[int] = set()
    for _, _, name, layer in linear_layers(model):
        if _wanted(name, only, skip) and id(layer) not in ids and layer.weight.dtype in _DTYPES:
            ids.add(id(layer))
            chosen[name] = layer
    if not chosen:
        raise FewerError("no float32 or bfloat16 linear layer of the model was chosen: check `only` and `skip`")
    samples = sample_inputs(model, batches, chosen)
    worths = {name: _Worth(layer, score, samples[name], name, seed) for name, layer in chosen.items()}
    keeps = dict.fromkeys(chosen, keep)
    if budget == "greedy":
        keeps = _greedy(model, batches, chosen, worths, keep, step)
    return _install(model, chosen, worths, keeps, score)


_DTYPES = (torch.float32, torch.bfloat16)


def _wanted(name: str, only: Sequence[str], skip: Sequence[str]) -> bool:
    from fnmatch import fnmatchcase

    chosen = not only or any(fnmatchcase(name, pattern) for pattern in only)
    return chosen and not any(fnmatchcase(name, pattern) for pattern in skip)


class _Worth:
    """The worth of a layer's inputs: factors that multiply |x_j|, and the values seen in calibration, sorted."""

    def __init__(self, layer: nn.Linear, score: str, sample: Sample, name: str, seed: int) -> None:
        inputs = sample.values(name)
        self.norms: Tensor | None = None
        self.order: Tensor | None = None
        if score == "wina":
            self.norms = layer.weight.detach().to(torch.float32).norm(dim=0)
        elif score == "random":
            generator = torch.Generator().manual_seed(seed + inputs.shape[1])
            self.order = torch.randperm(inputs.shape[1], generator=generator)
        self.inputs = inputs
        values = inputs.abs() if self.norms is None else find("input-score", "wina").target(inputs, self.norms)
        self.sorted = values.reshape(-1).sort().values

    def factors(self, keep: float) -> Tensor | None:
        """Factors at a share kept; for `random` huge for the chosen inputs and zero for the others."""
        if self.order is None:
            return self.norms
        count = len(self.order) - math.ceil((1 - keep) * len(self.order) - 1e-9)
        return torch.where(self.order < count, _LARGE, 0.0)

    def cut(self, keep: float) -> float:
        """Threshold at a share kept: `score.inputs.cut` of values that were sorted once."""
        dropped = math.ceil((1 - keep) * len(self.sorted) - 1e-9)
        return float(self.sorted[dropped - 1]) if dropped and self.order is None else 0.0

    def mask(self, x: Tensor, keep: float, threshold: float) -> Tensor:
        factors = self.factors(keep)
        worth = x.to(torch.float32).abs()
        return (worth if factors is None else worth * factors) > threshold


def _greedy(
    model: nn.Module,
    batches: list[Any],
    layers: Mapping[str, nn.Linear],
    worths: Mapping[str, _Worth],
    keep: float,
    step: float,
) -> dict[str, float]:
    keeps = dict.fromkeys(layers, keep)
    for block in find_blocks(model):
        inside = {name: layer for name, layer in layers.items() if name.startswith(f"{block.name}.")}
        if not inside:
            continue
        calls = block_calls(model, batches[:1], block.module)

        def error(tried: Mapping[str, float], inside: Mapping[str, nn.Linear] = inside, calls: Any = calls) -> float:
            masks = {}
            for name, share in tried.items():
                share = max(share, 1e-6)
                masks[name] = _Masked(worths[name], share)
            with swapped(inside, masks):
                return float(calls.error())

        sizes = {name: layer.weight.numel() for name, layer in inside.items()}
        keeps.update(greedy_keeps(sizes, error, keep, step=step))
    return keeps


class _Masked:
    def __init__(self, worth: _Worth, keep: float) -> None:
        self.worth, self.keep, self.threshold = worth, keep, worth.cut(keep)

    def __call__(self, x: Tensor) -> Tensor:
        return self.worth.mask(x, self.keep, self.threshold)


def _install(
    model: nn.Module,
    layers: Mapping[str, nn.Linear],
    worths: Mapping[str, _Worth],
    keeps: Mapping[str, float],
    score: str,
) -> InputSparse:
    thresholds, observed, made = {}, {}, {}
    for name, layer in layers.items():
        share = max(keeps[name], 1e-6)
        worth = worths[name]
        thresholds[name] = worth.cut(share)
        observed[name] = float(worth.mask(worth.inputs, share, thresholds[name]).to(torch.float32).mean())
        sparse = ActivationSparseLinear(layer.weight, thresholds[name], norms=worth.factors(share), bias=layer.bias)
        sparse.observed = observed[name]
        made[id(layer)] = sparse
    replace(model, lambda layer: made.get(id(layer), layer))
    sizes = {name: layer.weight.numel() for name, layer in layers.items()}
    return InputSparse(model, score, thresholds, dict(keeps), observed, sizes)


class GatedCut(nn.Module):
    """The activation of a gate, with what is smaller than a threshold set to zero (CATS).

    Formula: CATS(x) = a(x) where |a(x)| >= t, else 0.
    """

    threshold: Tensor

    def __init__(self, activation: nn.Module, threshold: float) -> None:
        super().__init__()
        self.activation = activation
        self.register_buffer("threshold", torch.tensor(float(threshold), dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Cut the activated gate."""
        y = self.activation(x)
        return torch.where(y.abs() >= self.threshold.to(y.dtype), y, torch.zeros_like(y))


def _gated(model: nn.Module, batches: list[Any], keep: float, only: Sequence[str], skip: Sequence[str]) -> InputSparse:
    """CATS: in every module with a gate, an activation and a layer after them, cut the activated gate."""
    gates = {
        name: module
        for name, module in model.named_modules()
        if isinstance(getattr(module, "act_fn", None), nn.Module)
        and all(type(getattr(module, part, None)) is nn.Linear for part in ("gate_proj", "up_proj", "down_proj"))
        and _wanted(_inside(name, "down_proj"), only, skip)
    }
    if not gates:
        raise FewerError("score 'cats' needs gated blocks (gate_proj, up_proj, down_proj and act_fn); none was found")
    samples = {name: Sample() for name in gates}
    handles = [
        module.act_fn.register_forward_hook(lambda _m, _a, output, sample=samples[name]: sample.add(output))
        for name, module in gates.items()
    ]
    try:
        for batch in batches:
            run(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    thresholds, observed, sizes = {}, {}, {}
    for name, module in gates.items():
        seen = samples[name].values(_inside(name, "act_fn")).abs()
        layer = _inside(name, "down_proj")
        thresholds[layer] = cut(seen, keep)
        observed[layer] = float((seen >= thresholds[layer]).to(torch.float32).mean())
        sizes[layer] = module.down_proj.weight.numel()
        module.act_fn = GatedCut(module.act_fn, thresholds[layer])
        module.down_proj = ActivationSparseLinear(module.down_proj.weight, 0.0, bias=module.down_proj.bias)
        module.down_proj.observed = observed[layer]
    return InputSparse(model, "cats", thresholds, dict.fromkeys(thresholds, keep), observed, sizes)


def _inside(parent: str, child: str) -> str:
    return f"{parent}.{child}" if parent else child


class _TopK(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int) -> Tensor:
        return torch.where(top_inputs(x.abs(), count), x, torch.zeros_like(x))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0], None


@method(
    "input-cut",
    "top-k-straight-through",
    papers=[_Q_SPARSE],
    formula="forward x * TopK(|x|), backward the identity",
    unit="input",
    status="variant",
    note="renormalising by the L2 norm is an option of the layer, off by default, so that trained models can be tuned",
)
def top_k(x: Tensor, /, *, keep: float = 0.5) -> Tensor:
    """Keep the largest inputs of each token; gradients pass as if nothing had been cut.

    Formula: x * M with M the mask of the round(keep * in) largest |x_j|; dL/dx = dL/d(output).

    Args:
        x: (..., in).
        keep: share to keep, in (0, 1].

    Returns:
        (..., in) with the other inputs zero.

    Raises:
        FewerError: keep outside of (0, 1].

    >>> top_k(torch.tensor([1.0, -3.0, 2.0, 0.5]), keep=0.5).tolist()
    [0.0, -3.0, 2.0, 0.0]

    Reference: Wang et al. 2024, section 2.
    """
    if not 0 < keep <= 1:
        raise FewerError(f"keep must be in (0, 1], not {keep}")
    out: Tensor = _TopK.apply(x, max(1, round(keep * x.shape[-1])))  # type: ignore[no-untyped-call]
    return out


class TopKLinear(nn.Linear):
    """A trainable linear layer behind `top_k`, to tune a model under activation sparsity (Q-Sparse).

    Args:
        layer: the layer whose parameters are shared.
        keep: share of inputs to keep.
        norm: `none`, or `l2` to divide each token by the norm of what was kept, as Q-Sparse trains from scratch.
    """

    def __init__(self, layer: nn.Linear, keep: float, norm: Literal["none", "l2"] = "none") -> None:
        nn.Module.__init__(self)
        if norm not in ("none", "l2") or not 0 < keep <= 1:
            raise FewerError(f"keep must be in (0, 1] and norm 'none' or 'l2', not {keep} and '{norm}'")
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self.keep, self.norm = keep, norm

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to the largest inputs."""
        left = top_k(x, keep=self.keep)
        if self.norm == "l2":
            left = left / (left.norm(dim=-1, keepdim=True) + 1e-6)
        return functional.linear(left, self.weight, self.bias)


def train_top_k(
    model: nn.Module, *, keep: float = 0.5, only: Sequence[str] = (), skip: Sequence[str] = ("*lm_head", "*embed*")
) -> nn.Module:
    """Put `TopKLinear` in place of a model's linear layers, to tune it; the parameters stay the same objects."""
    if replace(model, lambda layer: TopKLinear(layer, keep), only=only, skip=skip) == 0:
        raise FewerError("no linear layer of the model was chosen: check `only` and `skip`")
    return model


def keep_for_tolerance(
    model: nn.Module, data: Iterable[Any], perplexity: Any, *, score: str = "wina", tolerance: float = 0.01
) -> float:
    """The smallest share of inputs at which a model's perplexity rises by no more than a tolerance (PPL-p%).

    Args:
        model: left unchanged.
        data: calibration batches.
        perplexity: function of a model.
        score: see `sparsify_inputs`.
        tolerance: allowed relative rise.
    """
    batches = list(data)

    def measure(keep: float) -> float:
        if keep >= 1.0:
            return float(perplexity(model))
        return float(perplexity(sparsify_inputs(model, batches, score=score, keep=keep, copy=True).model))

    return keep_within(measure, tolerance)
