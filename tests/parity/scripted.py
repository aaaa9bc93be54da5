"""A small model, its windows, and the layer-sequential loop that the papers' scripts share."""

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

TOKENS = torch.randint(0, 96, (12, 24), generator=torch.Generator().manual_seed(1))


def model(dtype=torch.float32):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=96, num_hidden_layers=3, **sizes)).eval().to(dtype)


@torch.no_grad()
def block_inputs(network, block):
    """What every linear layer of a block sees: layer -> (tokens, in); earlier blocks are as they are now."""
    seen = {}
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, x, n=name: seen.setdefault(n, []).append(x[0].reshape(-1, x[0].shape[-1]))
        )
        for name, layer in block.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    for window in TOKENS:
        network(window[None])
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(rows) for name, rows in seen.items()}


def literally(rule, *settings, dtype=torch.float32):
    """The weights after `rule(weight, inputs, *settings, layer name)` went over the blocks in order."""
    network = model(dtype)
    for index, block in enumerate(network.model.layers):
        seen = block_inputs(network, block)
        for name, inputs in seen.items():
            layer = block.get_submodule(name)
            layer.weight.data = rule(layer.weight.data, inputs, *settings, f"model.layers.{index}.{name}")
    return {n: p for n, p in network.named_parameters() if n.endswith("proj.weight")}


def lowest_of_rows(score, share):
    """True for the lowest of every row, their number rounded down; ties go first come, first dropped."""
    gone = torch.zeros_like(score, dtype=torch.bool)
    for i in range(score.shape[0]):
        gone[i, torch.argsort(score[i], stable=True)[: int(score.shape[1] * share)]] = True
    return gone
