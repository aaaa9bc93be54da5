"""`fewer.pack`: the same numbers in a form that is smaller and faster."""

from __future__ import annotations

import pytest
import torch

import fewer
from fewer.method import FewerError
from fewer.runtime import GemvLinear, PackedLinear

from .models import tiny_llama, tokens


@pytest.fixture(scope="module")
def pruned():
    return fewer.prune(tiny_llama(), score="magnitude", keep=0.4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_round_trip_is_bit_equal(dtype, tmp_path):
    model = fewer.prune(tiny_llama().to(dtype), score="magnitude", keep=0.4).model
    fewer.pack(model, out=tmp_path / "packed")
    back = fewer.runtime.load(tmp_path / "packed")
    weights = {name: module.weight for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    assert len(weights) == 15
    for name, weight in weights.items():
        layer = back.get_submodule(name)
        assert isinstance(layer, PackedLinear if name != "lm_head" else GemvLinear)
        assert torch.equal(layer.weight, weight), name


def test_generate_is_unchanged(pruned, tmp_path):
    ask = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    start = tokens(2, 6)
    wanted = pruned.model.generate(start, **ask)
    assert torch.equal(fewer.pack(pruned).generate(start, **ask), wanted)
    fewer.pack(pruned, prefill="rebuild", out=tmp_path / "packed")
    assert torch.equal(fewer.runtime.load(tmp_path / "packed").generate(start, **ask), wanted)


def test_a_pruned_checkpoint_is_packed_when_it_is_loaded_to_run(pruned, tmp_path):
    pruned.save(tmp_path / "pruned")
    model = fewer.runtime.load(tmp_path / "pruned")
    assert sum(isinstance(m, PackedLinear) for m in model.modules()) == 14
    with torch.no_grad():
        torch.testing.assert_close(model(tokens()).logits, pruned.model(tokens()).logits)


def test_the_given_model_stays_as_it_was(pruned):
    fewer.pack(pruned)
    assert not any(isinstance(m, PackedLinear) for m in pruned.model.modules())


def test_a_packed_directory_is_a_model_like_any_other(pruned, tmp_path):
    fewer.pack(pruned, out=tmp_path / "packed")
    data = tokens(4, 16)
    wanted = fewer.evaluate(pruned, data, against=tiny_llama())
    found = fewer.evaluate(tmp_path / "packed", data, against=tiny_llama())
    assert found.perplexity == pytest.approx(wanted.perplexity) and found.kl == pytest.approx(wanted.kl, rel=1e-4)


def test_int8_is_smaller_and_near(pruned, tmp_path):
    packed = fewer.pack(pruned, dtype=torch.int8, out=tmp_path / "packed")
    with torch.no_grad():
        wanted, found = pruned.model(tokens()).logits, fewer.runtime.load(tmp_path / "packed")(tokens()).logits
    assert float((found - wanted).norm() / wanted.norm()) < 0.05
    assert next(m for m in packed.modules() if isinstance(m, PackedLinear)).values.dtype == torch.int8


def test_a_foreign_directory_is_not_replaced(pruned, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("x")
    with pytest.raises(FewerError, match="was not written by fewer"):
        fewer.pack(pruned, out=tmp_path / "mine")
