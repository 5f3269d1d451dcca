"""Downloads from HTTP servers on the loopback interface, and unpacks."""

import errno
import io
import re
import socket
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mirror_server import (
    ARCHIVE,
    BODY,
    CONTENTS,
    FILES,
    FOLDER,
    MINIATURE,
    OFFICIAL,
    SIZE,
    WRONG,
    Mirror,
    Response,
    entry,
    pack,
)

from cifar10.data import download
from cifar10.data.cifar10 import CIFAR10Data
from cifar10.data.cifar100 import CIFAR100Data
from cifar10.errors import UserError
from cifar10.training.config import check_arguments

ALTERNATIVES = "or set another mirror (data.mirrors=[URL]), or use synthetic images (data=synthetic)"
DISK = "check free space and permissions, or choose another folder with data.root=PATH"
CHUNK = 10_000


@pytest.fixture(autouse=True)
def miniature(monkeypatch, no_proxy) -> None:
    """Replaces the official archive by a small one."""
    monkeypatch.setattr(download, "CHUNK", CHUNK)
    monkeypatch.setattr(CIFAR10Data, "archive", MINIATURE)


@pytest.fixture
def archive(tmp_path) -> Path:
    return tmp_path / ARCHIVE


@pytest.fixture
def part(tmp_path) -> Path:
    """Returns the partial file of an earlier download."""
    path = tmp_path / f"{ARCHIVE}.part"
    path.write_bytes(BODY[:50_000])
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {f"{ARCHIVE}.lock"}


def get(archive: Path, *mirrors: Mirror) -> None:
    """Downloads; asserts that the archive is correct and the only file."""
    download.download(MINIATURE._replace(mirrors=[mirror.url for mirror in mirrors]), archive.parent)
    assert archive.read_bytes() == BODY
    assert names(archive.parent) == {ARCHIVE}


def fail(archive: Path, *urls: str) -> str:
    """Asserts that the download fails; returns the reasons in the message."""
    with pytest.raises(UserError) as caught:
        download.download(MINIATURE._replace(mirrors=urls), archive.parent)
    assert not archive.exists()
    found = re.fullmatch(
        rf"cannot download {ARCHIVE} \((.*)\): put it at {archive}, {re.escape(ALTERNATIVES)}", str(caught.value)
    )
    assert found
    return found[1]


def ensure_files(folder: Path, mirrors=()) -> None:
    CIFAR10Data(str(folder), mirrors).prepare_data()


def closed(mirror: Mirror) -> str:
    mirror.shutdown()
    mirror.server_close()
    return mirror.url


# --- One mirror -------------------------------------------------------------------------------------------------------


def test_first_mirror_serves_with_one_line_of_output(serve, archive, capsys):
    first, second = serve(), serve()
    get(archive, first, second)
    assert (first.ranges, second.ranges) == ([None], [])
    assert capsys.readouterr() == ("", f"downloading {ARCHIVE} (0.2 MB) to {archive.parent}\n")


def test_progress_bar_on_terminal_shows_mirror_bytes_and_rate(serve, archive, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    mirror = serve()
    get(archive, mirror)
    last = terminal.getvalue().split("\r")[-1]
    assert f"{mirror.host}: 100%" in last
    assert f"{SIZE / 1000:.0f}k/{SIZE / 1000:.0f}k" in last
    assert "B/s]" in last


def test_interrupted_connections_resume(serve, archive):
    mirror = serve(Response(cut=70_000), Response(cut=20_000, reset=True), Response())
    get(archive, mirror)
    assert mirror.ranges[:2] == [None, "bytes=70000-"]
    assert int(mirror.ranges[2][6:-1]) >= 80_000


def test_next_mirror_resumes_after_a_failing_one(serve, archive):
    first, second = serve(Response(cut=1000)), serve()
    get(archive, first, second)
    assert (first.ranges, second.ranges) == ([None], ["bytes=1000-"])


def test_second_run_resumes_the_first(serve, archive):
    mirror = serve(Response(cut=50_000), Response(status=503), Response())
    assert fail(archive, mirror.url) == f"{mirror.host}: HTTP 503"
    assert (names(archive.parent), (archive.parent / f"{ARCHIVE}.part").read_bytes()) == (
        {f"{ARCHIVE}.part"},
        BODY[:50_000],
    )
    get(archive, mirror)
    assert mirror.ranges == [None, "bytes=50000-", "bytes=50000-"]


@pytest.mark.parametrize(
    ("content", "ranges"),
    [
        (BODY, []),  # stopped between the last byte and the rename
        (BODY + b"x", [None]),
        (WRONG, [None]),
        (b"x" * 1000, ["bytes=1000-", None]),  # the mirror is tried again from zero
    ],
    ids=["whole", "too long", "wrong", "wrong beginning"],
)
def test_partial_file_of_earlier_run(serve, archive, part, content, ranges):
    part.write_bytes(content)
    mirror = serve()
    get(archive, mirror)
    assert mirror.ranges == ranges


def test_server_that_ignores_range(serve, archive, part):
    mirror = serve(Response(ranges=False, cut=30_000))
    fail(archive, mirror.url)
    assert part.read_bytes() == BODY[:50_000]
    get(archive, serve(Response(ranges=False)))
    assert mirror.ranges == ["bytes=50000-"]


@pytest.mark.parametrize(
    "response",
    [
        Response(body=b"please log in", ranges=False),
        Response(length=SIZE - 1, ranges=False),
        Response(length=SIZE + 1, ranges=False),
        Response(content_range=f"bytes 7-{SIZE - 1}/{SIZE}"),
        Response(content_range=f"bytes 50000-{SIZE}/{SIZE + 1}"),
        Response(content_range="nonsense"),
        Response(status=416),
    ],
    ids=["log-in page", "too short", "too long", "other range", "other total", "no range", "416"],
)
def test_wrong_file_is_refused_and_partial_file_kept(serve, archive, part, response):
    mirror = serve(response)
    assert re.match(rf"{mirror.host}: (wrong file: Content-|HTTP 416)", fail(archive, mirror.url))
    assert part.read_bytes() == BODY[:50_000]


def test_redirects_keep_the_range(serve, archive, part):
    second = serve()
    first = serve(Response(status=302, location=second.url))
    get(archive, first)
    assert (first.ranges, second.ranges) == (["bytes=50000-"], ["bytes=50000-"])


def test_proxy_from_environment_is_used(serve, archive, monkeypatch):
    proxy = serve()
    monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
    download.download(MINIATURE._replace(mirrors=["http://mirror.example/file"]), archive.parent)
    assert proxy.paths == ["http://mirror.example/file"]


# --- Bad mirrors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 503])
def test_next_mirror_is_tried_after_http_error(serve, archive, status):
    first, second = serve(Response(status=status)), serve()
    get(archive, first, second)
    assert (first.ranges, second.ranges) == ([None], [None])


@pytest.mark.fault("a mirror that sends other bytes", "discarded; the next mirror is tried")
def test_next_mirror_starts_from_zero_after_wrong_bytes(serve, archive):
    first, second = serve(Response(body=WRONG)), serve()
    get(archive, first, second)
    assert (first.ranges, second.ranges) == ([None], [None])


def test_wrong_bytes_from_all_mirrors_leave_no_file(serve, archive):
    mirrors = serve(Response(body=WRONG)), serve(Response(body=WRONG))
    reasons = fail(archive, *(mirror.url for mirror in mirrors))
    assert reasons == "; ".join(f"{mirror.host}: wrong bytes (SHA-256)" for mirror in mirrors)
    assert names(archive.parent) == set()


def test_next_mirror_is_tried_after_stall(serve, archive, monkeypatch):
    monkeypatch.setattr(download, "READ_S", 0.1)
    first, second = serve(Response(cut=5000, stall=True)), serve()
    get(archive, first, second)
    assert len(first.ranges) == len(second.ranges) == 1


def test_connection_timeout(serve, archive, monkeypatch):
    monkeypatch.setattr(download, "CONNECT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as first, socket.socket() as second:
        for client in (first, second):  # fills the accept queue
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        dead = "http://{}:{}".format(*full.getsockname())
        assert fail(archive, dead) == f"{dead[7:]}: TimeoutError after 0 of {SIZE} bytes"


@pytest.mark.parametrize("data", [CIFAR10Data, CIFAR100Data])
def test_unreachable_mirrors_cost_few_seconds(data):
    assert len(data.archive.mirrors) * download.CONNECT_S <= 6


def test_failure_of_all_mirrors_is_one_line_without_passwords(serve, archive, monkeypatch):
    def getaddrinfo(host, *args, look_up=socket.getaddrinfo):
        if host == "mirror.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *args)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    missing, gone = serve(Response(status=404)), serve()
    urls = [missing.url.replace("http://", "http://user:secret@"), closed(gone), "http://user:secret@mirror.example/a"]
    reasons = fail(archive, *urls, "nonsense", "odd://user:secret@b.example/?token=secret", "http://user:secret@[/x")
    assert reasons.split("; ")[:4] == [
        f"{missing.host}: HTTP 404",
        f"{gone.host}: Connection refused after 0 of {SIZE} bytes",
        f"mirror.example: Name or service not known after 0 of {SIZE} bytes",
        f"nonsense: MissingSchema after 0 of {SIZE} bytes",
    ]
    assert "secret" not in reasons
    assert fail(archive) == "data.mirrors is empty"


@pytest.mark.parametrize(
    "url", ["https://a.example:80/x", "http://user:secret@a.example:80?token=1", "user:secret@a.example:80"]
)
def test_messages_contain_no_secrets_of_urls(url):
    assert download._host(url) == "a.example:80"


def test_single_url_instead_of_list_is_refused():
    with pytest.raises(UserError, match=r"^data\.mirrors=http://host/file: "):
        check_arguments("data", CIFAR10Data, {"mirrors": "http://host/file"})


# --- Disk errors, interruptions, concurrency --------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.fault("a full disk or Ctrl-C during a download", "one line; the next run resumes")
def test_full_disk_and_interrupt_leave_a_resumable_file(serve, tmp_path, monkeypatch, error):
    class Broken(io.FileIO):
        def write(self, data) -> int:
            super().write(data[: 50_000 - self.tell()])
            if self.tell() == 50_000:
                raise error
            return len(data)

    mirror = serve()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode: Broken(path, mode))
        with pytest.raises((UserError, KeyboardInterrupt)) as caught:
            ensure_files(tmp_path / FOLDER, [mirror.url])
    if isinstance(error, OSError):
        assert str(caught.value) == f"{tmp_path}: No space left on device; {DISK}"
    assert names(tmp_path) == {f"{ARCHIVE}.part"}
    assert (tmp_path / f"{ARCHIVE}.part").read_bytes() == BODY[:50_000]
    get(tmp_path / ARCHIVE, mirror)
    assert mirror.ranges == [None, "bytes=50000-"]


def test_read_only_folder_raises_user_error(serve, tmp_path, monkeypatch):
    def refuse(path, mode):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=f"^{tmp_path}/{ARCHIVE}.part: Permission denied; {DISK}$"):
        ensure_files(tmp_path / FOLDER, [serve().url])


def test_root_below_a_file_raises_user_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"^{tmp_path}/file/data.*: Not a directory; "):
        ensure_files(tmp_path / "file" / "data" / FOLDER)


@pytest.mark.fault("two runs that download at once", "one downloads, both use the files")
def test_concurrent_calls_download_once(serve, tmp_path):
    """Threads replace processes: each opens the lock file and so competes for the lock."""
    mirror = serve(Response(piece=50_000))
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: ensure_files(tmp_path / FOLDER, [mirror.url]), range(2)))
    assert mirror.ranges == [None]
    assert_unpacked(tmp_path)


# --- The seven files --------------------------------------------------------------------------------------------------


def assert_unpacked(root: Path, *others: str) -> None:
    """Asserts that `root` contains the seven files, the archive and `others`, and nothing else."""
    assert {name: (root / FOLDER / name).read_bytes() for name in FILES} == CONTENTS
    paths = {str(path.relative_to(root)) for path in root.rglob("*")} - {f"{ARCHIVE}.lock"}
    assert paths == {ARCHIVE, FOLDER, *(f"{FOLDER}/{name}" for name in FILES), *others}


def test_prepare_data_downloads_and_unpacks_once(serve, tmp_path):
    mirror, root = serve(), tmp_path / "not" / "yet"
    ensure_files(root / FOLDER, [mirror.url])
    assert_unpacked(root)
    assert (root / FOLDER).stat().st_mode == root.stat().st_mode  # permissions follow the umask
    (root / ARCHIVE).unlink()
    ensure_files(root / FOLDER, [mirror.url])
    assert mirror.ranges == [None]


def test_local_archive_completes_folder_and_keeps_other_files(tmp_path):
    (tmp_path / ARCHIVE).write_bytes(BODY)
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "notes.txt").write_text("mine")
    (tmp_path / FOLDER / "test_batch").write_text("half")
    ensure_files(tmp_path / FOLDER, [])
    assert_unpacked(tmp_path, f"{FOLDER}/notes.txt")


MALICIOUS = {
    "../malicious": b"x",
    "/malicious": b"x",
    f"{FOLDER}/../../malicious": b"x",
    f"{FOLDER}/more\nlines": b"x",
    f"{FOLDER}/test_batch": entry(tarfile.SYMTYPE, "/etc/passwd"),
    f"{FOLDER}/data_batch_1": entry(tarfile.LNKTYPE, "/etc/passwd"),
    FOLDER: entry(tarfile.SYMTYPE, ".."),
    f"{FOLDER}/batches.meta": entry(tarfile.FIFOTYPE),
}


@pytest.mark.parametrize(("name", "content"), MALICIOUS.items(), ids=map(repr, MALICIOUS))
@pytest.mark.fault("an archive with malicious entries", "refused in one line, nothing unpacked")
def test_other_local_archive_is_refused_and_kept(serve, tmp_path, name, content):
    """The checksum is compared before the archive is opened."""
    root, body, mirror = tmp_path / "root", pack({**OFFICIAL, name: content}), serve()
    root.mkdir()
    (root / ARCHIVE).write_bytes(body)
    with pytest.raises(
        UserError, match=rf"^{root / ARCHIVE} is not the official archive \(its SHA-256 is not .*delete it"
    ):
        ensure_files(root / FOLDER, [mirror.url])
    assert (names(tmp_path), names(root), mirror.ranges) == ({"root"}, {ARCHIVE}, [])
    assert (root / ARCHIVE).read_bytes() == body


@pytest.mark.fault("a full disk while unpacking", "one line, no partial folder")
def test_full_disk_while_unpacking_leaves_no_folder(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / ARCHIVE).write_bytes(BODY)
    monkeypatch.setattr(tarfile, "copyfileobj", refuse)
    with pytest.raises(UserError, match=f"^{tmp_path}: No space left on device; "):
        ensure_files(tmp_path / FOLDER)
    assert names(tmp_path) == {ARCHIVE}
