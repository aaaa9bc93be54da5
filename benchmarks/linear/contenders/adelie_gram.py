import numpy as np

TOLS = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11)


def fit(X, y, lams, family, tol):
    """The covariance method, with the Gram product inside the clock; for tall dense least squares only."""
    import adelie as ad

    if family != "gaussian" or hasattr(X, "tocsc") or X.shape[1] > 2000:
        raise NotImplementedError
    n = len(y)
    A = np.asfortranarray(X.T @ X) / n
    state = ad.gaussian_cov(
        A=A, v=X.T @ y / n, lmda_path=lams, tol=tol, progress_bar=False, early_exit=False, max_iters=1_000_000
    )
    return state.betas.T
