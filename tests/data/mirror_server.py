"""HTTP servers on the loopback interface with scripted responses, as mirrors for the download tests."""

import hashlib
import io
import random
import socket
import struct
import tarfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from torchvision.datasets import CIFAR10

from cifar10.data.cifar10 import CIFAR10Data, official_files
from cifar10.data.download import Archive

ARCHIVE = CIFAR10Data.archive.name
FILES, FOLDER = tuple(official_files(CIFAR10)), "cifar-10-batches-py"
CONTENTS = {name: random.Random(name).randbytes(30_000) for name in FILES}


def pack(entries: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    """Returns a .tar.gz of these entries; a TarInfo is added unchanged except for its name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name, content in entries.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name, info.size = name, len(content) if isinstance(content, bytes) else 0
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return buffer.getvalue()


def entry(kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, link
    return info


OFFICIAL = {FOLDER: entry(tarfile.DIRTYPE), **{f"{FOLDER}/{name}": data for name, data in CONTENTS.items()}}
BODY = pack(OFFICIAL)
SIZE, SHA256 = len(BODY), hashlib.sha256(BODY).hexdigest()
MINIATURE = Archive(ARCHIVE, SIZE, SHA256, ())
WRONG = bytes(SIZE)


@dataclass
class Response:
    """Scripted response to one request; by default the complete archive."""

    status: int = 200
    body: bytes = BODY
    cut: int | None = None  # closes the connection after so many bytes
    reset: bool = False  # closes it with a TCP reset
    stall: bool = False  # keeps it open and sends nothing more
    piece: int = SIZE  # bytes per 10 ms
    ranges: bool = True
    length: int | None = None  # wrong Content-Length
    content_range: str | None = None  # wrong Content-Range
    location: str = ""


class Mirror(ThreadingHTTPServer):
    """Sends its responses in order and repeats the last one. ranges: the Range header of each request."""

    def __init__(self, *responses: Response) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.responses, self.ranges, self.paths, self.closing = responses, [], [], threading.Event()
        self.gate: Callable[[], object] = lambda: None
        self.host = f"127.0.0.1:{self.server_port}"
        self.url = f"http://{self.host}/{ARCHIVE}"

    def handle_error(self, request, client_address) -> None:
        pass  # some tests close connections


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        mirror = self.server
        mirror.ranges.append(self.headers["Range"])
        mirror.paths.append(self.path)
        response = mirror.responses[min(len(mirror.ranges), len(mirror.responses)) - 1]
        mirror.gate()
        start = int(self.headers["Range"][6:-1]) if self.headers["Range"] and response.ranges else 0
        status = 206 if start and response.status == 200 else response.status
        rest = response.body[start:] if status < 300 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(response.length or len(rest)))
        if status == 206:
            span = f"bytes {start}-{len(response.body) - 1}/{len(response.body)}"
            self.send_header("Content-Range", response.content_range or span)
        if response.location:
            self.send_header("Location", response.location)
        self.end_headers()
        rest = rest[: response.cut]
        for i in range(0, len(rest), response.piece):
            self.wfile.write(rest[i : i + response.piece])
            if response.piece < SIZE:
                mirror.closing.wait(0.01)
        if response.stall:
            mirror.closing.wait(5)
        if response.reset:
            mirror.closing.wait(0.01)  # a reset discards unsent data
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def log_message(self, *args) -> None:
        pass
