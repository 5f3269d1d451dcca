"""One process at a time in a run's folder."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep

from filelock import FileLock, Timeout

from cifar10.errors import Busy, UserError

LOCK, HOLDER = ".lock", ".holder"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds the folder, which is made if need be, until the end of the block or of the process, however it ends.

    Raises UserError that says who holds it.
    """
    lock, holder = FileLock(folder / LOCK), folder / HOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise Busy(f"{folder} is in use by {_who(holder)}; wait, or choose another with runs=PATH") from None
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; choose another place with runs=PATH") from error
    try:
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _who(holder: Path) -> str:
    """What the process that has the lock says of itself, a moment later."""
    for _ in range(20):
        with suppress(OSError):
            if said := holder.read_text():
                return said
        sleep(0.05)
    return "another process"
