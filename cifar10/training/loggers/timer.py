"""Measures the duration of each epoch."""

from time import perf_counter
from typing import Any

from lightning import Callback, Trainer


class EpochTimer(Callback):
    """Logs `seconds` of training and `val_seconds` of validation per epoch, without interruptions."""

    def __init__(self) -> None:
        self.train = self.validation = 0.0
        self.started = 0.0

    def on_train_start(self, *args: Any) -> None:
        self.started = perf_counter()

    def on_train_epoch_start(self, *args: Any) -> None:
        self.train, self.validation, self.started = 0.0, 0.0, perf_counter()

    def on_validation_start(self, *args: Any) -> None:
        self.train, self.started = self.elapsed(), perf_counter()

    def on_validation_end(self, *args: Any) -> None:
        self.validation = perf_counter() - self.started

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.log_epoch({"seconds": self.train, "val_seconds": self.validation})

    def elapsed(self) -> float:
        """Returns the seconds of training in this epoch so far."""
        return self.train + perf_counter() - self.started

    def state_dict(self) -> dict[str, float]:
        return {"train": self.elapsed()}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.train = state_dict["train"]
