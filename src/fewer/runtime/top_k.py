"""Top-k inputs with a gradient, so that a model can be tuned under activation sparsity (Q-Sparse)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewer.arguments import checked
from fewer.method import FewerError, Paper, method
from fewer.runtime.model import replace
from fewer.runtime.skipping import largest

__all__ = ["TopKLinear", "top_k", "train_top_k"]

_Q_SPARSE = Paper("Q-Sparse: All Large Language Models can be Fully Sparsely-Activated", 2024, "2407.10969")


class _TopK(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int) -> Tensor:
        return torch.where(largest(x.abs(), count), x, torch.zeros_like(x))

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
@checked
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
    if not 0 < keep <= 1 or not x.ndim:
        raise FewerError(f"keep must be in (0, 1] and x have a dimension, not {keep} and shape {tuple(x.shape)}")
    return _cut(x, keep)


def _cut(x: Tensor, keep: float) -> Tensor:
    out: Tensor = _TopK.apply(x, max(1, round(keep * x.shape[-1])))  # type: ignore[no-untyped-call]
    return out


class TopKLinear(nn.Linear):
    """A trainable linear layer behind `top_k`, to tune a model under activation sparsity (Q-Sparse).

    Args:
        layer: the layer whose parameters are shared.
        keep: share of inputs to keep.
        norm: `none`, or `l2` to divide each token by the norm of what was kept, as Q-Sparse trains from scratch.
    """

    @checked
    def __init__(self, layer: nn.Linear, keep: float, norm: Literal["none", "l2"] = "none") -> None:
        nn.Module.__init__(self)
        if not 0 < keep <= 1:
            raise FewerError(f"keep must be in (0, 1], not {keep}")
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self.keep, self.norm = keep, norm

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to the largest inputs."""
        left = _cut(x, self.keep)
        if self.norm == "l2":
            left = left / (left.norm(dim=-1, keepdim=True) + 1e-6)
        return functional.linear(left, self.weight, self.bias)


@checked
def train_top_k(
    model: nn.Module, *, keep: float = 0.5, only: Sequence[str] = (), skip: Sequence[str] = ("*lm_head", "*embed*")
) -> nn.Module:
    """Put `TopKLinear` in place of a model's linear layers, to tune it; the parameters stay the same objects."""
    if replace(model, lambda layer: TopKLinear(layer, keep), only=only, skip=skip) == 0:
        raise FewerError("no linear layer of the model was chosen: check `only` and `skip`")
    return model
