"""Every loss with every penalty of the catalogue: fitted as well as a slow literal descent, or refused in one line."""

import numpy as np
import pytest

import fewer.linear as fl
from fewer import penalty as prices
from fewer.linear.estimators import SparseRegressor, SparseRegressorCV
from fewer.method import FewerError, catalogue

RNG = np.random.default_rng(8)
X = RNG.standard_normal((40, 8))  # noisy enough that no classes can be parted
ETA = X[:, 0] - X[:, 1] + 0.5 * X[:, 2]
Y = ETA + 1.2 * RNG.logistic(size=40)
CLASSES = np.digitize(Y, [-0.7, 0.7]).astype(float)
LOSSES = {
    "squared": (fl.Squared(), Y),
    "logistic": (fl.Logistic(), (Y > 0).astype(float)),
    "poisson": (fl.Poisson(), np.floor(np.exp(0.5 * ETA) + 3 * RNG.random(40))),
    "gamma": (fl.Gamma(), RNG.gamma(2, np.exp(ETA / 2) / 2)),
    "cox": (fl.Cox("efron"), np.column_stack([np.ceil(4 * np.exp(-0.5 * Y)), RNG.random(40) < 0.8])),
    "huber": (fl.Huber(0.7), Y),
    "quantile": (fl.Quantile(0.3, 0.2), Y),
}
GROUPS = ((0, 1), (2, 3, 4), (5, 6, 7))
NEEDY = {
    "weighted-l1": prices.WeightedL1(np.linspace(0.5, 2, 8)), "group": prices.Group(GROUPS),
    "sparse-group": prices.SparseGroup(GROUPS), "slope": prices.Slope(tuple(np.linspace(2, 0.5, 8))),
}  # fmt: skip
PENALTIES = {entry.name: NEEDY.get(entry.name, entry.name) for entry in catalogue("penalty") if entry.name != "nuclear"}


def object_of(name):
    """The penalty at strength 0.1."""
    given = PENALTIES[name]
    made = next(e.target() for e in catalogue("penalty") if e.name == given) if isinstance(given, str) else given
    return type(made)(**{**vars(made), "lam": 0.1}) if hasattr(made, "lam") else made


def literal(loss, y, penalty, start):
    """Proximal gradient as printed, with a step that is halved until the quadratic lies above."""
    b, s, step = start, np.full(40, 1 / 40), 1.0

    def eta(b):
        return X @ b[:-1] + b[-1] * loss.intercept

    for _ in range(600):
        slope = loss.slope(eta(b), y, s)
        g = np.append(X.T @ slope, slope.sum() * loss.intercept)
        while True:
            new = b - step * g
            new[:-1] = penalty.prox(new[:-1], step)
            move = new - b
            if loss.value(eta(new), y, s) <= loss.value(eta(b), y, s) + g @ move + move @ move / (2 * step) + 1e-15:
                break
            step /= 2
        b = new
    return loss.value(eta(b), y, s) + float(penalty.value(b[:-1]))


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_pair_is_fitted_and_certified(loss, penalty):
    kind, y = LOSSES[loss]
    model = SparseRegressor(0.1, loss=kind, penalty=PENALTIES[penalty], tol=1e-8).fit(X, y)
    found, priced = model.solution_, object_of(penalty)
    eta = X @ model.coef_ + model.intercept_
    value = kind.value(eta, y, np.full(40, 1 / 40)) + float(priced.value(model.coef_))
    assert found.converged
    np.testing.assert_allclose(found.objective, value, rtol=1e-10)
    slope = kind.slope(eta, y, np.full(40, 1 / 40))
    assert np.max(np.abs(priced.residual(model.coef_, X.T @ slope))) <= 1e-7
    slack = 1e-7 if priced.convex else 0.01 * found.null  # two descents may end in different valleys
    assert value <= literal(kind, y, priced, np.zeros(9)) + slack
    if penalty in ("l1", "weighted-l1", "elastic-net", "group", "sparse-group", "slope"):
        assert -1e-12 <= found.gap <= 1e-5 * found.null


@pytest.mark.parametrize("loss", [fl.Multinomial(3), fl.Ordinal(3)])
@pytest.mark.parametrize("penalty", ["l1", "mcp"])
def test_losses_of_several_parameters_name_their_estimators(loss, penalty):
    with pytest.raises(FewerError, match="SparseMultinomial and OrdinalLogit fit it"):
        SparseRegressor(0.1, loss=loss, penalty=penalty).fit(X, CLASSES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalty": "nuclear"}, "Nuclear does not fit a vector of 8"),
        ({"penalty": "group"}, r"needs groups: give an object, fewer.penalty.Group\(groups=...\)"),
        ({"penalty": "mpc"}, "did you mean 'mcp'"),
        ({"penalty": prices.Group(((0, 99),))}, "Group does not fit a vector of 8"),
        ({"penalty": prices.Slope((2.0, 1.0))}, "2 prices for w"),
        ({"penalty": prices.WeightedL1([1.0, 2.0])}, "WeightedL1 does not fit a vector of 8"),
        ({"penalty": 3.0}, "float is no penalty"),
        ({"loss": "logistik"}, "did you mean 'logistic'"),
        ({"loss": fl.Logistic()}, "is not possible"),
    ],
)
def test_a_pair_that_is_none_is_refused_in_one_line(options, message):
    with pytest.raises(FewerError, match=message) as caught:
        SparseRegressor(0.1, **options).fit(X, Y * 3)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*fits of the paths:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_have_names_and_their_strength_is_chosen(loss):
    y = LOSSES[loss][1]
    model = SparseRegressorCV(loss=loss, penalty="scad", cv=3, n_alphas=4, eps=0.1, max_iter=500).fit(X, y)
    assert model.alpha_ in model.alphas_ and model.predict(X).shape == (40,)
