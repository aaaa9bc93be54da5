"""Proximal Newton for any loss: a weighted Gram problem on the working columns, a line search, and a certificate.

Written for generality (several linear predictors, sparse data, losses that couple rows). Losses that are a sum over
rows run compiled on dense data; see `glm`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewer.linear import kernels
from fewer.linear.coupled import Multinomial, Ordinal
from fewer.linear.ends import end_of, unit_of
from fewer.linear.losses import Loss
from fewer.linear.matrix import Matrix
from fewer.linear.progress import lay_out
from fewer.linear.quadratic import between, coupling
from fewer.linear.result import Path
from fewer.linear.terms import Terms

__all__ = ["best_shift", "newton_path"]

Vector = NDArray[np.float64]
Index = NDArray[np.int64]
#: Beyond so many coefficients their joint second derivative takes longer than going class by class.
_LARGEST = 3000


@dataclass
class _Fit:
    """Coefficients (p, K), constants (K,), and what follows from them."""

    loss: Any
    b: Vector
    b0: Vector
    eta: Vector
    value: float


def best_shift(loss: Loss, eta: Vector, y: Vector, s: Vector) -> float:
    """What to add to every row of eta: the root of a monotone function, by secants inside a bracket."""
    low, high, at, old, was = -np.inf, np.inf, 0.0, 0.0, np.nan
    for _ in range(200):
        slope = loss.slope(eta + at, y, s)
        d, size = float(slope.sum()), float(np.abs(slope).sum())
        if abs(d) <= 1e-14 * size:
            break
        low, high = (low, at) if d > 0 else (at, high)
        bend = float(loss.bend(eta + at, y, s).sum())
        secant = (d - was) / (at - old) if at != old else bend
        after = at - d / (secant if secant > 0 and abs(d) < 0.7 * abs(was) else bend)
        if not low < after < high:
            after = 0.5 * (low + high) if np.isfinite(low) and np.isfinite(high) else at - 2 * d / bend
        if after == at:
            break
        old, was, at = at, d, after
    return at


class _Model:
    def __init__(self, matrix: Matrix, y: Vector, loss: Loss, s: Vector, terms: Terms, constant: bool) -> None:
        self.matrix, self.y, self.s, self.terms = matrix, y, s, terms
        self.constant = constant
        self.loss: Any = loss
        self.K = loss.width
        self.columns: dict[str, Any] = {"index": np.empty(0, np.int64), "X": np.empty((matrix.shape[0], 0))}

    @cached_property
    def floor(self) -> float:
        """A lower bound of the loss, for losses that offer it instead of a conjugate."""
        return float(self.loss.floor(self.y, self.s))

    def gather(self, work: Index) -> Vector:
        """Working columns, dense."""
        if not np.array_equal(self.columns["index"], work):
            X = self.matrix.columns(work)
            X = X.toarray() if hasattr(X, "toarray") else X
            self.columns = {"index": work, "X": np.asfortranarray(X, dtype=np.float64)}
        X = self.columns["X"]
        assert isinstance(X, np.ndarray)
        return X

    def flat(self, a: Vector) -> Vector:
        """(n, K) as the loss wants it."""
        return a[:, 0] if self.K == 1 else a

    def slope(self, fit: _Fit) -> Vector:
        return np.asarray(fit.loss.slope(self.flat(fit.eta), self.y, self.s).reshape(len(self.s), self.K))

    def value(self, loss: Loss, eta: Vector) -> float:
        with np.errstate(all="ignore"):
            found = loss.value(self.flat(eta), self.y, self.s)
        return found if np.isfinite(found) else np.inf

    def price(self, b: Vector, lam: float) -> float:
        return sum(self.terms.price(b[:, k], lam) for k in range(self.K))

    def settle(self, fit: _Fit) -> None:
        """Fit the constants (or cut points) exactly, the rest held still."""
        if isinstance(fit.loss, Ordinal):
            fit.loss = fit.loss.refit(fit.eta[:, 0], self.y, self.s)
            fit.value = self.value(fit.loss, fit.eta)
            return
        if self.K == 1 and self.constant:
            self._root(fit)
            return
        for _ in range(60 if self.constant else 0):
            slope, eta = self.slope(fit), self.flat(fit.eta)
            grad, size = slope.sum(axis=0), np.abs(slope).sum(axis=0)
            if np.all(np.abs(grad) <= 1e-13 * size + 1e-300):
                break
            if isinstance(fit.loss, Multinomial):
                bend = coupling(fit.loss, eta, self.y, self.s, self.K).sum(axis=0)
            else:
                bend = np.diag(fit.loss.bend(eta, self.y, self.s).sum(axis=0))
            step, t = -np.linalg.pinv(bend, rcond=1e-12, hermitian=True) @ grad, 1.0
            if -float(grad @ step) <= 1e-14 * abs(fit.value):  # what is left to gain is rounding
                fit.eta, fit.b0 = fit.eta + step, fit.b0 + step
                fit.value = self.value(fit.loss, fit.eta)
                break
            while t > 1e-9:
                value = self.value(fit.loss, fit.eta + t * step)
                if value <= fit.value + 1e-15 * abs(fit.value):
                    break
                t *= 0.5
            else:
                break
            fit.eta, fit.b0, fit.value = fit.eta + t * step, fit.b0 + t * step, value

    def _root(self, fit: _Fit) -> None:
        """One constant."""
        shift = best_shift(fit.loss, self.flat(fit.eta), self.y, self.s)
        fit.eta, fit.b0 = fit.eta + shift, fit.b0 + shift
        fit.value = self.value(fit.loss, fit.eta)

    def gradient(self, fit: _Fit, work: Index | None = None) -> Vector:
        """(p, K) or (k, K): minus X' slope."""
        slope = self.slope(fit)
        return -(self.gather(work).T @ slope) if work is not None else -self.matrix.tdot(slope)

    def gap(self, fit: _Fit, g: Vector, lam: float, work: Index | None = None) -> tuple[float, float, float]:
        """Gap, KKT distance and dual scale, from the gradient of all columns or of the working ones."""
        terms = self.terms if work is None else self.terms.take(work)
        if lam == 0:  # nothing has a price: what is left of the gradient counts as it does for free columns
            out = np.isinf(terms.l1)
            terms = replace(terms, l1=np.where(out, np.inf, 0.0), l2=np.zeros(len(out)))
        b = fit.b if work is None else fit.b[work]
        scale = min(terms.scale(g[:, k], lam) for k in range(self.K))
        slope = self.slope(fit)
        bound = fit.loss.conjugate(scale * self.flat(slope), self.y, self.s)
        if bound is None:
            touch = float(np.sum(slope * fit.eta)) - fit.value  # cut points are stationary: they add nothing
            bound = scale * touch - (1 - scale) * self.floor
        dual = -bound - sum(terms.conjugate(scale * g[:, k], lam) for k in range(self.K))
        free = (terms.l1 == 0) & (terms.l2 == 0)
        slack = float(np.abs(slope.sum(axis=0) @ fit.b0))
        if free.any():
            names = np.flatnonzero(free) if work is None else work[free]
            X = self.matrix.columns(names)
            X = X.toarray() if hasattr(X, "toarray") else X
            bend = fit.loss.bend(self.flat(fit.eta), self.y, self.s).reshape(slope.shape)
            h, pull = np.square(X, dtype=np.float64).T @ bend, np.abs(g[free])
            pull = np.where(terms.loose(g)[free], pull, 0.0)  # towards a bound, the conjugate has counted it
            slack += float(np.sum(pull * (np.abs(b[free]) + pull / np.where(h > 0, h, np.inf))))
        kkt = max(terms.kkt(b[:, k], g[:, k], lam) for k in range(self.K))
        return max(fit.value + self.price(fit.b, lam) - dual + slack, 0.0), kkt, scale

    def step(self, fit: _Fit, g: Vector, work: Index, lam: float, k: int, tol: float, most: int) -> None:
        """One proximal Newton step in the k-th predictor, with a line search on the true objective."""
        X, slope = self.gather(work), self.slope(fit)[:, k]
        w = fit.loss.bend(self.flat(fit.eta), self.y, self.s).reshape(len(self.s), self.K)[:, k]
        moving = self.constant or isinstance(fit.loss, Ordinal)
        total = float(w.sum())
        mean = (w @ X) / total if moving else np.zeros(len(work))
        Z = (X - mean) * np.sqrt(w)[:, None]
        whole = getattr(fit.loss, "gram", None)
        G = Z.T @ Z if whole is None else whole(fit.eta[:, 0], self.y, self.s, X)
        d = g[:, k] + mean * slope.sum()
        flat = np.einsum("ii->i", G) <= 1e-26 * mean**2 * total
        G[flat], G[:, flat] = 0.0, 0.0
        b = fit.b[work, k]
        c = d + G @ b
        on = w > 0  # rows of weight zero pull at nothing
        rr = float(np.sum(slope[on] ** 2 / w[on])) - (float(slope.sum()) ** 2 / total if moving else 0.0)
        yy = max(rr, 0.0) + float(b @ (c + d))
        shape = self.terms.take(work)
        warm = kernels.Warm(b.copy(), b.copy())
        B, _, _ = kernels.gram_path(np.ascontiguousarray(G), yy, c, lay_out(shape), warm, np.array([lam]), tol, most)
        move = B[0] - b
        line = X @ move
        shift = -float(mean @ move) - slope.sum() / total if moving else 0.0
        before, t = fit.value + self.price(fit.b, lam), 1.0
        ordinal = isinstance(fit.loss, Ordinal)
        while t > 1e-9:
            eta, loss = fit.eta.copy(), fit.loss
            eta[:, k] += t * (line + (0.0 if ordinal else shift))
            if ordinal:
                cuts = np.asarray(fit.loss.cuts) - t * shift
                loss = Ordinal(fit.loss.classes, tuple(cuts))
            value, new = self.value(loss, eta), fit.b.copy()
            new[work, k] = B[0] if t == 1.0 else b + t * move
            if value + self.price(new, lam) <= before + 1e-14 * abs(before):
                fit.loss, fit.b, fit.eta, fit.value = loss, new, eta, value
                fit.b0[k] += 0.0 if ordinal else t * shift
                return
            t *= 0.5

    def leap(self, fit: _Fit, columns: Index, lam: float, change: Vector, shift: Vector) -> None:
        """Move in every predictor at once, with a line search on the true objective.

        Args:
            change: (k, K) of the coefficients on `columns`.
            shift: (K,) of the constants, or minus that of every cut point.
        """
        b, line = fit.b[columns], self.gather(columns) @ change
        before, t = fit.value + self.price(fit.b, lam), 1.0
        while t > 1e-9:
            eta, loss, new = fit.eta + t * line, fit.loss, fit.b.copy()
            if isinstance(loss, Ordinal):
                loss = Ordinal(loss.classes, tuple(np.asarray(loss.cuts) - t * shift))
            else:
                eta = eta + t * shift
            new[columns] = b + t * change
            value = self.value(loss, eta)
            if value + self.price(new, lam) <= before + 1e-14 * abs(before):
                fit.loss, fit.b, fit.eta, fit.value = loss, new, eta, value
                fit.b0 = fit.b0 + (0.0 if isinstance(loss, Ordinal) else t * shift)
                return
            t *= 0.5

    def moving(self, fit: _Fit, g: Vector, work: Index, lam: float) -> NDArray[np.bool_]:
        """(k, K) which coefficients are in use or out of place."""
        return np.asarray((fit.b[work] != 0) | (np.abs(g) > lam * self.terms.l1[work][:, None]))

    def together(
        self, fit: _Fit, g: Vector, work: Index, on: NDArray[np.bool_], lam: float, tol: float, most: int
    ) -> None:
        """One proximal Newton step for classes: a quadratic problem in the coefficients `on` of all of them."""
        b, slope, eta = fit.b[work], self.slope(fit), self.flat(fit.eta)
        picks = [np.flatnonzero(on[:, k]) for k in range(self.K)]
        each, names = coupling(fit.loss, eta, self.y, self.s, self.K), np.concatenate(picks)
        H, pull, back = between(self.gather(work), each, picks, self.constant)
        H.flat[:: len(H) + 1] *= 1 + 1e-9  # a shift common to all classes changes nothing: H may be singular
        start = b.T[on.T]
        d = g.T[on.T] + slope.sum(axis=0) @ pull
        own = np.maximum(fit.loss.mean(eta)[np.arange(len(eta)), self.y.astype(np.int64)], 1e-6)
        rr = float(self.s @ (1.0 / own - 1.0))  # the least square of a residual whose gradient is that of the loss
        c, wide = d + H @ start, lay_out(self.terms.take(work[names]))
        warm, yy = kernels.Warm(start.copy(), start.copy()), rr + float(start @ (2 * d + H @ start))
        B, _, _ = kernels.gram_path(H, yy, c, wide, warm, np.array([lam]), tol, most)
        change = np.zeros((self.K, len(work)))
        change[on.T] = B[0] - start
        self.leap(fit, work, lam, change.T, -pull @ (B[0] - start) - back @ slope.sum(axis=0))

    def solve(
        self, fit: _Fit, lam: float, goal: float, most: int, start: Index
    ) -> tuple[Vector, float, float, float, int]:
        """Minimise at lam: (gradient, gap, kkt, scale, Newton rounds)."""
        work, rounds, inner, last = start, 0, 0.1, np.inf
        self.settle(fit)
        while True:
            g = self.gradient(fit)
            gap, kkt, scale = self.gap(fit, g, lam)
            if gap <= goal or rounds >= most or (inner < 1e-9 and not gap < 0.9 * last):
                return g, gap, kkt, scale, rounds
            with np.errstate(invalid="ignore"):
                out = np.max(np.abs(g), axis=1) - lam * self.terms.l1
            extra = np.flatnonzero(out > 0)
            extra = extra[np.argsort(-out[extra])[: max(64, 2 * len(work))]]
            grown = np.union1d(work, extra)
            inner = inner if len(grown) > len(work) else inner * 0.1
            work, last = grown, gap
            part, stall, before = np.inf, 0, np.inf
            while rounds < most and len(work):
                local = self.gradient(fit, work)
                part, now = self.gap(fit, local, lam, work)[0], fit.value + self.price(fit.b, lam)
                stall, before = (0 if before - now > 1e-4 * goal else stall + 1), now
                if part <= 0.5 * goal or stall > 8:
                    break
                near = inner * max(0.05 * part, 0.1 * goal)
                on = self.moving(fit, local, work, lam)
                if isinstance(fit.loss, Multinomial) and np.count_nonzero(on) <= _LARGEST:
                    self.together(fit, local, work, on, lam, near, 10_000)
                else:
                    for k in range(self.K):
                        local = local if k == 0 else self.gradient(fit, work)
                        self.step(fit, local, work, lam, k, near / self.K, 10_000)
                self.settle(fit)
                rounds += 1
            if len(work) == 0:
                rounds = most


def newton_path(
    matrix: Matrix, y: Vector, loss: Loss, s: Vector, terms: Terms, intercept: bool, lams: Vector | None,
    count: int, ratio: float, tol: float, most: int, duals: bool,
) -> Path:  # fmt: skip
    """The path of a general loss; see `glm.glm_path` for the arguments."""
    n, p = matrix.shape
    model = _Model(matrix, y, loss, s, terms, intercept and loss.intercept)
    eta = np.zeros((n, loss.width))
    fit = _Fit(loss, np.zeros((p, loss.width)), np.zeros(loss.width), eta, 0.0)
    if isinstance(loss, Ordinal):
        fit.loss = loss.refit(eta[:, 0], y, s)
    fit.value = model.value(fit.loss, eta)
    always = np.flatnonzero(terms.l1 == 0)
    free = np.flatnonzero((terms.l1 == 0) & (terms.l2 == 0))
    model.settle(fit)
    if len(free):
        shut = Terms(np.where(np.isin(np.arange(p), free), 0.0, np.inf), np.zeros(p), terms.low, terms.high)
        model.terms = shut
        model.solve(fit, 1.0, 1e-12 * abs(fit.value), 200, free)
        model.terms = terms
    g0, null = model.gradient(fit), fit.value
    paid = (terms.l1 > 0) & np.isfinite(terms.l1)
    size = np.abs(g0).max(axis=1)
    if terms.low is not None and terms.high is not None:
        size = np.where(
            ((g0 > 0) & (terms.high > 0)[:, None]).any(1) | ((g0 < 0) & (terms.low < 0)[:, None]).any(1), size, 0
        )
    lam_max = float(np.max(size[paid] / terms.l1[paid], initial=0.0))
    if lams is None:
        top = lam_max if lam_max > 0 else 1.0
        lams = top * ratio ** (np.arange(count) / max(1, count - 1))
        lams[0] = top
    unit = unit_of(null, loss, model.y, model.s)
    end = end_of(tol, unit, float(size.max(initial=0.0)), terms.squares)
    L, K = len(lams), loss.width
    B, b0 = np.zeros((L, p, K)), []
    rows, out = [], []
    at = max(lam_max, float(lams[0]))
    for i, lam in enumerate(lams):
        use = np.any(fit.b != 0, axis=1)
        use[always] = True
        with np.errstate(invalid="ignore"):
            # The strong rule names the likely columns; from afar it would name them all, so growth finds them there.
            use |= paid & (at < 1.5 * lam) & (np.abs(g0).max(axis=1) >= (2 * lam - at) * terms.l1)
        g0, gap, kkt, scale, rounds = model.solve(
            fit, float(lam), end.goal, most, np.flatnonzero(use & np.isfinite(terms.l1))
        )
        B[i], at = fit.b, float(lam)
        b0.append(np.asarray(fit.loss.cuts) if isinstance(fit.loss, Ordinal) else fit.b0.copy())
        out.append((fit.value + model.price(fit.b, float(lam)), gap, kkt, rounds))
        if duals:
            rows.append(-scale * model.slope(fit))
    columns = np.flatnonzero(B.any(axis=(0, 2)))
    values = np.ascontiguousarray(np.moveaxis(B[:, columns], 0, 1))
    made = np.array(out)
    scalar = K == 1
    return Path(
        lams, columns, values[:, :, 0] if scalar else values,
        np.array([v[0] for v in b0]) if scalar and not isinstance(loss, Ordinal) else np.array(b0),
        made[:, 0], made[:, 1], made[:, 2], made[:, 3].astype(np.int64),
        end.met(made[:, 1], made[:, 2]), null, lam_max, p, "proximal newton",
        None if not rows else np.array(rows)[:, :, 0] if scalar else np.array(rows),
    )  # fmt: skip
