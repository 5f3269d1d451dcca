"""Files that are whole or absent. Imports the standard library only."""

import errno
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
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "free some space" if full else "check the path and its permissions"
        kept = "; the previous file is unchanged" if path.exists() else ""
        raise UserError(f"cannot write {path}: {error.strerror or error}{kept}; {remedy}") from error


def _sync_folder(folder: Path) -> None:
    """Syncs the names in a folder, which `fsync` of a file does not. Does nothing on Windows, which cannot."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):  # some network file systems cannot either
            os.fsync(handle)
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, lambda file: file.write(json.dumps(value, indent=2).encode() + b"\n"))
