"""Train the small language model that ships with fewer.

The text is the source of the CPython standard library that runs this script. Files are split by a
hash of their path: most train the tokenizer and the model, a few become ``calibration.txt`` and
``evaluation.txt`` and are never trained on. The result is a plain Llama checkpoint that
``transformers`` loads offline.

    python scripts/train_demo.py --minutes 75 --compile

On Linux the allocator returns large buffers to the system after each step; keeping them makes a step about a
third faster: ``MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000`` in the environment.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from train_demo_card import held_out, sample, write_card
from train_demo_text import Source, draw_windows, encode, read_source, train_tokenizer, write_texts

DEMO = Path(__file__).resolve().parent.parent / "src" / "fewer" / "demo"


@dataclass(frozen=True)
class Settings:
    """Every number that decides what is trained; the seed fixes the order of the data."""

    minutes: float = 75.0
    total_tokens: int = 200_000_000
    seed: int = 0
    threads: int = 2
    vocabulary: int = 4096
    hidden: int = 256
    layers: int = 6
    intermediate: int = 640
    heads: int = 8
    kv_heads: int = 4
    context: int = 256
    positions: int = 1024
    batch: int = 32
    library_share: float = 0.6
    muon_lr: float = 5e-3
    adam_lr: float = 3e-3
    weight_decay: float = 0.1
    warmup: float = 0.01
    decay: float = 0.35
    ema: float = 0.99
    clip: float = 1.0
    held_out_bytes: int = 300_000
    log_seconds: float = 30.0
    export_minutes: float = 8.0
    optimizer: str = "muon"
    compile: bool = False


@dataclass
class Progress:
    """Where a run stands: what a resumed run needs besides the weights."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    loss: float = float("nan")


def causal_bmm(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attend causally by batched products: for short windows on a CPU faster than the fused kernel."""
    batch, heads, length, width = query.shape
    groups = key.shape[1]
    rows = query.reshape(batch * groups, heads // groups * length, width)
    key = key.reshape(batch * groups, length, width)
    value = value.reshape(batch * groups, length, width)
    future = torch.full((length, length), float("-inf"), dtype=rows.dtype).triu(1)
    future = future.repeat(heads // groups, 1).expand(batch * groups, -1, -1)
    scores = torch.baddbmm(future, rows, key.transpose(1, 2), alpha=scaling)
    mixed = torch.bmm(torch.softmax(scores, -1, dtype=scores.dtype), value)
    return mixed.view(batch, heads, length, width).transpose(1, 2), None


AttentionInterface.register("causal_bmm", causal_bmm)


def new_model(settings: Settings) -> LlamaForCausalLM:
    """Build the untrained Llama with the initial scale of the output layers reduced by depth."""
    config = LlamaConfig(
        vocab_size=settings.vocabulary,
        hidden_size=settings.hidden,
        intermediate_size=settings.intermediate,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.kv_heads,
        max_position_embeddings=settings.positions,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
        initializer_range=0.03,
        attn_implementation="causal_bmm",
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter.mul_(1.0 / math.sqrt(2 * settings.layers))
    return model


def new_optimizers(model: LlamaForCausalLM, settings: Settings) -> list[torch.optim.Optimizer]:
    """Give hidden matrices to Muon (or AdamW), embeddings and norms to AdamW."""
    hidden = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    embedding = [p for n, p in model.named_parameters() if "embed" in n]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": embedding, "weight_decay": 0.01},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        groups.append({"params": hidden, "weight_decay": settings.weight_decay})
    adam = torch.optim.AdamW(groups, lr=settings.adam_lr, betas=(0.9, 0.97), fused=True)
    optimizers: list[torch.optim.Optimizer] = [adam]
    if settings.optimizer == "muon":
        muon = torch.optim.Muon(
            hidden,
            lr=settings.muon_lr,
            weight_decay=settings.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        optimizers.append(muon)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    return optimizers


def rate(progress: float, settings: Settings) -> float:
    """Return the warm-up-stable-decay factor of the learning rates at `progress` in [0, 1]."""
    up = min(1.0, (progress + 1e-4) / settings.warmup) if settings.warmup else 1.0
    down = min(1.0, (1.0 - progress) / settings.decay) if settings.decay else 1.0
    return max(0.0, min(up, down))


def train_step(
    model: LlamaForCausalLM,
    forward: Callable[..., Any],
    optimizers: list[torch.optim.Optimizer],
    window: NDArray[np.int64],
    clip: float,
) -> float:
    """Take one step on one batch of windows and return its loss."""
    ids = torch.from_numpy(window)
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = forward(input_ids=inputs, use_cache=False).logits
    loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


def averaged_model(model: LlamaForCausalLM, average: list[torch.Tensor]) -> LlamaForCausalLM:
    """Return a bfloat16 copy that holds the moving average of the weights."""
    config = LlamaConfig.from_dict(model.config.to_dict())
    copy = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter, value in zip(copy.parameters(), average, strict=True):
            parameter.copy_(value)
    return copy.to(torch.bfloat16).eval()


def export(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the checkpoint beside its place and move each file there, so that readers see whole files."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as name:
        model.generation_config.do_sample = True
        model.generation_config.temperature = 0.8
        model.generation_config.top_p = 0.95
        model.save_pretrained(name)
        tokenizer.save_pretrained(name)
        for path in sorted(Path(name).iterdir()):
            path.chmod(0o644)
            os.replace(path, folder / path.name)


def save_checkpoint(
    path: Path,
    model: LlamaForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    average: list[torch.Tensor],
    progress: Progress,
) -> None:
    """Store all that a resumed run needs, atomically."""
    state = {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "average": average,
        "progress": asdict(progress),
    }
    temporary = path.with_suffix(".part")
    torch.save(state, temporary)
    os.replace(temporary, path)


def load_checkpoint(
    path: Path, model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer], average: list[torch.Tensor]
) -> Progress:
    """Load what `save_checkpoint` stored."""
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, stored in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(stored)
    for mine, stored in zip(average, state["average"], strict=True):
        mine.copy_(stored)
    return Progress(**state["progress"])


@dataclass
class Run:
    """One training run: the model, its optimizers, its data and where it stands."""

    settings: Settings
    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast
    parts: tuple[NDArray[np.uint16], NDArray[np.uint16]]
    checkpoint: Path
    folder: Path

    def __post_init__(self) -> None:
        self.optimizers = new_optimizers(self.model, self.settings)
        self.average = [p.detach().clone() for p in self.model.parameters()]
        self.progress = Progress()
        self.forward = torch.compile(self.model) if self.settings.compile else self.model

    def fraction(self) -> float:
        """Return the progress in [0, 1]: whichever of tokens and time is further."""
        spent = self.progress.seconds / (60 * self.settings.minutes)
        return min(1.0, max(self.progress.tokens / self.settings.total_tokens, spent))

    def step(self) -> float:
        """Take one step at the scheduled rate and update the moving average."""
        factor = rate(self.fraction(), self.settings)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
        generator = np.random.default_rng([self.settings.seed, self.progress.step])
        settings = self.settings
        window = draw_windows(self.parts, settings.batch, settings.context + 1, settings.library_share, generator)
        loss = train_step(self.model, self.forward, self.optimizers, window, settings.clip)
        weight = max(1 - self.settings.ema, 1 / (self.progress.step + 1))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list(self.model.parameters()), weight)
        self.progress.step += 1
        self.progress.tokens += settings.batch * settings.context
        return loss

    def save(self) -> None:
        """Export the current average and store a checkpoint."""
        export(averaged_model(self.model, self.average), self.tokenizer, self.folder / "model")
        save_checkpoint(self.checkpoint, self.model, self.optimizers, self.average, self.progress)

    def log(self, speed: float) -> None:
        """Print one line about where the run stands."""
        at = self.progress
        place = f"{at.seconds / 60:6.2f} min  step {at.step:6d}  {at.tokens / 1e6:7.2f} M tokens"
        print(f"{place}  {speed:7.0f} tok/s  loss {at.loss:.4f}", flush=True)

    def train(self) -> None:
        """Step until the tokens or the minutes are used up; log and export on the way."""
        start = time.monotonic() - self.progress.seconds
        logged, saved = self.progress.seconds, self.progress.seconds
        tokens = self.progress.tokens
        losses: list[float] = []
        while self.fraction() < 1.0:
            losses.append(self.step())
            self.progress.seconds = now = time.monotonic() - start
            if now - logged >= self.settings.log_seconds:
                self.progress.loss = sum(losses) / len(losses)
                speed = (self.progress.tokens - tokens) / (now - logged)
                self.log(speed)
                logged, tokens, losses = now, self.progress.tokens, []
            if now - saved >= 60 * self.settings.export_minutes:
                self.save()
                saved = now


def measure(run: Run) -> dict[str, object]:
    """Load the exported model and measure it on both held-out texts."""
    model = LlamaForCausalLM.from_pretrained(run.folder / "model", dtype=torch.bfloat16).eval()
    texts = {name: (run.folder / f"{name}.txt").read_text("utf-8") for name in ("evaluation", "calibration")}
    numbers: dict[str, object] = {name: held_out(model, run.tokenizer, text) for name, text in texts.items()}
    torch.manual_seed(run.settings.seed)
    fresh = held_out(new_model(run.settings).eval(), run.tokenizer, texts["evaluation"])
    prompt = 'class Cache:\n    """'
    text = sample(model, run.tokenizer, prompt)
    return numbers | {"untrained": fresh["perplexity"], "prompt": prompt, "sample": text}


def training_facts(run: Run) -> dict[str, object]:
    """Return what the model card says about the model and its training."""
    settings, progress = run.settings, run.progress
    training = sum(len(part) for part in run.parts)
    muon = "Muon for the hidden matrices, AdamW for the rest"
    return asdict(settings) | {
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "width": settings.hidden // settings.heads,
        "training": training,
        "minutes": progress.seconds / 60,
        "steps": progress.step,
        "batch_tokens": settings.batch * settings.context,
        "seen": progress.tokens,
        "epochs": progress.tokens / training,
        "speed": progress.tokens / max(progress.seconds, 1e-9),
        "loss": progress.loss,
        "optimizer": muon if settings.optimizer == "muon" else "AdamW",
    }


def prepare(settings: Settings, folder: Path, checkpoint: Path) -> tuple[Run, Source]:
    """Read the text, train the tokenizer, encode, and build the untrained model."""
    source = read_source(settings.held_out_bytes)
    folder.mkdir(parents=True, exist_ok=True)
    write_texts(source, folder)
    tokenizer = train_tokenizer(source, settings.vocabulary, settings.positions)
    parts = (encode(tokenizer, source.library), encode(tokenizer, source.tests))
    print(f"tokens: library {len(parts[0]):,}, tests {len(parts[1]):,}", flush=True)
    torch.manual_seed(settings.seed)
    model = new_model(settings).train()
    print(f"parameters: {sum(p.numel() for p in model.parameters()):,}", flush=True)
    return Run(settings, model, tokenizer, parts, checkpoint, folder), source


def parse() -> argparse.Namespace:
    """Read the command line: one option for each setting, and the places of the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in asdict(Settings()).items():
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            parser.add_argument(option, action="store_true", default=value)
        else:
            parser.add_argument(option, type=type(value), default=value)
    parser.add_argument("--folder", type=Path, default=DEMO, help="where the model and the texts go")
    default = Path(tempfile.gettempdir()) / "fewer_demo_checkpoint.pt"
    parser.add_argument("--checkpoint", type=Path, default=default)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--done", type=Path, help="a file to touch when all is written")
    return parser.parse_args()


def main() -> None:
    """Train, export, measure, and write the model card."""
    arguments = vars(parse())
    settings = Settings(**{name: arguments[name] for name in asdict(Settings())})
    torch.set_num_threads(settings.threads)
    run, source = prepare(settings, arguments["folder"], arguments["checkpoint"])
    if arguments["resume"]:
        run.progress = load_checkpoint(run.checkpoint, run.model, run.optimizers, run.average)
    run.train()
    run.save()
    numbers = measure(run)
    write_card(run.folder, source, training_facts(run) | numbers)
    print(json.dumps(numbers, indent=1), flush=True)
    if arguments["done"]:
        arguments["done"].touch()


if __name__ == "__main__":
    main()
