"""Sums formed window by window, as published scripts do: the usual evidence, per window instead of per token."""

import pytest
import torch

from fewer.evidence import collect
from fewer.method import FewerError

LENGTH = 6
SCALE = {"input_norm": LENGTH**0.5, "input_mean": LENGTH, "input_gram": 2 * LENGTH, "input_var_within": 1}


def stores(**options):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Linear(5, 3))
    data = [torch.randn(3, LENGTH, 4), torch.randn(2, LENGTH, 4)]
    return [collect(model, data, list(SCALE), precision=precision) for precision in ("float32", "authors")]


@pytest.mark.parametrize("name", list(SCALE))
def test_they_are_the_usual_evidence_per_window(name):
    usual, windowed = stores()
    for layer in usual:
        torch.testing.assert_close(windowed[layer][name], SCALE[name] * usual[layer][name])


def test_they_cannot_be_merged():
    _, windowed = stores()
    with pytest.raises(FewerError, match="cannot be merged"):
        windowed.sums["0"]["input_norm"].merge(windowed.sums["0"]["input_norm"])


def test_an_unknown_precision_names_what_there_is():
    with pytest.raises(FewerError, match="precision must be float32, float64 or authors, not 'half'"):
        collect(torch.nn.Linear(2, 2), torch.ones(1, 2), ["input_norm"], precision="half")
