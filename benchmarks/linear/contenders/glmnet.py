import numpy as np

TOLS = (1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12)


def fit(X, y, lams, family, tol):
    """Short of the requested path (its early stop): the missing solutions repeat the last and are judged as such."""
    from glmnet import ElasticNet, LogitNet

    kind = ElasticNet if family == "gaussian" else LogitNet
    model = kind(
        alpha=1.0, lambda_path=np.asarray(lams), standardize=False, fit_intercept=False, tol=tol, n_splits=0,
        max_iter=10_000_000,
    )  # fmt: skip
    model.fit(X, y)
    out = np.asarray(model.coef_path_).reshape(X.shape[1], -1)
    return np.hstack([out, np.repeat(out[:, -1:], len(lams) - out.shape[1], axis=1)])
