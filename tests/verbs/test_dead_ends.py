"""Models and choices that used to end in a refusal, or in a late one: towers, encoder-decoders, what cannot stream."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
import zoo
from torch import nn

import fewer
from fewer.events import Note
from fewer.method import FewerError
from fewer.verbs.evaluate import evaluate

VISION = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=8)


def gemma():
    """A language model and a vision tower, whose blocks are no chain."""
    torch.manual_seed(0)
    text = dict(**zoo.SMALL, head_dim=8)
    config = hf.Gemma3Config(vision_config=dict(patch_size=4, **VISION), text_config=text, mm_tokens_per_image=4)
    return hf.Gemma3ForConditionalGeneration(config).eval()


def test_a_tower_is_left_alone_under_text_and_the_directory_opened_in_memory(tmp_path):
    gemma().save_pretrained(tmp_path / "dense")
    told = []
    done = fewer.prune(
        tmp_path / "dense", zoo.sample("llama"), score="wanda", out=tmp_path / "out", progress=told.append
    )
    assert any(isinstance(e, Note) and e.text.endswith("cannot be streamed: opened in memory") for e in told)
    left = [row.name for row in done.layers if row.kept == row.total]
    assert left and all("vision_tower" in name for name in left)
    assert (tmp_path / "out" / "config.json").is_file() and not (tmp_path / "out.partial").exists()


SMALL = dict(vocab_size=64, hidden_size=16, num_hidden_layers=2)
LED_ON = {
    "falcon-mamba": lambda: hf.FalconMambaForCausalLM(hf.FalconMambaConfig(**SMALL, state_size=4)),
    "jamba": lambda: hf.JambaForCausalLM(
        hf.JambaConfig(
            **SMALL, intermediate_size=32, num_attention_heads=2, num_key_value_heads=2, attn_layer_period=2,
            attn_layer_offset=1, expert_layer_period=2, num_experts=2, mamba_d_state=4, use_mamba_kernels=False,
        )
    ),
    "xlnet": lambda: hf.XLNetLMHeadModel(hf.XLNetConfig(vocab_size=64, d_model=16, n_layer=2, n_head=2, d_inner=32)),
}  # fmt: skip


LED_ON["gemma"] = gemma


@pytest.mark.parametrize("family", LED_ON)
@pytest.mark.parametrize("unit", ["weight", "input"])
def test_a_default_run_of_a_directory_ends_in_a_model(family, unit, tmp_path):
    torch.manual_seed(0)
    LED_ON[family]().save_pretrained(tmp_path / "dense")
    done = fewer.prune(tmp_path / "dense", zoo.sample("llama"), unit=unit, keep=0.5, out=tmp_path / "out")
    assert 0.2 < done.sparsity <= 0.51 and (tmp_path / "out" / "config.json").is_file()


@pytest.mark.parametrize("family", ["falcon-mamba", "gemma"])
def test_the_decoding_of_a_model_with_a_state_or_a_tower_is_timed(family, monkeypatch):
    monkeypatch.setattr("fewer.runtime.bench._COLD_BYTES", 0)
    model = LED_ON[family]().eval()
    found = fewer.bench(model, batches=(1,), prompt=2, steps=1, prefills=1, inputs="")
    assert {row["phase"] for row in found.timings} == {"prefill", "decode"}


def test_a_named_tower_is_refused_with_a_glob():
    with pytest.raises(FewerError, match=r"was never called on this data: leave it out with skip, as in 'model\.vis"):
        fewer.prune(gemma(), zoo.sample("llama"), score="wanda", only=["*vision*.k_proj"])


@pytest.mark.parametrize(
    ("made", "given", "message"),
    [
        (lambda: zoo.make("llama"), {"unit": "input"}, r"unit 'input' needs .* 0\.0 GB are free$"),
        (lambda: zoo.make("bert"), {"score": "wanda"}, r"of kind 'encoder' needs .* 0\.0 GB are free$"),
        (lambda: zoo.make("llama"), {"score": "wanda", "budget": "global"}, r"free; a sequential run with budget 'uni"),
    ],
)
def test_a_model_that_does_not_fit_is_told_what_streams_where_something_does(
    made, given, message, tmp_path, monkeypatch
):
    monkeypatch.setattr("fewer.verbs._memory._free_memory", lambda: 0.0)
    made().save_pretrained(tmp_path / "dense")
    with pytest.raises(FewerError, match=message):
        fewer.prune(tmp_path / "dense", zoo.sample("llama"), out=tmp_path / "out", **given)


class Apart(nn.Module):
    """Its layer is read, never called."""

    def __init__(self):
        super().__init__()
        self.read = nn.Linear(4, 4)

    def forward(self, x):
        return x @ self.read.weight.T


def test_nothing_called_is_nothing_pruned():
    with pytest.raises(FewerError, match="none of the 1 layers was called on this data"):
        fewer.prune(Apart(), torch.randn(8, 4), score="wanda")


class Letters:
    """A tokenizer of one token a letter."""

    def __call__(self, content, **_):
        return {"input_ids": [3 + ord(letter) % 60 for letter in content]}


def test_an_encoder_decoder_learns_to_go_on_with_a_text(tmp_path):
    (tmp_path / "a.txt").write_text("abcdefgh" * 40)
    from fewer import adapt

    opened = adapt.open(zoo.t5())
    opened.__dict__["_tokenizer"] = Letters()
    data = fewer.text(tmp_path / "a.txt", opened, samples=2, length=16)
    assert tuple(data[0]["input_ids"].shape) == tuple(data[0]["labels"].shape) == (2, 8)
    assert "read by the encoder up to token 8, predicted by the decoder" in data.source
    assert len(fewer.prune(opened, data, score="wanda").masks) == 32
    assert evaluate(opened, tmp_path / "a.txt", context=16).context == 16


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(score="wanda", only=["model.embed_tokens"]), "'model.embed_tokens' is an embedding: it has no inputs"),
        (dict(score="wanda", update="bias"), r"q_proj' has no bias, which update 'bias' adds to: choose another"),
        (dict(score="magnitude", pattern="16x1", budget="lamp"), "budget 'lamp' counts single weights"),
        (dict(score="magnitude", update="net-trim", update_options={"rho": -1.0}), "rho must be positive"),
        (
            dict(score="magnitude", steps=2, schedule_options={"begin": 0.9, "finish": 0.1}),
            "a schedule runs from begin=0.9 to finish=0.1",
        ),
    ],
)
def test_the_plan_refuses_what_the_run_would(given, message):
    options = {key: given.pop(key) for key in list(given) if key == "only"}
    recipe = fewer.Recipe(**given, only=tuple(options.get("only", ())))
    with pytest.raises(FewerError, match=message):
        fewer.plan_for(zoo.make("llama"), recipe)


def test_inputs_of_what_is_not_linear_are_refused_by_the_plan():
    with pytest.raises(FewerError, match="is of kind conv1d; inputs are cut in linear layers: skip it"):
        fewer.plan_for(zoo.make("gpt2"), fewer.Recipe(unit="input", only=("*attn*",)))
    with pytest.raises(FewerError, match=r"this model has none: '.*c_attn' is of kind conv1d, and so are the others"):
        fewer.plan_for(zoo.make("gpt2"), fewer.Recipe(unit="input"))


def test_inputs_of_experts_are_left_whole_with_the_reason():
    plan = fewer.plan_for(zoo.make("mixtral"), fewer.Recipe(unit="input"))
    assert {row.kind for row in plan.rows} == {"linear"}
    left = [row.reason for row in plan.excluded if "experts" in row.name]
    assert left and set(left) == {"of kind expert: inputs are cut in linear layers"}
