"""The small model and the two texts that ship with fewer.

A five-million-parameter Llama-architecture language model, trained on the source of the CPython standard
library, and two texts that it has never seen: one to gather statistics on, one to measure quality on. The
model card beside this file (``README.md``) says how it was made and how good it is.

This module imports nothing heavy; it only says where the files are.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["calibration_path", "evaluation_path", "model_path"]

_HERE = Path(__file__).resolve().parent


def model_path() -> Path:
    """Return the folder of the demo model.

    The folder is an ordinary checkpoint in bfloat16: ``AutoModelForCausalLM.from_pretrained`` and
    ``AutoTokenizer.from_pretrained`` load it offline.

    >>> sorted(path.suffix for path in model_path().glob("model.*"))
    ['.safetensors']
    """
    return _HERE / "model"


def calibration_path() -> Path:
    """Return the text to gather statistics on: about 300 kB of Python code in UTF-8.

    >>> calibration_path().read_text("utf-8").startswith("# Lib/")
    True
    """
    return _HERE / "calibration.txt"


def evaluation_path() -> Path:
    """Return the text to measure quality on: about 300 kB of Python code in UTF-8.

    It shares no file with the calibration text, and the model was trained on neither.

    >>> evaluation_path() != calibration_path()
    True
    """
    return _HERE / "evaluation.txt"
