"""Small CIFAR-10 files in the official format: six files of four images."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
BATCHES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
ROWS = np.random.default_rng(0).integers(0, 256, (6, 4, 3072), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 10, (6, 4))


def write_miniature(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes `cifar-10-batches-py` below `root` and replaces torchvision's checksums. Returns the folder."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    contents = {
        name: {b"labels": labels.tolist(), b"data": rows}
        for name, labels, rows in zip(BATCHES, LABELS, ROWS, strict=True)
    }
    contents["batches.meta"] = {b"label_names": [name.encode() for name in NAMES]}
    md5 = {}
    for name, content in contents.items():
        data = pickle.dumps(content, protocol=2)
        (folder / name).write_bytes(data)
        md5[name] = hashlib.md5(data).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5[name]] for name in BATCHES[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5["batches.meta"]})
    return folder
