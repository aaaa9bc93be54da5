"""Wrapped models: the model inside is pruned and written, or one line says what to do first."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import fewer
from fewer.method import FewerError
from fewer.verbs.mask import apply_mask

from .models import tiny_llama, tokens

WRAPPERS = {
    "DataParallel": nn.DataParallel,
    "compile": torch.compile,
    "both": lambda model: torch.compile(nn.DataParallel(model)),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_model_inside_is_pruned_measured_and_written(wrapper, tmp_path):
    model = tiny_llama()
    wrapped = WRAPPERS[wrapper](model)
    done = fewer.prune(wrapped, tokens(), keep=0.5, update="zero", out=tmp_path / "out")
    plain = fewer.prune(model, tokens(), keep=0.5, update="zero")
    assert type(done.model) is type(model) and done.opened.hash() == plain.opened.hash()
    assert fewer.load(tmp_path / "out").hash() == plain.opened.hash() and (tmp_path / "out" / "config.json").is_file()
    assert apply_mask(wrapped, tmp_path / "out").hash() == plain.opened.hash()
    assert fewer.evaluate(wrapped, tokens(), against=model).kl == 0.0
    assert fewer.compare(wrapped, done, data=tokens()).candidates[0].quality.kl > 0
    assert type(fewer.pack(WRAPPERS[wrapper](done.model))) is type(model)
    assert fewer.plan_for(wrapped).total == plain.plan.total


def test_in_place_changes_the_model_inside():
    model = tiny_llama()
    fewer.prune(nn.DataParallel(model), score="magnitude", keep=0.5, inplace=True)
    assert (model.model.layers[0].mlp.up_proj.weight == 0).float().mean() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_a_checkpoint_saved_from_a_wrapper_is_told_apart(prefix, tmp_path):
    from safetensors.torch import load_file, save_file

    tiny_llama().save_pretrained(tmp_path / "m")
    file = tmp_path / "m" / "model.safetensors"
    save_file({f"{prefix}{name}": value for name, value in load_file(file).items()}, file, {"format": "pt"})
    for read in (fewer.load, fewer.plan_for, lambda path: fewer.prune(path, out=tmp_path / "out")):
        with pytest.raises(FewerError, match=f"start with '{prefix}': it was saved from") as caught:
            read(tmp_path / "m")
        assert "\n" not in str(caught.value)


class Adapter(nn.Module):
    """As adapters wrap a layer."""

    def __init__(self, layer):
        super().__init__()
        self.base_layer = layer
        self.lora_A = nn.ModuleDict({"default": nn.Linear(4, 2, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(2, 4, bias=False)})


def meta(layer):
    return layer.to("meta")


def parametrised(layer):
    return parametrizations.weight_norm(layer)


REFUSED = {
    "pruned by a hook": (lambda layer: prune.l1_unstructured(layer, "weight", 0.5), r"in a hook.*prune\.remove"),
    "weight norm by a hook": (lambda layer: nn.utils.weight_norm(layer), r"in a hook.*remove_weight_norm"),
    "parametrised": (parametrised, "is parametrised.*remove_parametrizations"),
    "meta": (meta, "on the meta device"),
    "lazy": (lambda _: nn.LazyLinear(4), "is lazy"),
    "adapter": (Adapter, r"carries an adapter \(LoRA\): merge it"),
    "complex": (lambda layer: layer.to(torch.complex64), r"is complex \(complex64\)"),
    "compiled inside": (torch.compile, "is compiled inside"),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Lazy modules", "ignore:Complex modules")
@pytest.mark.parametrize("how", REFUSED)
def test_what_has_to_be_settled_first_is_said_in_a_line(how):
    change, message = REFUSED[how]
    model = nn.Sequential(change(nn.Linear(4, 4)), nn.Linear(4, 4))
    for call in (lambda: fewer.prune(model, torch.randn(8, 4)), lambda: fewer.prune(model, score="magnitude")):
        with pytest.raises(FewerError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value) and "'0" in str(caught.value)


@pytest.mark.parametrize("score", ["wanda", "taylor"])
def test_a_caller_in_inference_mode_is_served(score, tmp_path):
    model = tiny_llama()
    plain = fewer.prune(model, tokens(), score=score, keep=0.5)
    with torch.inference_mode():
        done = fewer.prune(model, tokens(), score=score, keep=0.5, out=tmp_path / "out")
    assert done.opened.hash() == plain.opened.hash() == fewer.load(tmp_path / "out").hash()


def test_a_model_made_in_inference_mode_is_served():
    with torch.inference_mode():
        made = tiny_llama()
    done = fewer.prune(made, tokens(), score="wanda", keep=0.5)
    assert done.opened.hash() == fewer.prune(tiny_llama(), tokens(), score="wanda", keep=0.5).opened.hash()
