import numpy as np

TOLS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)


def fit(X, y, lams, family, tol):
    from celer import celer_path

    target = y if family == "gaussian" else 2.0 * y - 1
    pb = "lasso" if family == "gaussian" else "logreg"
    alphas = lams if family == "gaussian" else lams * len(y)
    kw = {} if family == "gaussian" else {"use_PN": True}
    return np.asarray(celer_path(X, target, pb=pb, alphas=alphas, tol=tol, max_iter=1000, max_epochs=100_000, **kw)[1])
