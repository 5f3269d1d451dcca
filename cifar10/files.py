"""Files that are whole or absent. Imports the standard library only."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from cifar10.errors import UserError


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Writes beside `path`, syncs and renames, so that a kill, a power cut or a full disk leaves the previous file.

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
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; what was saved before is whole: make room and repeat "
            "the command"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Syncs the names in a folder, which `fsync` of a file does not. Does nothing on Windows, which cannot."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):  # some network file systems cannot either
            os.fsync(handle)
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, lambda file: file.write(json.dumps(value, indent=2).encode() + b"\n"))


# The rest moves to networks/checkpoint.py and training/checkpoints.py; until then it is imported lazily.


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, on the CPU. Raises UserError for any other file and for one that is damaged.

    It may come from a stranger: only tensors and plain Python are made of it, no code is run, and no more memory taken
    than the file is large. Its checksums are compared here, since PyTorch writes them but does not look at them.
    """
    import warnings
    from zipfile import ZIP_STORED, ZipFile

    import torch

    try:
        with ZipFile(path) as archive:
            if any(record.compress_type != ZIP_STORED for record in archive.infolist()):
                raise ValueError("compressed, which PyTorch's own files are not")
            if damaged := archive.testzip():
                raise ValueError(f"the checksum of {damaged} is wrong")
            for name in archive.namelist():
                if name.endswith("data.pkl"):
                    _check_names(archive.read(name))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch, on pickles that it refuses
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        checkpoint = dict(checkpoint)
        checkpoint["model"]  # by which this project tells its own
        return checkpoint
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged file makes the readers of archives and pickles raise anything
        raise UserError(
            f"{path}: not a whole checkpoint of this project; what holds more than tensors and plain values could run "
            "code and is not opened"
        ) from error


def __getattr__(name: str) -> Any:
    if name != "SafeCheckpointIO":
        raise AttributeError(name)
    from io import BytesIO

    import torch
    from lightning.pytorch.plugins.io import TorchCheckpointIO

    class SafeCheckpointIO(TorchCheckpointIO):
        """Checkpoints that are whole or absent (Lightning's own way can tear one), read by `read_checkpoint`."""

        def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
            content = BytesIO()  # written to a full disk, torch.save would say "unexpected pos"
            torch.save(checkpoint, content)
            write_atomically(Path(path), lambda file: file.write(content.getbuffer()))

        def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
            try:
                return read_checkpoint(Path(path))
            except UserError as error:
                raise UserError(f"{error}; start over with overwrite=true") from error

    globals()[name] = SafeCheckpointIO
    return SafeCheckpointIO


def _check_names(pickled: bytes) -> None:
    """Raises ValueError where a pickle names more than tensors are made of.

    PyTorch's weights-only reader runs no code, but makes a bytearray or an old-style tensor of any size for the asking.
    """
    import pickletools
    import re

    tensors = re.compile(
        r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch (\w+Storage|Size|device)"
    )  # what a checkpoint's pickle names, as its opcode has it: module and name
    for operation, name, _ in pickletools.genops(pickled):
        if operation.name == "GLOBAL" and not tensors.fullmatch(str(name)):
            raise ValueError(f"it names {name}")
        if operation.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):  # other ways to name, not PyTorch's
            raise ValueError(operation.name)


def epochs_done(path: Path) -> int:
    """How many whole epochs a checkpoint has behind it. Raises UserError for what is none."""
    checkpoint = __getattr__("SafeCheckpointIO")().load_checkpoint(path)
    try:
        checkpoint["optimizer_states"], checkpoint["callbacks"]
        return checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} holds weights, but nothing to go on from; start over with overwrite=true") from error
