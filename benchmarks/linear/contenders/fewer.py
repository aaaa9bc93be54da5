from fewer.linear import Logistic, glm_path, path

# Decades of our own tolerance: the duality gap relative to the null objective.
TOLS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


def fit(X, y, lams, family, tol):
    if family == "gaussian":
        return path(X, y, lams=lams, intercept=False, tol=tol).coefs
    return glm_path(X, y, Logistic(), lams=lams, intercept=False, tol=tol).coefs
