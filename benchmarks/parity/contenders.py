"""What is compared: how their code is called, and what a user of ours writes for the same thing."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from benchmarks.parity.shim import around, imported
from torch import Tensor, nn

import fewer
from fewer import adapt

__all__ = ["PAIRS", "Pair"]


@dataclass(frozen=True)
class Pair:
    """One method at one sparsity: `theirs(checkout, module, windows)` and our options for `fewer.prune`."""

    name: str
    checkout: str
    theirs: Callable[[Path, nn.Module, Tensor], None]
    options: Callable[[Tensor], dict[str, Any]]

    def ours(self, model: adapt.Opened, windows: Tensor) -> None:
        """Prune in place."""
        data = adapt.data.batches(windows, batch=1)
        fewer.prune(model, data, inplace=True, **self.options(windows))

    @property
    def llama_alone(self) -> bool:
        """Whether the authors' code knows no other architecture."""
        return self.checkout in ("gblm", "dsnot")

    @property
    def command(self) -> str:
        """Our options as the command line takes them."""
        words = []
        for key, value in self.options(torch.zeros(128, 2048)).items():
            if key.endswith("_options"):
                words += [f"--set {key.removesuffix('_options')}.{knob}={one}" for knob, one in value.items()]
            else:
                words.append(f"--{key} {value}")
        return " ".join(words)


def _called(function: str, module: str = "lib.prune", **settings: Any) -> Callable[[Path, nn.Module, Tensor], None]:
    """Call one of their functions in the form that all of these repositories share."""

    def run(checkout: Path, model: nn.Module, windows: Tensor) -> None:
        opt = hasattr(model.model, "decoder")
        home = f"{module}_opt" if opt and (checkout / "lib" / "prune_opt.py").exists() else module
        prune = getattr(imported(checkout, home, windows), function)
        given = {"nsamples": len(windows), "seed": 0, "use_variant": False, "seqlen": windows.shape[1]}
        given |= settings | ({"model": "opt"} if opt else {})
        n, m = settings.get("pattern", (0, 0))
        with around(model, windows.shape[1]):
            prune(Namespace(**given), model, None, torch.device("cpu"), prune_n=n, prune_m=m)

    return run


def _with_gradients(checkout: Path, model: nn.Module, windows: Tensor, **settings: Any) -> None:
    """GBLM first writes the gradients of its samples to a file."""
    source = imported(checkout, "gradient_computation", windows)
    with around(model, windows.shape[1]), tempfile.TemporaryDirectory() as folder:
        model.requires_grad_(True)
        held = source.gradient_computation(model, 100)
        for index, row in enumerate(windows):
            model(input_ids=row[None], labels=row[None]).loss.backward()
            held.update_gradient(model, index + 1)
            model.zero_grad()
        norms = {name: total.sqrt().to(torch.float16) for name, total in held.gradients_l2.items()}
        torch.save(norms, Path(folder) / "gradients.pth")
        model.requires_grad_(False)
        gradients = {"gradient_path": str(Path(folder) / "gradients.pth"), "gradient_inv": False}
        _called("prune_gblm", **gradients, **settings)(checkout, model, windows)


def _gblm(**settings: Any) -> Callable[[Path, nn.Module, Tensor], None]:
    return lambda checkout, model, windows: _with_gradients(checkout, model, windows, **settings)


def _fixed(**options: Any) -> Callable[[Tensor], dict[str, Any]]:
    return lambda _: options


#: What their scripts set when nobody says otherwise.
_RIA: dict[str, Any] = {
    "model": "llama", "calib_dataset": "c4", "prune_method": "ria", "a": 0.5, "gptq": False, "reconstruction": False,
    "reallocation": False, "semi_sparse_acc": False, "lsa": False,
}  # fmt: skip
_DSNOT: dict[str, Any] = {
    "initial_method": "wanda", "max_cycle_time": 50, "without_DSnoT": False, "update_threshold": 0.1,
    "pow_of_var_regrowing": 1, "pow_of_var_pruning": 1, "skip_sub_layer": "no_skip", "without_same_sign": True,
    "get_time_overhead": False,
}  # fmt: skip


def _unstructured(sparsity: float) -> list[Pair]:
    """Everything that has a row in the table at one sparsity."""
    keep = round(1 - sparsity, 6)
    at = f"{sparsity:.0%}"
    same = {"keep": keep, "compat": "wanda"}

    def gblm(windows: Tensor) -> dict[str, Any]:
        sizes = {"samples": len(windows), "length": windows.shape[1], "compat": "gblm"}
        return {"score": "gblm", **same, "score_options": sizes}

    def dsnot(windows: Tensor) -> dict[str, Any]:
        return {"score": "wanda", "update": "dsnot", **same, "update_options": {"length": windows.shape[1]}}

    ria = _called("prune_ria", sparsity_ratio=sparsity, per_outneuron=False, **_RIA)
    rows = _called("prune_ria", sparsity_ratio=sparsity, per_outneuron=True, **_RIA)
    theirs_owl = _called(
        "prune_wanda_outlier", "lib.prune_all", sparsity_ratio=sparsity, Lamda=0.08, Hyper_m=5.0, model="llama"
    )
    sweep = {"score": "obs", "update": "sweep", "keep": keep, "compat": "sparsegpt"}
    return [
        Pair(f"wanda {at}", "wanda", _called("prune_wanda", sparsity_ratio=sparsity), _fixed(score="wanda", **same)),
        Pair(f"sparsegpt {at}", "wanda", _called("prune_sparsegpt", sparsity_ratio=sparsity), _fixed(**sweep)),
        Pair(f"owl {at}", "owl", theirs_owl, _fixed(score="wanda", budget="owl", **same)),
        Pair(f"ria {at}", "ria", ria, _fixed(score="ria", within="layer", **same)),
        Pair(f"ria, by rows {at}", "ria", rows, _fixed(score="ria", within="row", **same)),
        Pair(f"gblm {at}", "gblm", _gblm(sparsity_ratio=sparsity), gblm),
        Pair(f"dsnot {at}", "dsnot", _called("prune_DSnoT", sparsity_ratio=sparsity, skip_layer="", **_DSNOT), dsnot),
    ]


def _patterned(kept: int, group: int) -> list[Pair]:
    """The same for N:M; theirs count what is dropped."""
    text, half = f"{kept}:{group}", 1 - kept / group
    nm = (group - kept, group)
    same = {"pattern": text, "compat": "wanda"}

    def dsnot(windows: Tensor) -> dict[str, Any]:
        return {"score": "wanda", "update": "dsnot", **same, "update_options": {"length": windows.shape[1]}}

    def gblm(windows: Tensor) -> dict[str, Any]:
        sizes = {"samples": len(windows), "length": windows.shape[1], "compat": "gblm"}
        return {"score": "gblm", **same, "score_options": sizes}

    sweep = {"score": "obs", "update": "sweep", "pattern": text, "compat": "sparsegpt"}
    given: dict[str, Any] = {"sparsity_ratio": half, "pattern": nm}
    theirs_dsnot = _called("prune_DSnoT", skip_layer="", **given, **_DSNOT)
    return [
        Pair(f"wanda {text}", "wanda", _called("prune_wanda", **given), _fixed(score="wanda", **same)),
        Pair(f"sparsegpt {text}", "wanda", _called("prune_sparsegpt", **given), _fixed(**sweep)),
        Pair(f"ria {text}", "ria", _called("prune_ria", **given, **_RIA), _fixed(score="ria", **same)),
        Pair(f"gblm {text}", "gblm", _gblm(**given), gblm),
        Pair(f"dsnot {text}", "dsnot", theirs_dsnot, dsnot),
    ]


PAIRS: tuple[Pair, ...] = (*_unstructured(0.5), *_unstructured(0.6), *_patterned(2, 4))
