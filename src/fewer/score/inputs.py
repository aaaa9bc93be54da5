"""What each input of a layer is worth for one token, and where to cut: activation sparsity.

Scores take the inputs themselves (..., in) and answer in the same shape; a cut is a number per layer. Inputs worth no
more than the cut are left out, so that their column of the weight need not be read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from array_api_compat import array_namespace

from fewer.method import FewerError, Paper, method
from fewer.score.activation import wanda
from fewer.score.weights import magnitude, random
from fewer.types import Array, Mask

__all__ = ["cut", "gate_magnitude", "greedy_keeps", "input_magnitude", "keep_within", "random_inputs", "top_inputs",
           "wina"]  # fmt: skip

_TEAL = Paper("Training-Free Activation Sparsity in Large Language Models", 2024, "2408.14690")
_CATS = Paper("CATS: Contextually-Aware Thresholding for Sparsity in Large Language Models", 2024, "2404.08763")
_LAW = Paper("Sparsing Law: Towards Large Language Models with Greater Activation Sparsity", 2024, "2411.02335")
_Q_SPARSE = Paper("Q-Sparse: All Large Language Models can be Fully Sparsely-Activated", 2024, "2407.10969")


@method(
    "input-score",
    "wina",
    papers=[Paper("WINA: Weight Informed Neuron Activation for Accelerating Large Language Model Inference", 2025,
                  "2505.19427")],
    formula="|x_j| ||W_:j||_2",
    unit="input",
    note="the score of the paper for every layer; without its rotation that makes the columns of W orthogonal, for "
    "which a released code uses norm 1 in all but the first layer of a block's halves",
)  # fmt: skip
def wina(x: Array, column_norm: Array, /) -> Array:
    """Size of an input times the norm of the weights that it meets.

    Formula: |x_j| * ||W_:j||_2

    Args:
        x: (..., in) inputs.
        column_norm: (in,) Euclidean norm of each column of W (out, in).

    Returns:
        (..., in) worth of each input.

    >>> import numpy as np
    >>> wina(np.array([1.0, -2.0]), np.array([3.0, 1.0]))
    array([3., 2.])

    Reference: Chen et al. 2025, equation 4; read beside released code (mask on x * norm(W, dim=0)).
    """
    xp = array_namespace(x, column_norm)
    # Wanda with the roles exchanged: tokens stand for rows, the weights that an input meets for the data.
    return xp.reshape(wanda(xp.reshape(x, (-1, x.shape[-1])), column_norm), x.shape)


@method("input-score", "magnitude", papers=[_TEAL], formula="|x_j|", unit="input")
def input_magnitude(x: Array, /) -> Array:
    """Size of an input, as TEAL cuts it.

    Formula: |x_j|

    Args:
        x: (..., in) inputs.

    Returns:
        (..., in) worth of each input.

    >>> import numpy as np
    >>> input_magnitude(np.array([1.0, -2.0]))
    array([1., 2.])
    """
    return magnitude(x)


@method(
    "input-score",
    "cats",
    papers=[_CATS],
    formula="|a(g)_j| of the activated gate",
    unit="input",
    note="in gated blocks alone: the gate is cut and the layer after it skips what became zero",
)
def gate_magnitude(x: Array, /) -> Array:
    """Size of an activated gate: where it is cut, the product that it gates is zero.

    Formula: |a(g)_j|, g the gate's projection and a its activation.

    Args:
        x: (..., in) activated gates.

    Returns:
        (..., in) worth of each input of the layer after the gate.

    >>> import numpy as np
    >>> gate_magnitude(np.array([0.5, -2.0]))
    array([0.5, 2. ])

    Reference: Lee et al. 2024, section 4.1.
    """
    return magnitude(x)


@method("input-score", "random", formula="u_j ~ Uniform[0, 1), the same at every token", unit="input", status="ours")
def random_inputs(x: Array, /, *, seed: int = 0) -> Array:
    """Uniform numbers, one an input and the same for every token: the control of every comparison.

    Formula: u_j = hash(seed, j) / 2^24, as the score `random` of weights.

    Args:
        x: (..., in); only its shape, dtype and device are used.
        seed: any whole number.

    Returns:
        (..., in) numbers in [0, 1).

    >>> import numpy as np
    >>> bool(np.all(random_inputs(np.ones((2, 3)))[0] == random_inputs(np.zeros((2, 3)))[1]))
    True
    """
    xp = array_namespace(x)
    row = xp.reshape(x, (-1, x.shape[-1]))[:1, :]
    return xp.broadcast_to(random(row, seed=seed)[0, :], x.shape)


@method(
    "input-cut",
    "quantile",
    papers=[_TEAL, _CATS],
    formula="t = min { t' : share of worth <= t' is at least 1 - keep }",
    unit="layer",
    note="the empirical distribution itself; TEAL's code reads it off a histogram of 10,000 bins",
)
def cut(worth: Array, keep: float, /) -> float:
    """The cut below or at which a share of 1 - keep of the observed inputs lies.

    Formula: t = min { t' : F(t') >= 1 - keep }, F the empirical distribution of the worth; 0 for keep = 1.

    Args:
        worth: observed worth of inputs, any shape, at least one value.
        keep: share of inputs to keep, in (0, 1].

    Returns:
        The cut, at least 0.

    Raises:
        FewerError: no values, values that are not finite, or keep outside of (0, 1].

    >>> import numpy as np
    >>> cut(np.array([4.0, 1.0, 3.0, 2.0]), 0.5)
    2.0

    Reference: Lee et al. 2024 (CATS), section 4.1; Liu et al. 2024 (TEAL), section 4.
    """
    xp = array_namespace(worth)
    if not 0 < keep <= 1:
        raise FewerError(f"keep must be in (0, 1], not {keep}")
    flat = xp.sort(xp.reshape(worth, (-1,)))
    if flat.shape[0] == 0 or not bool(xp.all(xp.isfinite(flat))):
        raise FewerError("cannot place a cut: no inputs were observed, or some were not finite")
    dropped = math.ceil((1 - keep) * flat.shape[0] - 1e-9)
    return float(flat[dropped - 1]) if dropped else 0.0


@method("input-cut", "top-k", papers=[_Q_SPARSE], formula="the k largest |x_j| of each token", unit="input")
def top_inputs(worth: Array, count: int, /) -> Mask:
    """The `count` inputs of each token that are worth most; ties go to the lowest index.

    Args:
        worth: (..., in).
        count: inputs to keep in each row, between 0 and in.

    Returns:
        (..., in) bool.

    >>> import numpy as np
    >>> top_inputs(np.array([[1.0, 3.0, 3.0]]), 1)
    array([[False,  True, False]])
    """
    xp = array_namespace(worth)
    if not 0 <= count <= worth.shape[-1]:
        raise FewerError(f"cannot keep {count} of {worth.shape[-1]} inputs")
    order = xp.argsort(-worth, axis=-1, stable=True)
    rank = xp.argsort(order, axis=-1, stable=True)
    return rank < count


@method(
    "input-budget",
    "greedy",
    papers=[_TEAL],
    formula="raise the sparsity of the layer that hurts the block's output least, a step at a time",
    unit="layer",
    note="as the authors' code; the last step is shortened so that the stated sparsity is met exactly",
)
def greedy_keeps(
    sizes: Mapping[str, int], error: Callable[[Mapping[str, float]], float], keep: float, /, *, step: float = 0.05
) -> dict[str, float]:
    """How much to keep in each layer of a block, so that the block keeps `keep` of its weights' reads.

    Each round tries every layer with its sparsity raised by step * (largest size / its size), takes the one with the
    least error, and stops when sum(size * sparsity) / sum(size) reaches 1 - keep.

    Args:
        sizes: weights of each layer.
        error: damage to the block's output for given shares kept by layer.
        keep: share to keep over the block, in (0, 1].
        step: rise of the largest layer's sparsity in one round.

    Returns:
        Share to keep by layer; its weighted mean is `keep`.

    Raises:
        FewerError: keep or step out of range, or no layers.

    >>> greedy_keeps({"a": 1, "b": 1}, lambda keeps: 9 * (1 - keeps["a"]) + 1 - keeps["b"], 0.75)
    {'a': 1.0, 'b': 0.5}

    Reference: Liu et al. 2024, algorithm 1; read beside the authors' `greedyopt.py`.
    """
    if not (0 < keep <= 1 and 0 < step <= 1 and sizes):
        raise FewerError(f"greedy needs layers, keep and step in (0, 1], not keep={keep}, step={step}")
    total, largest = sum(sizes.values()), max(sizes.values())
    sparsity = dict.fromkeys(sizes, 0.0)
    left = (1 - keep) * total
    while left > 1e-9 * total:
        trials: dict[str, float] = {}
        for name, size in sizes.items():
            rise = min(step * largest / size, left / size, 1.0 - sparsity[name])
            if rise > 1e-12:
                tried = {**sparsity, name: sparsity[name] + rise}
                trials[name] = error({layer: 1.0 - share for layer, share in tried.items()})
        best = min(trials, key=lambda name: trials[name])
        rise = min(step * largest / sizes[best], left / sizes[best], 1.0 - sparsity[best])
        sparsity[best] += rise
        left -= rise * sizes[best]
    return {name: round(1.0 - share, 12) for name, share in sparsity.items()}


@method(
    "input-budget",
    "tolerance",
    papers=[_LAW],
    formula="the least keep with PPL(keep) <= (1 + tolerance) PPL(1), by bisection",
    unit="model",
    status="variant",
    note="the paper's PPL-p% bisects on a per-layer truncation error; here the share kept itself is bisected",
)
def keep_within(
    perplexity: Callable[[float], float], /, *, tolerance: float = 0.01, resolution: float = 1 / 64
) -> float:
    """The smallest share of inputs whose perplexity stays within a tolerance of the dense model's.

    Args:
        perplexity: perplexity at a share kept; `perplexity(1.0)` is the dense model's.
        tolerance: allowed relative rise (0.01 for PPL-1%).
        resolution: width of the bracket at which the search ends.

    Returns:
        A share that was measured to be within the tolerance (1.0 when no smaller one is).

    Raises:
        FewerError: a negative tolerance or a resolution outside of (0, 1).

    >>> keep_within(lambda keep: 2 - keep, tolerance=0.25)
    0.75

    Reference: Luo et al. 2024, section 3.1.
    """
    if tolerance < 0 or not 0 < resolution < 1:
        raise FewerError(f"tolerance must be at least 0 and resolution in (0, 1), not {tolerance} and {resolution}")
    limit = (1 + tolerance) * perplexity(1.0)
    low, high = 0.0, 1.0
    while high - low > resolution:
        middle = (low + high) / 2
        if not low < middle < high:
            break  # neighbours among the numbers: no bracket is narrower
        if perplexity(middle) <= limit:
            high = middle
        else:
            low = middle
    return high
