"""Tests the Trainer: its progress bar, and that signal handlers are kept."""

import signal
import sys
from types import SimpleNamespace

import pytest
from test_run import composed

from cifar10.errors import Interrupted
from cifar10.models import classifier
from cifar10.models.mlp import MLP
from cifar10.training.checkpoints import LastCheckpoint
from cifar10.training.run import train
from cifar10.training.trainer import ProgressBar, make_trainer


def trainer(folder, *overrides):
    return make_trainer(composed("epochs=1", *overrides), folder, LastCheckpoint(folder / "last.ckpt"), MLP(["a", "b"]))


@pytest.mark.parametrize(
    ("setting", "stdout", "shown"),
    [
        ("null", SimpleNamespace(isatty=lambda: True), True),
        ("null", SimpleNamespace(isatty=lambda: False), False),
        ("null", None, False),  # as in python train.py >&-
        ("true", None, True),
        ("false", SimpleNamespace(isatty=lambda: True), False),
    ],
)
def test_progress_bar_is_shown_on_terminals_or_on_request(setting, stdout, shown, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stdout)
    made = trainer(tmp_path, f"trainer.enable_progress_bar={setting}")
    assert (made.progress_bar_callback is not None) is shown


def test_progress_bar_of_a_run_resumed_within_an_epoch(tmp_path, monkeypatch):
    bars, original = [], ProgressBar.on_train_batch_end

    def interrupt(self, trainer, *args):
        original(self, trainer, *args)
        bar = self.train_progress_bar
        bars.append((bar.desc, bar.initial, bar.n, bar.total))
        if len(bars) == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ProgressBar, "on_train_batch_end", interrupt)
    monkeypatch.setattr(classifier, "SECONDS_PER_CALL", 0)
    settings = composed("model=mlp", "epochs=1", "batch_size=50", "trainer.enable_progress_bar=true")
    with pytest.raises(Interrupted):
        train(settings, tmp_path)
    train(settings, tmp_path)
    assert bars == [("Epoch 1: ", 0, 1, 2), ("Epoch 1: ", 1, 2, 2)]


def test_lightning_keeps_signal_handlers(random_data, tmp_path):
    handler, seen = signal.getsignal(signal.SIGTERM), []
    made = trainer(tmp_path, "trainer.accelerator=cpu")
    model = MLP(["a", "b"])
    model.on_train_start = lambda: seen.append(signal.getsignal(signal.SIGTERM))
    made.fit(model, random_data([0, 1] * 10, batch_size=4, val_size=4))
    assert seen == [handler]
