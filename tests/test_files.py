"""Files are whole or absent, on a full or read-only disk too."""

import errno

import pytest
import torch

from cifar10.errors import UserError
from cifar10.files import SafeCheckpointIO, write_atomically, write_json


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
    SafeCheckpointIO().save_checkpoint({"weights": torch.arange(3.0)}, tmp_path / "last.ckpt")
    loaded = SafeCheckpointIO().load_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert torch.equal(loaded["weights"], torch.tensor([0.0, 1.0, 2.0]))


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"x" * 100])
def test_a_torn_checkpoint_is_named(damage, tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"weights": torch.arange(1000.0)}, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"last.ckpt is not a whole checkpoint of this project; start over"):
        SafeCheckpointIO().load_checkpoint(path, weights_only=True)
