import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import error, layer, random_mask

from fewer.method import FewerError
from fewer.select import rule
from fewer.update import auto, bias, entropic_wasserstein, net_trim, path_following, zero

wasserstein, convex = (sys.modules[f"fewer.update.{name}"] for name in ("wasserstein", "net_trim"))


@given(st.integers(0, 500), st.sampled_from([0, 3]), st.sampled_from([0.0, 0.4]), st.sampled_from(["hard", "soft"]))
@settings(max_examples=30, deadline=None)
def test_path_following_equals_the_loop_over_samples(seed, levels, threshold, shrink):
    weight, inputs, gram = layer(rows=3, columns=7, seed=seed)
    mask = random_mask(weight.shape, 0.7, seed)
    made = path_following(weight, mask, gram, levels=levels, threshold=threshold, shrink=shrink)
    step = np.abs(weight).max() / levels if levels else 0
    for i, row in enumerate(weight):
        carried = np.zeros(len(inputs))
        for j, w in enumerate(row):
            column = inputs[:, j]
            z = column @ (carried + w * column) / (column @ column)
            z = 0.0 if abs(z) <= threshold else z - (np.sign(z) * threshold if shrink == "soft" else 0.0)
            z = step * np.clip(np.round(z / step), -levels, levels) if levels else z
            q = z if mask[i, j] else 0.0
            carried += (w - q) * column
            assert abs(made.weight[i, j] - q) < 1e-9


def test_path_following_beats_plain_rounding():
    weight, _, gram = layer(rows=20, columns=40, tokens=200)
    made = path_following(weight, weight != 0, gram, levels=4)
    step = made.notes["step"]
    plain = step * np.clip(np.round(weight / step), -4, 4)
    assert error(made.weight, weight, gram) < error(plain, weight, gram)


def test_bias_keeps_the_mean_of_the_output():
    weight, inputs, _ = layer()
    inputs = inputs + 1.0
    made = bias(weight, random_mask(weight.shape), inputs.mean(axis=0))
    before, after = inputs @ weight.T, inputs @ made.weight.T + made.bias
    np.testing.assert_allclose(after.mean(axis=0), before.mean(axis=0))


def test_sharp_transport_matches_in_sorted_order():
    """In one dimension the optimal plan pairs the k-th smallest with the k-th smallest."""
    have, want = np.random.default_rng(0).standard_normal((2, 3, 6))
    paired = np.sort(want, axis=1)[np.arange(3)[:, None], have.argsort(axis=1).argsort(axis=1)]
    np.testing.assert_allclose(wasserstein._mixed(np, have, want, 3e-3, 5000), paired, atol=0.05)


def test_smooth_transport_keeps_the_mean_and_blurs():
    want = np.random.default_rng(0).standard_normal((3, 20))
    blurred = wasserstein._mixed(np, want, want, 10.0, 50)
    np.testing.assert_allclose(blurred.mean(axis=1), want.mean(axis=1), atol=1e-6)
    assert blurred.std() < 0.5 * want.std()


def test_entropic_wasserstein_brings_the_distribution_of_responses_nearer():
    weight, inputs, _ = layer(rows=4, columns=8, tokens=40)
    mask = random_mask(weight.shape)
    made = entropic_wasserstein(weight, mask, inputs, smoothing=0.01, rounds=10)

    def distance(w):
        return ((np.sort(inputs @ w.T, axis=0) - np.sort(inputs @ weight.T, axis=0)) ** 2).mean()

    assert distance(made.weight) < 0.5 * distance(zero(weight, mask).weight)


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "row"])
def test_entropic_wasserstein_meets_a_rule(pattern):
    weight, inputs, _ = layer(rows=4, columns=8, tokens=20)
    chosen = rule(weight.shape, 0.5, pattern=pattern)
    made = entropic_wasserstein(weight, weight != 0, inputs, rule=chosen)
    np.testing.assert_array_equal(chosen.select(made.mask.astype(float)), made.mask)


@pytest.mark.parametrize("activation", ["none", "relu"])
def test_net_trim_is_feasible_and_sparser_in_l1(activation):
    weight, inputs, _ = layer(rows=4, columns=8, tokens=30)
    made = convex._Program(np, weight, inputs, 0.2, activation).solve(weight != 0, 0.1, 3000)
    response, new = inputs @ weight.T, inputs @ made.T
    active = response > 0 if activation == "relu" else np.ones_like(response, dtype=bool)
    assert np.linalg.norm((new - response)[active]) <= 0.205 * np.linalg.norm(response[active])
    assert np.max(np.where(active, -1.0, new)) < 0.05 * np.abs(response).max()
    assert np.abs(made).sum() < 0.95 * np.abs(weight).sum()


def test_net_trim_solves_its_program():
    """With orthonormal inputs and no ReLU the solution is a soft threshold; its level is found by bisection."""
    rng = np.random.default_rng(0)
    inputs, weight = np.linalg.qr(rng.standard_normal((20, 6)))[0], rng.standard_normal((2, 6))
    low, high = 0.0, 10.0
    for _ in range(80):
        level = (low + high) / 2
        soft = np.sign(weight) * np.maximum(np.abs(weight) - level, 0)
        low, high = (level, high) if np.linalg.norm(soft - weight) < 0.3 * np.linalg.norm(weight) else (low, level)
    made = convex._Program(np, weight, inputs, 0.3, "none").solve(weight != 0, 0.1, 4000)
    np.testing.assert_allclose(made, soft, atol=1e-3)


def test_net_trim_meets_a_rule_and_its_tolerance_on_it():
    weight, inputs, _ = layer(rows=4, columns=8, tokens=30)
    made = net_trim(weight, weight != 0, inputs, rule=rule(weight.shape, 0.8), epsilon=0.5, steps=1000)
    assert made.mask.sum() == round(0.8 * weight.size)
    assert not made.weight[~made.mask].any()
    assert made.notes["change"] < 0.51


def test_auto_says_what_it_chose_and_does_what_it_says():
    weight, _, gram = layer(rows=8, columns=16)
    chosen = rule(weight.shape, 0.5)
    quick, slow = (auto(weight, weight != 0, gram, rule=chosen, seconds=s).notes for s in (1e-12, 1e6))
    assert quick["solver"] == "zero"
    assert slow["solver"] == "alps, growth 1.05"
    assert slow["seconds"] > 0
    assert auto(weight, random_mask(weight.shape), gram).notes["solver"] == "least-squares"


def test_auto_without_a_time_does_not_look_at_the_clock(monkeypatch):
    monkeypatch.setattr(sys.modules["fewer.update.auto"], "_speed", lambda _: 1 / 0)
    weight, _, gram = layer(rows=8, columns=16)
    assert auto(torch.tensor(weight), torch.tensor(weight != 0), torch.tensor(gram)).mask.all()


@pytest.mark.parametrize(
    "call",
    [
        lambda w, m, x: auto(w, m, x.T @ x, seconds=-1),
        lambda w, m, x: net_trim(w, m, x, epsilon=0),
        lambda w, m, x: net_trim(w, m, x[:, 1:]),
        lambda w, m, x: entropic_wasserstein(w, m, x, smoothing=0),
        lambda w, m, x: entropic_wasserstein(w, m, x[:, 1:]),
        lambda w, m, x: path_following(w, m, x.T @ x, levels=-1),
        lambda w, m, x: path_following(w, m, x.T @ x, shrink="both"),
        lambda w, m, x: bias(w, m, x.mean(axis=0)[1:]),
    ],
)
def test_bad_knobs_are_refused(call):
    weight, inputs, _ = layer()
    with pytest.raises(FewerError):
        call(weight, random_mask(weight.shape), inputs)
