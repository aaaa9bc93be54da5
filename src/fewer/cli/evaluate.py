"""`fewer eval`: how good a model is, and how far from the dense one."""

from __future__ import annotations

from typing import Any

import click

from fewer.cli.options import TEXT_FIELD, as_json, compute, model
from fewer.cli.show import progress, result
from fewer.compute import AUTO
from fewer.report.numbers import nats, percent, perplexity

__all__ = ["command"]


@click.command("eval")
@model
@click.option("--data", metavar="TEXT", required=True, help="Held-out text file, or the word demo.")
@click.option("--against", metavar="MODEL", help="The dense model; brings KL, agreement.")
@click.option("--context", metavar="N", type=click.IntRange(min=2), help="Tokens in a window.  [default: 256]")
@click.option("--text-field", default="", metavar="NAME", help=TEXT_FIELD)
@compute
@as_json
def command(
    model: str, data: str, against: str | None, context: int | None, text_field: str, compute: str, as_json: bool
) -> None:  # fmt: skip
    """Measure MODEL on held-out text: perplexity, worst slice, sparsity; with --against also KL and agreement.

    Example: fewer eval pruned --against demo --data demo
    """
    from fewer.verbs._given import held_out, load
    from fewer.verbs.evaluate import evaluate

    opened = load(model)
    dense = None if against is None else load(against)
    with progress(as_json=as_json) as show:
        data = held_out(data, dense or opened, context, text_field)
        quality = evaluate(opened, data, against=dense, context=context, compute=compute or AUTO, progress=show)
    document = {"model": model, "against": against, **_plain(quality), "sparsity": sparsity(opened)}
    document["inputs_skipped"] = inputs_skipped(opened.module)
    result(document, lambda: _text(document), as_json=as_json)


def sparsity(opened: Any) -> float:
    """Exact share of zeros in the layers that pruning would choose by default."""
    from fewer.runtime.model import native_layers

    total = zeros = 0
    weights = [layer.read for layer in opened.layers]
    weights += [lambda layer=layer: layer.weight for layer in native_layers(opened.module)]
    for read in weights:
        weight = read()
        total += weight.numel()
        zeros += weight.numel() - int(weight.count_nonzero())
    return zeros / total if total else 0.0


def inputs_skipped(module: Any) -> float | None:
    """Share of the weights that a token leaves unread because inputs are cut, on the calibration data; None uncut."""
    from fewer.runtime.skipping import SkippingLinear

    layers = [m for m in module.modules() if isinstance(m, SkippingLinear) and m.observed is not None]
    sizes = [layer.in_features * layer.out_features for layer in layers]
    read = sum((layer.observed or 0.0) * size for layer, size in zip(layers, sizes, strict=True))
    return 1 - read / sum(sizes) if layers else None


def _plain(quality: Any) -> dict[str, Any]:
    from fewer.report.records import plain

    found: dict[str, Any] = plain(quality)
    return found


def _text(document: dict[str, Any]) -> str:
    rows = [
        ("perplexity", f"{perplexity(document['perplexity'])} at context {document['context']}"),
        ("worst slice", f"{perplexity(document['worst_slice_perplexity'])} ({document['worst_slice']})"),
        ("KL", f"{nats(document['kl'])} nats per token from {document['against']}"),
        ("top-1", f"{percent(document['top1_agreement'])} of tokens as {document['against']}"),
        ("output error", nats(document["output_error"])),
        ("sparsity", percent(document["sparsity"])),
        ("inputs cut", f"{percent(document['inputs_skipped'])} of the weights of those layers left unread for a token"),
        ("measured on", f"{document['tokens']:,} tokens of {document['data']}"),
        ("computed in", document["compute"]),
    ]
    keys = {"KL": "kl", "top-1": "top1_agreement", "perplexity": "perplexity", "output error": "output_error"}
    keys |= {"worst slice": "worst_slice_perplexity", "inputs cut": "inputs_skipped"}
    known = [(name, text) for name, text in rows if name not in keys or document[keys[name]] is not None]
    return "\n".join(f"{name:<12}  {text}" for name, text in known)
