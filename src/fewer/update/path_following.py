"""Greedy path following: weight by weight, each new value cancels the error accumulated so far (GPFQ)."""

from __future__ import annotations

from typing import Literal

from array_api_compat import array_namespace

from fewer.method import FewerError, Paper, method
from fewer.types import Array, Mask
from fewer.update._gram import damped
from fewer.update.updated import Updated

__all__ = ["path_following"]


@method(
    "update",
    "path-following",
    papers=[Paper("Post-training Quantization for Neural Networks with Provable Guarantees", 2022, "2201.11113")],
    formula="q_t = Q(<X_t, u + w_t X_t> / ||X_t||^2);  u <- u + (w_t - q_t) X_t",
    unit="weight",
    note="equals the paper's loop over samples in float64; needs the Gram matrix only",
)
def path_following(
    weight: Array,
    mask: Mask,
    input_gram: Array,
    /,
    *,
    levels: int = 0,
    step: float = 0.0,
    threshold: float = 0.0,
    shrink: Literal["hard", "soft"] = "hard",
) -> Updated:
    """Give the weights new values one input at a time; each cancels what it can of the error made so far.

    Formula: with u = sum_{s<t} (w_s - q_s) X_s, z = <X_t, u + w_t X_t> / ||X_t||^2 = w_t + sum_{s<t} (w_s - q_s)
    G_st / G_tt;  q_t = 0 off the mask, else Q(z). Q is the identity, a threshold, or the nearest of `levels`
    symmetric multiples of `step`.

    Args:
        weight: (out, in).
        mask: (out, in) bool; off it the values are zero.
        input_gram: (in, in) second moment of the inputs.
        levels: quantisation levels on each side of zero; 0 does not quantise.
        step: distance of two levels; 0 takes max |w| / levels.
        threshold: values below it in size become zero.
        shrink: `hard` leaves the others; `soft` moves them towards zero by the threshold.

    Returns:
        Weights, the mask less what the thresholds and the level 0 dropped, and the step in the notes.

    Raises:
        FewerError: a knob out of range, or a Gram matrix that does not fit.

    Example:
        >>> import numpy as np
        >>> gram = np.array([[1.0, 0.5], [0.5, 1.0]])
        >>> path_following(np.array([[2.0, 1.0]]), np.array([[False, True]]), gram).weight
        array([[0., 2.]])

    Reference: Zhang, Zhou and Saab 2022, equations 4 and 5 (and the sparse variants of section 4).
    """
    xp = array_namespace(weight, mask, input_gram)
    if levels < 0 or step < 0 or threshold < 0:
        raise FewerError("path-following: levels, step and threshold must not be negative")
    if shrink not in ("hard", "soft"):
        raise FewerError(f"path-following: shrink is '{shrink}'; it is 'hard' or 'soft'")
    gram = damped(input_gram, 0.0, xp.result_type(xp.float32, input_gram.dtype)).matrix
    dense = xp.astype(weight, gram.dtype)
    if gram.shape[0] != dense.shape[1]:
        raise FewerError(f"Gram matrix of shape {tuple(gram.shape)} for a weight with {dense.shape[1]} inputs")
    if levels and not step and dense.shape[0] * dense.shape[1]:
        step = float(xp.max(xp.abs(dense))) / levels
    lost, made = xp.zeros_like(dense), xp.zeros_like(dense)
    keep = xp.astype(mask, dense.dtype)
    for column in range(dense.shape[1]):
        carried = lost[:, :column] @ gram[:column, column] / gram[column, column]
        value = _rounded(dense[:, column] + carried, levels, step, threshold, shrink) * keep[:, column]
        made[:, column] = value
        lost[:, column] = dense[:, column] - value
    made = xp.astype(made, weight.dtype)
    held = mask & (made != 0) if levels or threshold else mask
    return Updated(made, held, {"step": step} if levels else {})


def _rounded(value: Array, levels: int, step: float, threshold: float, shrink: str) -> Array:
    """The quantiser of one column."""
    xp = array_namespace(value)
    if threshold:
        size = xp.abs(value)
        soft = xp.sign(value) * (size - threshold)
        value = xp.where(size > threshold, value if shrink == "hard" else soft, xp.zeros_like(value))
    if levels and step:
        return step * xp.clip(xp.round(value / step), -levels, levels)
    return value
