"""Files are whole or absent, on a full or read-only disk too."""

import errno
import os
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch

from cifar10.errors import UserError
from cifar10.files import SafeCheckpointIO, epochs_done, read_checkpoint, write_atomically, write_json


def refuse(file):
    file.write(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_what_was_there(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})
    with pytest.raises(UserError, match=r"cannot write .*metrics.json: No space left on device; .*make room"):
        write_atomically(path, refuse)
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]
    assert path.read_text() == '{\n  "a": 1\n}\n'


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/run/metrics.json"):
        write_json(tmp_path / "file/run/metrics.json", {})


def test_a_checkpoint_comes_back_equal(tmp_path):
    SafeCheckpointIO().save_checkpoint({"model": "MLP", "weights": torch.arange(3.0)}, tmp_path / "last.ckpt")
    loaded = SafeCheckpointIO().load_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert torch.equal(loaded["weights"], torch.tensor([0.0, 1.0, 2.0]))


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"x" * 100])
def test_a_torn_checkpoint_is_named(damage, tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"weights": torch.arange(1000.0)}, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"last.ckpt: not a whole checkpoint of this project.*; start over"):
        SafeCheckpointIO().load_checkpoint(path, weights_only=True)


def test_a_byte_that_changed_in_a_tensor_is_found(tmp_path):
    """Which PyTorch itself would read as another number."""
    path = tmp_path / "last.ckpt"
    torch.save({"weights": torch.full((1000,), 7.0)}, path)
    content = path.read_bytes()
    place = content.index(torch.full((10,), 7.0).numpy().tobytes())
    path.write_bytes(content[:place] + b"\1" + content[place + 1 :])
    assert not torch.equal(torch.load(path, weights_only=True)["weights"], torch.full((1000,), 7.0))
    with pytest.raises(UserError, match=r"last.ckpt: not a whole checkpoint of this project"):
        read_checkpoint(path)


def test_a_checkpoint_that_unfolds_to_more_than_its_size_is_not_opened(tmp_path):
    torch.save({"weights": torch.zeros(10**6)}, tmp_path / "whole.ckpt")
    with ZipFile(tmp_path / "whole.ckpt") as whole, ZipFile(tmp_path / "bomb.ckpt", "w", ZIP_DEFLATED) as bomb:
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name))
    assert (tmp_path / "bomb.ckpt").stat().st_size < 10_000
    with pytest.raises(UserError, match=r"bomb.ckpt: not a whole checkpoint of this project"):
        read_checkpoint(tmp_path / "bomb.ckpt")


def test_a_checkpoint_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"none.ckpt: No such file or directory"):
        read_checkpoint(tmp_path / "none.ckpt")


def test_names_are_synced_after_files(tmp_path, monkeypatch):
    """A file, its new name, then the folder that holds it: what a power cut leaves is the old file or the new one."""
    calls = []
    replace = Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append(str(Path(f"/proc/self/fd/{handle}").readlink())))
    monkeypatch.setattr(Path, "replace", lambda self, target: calls.append("rename") or replace(self, target))
    write_json(tmp_path / "metrics.json", 1)
    assert calls == [str(tmp_path / "metrics.json.partial"), "rename", str(tmp_path)]


class Large:
    def __reduce__(self):
        return bytearray, (10**13,)


def test_a_checkpoint_that_asks_for_memory_is_not_opened(tmp_path):
    """A bytearray of any size is what PyTorch's weights-only reader makes for the asking."""
    torch.save({"model": "MLP", "weights": Large()}, tmp_path / "large.ckpt")
    with pytest.raises(UserError, match=r"large.ckpt: not a whole checkpoint of this project"):
        read_checkpoint(tmp_path / "large.ckpt")


def test_weights_alone_are_nothing_to_go_on_from(tmp_path):
    torch.save({"model": "MLP", "state_dict": {}}, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"last.ckpt holds weights, but nothing to go on from; start over"):
        epochs_done(tmp_path / "last.ckpt")
