"""What happens around the epochs: stopping at any moment, timing, pictures for TensorBoard."""

import signal
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import TensorBoardLogger

from cifar10.errors import Interrupted
from cifar10.plots import confusion_figure


class LastCheckpoint(Checkpoint):
    """Keeps `last.ckpt`: after each epoch, and at Ctrl-C after the current batch, to go on from exactly there.

    A second Ctrl-C stops at once, without saving.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stopping = False
        self.previous_handler: Any = signal.getsignal(signal.SIGINT)

    def _catch_ctrl_c(self, *args: Any) -> None:
        def stop(signum: int, frame: FrameType | None) -> None:
            self.stopping = True
            signal.signal(signal.SIGINT, signal.default_int_handler)

        self.previous_handler = signal.signal(signal.SIGINT, stop)

    def _release_ctrl_c(self, *args: Any) -> None:
        signal.signal(signal.SIGINT, self.previous_handler)

    # Not in `setup` and `teardown`: between them Lightning puts back the handlers that it found after `setup`.
    on_train_start = on_test_start = _catch_ctrl_c
    on_train_end = on_test_end = on_exception = _release_ctrl_c

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        # After an epoch's last batch the epoch is finished first: validation, log, checkpoint take seconds.
        if self.stopping and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            trainer.save_checkpoint(self.path)
            raise Interrupted(f"{self.path} holds everything; the same command goes on from there")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.path)
        if self.stopping:
            raise Interrupted(f"{self.path} holds everything; the same command goes on from there")

    def on_test_batch_end(self, *args: Any) -> None:
        if self.stopping:
            raise Interrupted(f"{self.path} holds everything; the same command goes on from there")


class EpochTimer(Callback):
    """Logs `seconds`: an epoch's training without its validation, interruptions not counted."""

    def __init__(self) -> None:
        self.before = 0.0
        self.started = 0.0

    def on_train_start(self, *args: Any) -> None:
        self.started = perf_counter()

    def on_train_epoch_start(self, *args: Any) -> None:
        self.before, self.started = 0.0, perf_counter()

    def on_validation_start(self, *args: Any) -> None:
        self.before = self.elapsed()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log_epoch({"seconds": self.before})

    def elapsed(self) -> float:
        return self.before + perf_counter() - self.started

    def state_dict(self) -> dict[str, float]:
        return {"before": self.elapsed()}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.before = state_dict["before"]


class TensorBoardPictures(Callback):
    """The model's own pictures after each epoch, and the confusion matrix of the test set."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, images in pl_module.pictures().items():
            for writer in _writers(trainer):
                writer.add_images(name, images, trainer.current_epoch + 1)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        figure = confusion_figure(torch.tensor(pl_module.test_results["confusion"]), pl_module.class_names)
        for writer in _writers(trainer):
            writer.add_figure("test/confusion", figure, trainer.current_epoch)


def _writers(trainer: Trainer) -> list[Any]:
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
