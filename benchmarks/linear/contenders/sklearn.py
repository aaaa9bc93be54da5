import numpy as np

TOLS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)


def fit(X, y, lams, family, tol):
    if family == "gaussian":
        from sklearn.linear_model import lasso_path

        return lasso_path(X, y, alphas=lams, tol=tol, max_iter=1_000_000, precompute="auto")[1]
    from sklearn.linear_model import LogisticRegression

    out = np.zeros((X.shape[1], len(lams)))
    for k, lam in enumerate(lams):
        model = LogisticRegression(
            l1_ratio=1.0, C=1 / (lam * len(y)), solver="liblinear", fit_intercept=False, tol=tol, max_iter=100_000
        )
        out[:, k] = model.fit(X, y).coef_[0]
    return out
