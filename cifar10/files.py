"""Files that are whole or absent."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from cifar10.errors import UserError


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Writes beside `path`, syncs, renames: a kill, a power cut or a full disk leaves what was there before.

    Raises UserError when the disk is full, read-only or otherwise refuses.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_names(path.parent)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; what was saved before is whole: make room and repeat "
            "the command"
        ) from error


def _sync_names(folder: Path) -> None:
    """A name is the folder's, and is not on the disk with the file. Windows has no such thing."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):  # some network file systems have no such thing either
            os.fsync(handle)
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, lambda file: file.write(json.dumps(value, indent=2).encode() + b"\n"))


class SafeCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent (Lightning's own way can tear one), read by `read_checkpoint`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = BytesIO()  # written to a full disk, torch.save would say "unexpected pos"
        torch.save(checkpoint, content)
        write_atomically(Path(path), lambda file: file.write(content.getbuffer()))

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        from cifar10.networks.checkpoint import read_checkpoint  # this class belongs to cifar10/training/

        try:
            return read_checkpoint(Path(path))
        except UserError as error:
            raise UserError(f"{error}; start over with overwrite=true") from error


def epochs_done(path: Path) -> int:
    """How many whole epochs a checkpoint has behind it. Raises UserError for what is none."""
    checkpoint = SafeCheckpointIO().load_checkpoint(path)
    try:
        checkpoint["optimizer_states"], checkpoint["callbacks"]
        return checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} holds weights, but nothing to go on from; start over with overwrite=true") from error
