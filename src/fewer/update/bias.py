"""What the dropped weights gave on average goes into the bias."""

from __future__ import annotations

from array_api_compat import array_namespace

from fewer.method import FewerError, Paper, method
from fewer.types import Array, Mask
from fewer.update.updated import Updated

__all__ = ["bias"]


@method(
    "update",
    "bias",
    papers=[Paper("Fluctuation-based Adaptive Structured Pruning for Large Language Models", 2023, "2312.11983")],
    formula="W' = M * W;  b' = b + ((1 - M) * W) mean(x)",
    unit="weight",
    writes=("weight", "bias"),
    note="the paper compensates dropped channels; for whole columns this is its rule, for single weights the same "
    "formula applies entry by entry",
)
def bias(weight: Array, mask: Mask, input_mean: Array, /) -> Updated:
    """Zero the dropped weights and add their mean contribution to the bias: the output keeps its mean.

    Formula: W' = M * W, b' = b + ((1 - M) * W) mean(x).

    Args:
        weight: (out, in).
        mask: (out, in) bool, True is kept.
        input_mean: (in,) mean of each input.

    Returns:
        Masked weight, the mask, and in `bias` the vector (out,) to add to the layer's bias.

    Raises:
        FewerError: as many means as inputs are needed.

    Example:
        >>> import numpy as np
        >>> made = bias(np.array([[1.0, 4.0]]), np.array([[True, False]]), np.array([0.5, 0.25]))
        >>> made.weight, made.bias
        (array([[1., 0.]]), array([1.]))

    Reference: An et al. 2023 (FLAP), equation 8.
    """
    xp = array_namespace(weight, mask, input_mean)
    if tuple(input_mean.shape) != (weight.shape[1],):
        raise FewerError(f"{tuple(input_mean.shape)} input means for a weight with {weight.shape[1]} inputs")
    zeros = xp.zeros_like(weight)
    lost = xp.where(mask, zeros, weight)
    add = lost @ xp.astype(input_mean, weight.dtype)
    return Updated(
        xp.where(mask, weight, zeros), mask, {"bias": "the bias takes over the mean output of what was dropped"}, add
    )
