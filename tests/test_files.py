"""Files are complete or absent, also on a full or read-only disk."""

import errno
import logging
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from cifar10.errors import UserError
from cifar10.files import RunLogHandler, write_atomically, write_json


def refuse(file):
    file.write(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_keeps_the_previous_file(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})
    with pytest.raises(
        UserError,
        match=r"cannot write .*metrics.json: No space left on device; the previous file is unchanged; free some space",
    ):
        write_atomically(path, refuse)
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]
    assert path.read_text() == '{\n  "a": 1\n}\n'


def test_error_names_a_folder_that_cannot_be_created(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"cannot write .*file/run/metrics.json: Not a directory; check the path and its permissions"
    ):
        write_json(tmp_path / "file/run/metrics.json", {})


def test_file_is_synced_before_its_folder(tmp_path, monkeypatch):
    """Order: file, rename, folder. A power cut then leaves the old file or the new one."""
    calls = []
    replace = Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append(str(Path(f"/proc/self/fd/{handle}").readlink())))
    monkeypatch.setattr(Path, "replace", lambda self, target: calls.append("rename") or replace(self, target))
    write_json(tmp_path / "metrics.json", 1)
    assert re.fullmatch(rf"{tmp_path}/metrics\.json\.\d+\.{os.getpid()}\.partial", calls[0])
    assert calls[1:] == ["rename", str(tmp_path)]


@pytest.mark.parametrize(("owner", "name"), [(os, "open"), (Path, "unlink")])
def test_written_file_is_not_reported_as_failed(owner, name, tmp_path, monkeypatch):
    """The folder cannot be opened for syncing, or a killed writer's file belongs to another user."""
    stale = tmp_path / "a.json.1.4194305.partial"  # above the largest process number of Linux
    stale.write_text("")

    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(owner, name, refuse)
    write_json(tmp_path / "a.json", 1)
    monkeypatch.undo()
    assert (tmp_path / "a.json").read_text() == "1\n"
    assert stale.exists() == (name == "unlink")


def test_concurrent_writers_leave_one_complete_file(tmp_path):
    path, contents = tmp_path / "a.json", [bytes([value]) * 100_000 for value in range(8)]
    barrier = Barrier(8)

    def write(content):
        write_atomically(path, lambda file: (file.write(content[:10]), barrier.wait(), file.write(content[10:])))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, contents))
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_interrupted_and_stale_temporary_files_are_removed(tmp_path):
    def interrupt(file):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.json", interrupt)
    assert list(tmp_path.iterdir()) == []
    ended = subprocess.Popen(["true"])
    ended.wait()
    stale, other = tmp_path / f"a.json.7.{ended.pid}.partial", tmp_path / f"a.json.7.{os.getpid()}.partial"
    stale.touch()
    other.touch()
    write_json(tmp_path / "a.json", 1)
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", other.name}


def test_log_messages_are_appended(tmp_path):
    for text in ("first", "\u00e4 \udcff"):
        handler = RunLogHandler(str(tmp_path / "train.log"))
        handler.emit(logging.makeLogRecord({"msg": text}))
        handler.close()
    assert (tmp_path / "train.log").read_text(encoding="utf-8") == "first\n\u00e4 \\udcff\n"


def test_log_that_cannot_be_opened_drops_messages(tmp_path, capsys):
    RunLogHandler(str(tmp_path)).emit(logging.makeLogRecord({"msg": "lost"}))
    assert capsys.readouterr() == ("", "")
