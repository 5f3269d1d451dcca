"""One file over HTTP onto the disk: goes on where it stopped, gives up on what is dead, says what is slow."""

import http.client
import os
import queue
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Limits:
    """When to give up on a connection, and when on a mirror."""

    connect_s: float = 2.0  # host look-up and connection: two dead mirrors cost less than 5 s
    read_s: float = 15.0  # silence, before an answer or within it
    min_rate: float = 100_000.0  # bytes/s; below it the archive takes half an hour, so other mirrors come first
    window_s: float = 20.0  # the rate is the average over this long: a short dip costs nothing
    retries: int = 10  # after a cut, per visit to a mirror, and only while they bring new bytes
    pause_s: float = 1.0  # before such a retry


class MirrorError(Exception):
    """Why a mirror cannot serve, in a few words: go on to the next."""


class TooSlowError(MirrorError):
    """The mirror serves, at `rate` bytes/s: come back to it when no other is left."""

    def __init__(self, rate: float) -> None:
        super().__init__(f"only {rate / 1000:.1f} kB/s")
        self.rate = rate


class _CutError(MirrorError):
    """The connection ended within the body: ask the same mirror for the rest."""


@dataclass
class Transfer:
    """Fills `part` up to `size` bytes. An OSError that leaves it is the disk's; the network's become MirrorError."""

    part: Path
    size: int
    limits: Limits

    @property
    def have(self) -> int:
        """Bytes of the part, of this or an earlier run."""
        return self.part.stat().st_size if self.part.exists() else 0

    def fetch(self, url: str, min_rate: float) -> None:
        """All the missing bytes from one mirror, which below `min_rate` bytes/s (0: never) is too slow."""
        from tqdm import tqdm  # here, as most runs find the data on the disk

        retries = self.limits.retries
        # disable=None: a bar on a terminal only
        with tqdm(desc=host(url), total=self.size, initial=self.have, unit="B", unit_scale=True, disable=None) as bar:
            while (before := self.have) < self.size:
                try:
                    self._stream(url, min_rate, bar)
                except _CutError:
                    if not retries or self.have <= before:
                        raise
                    retries -= 1
                    time.sleep(self.limits.pause_s)

    def _stream(self, url: str, min_rate: float, bar: Any) -> None:
        """One request, appended to the part, or in its place if the server ignores Range."""
        have, response = self._ask(url, self.have)
        bar.update(have - bar.n)
        with response, self.part.open("ab" if have else "wb") as file:
            since, recent = time.monotonic(), 0
            while have < self.size:
                try:
                    chunk = response.read1(min(1 << 18, self.size - have))
                except (OSError, http.client.HTTPException) as error:
                    if min_rate and isinstance(error, TimeoutError):
                        raise TooSlowError(recent / (time.monotonic() - since)) from error
                    raise _CutError(f"{_reason(error)} after {have} of {self.size} bytes") from error
                if not chunk:
                    raise _CutError(f"connection closed after {have} of {self.size} bytes")
                file.write(chunk)
                bar.update(len(chunk))
                have, recent, seconds = have + len(chunk), recent + len(chunk), time.monotonic() - since
                if seconds >= self.limits.window_s:
                    if recent / seconds < min_rate:
                        raise TooSlowError(recent / seconds)
                    since, recent = time.monotonic(), 0
            file.flush()
            os.fsync(file.fileno())  # before the rename, or a power cut could leave a whole name on half a file

    def _ask(self, url: str, have: int) -> tuple[int, http.client.HTTPResponse]:
        """Request the bytes from `have` on: where the answer starts (`have` or 0), and the open answer."""
        headers = {"User-Agent": "cifar10"} | ({"Range": f"bytes={have}-"} if have else {})
        opener = urllib.request.build_opener(_Connections(self.limits.connect_s))
        try:
            response = opener.open(urllib.request.Request(url, headers=headers), timeout=self.limits.read_s)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and have:
                return self._ask(url, 0)
            raise MirrorError(f"HTTP {error.code}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: not a URL
            raise MirrorError(_reason(error)) from error
        start, total = 0, response.headers.get("Content-Length", "*")
        if response.status == 206:
            span = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
            start, total = (int(span[1]), span[2]) if span else (-1, "?")
        # Before the part is touched: the log-in page of a network answers 200 too, and must not cost what is there.
        if start not in (0, have) or total not in ("*", str(self.size)):
            response.close()
            raise MirrorError(f"offers another file ({total} bytes from byte {start}, not {self.size})")
        return start, response


class _Connections(urllib.request.HTTPSHandler, urllib.request.HTTPHandler):
    """urllib's handlers, but the time to connect has a limit of its own: a slow server may still take long to read."""

    def __init__(self, connect_s: float) -> None:
        urllib.request.AbstractHTTPHandler.__init__(self)  # HTTPSHandler's loads all certificates, for http too
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


def host(url: str) -> str:
    """A mirror's name for messages, without the password or token that a URL may hold."""
    return re.sub(r"^\w+://(?:[^/]*@)?([^/?]+).*", r"\1", url)


def _reason(error: Exception) -> str:
    """The heart of an error, on one short line."""
    cause = getattr(error, "reason", error)
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return " ".join(text.split())[:80]
