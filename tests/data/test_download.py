"""download.py against real HTTP servers on the loopback interface."""

import contextlib
import errno
import hashlib
import io
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from mirror_server import BODY, CONTENTS, LIMITS, OFFICIAL, SHA256, SIZE, WRONG, Answer, Mirror, entry, pack

from cifar10.data.download import ARCHIVE, FILES, FOLDER, MIRRORS, download, ensure_cifar10
from cifar10.data.transfer import Limits
from cifar10.errors import UserError

WAYS_ON = "or set another mirror (data.mirrors=[URL]), or use the embedded images (data=synthetic)"
DISK = "make room or choose another folder with data.root=PATH"

pytestmark = pytest.mark.usefixtures("no_proxy")


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


# --- Mirrors in their order -------------------------------------------------------------------------------------------


def test_download_from_the_first_mirror_with_one_line_of_output(serve, target, capsys):
    first, second = serve(), serve()
    get(target, first, second)
    assert (first.asked, second.asked) == ([None], [])
    assert capsys.readouterr().err == f"downloading {ARCHIVE} (0.2 MB) to {target.parent}\n"


def test_a_target_that_exists_is_left_alone(serve, target):
    target.parent.mkdir()
    target.write_bytes(b"mine")
    mirror = serve()
    download([mirror.url], target, SHA256, size=SIZE)
    assert (target.read_bytes(), mirror.asked) == (b"mine", [])


def test_second_call_resumes_the_first(serve, target):
    mirror = serve(Answer(cut=50_000), Answer(status=503), Answer())
    assert fail(target, mirror) == f"{mirror.host}: HTTP 503"
    assert names(target.parent) == [f"{ARCHIVE}.part"]
    assert target.with_name(f"{ARCHIVE}.part").read_bytes() == BODY[:50_000]
    get(target, mirror)
    assert mirror.asked == [None, "bytes=50000-", "bytes=50000-"]


def test_no_retry_without_new_bytes_but_the_next_mirror_goes_on(serve, target):
    first, second = serve(Answer(cut=1000), Answer(cut=0)), serve()
    get(target, first, second)
    assert (first.asked, second.asked) == ([None, "bytes=1000-"], ["bytes=1000-"])


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


@pytest.mark.parametrize("status", [404, 503])
def test_http_error_goes_on_to_the_next_mirror(serve, target, status):
    first, second = serve(Answer(status=status)), serve()
    get(target, first, second)
    assert (first.asked, second.asked) == ([None], [None])


@pytest.mark.fault("a mirror that sends other bytes", "never taken for the archive, the next mirror is asked")
def test_wrong_bytes_are_deleted_and_the_next_mirror_starts_from_zero(serve, target):
    first, second = serve(Answer(body=WRONG)), serve()
    get(target, first, second)
    assert (first.asked, second.asked) == ([None], [None])


def test_wrong_bytes_everywhere_name_the_mirrors_and_leave_nothing(serve, target):
    first, second = serve(Answer(body=WRONG)), serve(Answer(body=WRONG))
    assert fail(target, first, second) == "; ".join(f"{m.host}: wrong bytes (SHA-256)" for m in (first, second))
    assert names(target.parent) == []


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


def test_two_dead_mirrors_cost_less_than_five_seconds():
    assert len(MIRRORS) * Limits().connect_s < 5


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
@pytest.mark.fault("a full disk or Ctrl-C in a download", "one line, what is there stays, the next goes on with it")
def test_full_disk_and_interrupt_leave_a_part_to_resume(serve, target, monkeypatch, error):
    mirror = serve()
    with monkeypatch.context() as patch:
        break_off(patch, error)
        with pytest.raises((UserError, KeyboardInterrupt)) as caught:
            get(target, mirror)
    if isinstance(error, OSError):
        assert str(caught.value) == f"{target.parent}: No space left on device; {DISK}"
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
    assert str(caught.value) == f"{target}.part: Permission denied; {DISK}"


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


@pytest.mark.fault("two first runs that download at once", "one downloads, both have the files")
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
@pytest.mark.fault("an archive with an entry of another name, place or kind", "refused in one line, nothing unpacked")
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


@pytest.mark.fault("a full disk while unpacking", "one line, no half of a folder")
def test_disk_full_while_unpacking_leaves_no_folder(tmp_path, monkeypatch):
    (tmp_path / ARCHIVE).write_bytes(BODY)
    with monkeypatch.context() as patch:
        break_off(patch, OSError(errno.ENOSPC, "No space left on device"), after=20_000)
        with pytest.raises(UserError, match=f"^{tmp_path}: No space left on device; "):
            ensure(tmp_path)
    assert names(tmp_path) == [ARCHIVE]
