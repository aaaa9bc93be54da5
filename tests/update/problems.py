"""Small layers with correlated inputs, as numpy float64."""

import numpy as np


def layer(rows=5, columns=12, tokens=60, seed=0):
    """(weight, inputs, gram); inputs are correlated and of unequal size."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((tokens, columns)) @ (np.eye(columns) + 0.4 * rng.standard_normal((columns, columns)))
    inputs = inputs * np.linspace(0.5, 2.0, columns)
    return rng.standard_normal((rows, columns)), inputs, inputs.T @ inputs / tokens


def random_mask(shape, keep=0.5, seed=1):
    return np.random.default_rng(seed).random(shape) < keep


def error(weight, original, gram):
    step = weight - original
    return float(np.einsum("ij,jk,ik->", step, gram, step))


def by_magnitude(weight, share):
    """Literal: drop the floor(size * share) smallest."""
    order = np.argsort(np.abs(weight), axis=None, kind="stable")
    mask = np.ones(weight.size, dtype=bool)
    mask[order[: int(weight.size * share)]] = False
    return mask.reshape(weight.shape)
