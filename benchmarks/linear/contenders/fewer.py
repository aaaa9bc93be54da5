import numpy as np
import scipy.sparse as sp

from fewer.linear import Logistic, glm_path, path

# Decades of our own tolerance: the duality gap relative to the null objective.
TOLS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


def fit(X, y, lams, family, tol):
    if family == "gaussian":
        found = path(X, y, lams=lams, intercept=False, tol=tol)
    else:
        found = glm_path(X, y, Logistic(), lams=lams, intercept=False, tol=tol)
    values = sp.csr_matrix(found.values)
    starts = np.zeros(X.shape[1] + 1, dtype=np.int64)
    starts[found.columns + 1] = np.diff(values.indptr)
    return sp.csr_matrix((values.data, values.indices, np.cumsum(starts)), shape=(X.shape[1], len(lams)))
