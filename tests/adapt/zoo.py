"""Tiny random models of every family that adapt is tested on."""

from __future__ import annotations

import torch
import transformers as hf
from torch import nn

SMALL = dict(
    hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
    vocab_size=64, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
)  # fmt: skip


class Cnn(nn.Module):
    """Grouped, strided, dilated and depthwise convolutions and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.grouped = nn.Conv2d(8, 12, 3, groups=2, padding="same", dilation=2, padding_mode="reflect")
        self.depthwise = nn.Conv2d(12, 12, 3, groups=12)
        self.point = nn.Conv2d(12, 6, 1)
        self.head = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.point(self.depthwise(self.grouped(self.stem(x).relu()).relu()).relu()).relu()
        return self.head(x.mean((2, 3)))


def _small(**changes: object) -> dict[str, object]:
    return {**SMALL, **changes}


def _gemma() -> nn.Module:
    config = hf.Gemma3TextConfig(
        **_small(head_dim=8, sliding_window=4, layer_types=["sliding_attention", "full_attention", "sliding_attention"])
    )
    return hf.Gemma3ForCausalLM(config)


def _gpt2() -> nn.Module:
    return hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=64, n_positions=64, n_embd=32, n_layer=3, n_head=4))


def _opt() -> nn.Module:
    return hf.OPTForCausalLM(
        hf.OPTConfig(
            vocab_size=64,
            hidden_size=32,
            ffn_dim=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=64,
            word_embed_proj_dim=16,
        )
    )


def _neox() -> nn.Module:
    small = {k: v for k, v in SMALL.items() if k != "num_key_value_heads"}
    return hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**small))


def _llama4() -> nn.Module:
    config = hf.Llama4TextConfig(**_small(head_dim=8, num_local_experts=2, intermediate_size_mlp=48))
    return hf.Llama4ForCausalLM(config)


def t5() -> nn.Module:
    """An encoder-decoder, which needs targets beside its inputs."""
    torch.manual_seed(0)
    return hf.T5ForConditionalGeneration(
        hf.T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0)
    ).eval()


def _bert() -> nn.Module:
    small = {k: v for k, v in SMALL.items() if k != "num_key_value_heads"}
    return hf.BertForSequenceClassification(hf.BertConfig(**small))


def _vit() -> nn.Module:
    return hf.ViTForImageClassification(
        hf.ViTConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=16,
            patch_size=4,
            num_labels=5,
        )
    )


MAKERS = {
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**_small(tie_word_embeddings=True))),
    "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**_small(sliding_window=4))),
    "qwen3": lambda: hf.Qwen3ForCausalLM(
        hf.Qwen3Config(**_small(head_dim=8, use_sliding_window=True, sliding_window=4, max_window_layers=1))
    ),
    "gemma3": _gemma,
    "gpt2": _gpt2,
    "opt": _opt,
    "gpt-neox": _neox,
    "mixtral": lambda: hf.MixtralForCausalLM(hf.MixtralConfig(**_small(num_local_experts=4, num_experts_per_tok=2))),
    "llama4": _llama4,
    "bert": _bert,
    "vit": _vit,
    "cnn": Cnn,
}

#: Layers pruned by default: weights per block times three blocks, or as counted by hand.
LAYERS = {
    "llama": 21, "mistral": 21, "qwen3": 21, "gemma3": 21, "gpt2": 12, "opt": 18, "gpt-neox": 12,
    "mixtral": 3 * (4 + 2 * 4), "llama4": 21, "bert": 18, "vit": 18, "cnn": 1 + 2 + 1,
}  # fmt: skip

CAUSAL = ("llama", "mistral", "qwen3", "gemma3", "gpt2", "opt", "gpt-neox", "mixtral", "llama4")


def make(family: str, seed: int = 0) -> nn.Module:
    """A model with weights large enough that its outputs differ between inputs."""
    torch.manual_seed(seed)
    model = MAKERS[family]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.15)
    return model


def sample(family: str, *, padded: bool = False, count: int = 4) -> list[dict[str, torch.Tensor]]:
    """Batches of two; `padded` pads some sequences on the right."""
    draw = torch.Generator().manual_seed(7)
    if family in ("vit", "cnn"):
        return [{"inputs": torch.randn(2, 3, 16, 16, generator=draw)} for _ in range(count // 2)]
    batches = []
    for index in range(count // 2):
        batch = {"input_ids": torch.randint(3, 64, (2, 12), generator=draw)}
        if padded:
            mask = torch.ones(2, 12, dtype=torch.long)
            mask[1, 7 + index :] = 0
            batch["attention_mask"] = mask
        batches.append(batch)
    return batches


@torch.no_grad()
def outputs(family: str, model: nn.Module) -> torch.Tensor:
    """What a model makes of its first batch."""
    batch = sample(family)[0]
    if family == "cnn":
        return model(batch["inputs"])
    dtype = next(model.parameters()).dtype
    named = {"pixel_values": batch["inputs"].to(dtype)} if family == "vit" else batch
    return model(**named).logits
