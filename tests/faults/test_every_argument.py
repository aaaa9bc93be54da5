"""Wrong values for every argument of every public function: the answer is one line that names it, or a result."""

from __future__ import annotations

import inspect
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

import fewer
from fewer import adapt, compute, evidence, maskfile, report, runtime
from fewer import select as selection
from fewer.adapt import data as inputs
from fewer.method import FewerError, catalogue, find
from fewer.recipe import DataSettings, Recipe, Where, parse_recipe
from fewer.verbs import mask as masks
from fewer.verbs.evaluate import evaluate, evaluate_all
from fewer.verbs.prune import random_like
from fewer.verbs.select import select_columns
from fewer.verbs.sweep import levels

WRONG = {
    "None": None, "empty": "", "null": "a\0b", "word": "typo", "negative": -1, "zero": 0, "huge": 10**30, "half": 2.5,
    "nan": math.nan, "infinite": math.inf, "true": True, "numbers": (2, 4), "texts": ["x"], "bytes": b"a", "dict": {},
    "names": {"a": 1}, "nowhere": Path("/nowhere/file"), "long": "x" * 300, "number": 5, "object": object(),
    "set": {1}, "tensor": torch.ones(2, 2), "scalar": torch.tensor(3),
}  # fmt: skip


def tiny():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 4))


class Ground:
    """What the valid calls start from; made once."""

    def __init__(self, folder):
        self.folder = folder
        torch.manual_seed(0)
        sizes = dict(vocab_size=32, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
        self.llama = LlamaForCausalLM(LlamaConfig(num_key_value_heads=2, **sizes)).eval()
        self.tokens = torch.arange(32).reshape(2, 16)
        self.rows = torch.randn(4, 8)
        self.magnitude = Recipe(score="magnitude")
        self.pruned = fewer.prune(tiny(), score="magnitude", keep=0.5)
        self.pruned.mask_file().save(folder / "one.mask")
        self.mask = self.pruned.mask_file()
        self.comparison = fewer.compare(self.llama, data=self.tokens)
        self.batches = inputs.batches(self.rows)
        self.store = evidence.collect(adapt.open(tiny()), self.batches, ["input_norm"])
        self.packed = runtime.pack_weight(tiny()[0].weight.detach())
        (folder / "table.csv").write_text("a,y\n" + "".join(f"{i},{2 * i}\n" for i in range(12)))
        (folder / "recipe.toml").write_text('score = "magnitude"')


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return Ground(tmp_path_factory.mktemp("ground"))


#: Every public function with arguments that it takes.
CALLS = {
    "prune": lambda g: (fewer.prune, dict(model=tiny(), data=g.rows, score="magnitude")),
    "run": lambda g: (fewer.run, dict(model=tiny(), data=None, recipe=g.magnitude)),
    "plan_for": lambda g: (fewer.plan_for, dict(model=tiny(), recipe=g.magnitude)),
    "random_like": lambda g: (random_like, dict(model=tiny(), like=g.pruned)),
    "evaluate": lambda g: (evaluate, dict(model=g.llama, data=g.tokens)),
    "evaluate_all": lambda g: (evaluate_all, dict(models={"a": g.llama}, data=g.tokens)),
    "compare": lambda g: (fewer.compare, dict(dense=g.llama, data=g.tokens)),
    "race": lambda g: (fewer.race, dict(model=g.llama, recipes=[g.magnitude], data=g.tokens)),
    "sweep": lambda g: (
        fewer.sweep,
        dict(model=g.llama, calibration=g.tokens, data=g.tokens, recipe=Recipe(score="wanda"), keeps=(0.5,)),
    ),
    "levels": lambda g: (levels, dict(base=g.magnitude, keeps=(0.5,))),
    "materialise": lambda g: (fewer.materialise, dict(folder=g.folder, level="0.5", dense=tiny())),
    "text": lambda g: (fewer.text, dict(path="demo", model=str.split, samples=1, length=2)),
    "load": lambda g: (fewer.load, dict(path="/nowhere")),
    "reopen": lambda g: (fewer.reopen, dict(path="/nowhere")),
    "load_recipe": lambda g: (fewer.load_recipe, dict(path=g.folder / "recipe.toml")),
    "parse_recipe": lambda g: (parse_recipe, dict(text="")),
    "find": lambda g: (find, dict(kind="score", name="wanda")),
    "catalogue": lambda g: (catalogue, dict(kind="score")),
    "pack": lambda g: (fewer.pack, dict(model=g.pruned)),
    "bench": lambda g: (fewer.bench, dict(model=g.llama, batches=(1,), prompt=2, steps=1, prefills=0, inputs="")),
    "save_mask": lambda g: (masks.save_mask, dict(pruned=g.pruned, dense=tiny(), path=g.folder / "two.mask")),
    "read_mask": lambda g: (masks.read_mask, dict(path=g.folder / "one.mask")),
    "show_mask": lambda g: (masks.show_mask, dict(path=g.folder / "one.mask")),
    "diff_masks": lambda g: (masks.diff_masks, dict(first=g.folder / "one.mask", second=g.folder / "one.mask")),
    "combine_masks": lambda g: (
        masks.combine_masks,
        dict(first=g.folder / "one.mask", second=g.folder / "one.mask", how="union", path=g.folder / "u.mask"),
    ),
    "apply_mask": lambda g: (masks.apply_mask, dict(dense=tiny(), path=g.folder / "one.mask")),
    "undo_mask": lambda g: (masks.undo_mask, dict(pruned=tiny(), path=g.folder / "one.mask", dense=tiny())),
    "select_columns": lambda g: (
        select_columns,
        dict(path=g.folder / "table.csv", target="y", folds=2, n_alphas=2),
    ),
    "rule": lambda g: (selection.rule, dict(shape=(4, 8), keep=0.5)),
    "select": lambda g: (selection.select, dict(scores=g.rows, keep=0.5)),
    "top": lambda g: (selection.top, dict(scores=g.rows[0], count=2)),
    "top_in_rows": lambda g: (selection.top_in_rows, dict(scores=g.rows, each=2)),
    "spread_over_rows": lambda g: (selection.spread_over_rows, dict(scores=g.rows, count=8)),
    "runtime.pack": lambda g: (runtime.pack, dict(model=tiny())),
    "runtime.save": lambda g: (runtime.save, dict(model=tiny(), out=g.folder / "saved")),
    "runtime.load": lambda g: (runtime.load, dict(path="/nowhere")),
    "sparsify_inputs": lambda g: (runtime.sparsify_inputs, dict(model=tiny(), data=g.rows)),
    "maskfile.read": lambda g: (maskfile.read, dict(path=g.folder / "one.mask")),
    "open": lambda g: (adapt.open, dict(source=tiny())),
    "outline": lambda g: (adapt.outline, dict(source=tiny())),
    "select_layers": lambda g: (adapt.select_layers, dict(layers=adapt.open(tiny()).candidates)),
    "batches": lambda g: (inputs.batches, dict(data=g.rows)),
    "collect": lambda g: (evidence.collect, dict(opened=tiny(), data=g.batches, names=["input_norm"])),
    "sequential": lambda g: (
        evidence.sequential,
        dict(opened=adapt.open(tiny()), data=g.batches, names=["input_norm"], visit=lambda *_: None),
    ),
    "data_hash": lambda g: (evidence.data_hash, dict(data=g.batches, reference=None, names=["input_norm"])),
    "all_reduce": lambda g: (evidence.all_reduce, dict(store=g.store)),
    "resolve": lambda g: (compute.resolve, dict(asked="auto", stored="float32")),
    "check": lambda g: (compute.check, dict(asked="auto")),
    "most": lambda g: (compute.most, dict(sizes=[("float32", 3)])),
    "multiplies": lambda g: (compute.multiplies, dict(dtype="bfloat16")),
    "pack_weight": lambda g: (runtime.pack_weight, dict(weight=torch.ones(4, 8))),
    "unpack_weight": lambda g: (runtime.unpack_weight, dict(packed=g.packed)),
    "top_k": lambda g: (runtime.top_k, dict(x=g.rows)),
    "train_top_k": lambda g: (runtime.train_top_k, dict(model=tiny())),
    "keep_for_tolerance": lambda g: (
        runtime.keep_for_tolerance,
        dict(model=tiny(), data=g.rows, perplexity=lambda _: 1.0),
    ),
    "apply_cuts": lambda g: (runtime.apply_cuts, dict(model=tiny(), folder=g.folder)),
    "read_cuts": lambda g: (runtime.read_cuts, dict(folder=g.folder)),
    "open_as_stored": lambda g: (runtime.open_as_stored, dict(path="/nowhere")),
    "Cut": lambda g: (runtime.Cut, {}),
    "TopKLinear": lambda g: (runtime.TopKLinear, dict(layer=nn.Linear(8, 4), keep=0.5)),
    "PackedLinear": lambda g: (runtime.PackedLinear, dict(packed=g.packed)),
    "GemvLinear": lambda g: (runtime.GemvLinear, dict(weight=torch.ones(4, 8))),
    "ActivationSparseLinear": lambda g: (runtime.ActivationSparseLinear, dict(weight=torch.ones(4, 8), cut=0.1)),
    "PackedSkippingLinear": lambda g: (runtime.PackedSkippingLinear, dict(packed_t=g.packed, cut=0.1)),
    "maskfile.make": lambda g: (maskfile.make, dict(masks=g.pruned.masks, dense=adapt.open(tiny()))),
    "maskfile.apply": lambda g: (maskfile.apply, dict(mask=g.mask, opened=adapt.open(tiny()))),
    "maskfile.undo": lambda g: (maskfile.undo, dict(mask=g.mask, opened=adapt.open(tiny()))),
    "maskfile.diff": lambda g: (maskfile.diff, dict(first=g.mask, second=g.mask)),
    "maskfile.union": lambda g: (maskfile.union, dict(first=g.mask, second=g.mask)),
    "maskfile.intersect": lambda g: (maskfile.intersect, dict(first=g.mask, second=g.mask)),
    "maskfile.chance": lambda g: (maskfile.chance, dict(rows=maskfile.diff(g.mask, g.mask).values())),
    "to_html": lambda g: (report.to_html, dict(comparison=g.comparison, path=str(g.folder / "a.html"))),
    "to_json": lambda g: (report.to_json, dict(comparison=g.comparison)),
    "to_text": lambda g: (report.to_text, dict(comparison=g.comparison)),
    "Recipe": lambda g: (Recipe, {}),
    "DataSettings": lambda g: (DataSettings, {}),
    "Where": lambda g: (Where, {}),
}


@pytest.mark.parametrize("room", [fewer, adapt, compute, evidence, maskfile, report, runtime])
def test_no_public_function_is_forgotten(ground, room):
    tried = {inspect.unwrap(CALLS[name](ground)[0]) for name in CALLS}
    functions = [getattr(room, name) for name in room.__all__ if inspect.isfunction(getattr(room, name))]
    missing = [f.__name__ for f in functions if inspect.signature(f).parameters and inspect.unwrap(f) not in tried]
    assert not missing, missing


@pytest.mark.parametrize("name", CALLS)
def test_only_one_line_comes_out(ground, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fewer.runtime.bench._COLD_BYTES", 0)
    function, _ = CALLS[name](ground)
    faults = []
    for argument in inspect.signature(function).parameters.values():
        for word, value in WRONG.items():
            given = {**CALLS[name](ground)[1], argument.name: value}
            extra = (given.pop(argument.name),) if argument.kind is argument.VAR_POSITIONAL else ()
            ahead = argument.kind is argument.POSITIONAL_ONLY or extra or name == "top_k"
            first = [given.pop(key) for key in list(given)[:1]] if ahead else []
            try:
                function(*first, *extra, **given)
            except FewerError as error:
                if "\n" in str(error) or not str(error):
                    faults.append(f"{argument.name}={word}: {error}")
            except BaseException as error:
                faults.append(f"{argument.name}={word}: {type(error).__name__}: {error}")
    assert not faults, "\n".join(faults)
