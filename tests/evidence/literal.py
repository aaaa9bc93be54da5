"""What a layer's inputs are, found in another way than adapt finds them: plain hooks, loops, float64."""

from __future__ import annotations

import torch
from torch import nn


def inputs(model: nn.Module, batches: list[dict[str, torch.Tensor]], layer) -> torch.Tensor:
    """Every input row of a layer over all batches, padding left out, (tokens, in) in float64."""
    rows: list[torch.Tensor] = []
    for batch in batches:
        seen: list[tuple[torch.Tensor, ...]] = []
        handle = layer.module.register_forward_hook(lambda m, args, out, seen=seen: seen.append(args))
        with torch.no_grad():
            given = {k: v for k, v in batch.items() if k != "labels"}
            if "inputs" in given:
                model(given["inputs"])
            else:
                model(**given)
        handle.remove()
        mask = batch.get("attention_mask")
        keep = None if mask is None else mask.reshape(-1).bool().tolist()
        for args in seen:
            rows += _rows(layer, args, keep)
    return torch.stack(rows).double() if rows else torch.zeros(0, layer.shape[1], dtype=torch.float64)


def _rows(layer, args: tuple[torch.Tensor, ...], keep: list[bool] | None) -> list[torch.Tensor]:
    x = args[0]
    if layer.kind == "conv2d":
        return _patches(layer, x)
    if layer.kind == "expert":
        return _routed(layer, *args[:2], keep)
    flat = x.reshape(-1, x.shape[-1])
    return [row for index, row in enumerate(flat) if keep is None or keep[index]]


def _routed(layer, x: torch.Tensor, chosen: torch.Tensor, keep: list[bool] | None) -> list[torch.Tensor]:
    home = layer.module
    rows = []
    for token in range(x.shape[0]):
        if (keep is None or keep[token]) and layer.index in chosen[token].tolist():
            row = x[token]
            if layer.parameter == "down_proj":
                gate, up = (home.gate_up_proj[layer.index] @ row).chunk(2)
                row = home.act_fn(gate) * up
            rows.append(row.detach())
    return rows


def _patches(layer, x: torch.Tensor) -> list[torch.Tensor]:
    conv = layer.module
    reach = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
    if conv.padding == "same":
        top, left = reach[0] // 2, reach[1] // 2
        bottom, right = reach[0] - top, reach[1] - left
    else:
        top, left = bottom, right = conv.padding
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    x = nn.functional.pad(x, (left, right, top, bottom), mode)
    channels = conv.in_channels // conv.groups
    first = layer.index * channels
    rows = []
    for image in x:
        for i in range(0, image.shape[1] - reach[0], conv.stride[0]):
            for j in range(0, image.shape[2] - reach[1], conv.stride[1]):
                rows.append(
                    torch.stack(
                        [
                            image[c, i + p * conv.dilation[0], j + q * conv.dilation[1]]
                            for c in range(first, first + channels)
                            for p in range(conv.kernel_size[0])
                            for q in range(conv.kernel_size[1])
                        ]
                    )
                )
    return rows


def sample_loss(model: nn.Module, sample: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean next-token cross entropy of one sequence, token by token."""
    logits = model(**sample).logits.double()
    ids = sample["input_ids"][0]
    length = int(sample["attention_mask"].sum()) if "attention_mask" in sample else len(ids)
    terms = [-torch.log_softmax(logits[0, t], -1)[ids[t + 1]] for t in range(length - 1)]
    return torch.stack(terms).mean()
