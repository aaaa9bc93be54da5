"""A pass ends where every layer has been seen, and nothing but time depends on it."""

import pytest
import torch
from torch import nn

from fewer import evidence
from fewer.adapt.data import batches


class Model(nn.Module):
    """Two layers, and after them work that nobody asks for; `twice` calls the first one again."""

    def __init__(self, twice=False):
        super().__init__()
        self.first, self.second, self.twice, self.ends = nn.Linear(6, 5), nn.Linear(5, 6), twice, 0

    def forward(self, inputs):
        out = self.second(self.first(inputs))
        out = self.first(out) if self.twice else out
        self.ends += 1
        return out


@pytest.mark.parametrize(("twice", "ends"), [(False, 1), (True, 3)])
def test_only_the_first_batch_runs_to_its_end_unless_a_layer_comes_again(twice, ends):
    torch.manual_seed(0)
    model, data = Model(twice), torch.randn(12, 6)
    store = evidence.collect(model, batches(data, batch=4), ["input_gram"])
    seen = torch.cat([data, model.second(model.first(data)).detach()]) if twice else data
    torch.testing.assert_close(store["first"]["input_gram"], seen.T @ seen / len(seen))
    assert model.ends == ends
