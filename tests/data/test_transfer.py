"""transfer.py against real HTTP servers on the loopback interface."""

import errno
import io
import re
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from mirror_server import ARCHIVE, BODY, LIMITS, SIZE, Answer, Mirror

from cifar10.data.transfer import Limits, MirrorError, TooSlowError, Transfer, host

pytestmark = pytest.mark.usefixtures("no_proxy")


@pytest.fixture
def part(tmp_path) -> Path:
    return tmp_path / "file.part"


@pytest.fixture
def begun(part) -> Path:
    """What an earlier run left."""
    part.write_bytes(BODY[:50_000])
    return part


def fetch(part: Path, source: Mirror | str, min_rate: float = 0, **limits: float) -> None:
    url = source.url if isinstance(source, Mirror) else source
    Transfer(part, SIZE, Limits(**{**vars(LIMITS), **limits})).fetch(url, min_rate)


def test_a_good_mirror_is_asked_once_and_silently(serve, part, capsys):
    mirror = serve()
    fetch(part, mirror)
    assert (part.read_bytes(), mirror.asked) == (BODY, [None])
    assert capsys.readouterr() == ("", "")


def test_terminal_sees_a_bar_with_mirror_bytes_and_rate(serve, part, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    mirror = serve()
    fetch(part, mirror)
    last = terminal.getvalue().split("\r")[-1]
    assert f"{mirror.host}: 100%" in last
    assert f"{SIZE / 1000:.0f}k/{SIZE / 1000:.0f}k" in last
    assert "B/s]" in last


def test_cut_connections_go_on_where_they_ended(serve, part):
    mirror = serve(Answer(cut=70_000), Answer(cut=20_000, reset=True), Answer())
    fetch(part, mirror)
    assert part.read_bytes() == BODY
    assert mirror.asked == [None, "bytes=70000-", "bytes=90000-"]


def test_retries_are_bounded(serve, part):
    mirror = serve(Answer(cut=100))
    with pytest.raises(MirrorError, match=f"^connection closed after 300 of {SIZE} bytes$"):
        fetch(part, mirror, retries=2)
    assert mirror.asked == [None, "bytes=100-", "bytes=200-"]


def test_no_retry_without_new_bytes(serve, part):
    mirror = serve(Answer(cut=1000), Answer(cut=0))
    with pytest.raises(MirrorError, match=f"^connection closed after 1000 of {SIZE} bytes$"):
        fetch(part, mirror)
    assert mirror.asked == [None, "bytes=1000-"]


def test_server_that_ignores_range_starts_anew(serve, begun):
    mirror = serve(Answer(ranges=False))
    fetch(begun, mirror)
    assert (begun.read_bytes(), mirror.asked) == (BODY, ["bytes=50000-"])


def test_416_starts_anew(serve, begun):
    mirror = serve(Answer(status=416), Answer())
    fetch(begun, mirror)
    assert (begun.read_bytes(), mirror.asked) == (BODY, ["bytes=50000-", None])


def test_whole_part_asks_for_nothing(serve, part):
    part.write_bytes(BODY)
    mirror = serve()
    fetch(part, mirror)
    assert mirror.asked == []


@pytest.mark.parametrize(
    ("answer", "offer"),
    [
        (Answer(body=b"please log in", ranges=False), "13 bytes from byte 0"),
        (Answer(length=SIZE - 1, ranges=False), f"{SIZE - 1} bytes from byte 0"),
        (Answer(length=SIZE + 1, ranges=False), f"{SIZE + 1} bytes from byte 0"),
        (Answer(content_range=f"bytes 7-{SIZE - 1}/{SIZE}"), f"{SIZE} bytes from byte 7"),
        (Answer(content_range=f"bytes 50000-{SIZE}/{SIZE + 1}"), f"{SIZE + 1} bytes from byte 50000"),
        (Answer(content_range="nonsense"), "? bytes from byte -1"),
    ],
    ids=["log-in page", "too short", "too long", "other range", "other total", "no range"],
)
def test_another_file_does_not_cost_the_part(serve, begun, answer, offer):
    with pytest.raises(MirrorError, match=re.escape(f"offers another file ({offer}, not {SIZE})")):
        fetch(begun, serve(answer))
    assert begun.read_bytes() == BODY[:50_000]


def test_throttled_mirror_is_too_slow_at_its_rate(serve, part):
    with pytest.raises(TooSlowError) as caught:
        fetch(part, serve(Answer(piece=500)), window_s=0.02, min_rate=200_000)
    assert 0 < caught.value.rate < 200_000
    assert str(caught.value) == f"only {caught.value.rate / 1000:.1f} kB/s"
    assert part.read_bytes() == BODY[: part.stat().st_size]


def test_stalled_mirror_is_too_slow(serve, part):
    with pytest.raises(TooSlowError):
        fetch(part, serve(Answer(cut=50_000, stall=True)), min_rate=1, read_s=0.1)
    assert part.read_bytes() == BODY[:50_000]


def test_stalled_mirror_is_asked_again_where_no_rate_is_required(serve, part):
    mirror = serve(Answer(cut=50_000, stall=True), Answer())
    fetch(part, mirror, read_s=0.1)
    assert (part.read_bytes(), mirror.asked) == (BODY, [None, "bytes=50000-"])


def test_redirect_keeps_the_range(serve, begun):
    second = serve()
    first = serve(Answer(status=302, location=second.url))
    fetch(begun, first)
    assert begun.read_bytes() == BODY
    assert (first.asked, second.asked) == (["bytes=50000-"], ["bytes=50000-"])


def test_proxy_of_the_environment_is_used(serve, part, monkeypatch):
    proxy = serve()
    monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
    fetch(part, "http://mirror.example/file")
    assert part.read_bytes() == BODY
    assert proxy.paths == ["http://mirror.example/file"]


@pytest.mark.parametrize("status", [404, 503])
def test_http_error_is_named(serve, part, status):
    with pytest.raises(MirrorError, match=f"^HTTP {status}$"):
        fetch(part, serve(Answer(status=status)))


@pytest.mark.parametrize(
    ("url", "reason"),
    [("nonsense", "unknown url type: 'nonsense'"), ("http://user:secret@[/x", "Invalid IPv6 URL")],
)
def test_what_is_not_a_url_is_named(part, url, reason):
    with pytest.raises(MirrorError, match=f"^{reason}$"):
        fetch(part, url)


def test_closed_port_is_named(serve, part):
    gone = serve()
    gone.shutdown()
    gone.server_close()
    with pytest.raises(MirrorError, match=r"^Connection refused$"):
        fetch(part, gone)


def test_unknown_host_is_named(part, monkeypatch):
    def getaddrinfo(*args):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(MirrorError, match=r"^Name or service not known$"):
        fetch(part, f"https://mirror.example/{ARCHIVE}")


@pytest.mark.parametrize("dead", ["look-up", "connection"])
def test_what_never_answers_ends_in_time(part, monkeypatch, dead):
    released = threading.Event()

    def getaddrinfo(*args):
        if dead == "look-up":
            released.wait(5)
        return [(None, None, None, None, ("192.0.2.1", 443))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", lambda *args: released.wait(5))
    start = time.monotonic()
    with pytest.raises(MirrorError, match=r"^no connection within 0.03 s$"):
        fetch(part, f"https://mirror.example/{ARCHIVE}", connect_s=0.03)
    assert 0.03 <= time.monotonic() - start < 1
    released.set()


def test_dead_ipv6_route_does_not_hold_up_ipv4(serve, part, monkeypatch):
    look_up, released = socket.getaddrinfo, threading.Event()

    def getaddrinfo(host, port, family, kind):
        if family == socket.AF_INET6:
            released.wait(5)
        return look_up(host, port, family, kind)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    start = time.monotonic()
    fetch(part, serve())
    assert time.monotonic() - start < 1
    released.set()


def test_errors_of_the_disk_are_not_the_mirrors(serve, part, monkeypatch):
    def refuse(path, mode):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError):
        fetch(part, serve())


@pytest.mark.parametrize("url", ["https://a.example:80/x", "http://user:secret@a.example:80?token=1", "a.example:80"])
def test_messages_name_a_mirror_without_its_secrets(url):
    assert host(url) == "a.example:80"
