"""Whole models against a literal version of the papers' procedure: block by block, in float32, with plain loops."""

import numpy as np
import pytest
import torch
from scripted import TOKENS, literally, model

import fewer
from fewer import adapt


def wanda(weight, inputs, share, groups, _):
    """Section 3 of the paper: drop the lowest |w| ||x|| of every row (or group)."""
    score = weight.abs() * inputs.norm(dim=0)
    mask = torch.ones_like(weight, dtype=torch.bool)
    width = groups or weight.shape[1]
    for i in range(weight.shape[0]):
        for first in range(0, weight.shape[1], width):
            order = torch.argsort(score[i, first : first + width], stable=True)
            mask[i, first + order[: int(width * share)]] = False
    return weight * mask


def sparsegpt(weight, inputs, share, groups, _):
    """Algorithm 1 of the paper, in its own order of operations."""
    hessian = inputs.T @ inputs
    hessian += 0.01 * hessian.diagonal().mean() * torch.eye(len(hessian))
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(hessian)), upper=True)
    weight = weight.clone()
    for first in range(0, weight.shape[1], 128):
        last = min(first + 128, weight.shape[1])
        worth = weight[:, first:last] ** 2 / upper.diagonal()[first:last] ** 2
        drop = worth <= worth.flatten().sort().values[int(worth.numel() * share)]
        for j in range(first, last):
            if groups and j % groups == 0:
                worth = weight[:, j : j + groups] ** 2 / upper.diagonal()[j : j + groups] ** 2
                lowest = worth.topk(int(groups * share), largest=False).indices
                drop[:, j - first : j - first + groups] = torch.zeros_like(worth, dtype=torch.bool).scatter_(
                    1, lowest, True
                )
            error = torch.where(drop[:, j - first], weight[:, j], torch.zeros(())) / upper[j, j]
            weight[:, j + 1 :] -= error[:, None] * upper[j, j + 1 :]
            weight[:, j] = torch.where(drop[:, j - first], torch.zeros(()), weight[:, j])
    return weight


def agreement(ours, theirs, only=""):
    pairs = [(w != 0, ours[name] != 0) for name, w in theirs.items() if only in name]
    return float(np.mean([float((a == b).float().mean()) for a, b in pairs]))


@pytest.mark.parametrize(("how", "groups"), [({"keep": 0.5}, 0), ({"keep": 0.4}, 0), ({"pattern": "2:4"}, 4)])
def test_wanda_masks_agree_in_every_entry(how, groups):
    expected = literally(wanda, 0.5 if groups else 1 - how["keep"], groups)
    made = fewer.prune(adapt.open(model()), TOKENS, score="wanda", compat="wanda", **how).model.state_dict()
    for name, weight in expected.items():
        assert torch.equal(made[name], weight), name


@pytest.mark.parametrize(("how", "groups"), [({"keep": 0.5}, 0), ({"keep": 0.3}, 0), ({"pattern": "2:4"}, 4)])
def test_the_sweep_agrees_but_for_rounding(how, groups):
    expected = literally(sparsegpt, 0.5 if groups else 1 - how["keep"], groups)
    options = {"score": "obs", "update": "sweep", "compat": "sparsegpt"}
    made = fewer.prune(adapt.open(model()), TOKENS, **options, **how).model.state_dict()
    assert agreement(made, expected) >= 0.995
    assert agreement(made, expected, "layers.0.") >= 0.9999


def test_compat_is_for_masks_that_turn_on_rounding():
    options = {"score": "obs", "update": "sweep", "pattern": "2:4"}
    exact = fewer.prune(adapt.open(model()), TOKENS, **options).model.state_dict()
    theirs = fewer.prune(adapt.open(model()), TOKENS, compat="sparsegpt", **options).model.state_dict()
    assert agreement(exact, {n: w for n, w in theirs.items() if n.endswith("proj.weight")}) >= 0.99
