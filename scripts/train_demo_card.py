"""What is measured on the finished demo model, and the model card that says so."""

from __future__ import annotations

import math
import platform
from datetime import date
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from train_demo_text import Source

CARD = """\
---
license: psf-2.0
language: [code]
library_name: transformers
---

# The demo model of fewer

A Llama-architecture language model of {parameters:,} parameters that writes Python in the manner of the
CPython standard library. It is small enough to prune, merge, quantise and evaluate in seconds on a laptop,
and trained well enough that damage shows. It is a test object, not an assistant: it knows no facts.

## Architecture

{layers} layers, hidden size {hidden}, SwiGLU with {intermediate} neurons a layer, {heads} query heads and
{kv_heads} key-value heads of width {width}, RMSNorm, rotary positions, embeddings tied to the output,
byte-level BPE with {vocabulary} entries. Stored in bfloat16 ({megabytes:.1f} MB). Trained with windows of
{context} tokens; longer inputs are accepted, but quality beyond {context} is not promised.

## Data

All text is from the standard library of CPython {python}: {library} library files and {tests} test files
({training:,} tokens). Files are split by a hash of their path; each file begins with a comment that names it.

| file | files | bytes | use |
|---|---|---|---|
| `calibration.txt` | {calibration_files} | {calibration_bytes:,} | statistics for pruning and merging |
| `evaluation.txt` | {evaluation_files} | {evaluation_bytes:,} | measuring quality |

The two share no file; neither the model nor the tokenizer has seen either. Both come from library code, not
from test suites. Files that copy training files in good part were left out; of the runs of eight lines that
remain, {evaluation_copied:.1%} (evaluation) and {calibration_copied:.1%} (calibration) also stand in a
training file. The text belongs to its authors, see `LICENSE-texts`.

## Training

{date}, on {threads} CPU threads ({machine}), bfloat16 autocast:

- {minutes:.0f} minutes, {steps:,} steps of {batch_tokens:,} tokens, {seen:,} tokens in all (about {epochs:.1f} passes;
  library files are drawn more often than tests), {speed:,.0f} tokens a second
- {optimizer}; warm-up, constant rate, then linear decay
- stored weights: the moving average; training loss at the end {loss:.3f} nats a token (the mixture of library
  and tests, so not comparable with the table below; the model has memorised part of what it was trained on)

`scripts/train_demo.py` made it. Its progress follows the clock, so another machine gives another model.

## Quality

Measured on the stored bfloat16 weights, in separate windows of 256 tokens.

| | `evaluation.txt` | `calibration.txt` |
|---|---|---|
| nats a token | {evaluation[nats]:.4f} | {calibration[nats]:.4f} |
| perplexity | {evaluation[perplexity]:.3f} | {calibration[perplexity]:.3f} |
| bits a byte | {evaluation[bits_per_byte]:.4f} | {calibration[bits_per_byte]:.4f} |

An untrained copy has a perplexity of {untrained:,.0f} on `evaluation.txt`.

## Sample

`{prompt}` continued by 200 tokens (temperature 0.8, top-p 0.95, seed 0); at lower temperatures it soon
repeats lines:

```python
{sample}
```
"""


@torch.inference_mode()
def held_out(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, text: str, context: int = 256
) -> dict[str, float]:
    """Return nats per token, perplexity and bits per byte in windows of `context` tokens."""
    ids = torch.tensor(tokenizer.backend_tokenizer.encode(text).ids)
    count = (len(ids) - 1) // context
    inputs = ids[: count * context].view(count, context)
    targets = ids[1 : count * context + 1].view(count, context)
    total = 0.0
    for start in range(0, count, 16):
        logits = model(input_ids=inputs[start : start + 16], use_cache=False).logits.float()
        goal = targets[start : start + 16].flatten()
        total += F.cross_entropy(logits.flatten(0, 1), goal, reduction="sum").item()
    size = len(tokenizer.decode(targets.flatten().tolist()).encode())
    nats = total / targets.numel()
    return {
        "tokens": float(targets.numel()),
        "nats": nats,
        "perplexity": math.exp(nats),
        "bits_per_byte": total / size / math.log(2),
    }


@torch.inference_mode()
def sample(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, length: int = 200) -> str:
    """Continue a prompt by nucleus sampling with a fixed seed."""
    torch.manual_seed(0)
    ids = torch.tensor([tokenizer(prompt)["input_ids"]])
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=length,
        do_sample=True,
        temperature=0.8,
        top_p=0.95,
        pad_token_id=0,
    )
    return str(tokenizer.decode(out[0], skip_special_tokens=True))


def machine() -> str:
    """Name the processor as the system reports it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def write_card(folder: Path, source: Source, facts: dict[str, object]) -> None:
    """Write the model card from what was trained and measured."""
    prompt, text = str(facts["prompt"]), str(facts["sample"])
    facts = facts | {
        "prompt": prompt.replace("\n", "\\n"),
        "sample": text.replace("```", "'''"),
        "megabytes": (folder / "model" / "model.safetensors").stat().st_size / 1e6,
        "python": platform.python_version(),
        "library": len(source.library),
        "tests": len(source.tests),
        "date": date.today().isoformat(),
        "machine": machine(),
    }
    facts |= {f"{name}_copied": share for name, share in source.copied.items()}
    for name, files in (("calibration", source.calibration), ("evaluation", source.evaluation)):
        facts[f"{name}_files"] = len(files)
        facts[f"{name}_bytes"] = (folder / f"{name}.txt").stat().st_size
    (folder / "README.md").write_text(CARD.format(**facts), encoding="utf-8")
