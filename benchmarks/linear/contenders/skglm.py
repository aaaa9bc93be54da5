import numpy as np

TOLS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


def fit(X, y, lams, family, tol):
    """tol is relative to the gradient at zero, as its stopping rule is a distance in units of the gradient."""
    from skglm.datafits import Logistic, Quadratic
    from skglm.penalties import L1
    from skglm.solvers import AndersonCD, ProxNewton

    n, p = X.shape
    out, w = np.zeros((p, len(lams))), np.zeros(p)
    top = np.max(np.abs(X.T @ (y if family == "gaussian" else y - 0.5))) / n
    if family == "gaussian":
        solver = AndersonCD(tol=tol * top, fit_intercept=False, max_iter=200, max_epochs=100_000)
        datafit, target = Quadratic(), y
    else:
        solver = ProxNewton(tol=tol * top, fit_intercept=False, max_iter=200)
        datafit, target = Logistic(), 2.0 * y - 1
    Xw = np.zeros(n)
    for k, lam in enumerate(lams):
        w = np.asarray(solver.solve(X, target, datafit, L1(lam), w, Xw)[0])
        Xw = np.asarray(X @ w)
        out[:, k] = w
    return out
