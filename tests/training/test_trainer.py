"""Tests the Trainer: invalid arguments are one line, and signal handlers are kept."""

import signal

import pytest
from test_run import composed

from cifar10.errors import UserError
from cifar10.models.mlp import MLP
from cifar10.training.checkpoints import LastCheckpoint
from cifar10.training.trainer import make_trainer


def trainer(folder, *overrides):
    return make_trainer(composed("epochs=1", *overrides), folder, LastCheckpoint(folder / "last.ckpt"), MLP(["a", "b"]))


@pytest.mark.parametrize("override", ["trainer.accelerator=abacus", "trainer.devices=nine"])
def test_argument_refused_by_lightning_is_one_line(override, tmp_path):
    with pytest.raises(UserError, match=override.removeprefix("trainer.")) as error:
        trainer(tmp_path, override)
    assert "\n" not in str(error.value)


def test_lightning_keeps_signal_handlers(random_data, tmp_path):
    handler, seen = signal.getsignal(signal.SIGTERM), []
    made = trainer(tmp_path, "trainer.accelerator=cpu")
    model = MLP(["a", "b"])
    model.on_train_start = lambda: seen.append(signal.getsignal(signal.SIGTERM))
    made.fit(model, random_data([0, 1] * 10, batch_size=4, val_size=4))
    assert seen == [handler]
