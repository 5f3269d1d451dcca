"""What happens around the epochs: stopping at any moment, the best weights, timing."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from cifar10.errors import Interrupted


class LastCheckpoint(Checkpoint):
    """Keeps `last.ckpt`: after each epoch, and at Ctrl-C after the current batch, to go on from exactly there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked_to_stop = False

    @contextmanager
    def catching_ctrl_c(self) -> Iterator[None]:
        """Within it the first Ctrl-C is remembered until a batch is done; a second one stops at once, unsaved."""

        def stop(signum: int, frame: FrameType | None) -> None:
            if self.asked_to_stop:
                raise Interrupted("at once; the same command, without force=true, goes on from the last checkpoint")
            self.asked_to_stop = True

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        # After an epoch's last batch the epoch is finished first: validation, log, checkpoint take seconds.
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch and self._stopping(trainer):
            trainer.save_checkpoint(self.path)
            self._stop()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.path)
        if self._stopping(trainer):
            self._stop()

    def on_test_batch_end(self, *args: Any) -> None:
        # Each rank for itself: they may have different numbers of batches, and there is nothing to save together.
        if self.asked_to_stop:
            self._stop()

    def _stopping(self, trainer: Trainer) -> bool:
        if trainer.world_size == 1:
            return self.asked_to_stop
        return trainer.strategy.reduce_boolean_decision(self.asked_to_stop, all=False)  # all ranks, at the same batch

    def _stop(self) -> None:
        raise Interrupted(f"{self.path} holds everything; the same command, without force=true, goes on from there")


class BestCheckpoint(ModelCheckpoint):
    """Keeps `best.ckpt`, the weights of the best epoch by `monitor`."""

    state_key = "BestCheckpoint"  # Lightning makes its own anew for each hook of each step

    def __init__(self, folder: Path, monitor: str) -> None:
        super().__init__(
            dirpath=folder,
            filename="best",
            monitor=monitor,
            mode="min" if monitor.endswith("loss") else "max",
            save_weights_only=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Lightning forgets the best epoch when the folder was moved, and would overwrite it with a worse one.
        path = str(Path(self.dirpath) / "best.ckpt")
        best = dict.fromkeys(state_dict["best_k_models"] and [path], state_dict["best_model_score"])
        moved = {"dirpath": self.dirpath, "best_k_models": best}
        if best:
            moved |= {"best_model_path": path, "kth_best_model_path": path}
        super().load_state_dict(state_dict | moved)


class EpochTimer(Callback):
    """Logs `seconds` of an epoch's training and `val_seconds` of its validation; interruptions are not counted."""

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

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log_epoch({"seconds": self.train, "val_seconds": self.validation})

    def elapsed(self) -> float:
        """Seconds that the epoch has trained so far."""
        return self.train + perf_counter() - self.started

    def state_dict(self) -> dict[str, float]:
        return {"train": self.elapsed()}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.train = state_dict["train"]
