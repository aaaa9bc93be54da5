"""The names of things: arrays, evidence, units.

Every room speaks in these words. A weight is always seen as a matrix of shape (out, in): rows are output units,
columns are inputs; `adapt` does the transposing and unfolding that a framework's layer needs.
"""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = ["EVIDENCE", "UNITS", "Array", "Mask"]

#: Any array of the array API standard: numpy, torch, array-api-strict.
Array: TypeAlias = Any
#: A boolean array: True is kept.
Mask: TypeAlias = Any

#: What can be measured about one layer with weight (out, in), by the parameter names that ask for it.
EVIDENCE: dict[str, str] = {
    "weight": "(out, in) the weight itself; always there, never collected",
    "input_norm": "(in,) root mean square of each input over the calibration tokens, sqrt(mean x_j^2)",
    "input_gram": "(in, in) second moment of the inputs, mean x x^T",
    "input_mean": "(in,) mean of each input",
    "input_var": "(in,) variance of each input",
    "input_var_within": "(in,) variance of each input within a sequence, averaged over the sequences",
    "input_sample": "(tokens, in) some of the inputs themselves, evenly spread over the calibration tokens",
    "grad": "(out, in) mean over batches of the gradient of the loss, signed",
    "grad_abs": "(out, in) mean over batches of the absolute gradient",
    "grad_sq": "(out, in) mean over batches of the squared gradient: the empirical Fisher diagonal",
    "output_grad_norm": "(out,) root mean square over tokens of the gradient of the loss at each output",
    "block_similarity": "() mean cosine similarity between what enters and what leaves the layer's block",
    "hessian_grad": "(out, in) Hessian of the loss times its own gradient, H g: the gradient of g.g / 2",
    "synflow_grad": "(out, in) gradient of the summed outputs with respect to |weights|, all weights made positive, "
    "inputs all ones, no data",
    "reference_grad": "(out, in) as grad, on the reference data set instead of the calibration data",
    "reference_grad_sq": "(out, in) as grad_sq, on the reference data set",
    "lora_a": "(rank, in) the down factor A of an adapter W + B A, as it starts: drawn",
    "lora_b": "(out, rank) its up factor B, as it starts: zero",
    "lora_a_grad": "(rank, in) mean gradient of the loss with respect to A",
    "lora_b_grad": "(out, rank) mean gradient of the loss with respect to B",
    "pst_a": "(out, rank) left factor of the importance of PST, as it starts: drawn",
    "pst_b": "(rank, in) its right factor after one step of gradient descent from zero",
    "pst_rows": "(out,) its importance of rows after that step",
    "pst_columns": "(in,) its importance of columns after that step",
}

#: What can be kept or dropped.
UNITS: tuple[str, ...] = (
    "weight", "input", "row", "column", "block", "head", "neuron", "channel", "rank", "layer",
    "expert", "latent", "token", "feature", "example",
)  # fmt: skip
