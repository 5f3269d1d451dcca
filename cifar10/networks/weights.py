"""Published weights in `cifar10/weights/`: safetensors files, read without pickle and without Lightning."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import safe_open

from cifar10.errors import UserError, one_line

FOLDER = Path(__file__).resolve().parents[1] / "weights"
"""Holds the files `NAME-DIGITS.safetensors`. DIGITS: the first 8 hexadecimal digits of the file's SHA-256."""
INDEX = "weights.json"
"""File name in FOLDER: describes each published file by its name."""
SUFFIX = ".safetensors"


def read_index(folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """Returns the entries of `weights.json` by name. folder: FOLDER by default. Raises UserError if unreadable."""
    path = (folder or FOLDER) / INDEX
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: missing or damaged ({one_line(error)}); restore it") from error


def published_path(name: str) -> Path | None:
    """Returns the path of published weights, or None for another name."""
    entry = read_index().get(name)
    return FOLDER / entry["file"] if entry else None


def published_entry(path: Path) -> dict[str, Any] | None:
    """Returns the entry of a published file, or None for another file."""
    if path.resolve().parent != FOLDER:
        return None
    return next((entry for entry in read_index().values() if entry["file"] == path.name), None)


def best_names() -> list[str]:
    """Returns for each model the name of highest validation accuracy. Raises UserError if nothing is published."""
    index = read_index()
    if not index:
        raise UserError("no weights are published; pass the folders of finished runs, or checkpoints")
    ranked = sorted(index, key=lambda name: index[name]["training"]["val_accuracy"])
    best = {index[name]["model"]: name for name in ranked}
    return [name for name in index if name in best.values()]


def file_name(name: str, content: bytes) -> str:
    """Returns `NAME-DIGITS.safetensors` for the content of a file."""
    return f"{name}-{sha256(content).hexdigest()[:8]}{SUFFIX}"


def read_weights(path: Path) -> dict[str, Any]:
    """Returns the model, the network and the weights of a file in the form of a checkpoint, on the CPU.

    Raises UserError if the content does not match the digits in the file name, and the errors of safetensors.
    """
    name, _, digits = path.stem.rpartition("-")
    expected = file_name(name, path.read_bytes())
    if path.name != expected:
        raise UserError(
            f"{path}: damaged or replaced: its SHA-256 starts with {expected[-len(SUFFIX) - 8 : -len(SUFFIX)]}, "
            f"expected {digits} as in its name; restore the file"
        )
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()["checkpoint"])
        return description | {"state_dict": {key: file.get_tensor(key) for key in file.keys()}}  # noqa: SIM118
