"""Small CIFAR-10 and CIFAR-100 files in the official format: six files of four images, and two files of 100 images."""

import hashlib
import io
import pickle
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, CIFAR100

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
BATCHES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
ROWS = np.random.default_rng(0).integers(0, 256, (6, 4, 3072), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 10, (6, 4))

FINE_NAMES = [f"fine_{i}" for i in range(100)]
COARSE_NAMES = [f"coarse_{i}" for i in range(20)]
FINE_LABELS = np.stack([np.random.default_rng(i).permutation(100) for i in range(2)])
COARSE_LABELS = FINE_LABELS // 5
ROWS_100 = np.random.default_rng(2).integers(0, 256, (2, 100, 3072), dtype=np.uint8)


class Python2Pickler(pickle._Pickler):
    """Pickles bytes as Python 2, which wrote the official files, pickled its strings."""

    def save_string(self, content: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, bytes: save_string}


def write_miniature(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes `cifar-10-batches-py` below `root` and replaces torchvision's checksums. Returns the folder."""
    batches = [{b"labels": labels.tolist(), b"data": rows} for labels, rows in zip(LABELS, ROWS, strict=True)]
    meta = {b"label_names": [name.encode() for name in NAMES]}
    return _write(root, monkeypatch, CIFAR10, [*batches, meta])


def write_miniature_100(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes `cifar-100-python` below `root` and replaces torchvision's checksums. Returns the folder."""
    splits = [
        {b"fine_labels": fine.tolist(), b"coarse_labels": coarse.tolist(), b"data": rows}
        for fine, coarse, rows in zip(FINE_LABELS, COARSE_LABELS, ROWS_100, strict=True)
    ]
    names = {b"fine_label_names": FINE_NAMES, b"coarse_label_names": COARSE_NAMES}
    meta = {key: [name.encode() for name in values] for key, values in names.items()}
    return _write(root, monkeypatch, CIFAR100, [*splits, meta])


def _write(root: Path, monkeypatch: pytest.MonkeyPatch, official: type[CIFAR10], contents: list[dict]) -> Path:
    """Writes the pickled contents in the order: training files, test file, meta file."""
    folder = root / official.base_folder
    folder.mkdir()
    remaining = iter(contents)

    def write(name: str) -> str:
        buffer = io.BytesIO()
        Python2Pickler(buffer, protocol=2).dump(next(remaining))
        content = buffer.getvalue()
        (folder / name).write_bytes(content)
        return hashlib.md5(content).hexdigest()

    for split in ("train_list", "test_list"):
        monkeypatch.setattr(official, split, [[name, write(name)] for name, _ in getattr(official, split)])
    monkeypatch.setattr(official, "meta", {**official.meta, "md5": write(official.meta["filename"])})
    return folder
