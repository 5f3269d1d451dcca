"""Tests saving and loading of checkpoints."""

import pytest
import torch

from cifar10.errors import UserError
from cifar10.training.checkpoints import SafeCheckpointIO, epochs_done


def test_checkpoint_round_trip(tmp_path):
    SafeCheckpointIO().save_checkpoint({"model": "MLP", "weights": torch.arange(3.0)}, tmp_path / "last.ckpt")
    loaded = SafeCheckpointIO().load_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert torch.equal(loaded["weights"], torch.tensor([0.0, 1.0, 2.0]))


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"x" * 100])
def test_damaged_checkpoint_is_named(damage, tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"weights": torch.arange(1000.0)}, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"last.ckpt: .*; start over"):
        SafeCheckpointIO().load_checkpoint(path, weights_only=True)


def test_checkpoint_without_training_state_is_named(tmp_path):
    torch.save({"model": "MLP", "state_dict": {}}, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"last.ckpt holds weights but no training state; .*overwrite=true"):
        epochs_done(tmp_path / "last.ckpt")
