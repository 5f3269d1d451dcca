"""Downloads an official archive from the first working mirror and verifies it."""

import hashlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from cifar10.errors import UserError

CONNECT_S, READ_S = 2.0, 15.0  # timeouts to connect, and between two packets of a response
CHUNK = 1 << 16  # bytes


class Archive(NamedTuple):
    """A file on the internet. size: in bytes. sha256: hexadecimal. mirrors: URLs, the most reliable server first."""

    name: str
    size: int
    sha256: str
    mirrors: Sequence[str]


class MirrorError(Exception):
    """Raised if a mirror cannot serve the archive; the message gives the reason in a few words."""


def download(archive: Archive, folder: Path) -> None:
    """Downloads to `<name>.part`, resuming an earlier download, tries the mirrors in order, verifies and renames.

    Verifies an existing file instead. Raises UserError if its checksum is wrong or if all mirrors fail, OSError if the
    disk fails.
    """
    path, part = folder / archive.name, folder / f"{archive.name}.part"
    if path.exists():
        if _sha256(path) != archive.sha256:
            raise UserError(
                f"{path.absolute()} is not the official archive (its SHA-256 is not {archive.sha256}): delete it"
            )
        return
    print(f"downloading {archive.name} ({archive.size / 1e6:.1f} MB) to {folder}", file=sys.stderr)
    failures = []
    for url in dict.fromkeys(archive.mirrors):
        try:
            while True:
                resumed_from = _fetch(url, part, archive.size)
                if _sha256(part) == archive.sha256:
                    part.replace(path)
                    return
                part.unlink()
                if not resumed_from:  # else the earlier bytes may be wrong: download the whole file once
                    raise MirrorError("wrong bytes (SHA-256)")
        except MirrorError as error:
            failures.append(f"{_host(url)}: {error}")
    reasons = "; ".join(failures) or "data.mirrors is empty"
    raise UserError(
        f"cannot download {archive.name} ({reasons}): put it at {path.absolute()}, "
        "or set another mirror (data.mirrors=[URL]), or use synthetic images (data=synthetic)"
    )


def _fetch(url: str, part: Path, size: int) -> int:
    """Appends the missing bytes from one mirror; retries while each request adds at least one chunk.

    Returns the size of the file before the download, in bytes.
    """
    with part.open("ab") as file:
        resumed_from = file.tell()
        while (start := file.tell()) < size:
            reason = "connection closed"
            try:
                _append(url, file, size)
            except (requests.RequestException, HTTPError) as error:
                reason = _reason(error)
            if file.tell() < min(start + CHUNK, size):
                raise MirrorError(f"{reason} after {file.tell()} of {size} bytes")
        file.flush()
        os.fsync(file.fileno())  # before the rename: a power cut could leave half a file under the final name
    return resumed_from


def _append(url: str, file: BinaryIO, size: int) -> None:
    """Appends the body of one request. If the server ignores Range, skips the bytes that the file already has."""
    offset = file.tell()
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    # disable=None: shown on a terminal only
    bar = tqdm(desc=_host(url), total=size, initial=offset, unit="B", unit_scale=True, disable=None)
    with bar, requests.get(url, headers=headers, stream=True, timeout=(CONNECT_S, READ_S)) as response:
        position = _first_byte(response, offset, size)
        for chunk in response.raw.stream(CHUNK, decode_content=False):
            bar.update(file.write(chunk[max(offset - position, 0) :]))
            position += len(chunk)
            if position >= size:
                break


def _first_byte(response: requests.Response, offset: int, size: int) -> int:
    """Returns the position of the body's first byte. Raises MirrorError for an error status or a wrong size."""
    if response.status_code >= 400:
        raise MirrorError(f"HTTP {response.status_code}")
    start, header, expected = 0, "Content-Length", str(size)
    if response.status_code == 206:
        start, header, expected = offset, "Content-Range", f"bytes {offset}-{size - 1}/{size}"
    if (found := response.headers.get(header, "")) not in ("", expected):  # such as a log-in page with status 200
        raise MirrorError(f"wrong file: {header} is {found!r}, expected {expected!r}")
    return start


def _reason(error: BaseException) -> str:
    """Returns the innermost cause. Outer messages contain the URL, which may contain a password."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return getattr(error, "strerror", None) or type(error).__name__


def _host(url: str) -> str:
    """Returns host and port of a URL for messages, without passwords and tokens."""
    return re.sub(r"^(?:\w+://)?(?:[^/]*@)?([^/?]+).*", r"\1", url)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
