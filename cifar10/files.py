"""Writes files atomically: each is complete or absent. Imports only the standard library."""

import errno
import glob
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from cifar10.errors import UserError

STALE_S = 600
"""Seconds after its last change at which a temporary file counts as left by a killed writer."""


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Writes to a temporary file next to `path`, syncs and renames it.

    A kill, a power cut or a full disk leaves the previous file, concurrent writers leave the file of one of them.
    Removes temporary files of killed writers. Raises UserError if the disk is full or not writable.
    """
    partial = path.with_name(f"{path.name}.{uuid4().hex[:8]}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
        _remove_stale(path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "free some space" if full else "check the path and its permissions"
        kept = "; the previous file is unchanged" if path.exists() else ""
        raise UserError(f"cannot write {path}: {error.strerror or error}{kept}; {remedy}") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def _remove_stale(path: Path) -> None:
    for partial in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):
        with suppress(OSError):  # another writer may remove it first
            if time.time() - partial.stat().st_mtime > STALE_S:
                partial.unlink()


def _sync_folder(folder: Path) -> None:
    """Syncs the entries of a folder, which `fsync` of a file omits. Does nothing on Windows, which lacks it."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):  # some network file systems do not support it
            os.fsync(handle)
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, lambda file: file.write(json.dumps(value, indent=2).encode() + b"\n"))
