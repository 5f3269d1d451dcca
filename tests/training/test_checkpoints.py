"""Tests saving and loading of checkpoints."""

import pytest
import torch

from cifar10.errors import UserError
from cifar10.training.checkpoints import SafeCheckpointIO, epochs_done


def test_checkpoint_round_trip(tmp_path):
    SafeCheckpointIO().save_checkpoint({"model": "MLP", "weights": torch.arange(3.0)}, tmp_path / "last.ckpt")
    loaded = SafeCheckpointIO().load_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert torch.equal(loaded["weights"], torch.tensor([0.0, 1.0, 2.0]))


def test_checkpoint_without_training_state_is_named(tmp_path):
    torch.save({"model": "MLP", "state_dict": {}}, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"last.ckpt holds weights but no training state; .*overwrite=true"):
        epochs_done(tmp_path / "last.ckpt")
