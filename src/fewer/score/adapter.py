"""Scores read from small trained factors instead of gradients of the full matrix."""

from __future__ import annotations

from array_api_compat import array_namespace

from fewer.method import Paper, method
from fewer.types import Array

__all__ = ["lora_prune", "pst"]


@method(
    "score",
    "lora-prune",
    papers=[Paper("LoRAPrune: Pruning Meets Low-Rank Parameter-Efficient Fine-Tuning", 2023, "2305.18403")],
    formula="|(gB A + B gA - gB gA) (W + scaling B A)|^power",
    unit="weight",
    status="variant",
    note="power 2 is the paper's, 1 the authors' code's; they add up groups, normalise them and average over the steps "
    "of a fine-tuning, here the gradient is that of the first step (B zero), averaged over the data",
)
def lora_prune(
    weight: Array,
    lora_a: Array,
    lora_b: Array,
    lora_a_grad: Array,
    lora_b_grad: Array,
    /,
    *,
    scaling: float = 1.0,
    power: float = 2.0,
) -> Array:
    """First-order importance of the merged weight, its gradient estimated from an adapter's.

    Formula: G = gB A + B gA - gB gA, s_ij = |G_ij (W + scaling B A)_ij|^power

    Args:
        weight: (out, in) the frozen weight W.
        lora_a: (rank, in) down factor A.
        lora_b: (out, rank) up factor B.
        lora_a_grad: (rank, in) gradient of A.
        lora_b_grad: (out, rank) gradient of B.
        scaling: the adapter's alpha / rank.
        power: 2 as in the paper, 1 as in the code.

    Returns:
        (out, in) scores.

    >>> import numpy as np
    >>> one = np.array([[1.0]])
    >>> lora_prune(2 * one, one, one, 3 * one, one)
    array([[9.]])

    Reference: Zhang et al. 2023; compared with `compute_sensitivity` of the authors' code, which leaves the square
    out. A run of `prune` measures the factors where LoRA starts them, A drawn and B zero: gA is zero there, and the
    estimate is G A'A, the weight's gradient seen through 8 random directions. With factors from a fine-tuning the
    function is the paper's.
    """
    gradient = lora_b_grad @ lora_a + lora_b @ lora_a_grad - lora_b_grad @ lora_a_grad
    size = array_namespace(weight, lora_a).abs(gradient * (weight + scaling * (lora_b @ lora_a)))
    return size if power == 1.0 else size**power


@method(
    "score",
    "pst",
    papers=[Paper("Parameter-Efficient Sparsity for Large Language Models Fine-Tuning", 2022, "2205.11005")],
    formula="|W| + alpha1 A B + alpha2 (r 1' + 1 c')",
    unit="weight",
    status="variant",
    note="the paper trains the factors with the model; in a run of prune they have taken one step from their start",
)
def pst(
    weight: Array,
    pst_a: Array,
    pst_b: Array,
    pst_rows: Array,
    pst_columns: Array,
    /,
    *,
    alpha1: float = 1.0,
    alpha2: float = 1.0,
) -> Array:
    """Magnitude plus a learned importance of low rank and a learned importance of rows and columns.

    Formula: S = |W| + alpha1 A B + alpha2 (r 1' + 1 c'). The factors learn from data, through the mask, while the
    model is tuned; W is the weight with its low-rank update.

    Args:
        weight: (out, in).
        pst_a: (out, rank) left factor.
        pst_b: (rank, in) right factor.
        pst_rows: (out,) importance of rows.
        pst_columns: (in,) importance of columns.
        alpha1: weight of the low-rank part.
        alpha2: weight of rows and columns.

    Returns:
        (out, in) scores of both signs.

    >>> import numpy as np
    >>> pst(np.array([[-2.0, 0.0]]), np.ones((1, 1)), np.ones((1, 2)), np.zeros(1), np.array([0.0, 5.0]))
    array([[3., 6.]])

    Reference: Li et al. 2022; the form, the start and the straight-through gradient were compared with
    `SparseLinear` of the authors' code. A run of `prune` measures the factors after one step of size 1 from their
    start (A normal, the others zero) on the mean loss, in the dense model: alpha1 and alpha2 are then the length of
    that step, and with them large the score is movement, -A A'(G * W) and its row and column sums, alone.
    """
    size = array_namespace(weight, pst_a).abs(weight)
    return size + alpha1 * (pst_a @ pst_b) + alpha2 * (pst_rows[:, None] + pst_columns[None, :])
