"""Files that are whole or absent."""

import json
import os
import pickletools
import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, ZipFile

import torch

from cifar10.errors import UserError

TENSORS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch (\w+Storage|Size|device)"
)
"""What a checkpoint's pickle names, as its opcode has it: module and name."""


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


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, on the CPU. Raises UserError for any other file and for one that is damaged.

    It may come from a stranger: only tensors and plain Python are made of it, no code is run, and no more memory taken
    than the file is large. Its checksums are compared here, since PyTorch writes them but does not look at them.
    """
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


def _check_names(pickled: bytes) -> None:
    """Raises ValueError where a pickle names more than tensors are made of.

    PyTorch's weights-only reader runs no code, but makes a bytearray or an old-style tensor of any size for the asking.
    """
    for operation, name, _ in pickletools.genops(pickled):
        if operation.name == "GLOBAL" and not TENSORS.fullmatch(name):
            raise ValueError(f"it names {name}")
        if operation.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):  # other ways to name, not PyTorch's
            raise ValueError(operation.name)
