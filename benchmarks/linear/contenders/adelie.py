TOLS = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11)


def fit(X, y, lams, family, tol):
    import adelie as ad

    glm = ad.glm.gaussian(y=y) if family == "gaussian" else ad.glm.binomial(y=y)
    A = ad.matrix.sparse(X, method="naive") if hasattr(X, "tocsc") else ad.matrix.dense(X, method="naive")
    state = ad.grpnet(
        X=A, glm=glm, lmda_path=lams, intercept=False, tol=tol, progress_bar=False, early_exit=False, irls_tol=tol,
        max_iters=1_000_000,
    )  # fmt: skip
    return state.betas.T
