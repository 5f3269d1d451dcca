"""HTTP servers on the loopback interface, each of which follows a script of answers: mirrors, good and bad."""

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

from cifar10.data.cifar10 import official_files
from cifar10.data.download import ARCHIVE

FILES, FOLDER = tuple(official_files()), "cifar-10-batches-py"
CONTENTS = {name: random.Random(name).randbytes(30_000) for name in FILES}


def pack(entries: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    """A .tar.gz with these files; a TarInfo goes in as it is, under the name it is filed at."""
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
WRONG = bytes(SIZE)


@dataclass
class Answer:
    """What a mirror does with one request; by default it serves the archive as a good server would."""

    status: int = 200
    body: bytes = BODY
    cut: int | None = None  # bytes, after which it closes the connection
    reset: bool = False  # ... with a TCP reset
    stall: bool = False  # ... or rather falls silent there
    piece: int = SIZE  # bytes per 10 ms
    ranges: bool = True
    length: int | None = None  # a false Content-Length
    content_range: str | None = None  # a false Content-Range
    location: str = ""


class Mirror(ThreadingHTTPServer):
    """Gives its answers one after the other, the last one for ever; `asked` are the Range headers it saw."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.asked, self.paths, self.closing = answers, [], [], threading.Event()
        self.gate: Callable[[], object] = lambda: None
        self.host = f"127.0.0.1:{self.server_port}"
        self.url = f"http://{self.host}/{ARCHIVE}"

    def handle_error(self, request, client_address) -> None:
        pass  # clients that hang up are the point of some tests


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        mirror = self.server
        mirror.asked.append(self.headers["Range"])
        mirror.paths.append(self.path)
        answer = mirror.answers[min(len(mirror.asked), len(mirror.answers)) - 1]
        mirror.gate()
        start = int(self.headers["Range"][6:-1]) if self.headers["Range"] and answer.ranges else 0
        status = 206 if start and answer.status == 200 else answer.status
        rest = answer.body[start:] if status < 300 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(answer.length or len(rest)))
        if status == 206:
            span = f"bytes {start}-{len(answer.body) - 1}/{len(answer.body)}"
            self.send_header("Content-Range", answer.content_range or span)
        if answer.location:
            self.send_header("Location", answer.location)
        self.end_headers()
        rest = rest[: answer.cut]
        for i in range(0, len(rest), answer.piece):
            self.wfile.write(rest[i : i + answer.piece])
            if answer.piece < SIZE:
                mirror.closing.wait(0.01)
        if answer.stall:
            mirror.closing.wait(5)
        if answer.reset:
            mirror.closing.wait(0.01)  # a reset drops what is still on its way
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def log_message(self, *args) -> None:
        pass
