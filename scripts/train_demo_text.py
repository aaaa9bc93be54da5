"""The text of the demo model: the CPython standard library, split by file, and its tokenizer."""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END = "<|endoftext|>"
TEST_FOLDERS = {"test", "tests", "idle_test"}
TABLE_FOLDERS = {"encodings", "pydoc_data", "turtledemo", "__phello__"}
SKIPPED_FOLDERS = {"site-packages", "dist-packages", "__pycache__", "lib-dynload"}
SKIPPED_PREFIXES = ("encodings/cp", "encodings/iso", "encodings/mac_", "encodings/koi8", "_sysconfigdata")


@dataclass
class Source:
    """The text of the standard library, by role; each document starts with a comment that names it."""

    library: list[str] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)
    evaluation: list[str] = field(default_factory=list)
    calibration: list[str] = field(default_factory=list)
    copied: dict[str, float] = field(default_factory=dict)


def standard_library() -> Iterator[tuple[str, str]]:
    """Yield (relative path, text) of each module of the running CPython, in path order."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if SKIPPED_FOLDERS & set(name.split("/")) or name.startswith(SKIPPED_PREFIXES):
            continue
        try:
            text = path.read_bytes().decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError:
            continue
        if text.strip() and END not in text:
            yield name, text


def is_test(name: str) -> bool:
    """Say whether a module belongs to a test suite."""
    return bool(TEST_FOLDERS & set(name.split("/")[:-1]))


def can_be_held_out(name: str, text: str) -> bool:
    """Hold out readable library code only: no tests, no tables, no very short or long files."""
    folders = set(name.split("/")[:-1])
    return not is_test(name) and not (folders & TABLE_FOLDERS) and 3_000 <= len(text) <= 60_000


def path_hash(name: str) -> str:
    """Return the digest that orders the candidates for the held-out texts."""
    return hashlib.sha256(f"fewer-demo/{name}".encode()).hexdigest()


def read_source(held_out_bytes: int) -> Source:
    """Split the standard library by file into training, test-suite and two held-out parts."""
    files = {name: f"# Lib/{name}\n{text.rstrip()}\n" for name, text in standard_library()}
    candidates = sorted((n for n, t in files.items() if can_be_held_out(n, t)), key=path_hash)
    source = Source()
    for part in (source.evaluation, source.calibration):
        size = 0
        for name in list(candidates):
            length = len(files[name].encode())
            if size + length <= held_out_bytes:
                part.append(files.pop(name))
                candidates.remove(name)
                size += length
    for name, text in files.items():
        (source.tests if is_test(name) else source.library).append(text)
    return without_copies(source)


def passages(text: str, height: int = 8) -> list[int]:
    """Return a hash of each run of `height` lines, not counting empty lines and indentation."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [hash(tuple(lines[start : start + height])) for start in range(len(lines) - height + 1)]


def copied_share(text: str, known: set[int]) -> float:
    """Return the share of the passages of a text that stand in `known`."""
    found = passages(text)
    return sum(passage in known for passage in found) / max(1, len(found))


def without_copies(source: Source, limit: float = 0.1) -> Source:
    """Leave out held-out files that are in good part copies of training files."""
    known = {passage for text in source.library + source.tests for passage in passages(text)}
    for part in (source.evaluation, source.calibration):
        part[:] = [text for text in part if copied_share(text, known) <= limit]
    source.copied = {
        "evaluation": copied_share("\n".join(source.evaluation), known),
        "calibration": copied_share("\n".join(source.calibration), known),
    }
    return source


def write_texts(source: Source, folder: Path) -> None:
    """Write the two held-out texts, files joined by an empty line."""
    (folder / "calibration.txt").write_text("\n".join(source.calibration), encoding="utf-8", newline="\n")
    (folder / "evaluation.txt").write_text("\n".join(source.evaluation), encoding="utf-8", newline="\n")


def train_tokenizer(source: Source, vocabulary: int, positions: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on the training files; it reproduces any text exactly."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(source.library + source.tests[::4], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        clean_up_tokenization_spaces=False,
        model_max_length=positions,
    )


def encode(tokenizer: PreTrainedTokenizerFast, documents: list[str]) -> NDArray[np.uint16]:
    """Return one uint16 array: each document is preceded by the end-of-text token."""
    rows = tokenizer.backend_tokenizer.encode_batch(documents)
    return np.concatenate([np.asarray([0, *row.ids], dtype=np.uint16) for row in rows])


def draw_windows(
    parts: tuple[NDArray[np.uint16], NDArray[np.uint16]],
    count: int,
    width: int,
    library_share: float,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw `count` random windows, `library_share` of them from library code and the rest from tests."""
    rows = []
    for _ in range(count):
        part = parts[0] if generator.random() < library_share else parts[1]
        start = int(generator.integers(0, len(part) - width))
        rows.append(part[start : start + width])
    return np.stack(rows).astype(np.int64)
