"""Groups of columns for any loss: all of a group enter or none, for one linear predictor a row or several.

Proximal Newton on the groups in use; the quadratic problem inside is solved on its Gram matrix by accelerated proximal
gradient with one step length a group. Every solution is certified like those of the lasso.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.arguments import Count, NotNegative, Share, checked
from fewer.linear.arrays import Grid, Ratio
from fewer.linear.blocks import Blocks, blocks, positions
from fewer.linear.coupled import Multinomial, Ordinal
from fewer.linear.ends import end_of, unit_of
from fewer.linear.joint import can_join, joint_path
from fewer.linear.losses import Huber, Loss, Quantile, Squared
from fewer.linear.matrix import Matrix, as_matrix, compact, constant_columns, refuse_sums
from fewer.linear.newton import _Fit, _Model
from fewer.linear.paths import _grid_given, _weights
from fewer.linear.quadratic import coupling, joint, quadratic, times
from fewer.linear.result import Path
from fewer.method import FewerError

__all__ = ["group_path"]

Vector = NDArray[np.float64]
Index = NDArray[np.int64]


@checked
def group_path(
    X: Any,
    y: Any,
    loss: Loss,
    groups: Any,
    /,
    *,
    lams: Any = None,
    count: Grid = 100,
    ratio: Ratio | None = None,
    mix: Share = 1.0,
    share: Share = 0.0,
    factors: Any = None,
    weights: Any = None,
    intercept: bool = True,
    standardize: bool = False,
    tol: NotNegative = 1e-6,
    max_iter: Count = 1000,
) -> Path:
    """Solutions along decreasing penalties on groups of columns, for any loss, every one certified.

    minimise 1/n sum_i s_i loss(y_i, b0 + x_i b)
             + lam sum_g f_g (mix ((1 - share) sqrt(p_g) |b_g|_2 + share |b_g|_1) + (1 - mix)/2 |b_g|_2^2)

    For a loss with K linear predictors b_g is (p_g, K): a group is in for all of them or for none.

    Args:
        groups: (p,) group number of each column; None puts every column into a group of its own.
        mix: share of the norms against the ridge part, in (0, 1].
        share: share of single columns within the norms (0 is the group lasso, 1 the lasso).
        factors: (p,) in [0, inf], equal inside a group.
        standardize: price columns as if each had unit variance.
        max_iter: Newton steps for one penalty.

    The other arguments are those of `glm_path`.

    Raises:
        FewerError: one line for a wrong argument.

    >>> import numpy as np
    >>> X = np.eye(4); y = np.array([4.0, 4.0, 1.0, 0.0])
    >>> group_path(X, y, Squared(), [0, 0, 1, 1], lams=[0.5], intercept=False)[0].coef.round(4)
    array([2., 2., 0., 0.])

    Reference: Yuan and Lin (2006), equation 2.1; Simon et al. (2013), equation 3; Meier, van de Geer and Buehlmann
    (2008) for other losses. Objectives are compared with a plain proximal gradient and with scikit-learn in the tests.
    """
    matrix = compact(X)
    n, p = matrix.shape
    target, s = loss.check(y), _weights(weights, n)
    if len(target) != n:
        raise FewerError(f"y has {len(target)} rows; X has {n}")
    refuse_sums(matrix.tdot(s[:, None]))
    members = positions(groups, p)
    shape = blocks(members, factors, mix, share)
    order = np.concatenate([np.asarray(m) for m in members]) if p else np.arange(0)
    X, scale = _laid_out(matrix.X, order, s, standardize)  # type: ignore[attr-defined]
    varies = scale > 0
    if intercept or not loss.intercept:  # a constant, cut points or relative risks take up what constant columns say
        varies &= ~constant_columns(matrix)[order]
    flat = (np.add.reduceat(varies.astype(float), shape.starts) == 0) & ~shape.free
    shape = Blocks(shape.sizes, shape.one, np.where(flat, np.inf, shape.two), shape.ridge)
    ratio = (1e-3 if n > p else 1e-2) if ratio is None else ratio
    given, matrix = _grid_given(lams), as_matrix(X)
    if can_join(matrix, loss):
        path = joint_path(matrix, target, loss, s, shape, intercept, given, count, ratio, tol, max_iter, False)
    else:
        model = _Grouped(matrix, target, loss, s, shape, intercept and loss.intercept)
        path = _follow(model, given, count, ratio, tol, max_iter)
    place = np.argsort(order[path.columns])
    values = path.values / np.where(scale > 0, scale, 1.0)[path.columns].reshape(-1, *([1] * (path.values.ndim - 1)))
    return _replaced(path, order[path.columns][place], values[place])


def _laid_out(X: Any, order: Index, s: Vector, standardize: bool) -> tuple[Any, Vector]:
    """Columns group by group, of unit variance where that is asked for, and their spreads (0 for constant ones)."""
    if not np.array_equal(order, np.arange(len(order))):
        X = X[:, order]
    if not standardize:
        return X, np.ones(len(order))
    matrix = as_matrix(X)
    means = matrix.tdot(s[:, None])[:, 0] / s.sum()
    square = matrix.squares(s) / s.sum()
    spread = np.sqrt(np.where(square - means**2 > 1e-13 * means**2, np.maximum(square - means**2, 0.0), 0.0))
    whole = np.where(spread > 0, spread, 1.0)
    return (X.multiply(1.0 / whole).tocsc() if hasattr(X, "multiply") else X / whole), spread


def _replaced(path: Path, columns: Index, values: Vector) -> Path:
    return replace(path, columns=columns, values=np.ascontiguousarray(values))


class _Grouped(_Model):
    """`newton._Model` with prices on groups; `terms` are `Blocks`."""

    terms: Any

    def __init__(self, matrix: Matrix, y: Vector, loss: Loss, s: Vector, shape: Blocks, constant: bool) -> None:
        super().__init__(matrix, y, loss, s, shape, constant)  # type: ignore[arg-type]
        #: Steps from a quadratic above the loss are short; momentum makes up for that.
        self.cautious = isinstance(loss, Huber | Quantile) or (self.K > 1 and not isinstance(loss, Multinomial))
        self.fixed: tuple[Index, Vector] | None = None

    def price(self, b: Vector, lam: float) -> float:
        return float(self.terms.price(b, lam))

    def columns_of(self, groups: Index) -> Index:
        """Positions of the columns of some groups."""
        use = np.zeros(len(self.terms.sizes), dtype=bool)
        use[groups] = True
        return np.flatnonzero(np.repeat(use, self.terms.sizes))

    def gap(self, fit: _Fit, g: Vector, lam: float, work: Index | None = None) -> tuple[float, float, float]:
        """As in the parent; `work` counts groups."""
        shape: Blocks = self.terms if work is None else self.terms.take(work)
        if lam == 0:  # nothing has a price: what is left of the gradient counts as it does for free groups
            shape = Blocks(shape.sizes, 0 * shape.one, np.where(np.isinf(shape.two), np.inf, 0.0), 0 * shape.ridge)
        b = fit.b if work is None else fit.b[self.columns_of(work)]
        scale, slope = shape.scale(g, lam), self.slope(fit)
        bound = fit.loss.conjugate(scale * self.flat(slope), self.y, self.s)
        if bound is None:
            touch = float(np.sum(slope * fit.eta)) - fit.value
            bound = scale * touch - (1 - scale) * self.floor
        slack = float(np.abs(slope.sum(axis=0) @ fit.b0))
        free = shape.free
        if free.any():
            rows = np.repeat(free, shape.sizes)
            slack += float(
                np.sum(np.abs(g[rows]) * (np.abs(b[rows]) + np.abs(g[rows]) / self._bend_of(fit, work, rows)))
            )
        value = fit.value + self.price(fit.b, lam) + bound + shape.conjugate(scale * g, lam) + slack
        return max(value, 0.0), float(shape.distances(b, g, lam).max(initial=0.0)), scale

    def _bend_of(self, fit: _Fit, work: Index | None, rows: NDArray[np.bool_]) -> Vector:
        """Curvature along some columns."""
        names = np.flatnonzero(rows) if work is None else self.columns_of(work)[rows]
        X = self.matrix.columns(names)
        X = X.toarray() if hasattr(X, "toarray") else X
        bend = fit.loss.bend(self.flat(fit.eta), self.y, self.s).reshape(len(self.s), self.K)
        h = np.square(X, dtype=np.float64).T @ bend
        return np.where(h > 0, h, np.inf)

    def curvature(self, fit: _Fit, columns: Index) -> tuple[Vector, Vector, Vector]:
        """Quadratic model with the constants left out: H (K k, K k), predictors outermost; and what gives them back.

        Constants move by -(pull @ change) - back @ sum of slopes, pull (K, K k) and back (K, K).
        """
        X, eta = self.gather(columns), self.flat(fit.eta)
        moving = self.constant or isinstance(fit.loss, Ordinal)
        if self.K > 1:
            return joint(X, coupling(fit.loss, eta, self.y, self.s, self.K), moving)
        w = fit.loss.bend(eta, self.y, self.s)
        if isinstance(fit.loss, Huber | Quantile):
            # Where such a loss is straight its curvature is zero; a little of the quadratic above it keeps steps sane.
            top = self.s / getattr(fit.loss, "smooth", 1.0)
            w = np.where(w >= top * (1 - 1e-9), top, 0.03 * w)
        means = (w @ X) / w.sum() if moving else np.zeros(X.shape[1])
        back = np.array([[1.0 / w.sum() if moving else 0.0]])
        whole = getattr(fit.loss, "gram", None)
        if whole is not None:
            return np.asarray(whole(eta, self.y, self.s, X)), means[None], back
        if isinstance(fit.loss, Squared) and self.fixed is not None and np.array_equal(self.fixed[0], columns):
            return self.fixed[1], means[None], back
        Z = (X - means) * np.sqrt(w)[:, None]
        self.fixed = (columns, Z.T @ Z)
        return self.fixed[1], means[None], back

    def move(self, fit: _Fit, g: Vector, work: Index, lam: float) -> None:
        """One proximal Newton step on the groups in use, with a line search on the true objective."""
        columns, near = self.columns_of(work), 1e-6 if self.cautious else 1e-12
        H, pull, back = self.curvature(fit, columns)
        b, total = fit.b[columns], self.slope(fit).sum(axis=0)
        c = g + (pull.T @ total).reshape(self.K, -1).T + times(H, b)
        change = quadratic(H, c, b, self.terms.take(work), lam, near) - b
        self.leap(fit, columns, lam, change, -pull @ change.T.ravel() - back @ total)

    def minimise(self, fit: _Fit, lam: float, goal: float, most: int, work: Index) -> tuple[Vector, float, float, int]:
        """Solve at lam, groups joining as they are found missing: (gradient, gap, KKT distance, Newton steps)."""
        rounds, last = 0, np.inf
        self.settle(fit)
        while True:
            g = self.gradient(fit)
            gap, kkt, _ = self.gap(fit, g, lam)
            away = self.terms.distances(fit.b, g, lam)
            away[work] = 0.0
            extra = np.flatnonzero(away > 1e-10 * lam * np.maximum(self.terms.one, self.terms.two))
            if gap <= goal or rounds >= most or (len(extra) == 0 and not gap < 0.9 * last):
                return g, gap, kkt, rounds
            work, last = np.union1d(work, extra[np.argsort(-away[extra])[: max(32, 2 * len(work))]]), gap
            if len(work) == 0:
                return g, gap, kkt, rounds
            rounds += self.descend(fit, lam, goal, most - rounds, work)

    def descend(self, fit: _Fit, lam: float, goal: float, most: int, work: Index) -> int:
        """Newton steps on some groups until their own gap is small; with momentum where steps are cautious."""
        columns, t, stall, was = self.columns_of(work), 1.0, 0, _copy(fit)
        for done in range(most):
            local = self.gradient(fit, columns)
            if self.gap(fit, local, lam, work)[0] <= 0.5 * goal or stall > 6:
                self.settle(fit)
                return done
            before = fit.value + self.price(fit.b, lam)
            ahead = _ahead(fit, was, t) if self.cautious and t > 1 and stall == 0 else None
            was = _copy(fit)
            if ahead is not None:
                ahead.value = self.value(ahead.loss, ahead.eta)
                self.move(ahead, self.gradient(ahead, columns), work, lam)
            if ahead is not None and ahead.value + self.price(ahead.b, lam) <= before:
                fit.b, fit.b0, fit.eta, fit.value = ahead.b, ahead.b0, ahead.eta, ahead.value
                t = 0.5 * (1 + (1 + 4 * t * t) ** 0.5)
            else:
                self.move(fit, local, work, lam)
                t = 0.5 * (1 + 5**0.5)
            if not self.cautious:
                self.settle(fit)
            stall = stall + 1 if before - fit.value - self.price(fit.b, lam) <= 1e-14 * abs(before) else 0
        self.settle(fit)
        return most


def _copy(fit: _Fit) -> _Fit:
    return _Fit(fit.loss, fit.b, fit.b0, fit.eta, fit.value)


def _ahead(fit: _Fit, was: _Fit, t: float) -> _Fit:
    """The point that momentum looks from."""
    beta = (t - 1) / (0.5 * (1 + (1 + 4 * t * t) ** 0.5))
    new = [now + beta * (now - old) for now, old in ((fit.b, was.b), (fit.b0, was.b0), (fit.eta, was.eta))]
    return _Fit(fit.loss, new[0], new[1], new[2], fit.value)


def _follow(model: _Grouped, lams: Vector | None, count: int, ratio: float, tol: float, most: int) -> Path:
    """Null model, grid, and the path."""
    shape, K = model.terms, model.K
    fit = _begin(model)
    g, null = model.gradient(fit), fit.value
    top = float(np.where(shape.free, 0.0, shape.dual_norm(g)).max(initial=0.0))
    top *= 1 + 1e-7 * shape.free.any()  # the null model has coefficients of its own, found to rounding
    if lams is None:
        first = top if top > 0 else 1.0
        lams = first * ratio ** (np.arange(count) / max(1, count - 1))
        lams[0] = first
    unit, at = unit_of(null, model.loss, model.y, model.s), max(top, float(lams[0]))
    end = end_of(tol, unit, float(np.abs(g).max(initial=0.0)), shape.squares)
    B, b0, out = np.zeros((len(lams), len(fit.b), K)), [], []
    for i, lam in enumerate(lams):
        use = (shape.norms(fit.b) > 0) | shape.free | (shape.ridge * (shape.one + shape.two == 0) > 0)
        if lam < top:
            use |= shape.dual_norm(g) >= 2 * lam - at
        work = np.flatnonzero(use & np.isfinite(shape.two))
        g, gap, kkt, rounds = model.minimise(fit, float(lam), end.goal, most, work)
        B[i], at = fit.b, float(lam)
        b0.append(np.asarray(fit.loss.cuts) if isinstance(fit.loss, Ordinal) else fit.b0.copy())
        out.append((fit.value + model.price(fit.b, float(lam)), gap, kkt, rounds))
    columns = np.flatnonzero(B.any(axis=(0, 2)))
    values, made = np.moveaxis(B[:, columns], 0, 1), np.array(out)
    plain = K == 1 and not isinstance(fit.loss, Ordinal)
    return Path(
        lams, columns, values[:, :, 0] if K == 1 else values, np.array([v[0] for v in b0]) if plain else np.array(b0),
        made[:, 0], made[:, 1], made[:, 2], made[:, 3].astype(np.int64),
        end.met(made[:, 1], made[:, 2]), null, top, len(fit.b), "grouped newton",
    )  # fmt: skip


def _begin(model: _Grouped) -> _Fit:
    """The null model: constants and free groups."""
    shape, loss, n = model.terms, model.loss, model.matrix.shape[0]
    fit = _Fit(loss, np.zeros((model.matrix.shape[1], model.K)), np.zeros(model.K), np.zeros((n, model.K)), 0.0)
    if isinstance(loss, Ordinal):
        fit.loss = loss.refit(fit.eta[:, 0], model.y, model.s)
    fit.value = model.value(fit.loss, fit.eta)
    model.settle(fit)
    free = np.flatnonzero(shape.free)
    if len(free):
        model.terms = Blocks(shape.sizes, shape.one, np.where(shape.free, 0.0, np.inf), shape.ridge)
        model.minimise(fit, 1.0, 1e-20 * abs(fit.value), 200, free)  # a gap is second order in the gradient
        model.terms = shape
    return fit
