"""Files are whole or absent, on a full or read-only disk too."""

import errno
import os
from pathlib import Path

import pytest

from cifar10.errors import UserError
from cifar10.files import write_atomically, write_json


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
    """A file, its new name, then the folder that holds it: what a power cut leaves is the old file or the new one."""
    calls = []
    replace = Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append(str(Path(f"/proc/self/fd/{handle}").readlink())))
    monkeypatch.setattr(Path, "replace", lambda self, target: calls.append("rename") or replace(self, target))
    write_json(tmp_path / "metrics.json", 1)
    assert calls == [str(tmp_path / "metrics.json.partial"), "rename", str(tmp_path)]
