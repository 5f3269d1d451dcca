"""Writes files atomically, so that each is complete or absent, and writes logs. Imports only the standard library."""

import errno
import glob
import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import get_native_id
from typing import Any, BinaryIO

from cifar10.errors import UserError


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Writes to a temporary file next to `path`, syncs and renames it.

    A kill, a power cut or a full disk leaves the previous file, concurrent writers leave the file of one of them.
    Removes temporary files of killed writers. Raises UserError if the disk is full or not writable.
    """
    partial = path.with_name(f"{path.name}.{get_native_id()}.{os.getpid()}.partial")
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
        kept = "; the previous file is unchanged" if os.access(path, os.F_OK) else ""
        raise UserError(f"cannot write {path}: {error.strerror or error}{kept}; {remedy}") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def _remove_stale(path: Path) -> None:
    if os.name != "posix":  # on Windows, os.kill would end the writer
        return
    for partial in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):
        try:
            os.kill(int(partial.name.split(".")[-2]), 0)  # sends no signal
        except ProcessLookupError:
            with suppress(OSError):  # owned by another user
                partial.unlink()
        except (OSError, ValueError):  # of another user, or not a temporary file of this module
            continue


def _sync_folder(folder: Path) -> None:
    """Syncs the entries of a folder, which `fsync` of a file omits. Does nothing on Windows, which lacks it."""
    if hasattr(os, "O_DIRECTORY"):
        with suppress(OSError):  # an unreadable folder, or a network file system that does not support it
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, lambda file: file.write(json.dumps(value, indent=2).encode() + b"\n"))


class RunLogHandler(logging.FileHandler):
    """Appends the messages of a run to `train.log`. Drops them if the file cannot be opened: a read-only folder."""

    def __init__(self, filename: str) -> None:
        super().__init__(filename, encoding="utf-8", errors="backslashreplace", delay=True)

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            super().emit(record)
