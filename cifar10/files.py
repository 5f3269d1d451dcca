"""Files that are whole or absent."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from cifar10.errors import UserError


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Writes beside `path`, syncs, renames: a crash or a full disk leaves what was there before.

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
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise UserError(
            f"cannot write {path}: {error.strerror}; what was saved before is whole: make room and repeat the command"
        ) from error


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, lambda file: file.write(json.dumps(value, indent=2).encode() + b"\n"))


class SafeCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent (Lightning's own way can tear one), and a clear line for any other file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = BytesIO()  # written to a full disk, torch.save would say "unexpected pos"
        torch.save(checkpoint, content)
        write_atomically(Path(path), lambda file: file.write(content.getbuffer()))

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return super().load_checkpoint(path, *args, **kwargs)
        except (RuntimeError, ValueError, LookupError, EOFError, UnpicklingError) as error:
            raise UserError(f"{path} is not a whole checkpoint of this project; start over with force=true") from error
