"""Every family, pruned in memory and streamed, in a fresh process with plain `from_pretrained`: the same bits."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
import zoo

import fewer

#: A family, and the same in half precision: what is stored must not pass through another type.
CASES = {**{family: torch.float32 for family in zoo.MAKERS}, "llama-half": torch.bfloat16}
AUTO = {"bert": "AutoModelForSequenceClassification", "vit": "AutoModelForImageClassification"}

FRESH = """
import json, sys, torch, transformers
sys.path.insert(0, sys.argv[1])
import zoo
from safetensors.torch import load_file
torch.set_num_threads(1)
found = {}
for folder, (family, auto) in json.load(open(sys.argv[2])).items():
    if auto:
        model = getattr(transformers, auto).from_pretrained(folder)
    else:
        model = zoo.Cnn()
        model.load_state_dict(load_file(folder + "/model.safetensors"))
    found[folder] = zoo.outputs(family, model.eval())
torch.save(found, sys.argv[3])
"""


def family_of(case):
    return case.removesuffix("-half")


def prune(case, folder):
    """The dense model in `dense`, pruned into `memory`, and from directory to directory into `streamed`."""
    family, dtype = family_of(case), CASES[case]
    data = zoo.sample(family)
    if family == "cnn":
        done = fewer.prune(zoo.make(family), data, score="wanda", keep=0.5, out=folder / "memory")
        return {"memory": done}
    zoo.make(family).to(dtype).save_pretrained(folder / "dense")
    done = fewer.prune(folder / "dense", data, score="wanda", keep=0.5)
    done.save(folder / "memory")
    return {"memory": done, "streamed": fewer.prune(folder / "dense", data, score="wanda", out=folder / "streamed")}


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory):
    """What was pruned, and the outputs that a fresh process computes from the files alone; one for all families."""
    root = tmp_path_factory.mktemp("zoo")
    torch.set_num_threads(1)
    made, table = {}, {}
    for case in CASES:
        (root / case).mkdir()
        family = family_of(case)
        made[case] = prune(case, root / case)
        auto = "" if family == "cnn" else AUTO.get(family, "AutoModelForCausalLM")
        table |= {str(root / case / way): (family, auto) for way in made[case]}
    (root / "table.json").write_text(json.dumps(table))
    command = [sys.executable, "-W", "ignore", "-c", FRESH, zoo.__file__.rsplit("/", 1)[0]]
    subprocess.run([*command, root / "table.json", root / "found.pt"], check=True)
    return root, made, torch.load(root / "found.pt")


@pytest.mark.parametrize("case", CASES)
def test_a_fresh_process_computes_the_bits_of_the_model_in_memory(reloaded, case):
    root, made, found = reloaded
    expected = zoo.outputs(family_of(case), made[case]["memory"].model)
    assert expected.isfinite().all() and expected.std() > 0
    for way, done in made[case].items():
        assert torch.equal(found[str(root / case / way)], expected), way
        assert done.sparsity == pytest.approx(0.5, abs=0.01) and len(done.layers) == zoo.LAYERS[family_of(case)]
        assert next(done.model.parameters()).dtype == CASES[case]


def test_an_encoder_decoder_reads_its_targets_or_the_labels():
    ids = torch.arange(3, 15).reshape(1, -1)
    labels = torch.full((1, 5), 7)
    shifted = torch.tensor([[0, 7, 7, 7, 7]])
    given = fewer.prune(zoo.t5(), [{"input_ids": ids, "decoder_input_ids": shifted}], score="wanda")
    derived = fewer.prune(zoo.t5(), [{"input_ids": ids, "labels": labels}], score="wanda")
    assert len(given.masks) == 32
    assert all(torch.equal(given.masks[name], derived.masks[name]) for name in given.masks)
    with pytest.raises(fewer.FewerError, match="is an encoder-decoder: batches need decoder_input_ids or labels"):
        fewer.prune(zoo.t5(), [{"input_ids": ids}], score="wanda")
