"""What happens around the epochs: stopping at any moment, the best weights, timing."""

from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from cifar10.errors import Diverged, Interrupted
from cifar10.models.base import LOSSES_AT_ONCE, Classifier
from cifar10.signals import StopSignals


class LastCheckpoint(Checkpoint):
    """Keeps `last.ckpt`: after each epoch, and where `stop` asks after the current batch, to go on from exactly there.

    Of a loss that is not finite none is written: with stop_on_divergence training ends there, with Diverged.
    """

    def __init__(self, path: Path, stop: StopSignals | None = None, stop_on_divergence: bool = True) -> None:
        self.path, self.stop, self.stop_on_divergence = path, stop or StopSignals(), stop_on_divergence

    def on_train_start(self, *args: Any) -> None:
        self.stop.install()

    def on_test_start(self, *args: Any) -> None:
        self.stop.install()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Classifier, *args: Any) -> None:
        last_of_epoch = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        stopping = self._stopping(trainer)
        if stopping or last_of_epoch or len(pl_module.recent_losses) == LOSSES_AT_ONCE:
            self._check_losses(trainer, pl_module)  # not in each step: to look at one is to wait for the accelerator
        # After an epoch's last batch the epoch is finished first: validation, log, checkpoint take seconds.
        if stopping and not last_of_epoch:
            trainer.save_checkpoint(self.path)
            self._interrupt()

    def on_validation_end(self, trainer: Trainer, pl_module: Classifier) -> None:
        self._check("val/loss", float(trainer.callback_metrics["val/loss"]), trainer.global_step, trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.path)
        if self._stopping(trainer):
            self._interrupt()

    def on_test_batch_end(self, *args: Any) -> None:
        # Each rank for itself: they may have different numbers of batches, and there is nothing to save together.
        if self.stop.asked:
            self._interrupt()

    def _stopping(self, trainer: Trainer) -> bool:
        if trainer.world_size == 1:
            return self.stop.asked
        return trainer.strategy.reduce_boolean_decision(self.stop.asked, all=False)  # all ranks, at the same batch

    def _interrupt(self) -> None:
        raise Interrupted(
            f"{self.path} holds everything; the same command, without force=true, goes on from there", self.stop.status
        )

    def _check_losses(self, trainer: Trainer, model: Classifier) -> None:
        if not model.recent_losses:  # the exact solver has none
            return
        losses = torch.stack(list(model.recent_losses)).tolist()
        model.recent_losses.clear()
        for step, loss in enumerate(losses, trainer.global_step - len(losses) + 1):
            self._check("train/loss", loss, step, trainer)

    def _check(self, name: str, loss: float, step: int, trainer: Trainer) -> None:
        if isfinite(loss) or not self.stop_on_divergence:
            return
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        kept = f"{self.path} holds the last good state" if self.path.exists() else "no epoch was finished before"
        raise Diverged(
            f"{name} is {loss} at step {step}, epoch {trainer.current_epoch + 1}, learning rate {rate:.3g}; {kept}; "
            "choose a lower model.learning_rate, or let it go on with stop_on_divergence=false"
        )


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
