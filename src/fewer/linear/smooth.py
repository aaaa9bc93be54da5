"""A smooth loss as a function of coefficients and a constant; columns are centred where there is one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fewer.linear.losses import Loss
from fewer.linear.matrix import Matrix

__all__ = ["Problem"]

Vector = NDArray[np.float64]


class Problem:
    """Value and gradient of sum_i s_i loss(y_i, eta_i) in b (p + 1,), whose last entry is the constant."""

    def __init__(self, matrix: Matrix, y: Vector, loss: Loss, s: Vector, constant: bool) -> None:
        self.matrix, self.y, self.loss, self.s = matrix, y, loss, s
        p = matrix.shape[1]
        self.index = np.arange(p)
        self.means = matrix.tdot(s[:, None])[:, 0] / s.sum() if constant else np.zeros(p)
        self.constant = constant

    def eta(self, b: Vector) -> Vector:
        """Linear predictor."""
        on = np.flatnonzero(b[:-1])
        return np.asarray(self.matrix.dot(self.index[on], b[on]) - float(self.means @ b[:-1]) + b[-1])

    def value(self, b: Vector) -> float:
        """The loss, infinite where it is not a number."""
        with np.errstate(all="ignore"):
            found = self.loss.value(self.eta(b), self.y, self.s)
        return found if np.isfinite(found) else np.inf

    def gradient(self, b: Vector) -> tuple[float, Vector, Vector]:
        """Value, gradient (the last entry belongs to the constant), slope."""
        eta = self.eta(b)
        slope = self.loss.slope(eta, self.y, self.s)
        return self.loss.value(eta, self.y, self.s), self.pull(slope), slope

    def pull(self, slope: Vector) -> Vector:
        """Gradient that belongs to slopes (n,)."""
        total = slope.sum()
        return np.append(self.matrix.tdot(slope[:, None])[:, 0] - self.means * total, total if self.constant else 0.0)
