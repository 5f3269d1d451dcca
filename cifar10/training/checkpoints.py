"""Saves `last.ckpt`, to resume from, and `best.ckpt`, to test. Stops training on signals and on divergence."""

from contextlib import nullcontext
from io import BytesIO
from math import inf, isfinite
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from cifar10.errors import Diverged, Interrupted, UserError
from cifar10.files import write_atomically
from cifar10.models.classifier import Classifier, all_gather_object
from cifar10.networks.checkpoint import read_checkpoint
from cifar10.training.ema import MovingAverage
from cifar10.training.loggers.tensorboard import sync_events
from cifar10.training.rng_state import get_random_state, set_random_state
from cifar10.training.signals import StopSignals

LOSSES_AT_ONCE = 50
"""Number of steps whose losses are checked together: reading a loss waits for the accelerator."""


class SafeCheckpointIO(TorchCheckpointIO):
    """Saves checkpoints atomically, unlike Lightning, and loads them by `read_checkpoint`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = BytesIO()  # on a full disk torch.save would raise "unexpected pos"
        torch.save(checkpoint, content)
        write_atomically(Path(path), lambda file: file.write(content.getbuffer()))

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return read_checkpoint(Path(path))
        except UserError as error:
            raise UserError(f"{error}; start over with overwrite=true") from error


def epochs_done(path: Path) -> int:
    """Returns the number of completed epochs of a checkpoint. Raises UserError if it holds no training state."""
    checkpoint = SafeCheckpointIO().load_checkpoint(path)
    try:
        checkpoint["optimizer_states"], checkpoint["callbacks"]
        return checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} holds weights but no training state; start over with overwrite=true") from error


def any_rank(trainer: Trainer, *flags: bool) -> list[bool]:
    """Returns for each flag whether any rank has set it, so that all ranks act after the same batch."""
    if trainer.world_size == 1:
        return list(flags)
    counts = torch.tensor(flags, dtype=torch.float, device=trainer.strategy.root_device)
    return [count > 0 for count in trainer.strategy.reduce(counts, reduce_op="sum").tolist()]


class LastCheckpoint(Checkpoint):
    """Saves `last.ckpt`, with the state of all random number generators, for a bit-identical resumption.

    Saves after each epoch, at the given intervals within an epoch, and after the current batch if `stop` is requested.
    With stop_on_divergence, raises Diverged before a loss or weight that is not finite is saved.
    """

    def __init__(
        self,
        path: Path,
        stop: StopSignals | None = None,
        stop_on_divergence: bool = True,
        every_n_minutes: float | None = None,
        every_n_steps: int | None = None,
    ) -> None:
        self.path, self.stop, self.stop_on_divergence = path, stop or StopSignals(), stop_on_divergence
        self.every_n_minutes, self.every_n_steps = every_n_minutes, every_n_steps
        self.saved = monotonic()
        self.random_states: list[dict[str, Any]] = []
        self.checked = 0  # steps

    def needs_step(self, step: int) -> bool:
        """Returns whether to act after this step; see `Classifier.training_step`."""
        due = self.every_n_steps is not None and step % self.every_n_steps == 0
        return due or self.stop.requested or step - self.checked >= LOSSES_AT_ONCE

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.saved, self.checked = monotonic(), trainer.global_step
        if self.random_states:  # not earlier: initializing the model draws random numbers
            set_random_state(self.random_states[trainer.global_rank], pl_module.device)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        last_of_epoch = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        minutes, steps = (monotonic() - self.saved) / 60, self.every_n_steps
        due = bool(steps and trainer.global_step % steps == 0) or minutes >= (self.every_n_minutes or inf)
        stopping, due = any_rank(trainer, self.stop.requested, due)
        # After the last batch, the epoch is completed first: validation, logging and checkpoint take seconds.
        saving = (stopping or due) and not last_of_epoch
        if saving or last_of_epoch or trainer.global_step - self.checked >= LOSSES_AT_ONCE:
            self._check_losses(trainer, pl_module)
        if saving:
            self._check_weights(trainer, pl_module)
            self._save(trainer)
            if stopping:
                self._interrupt()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check("val/loss", float(trainer.callback_metrics["val/loss"]), trainer.global_step, trainer)
        self._check_weights(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)
        if any_rank(trainer, self.stop.requested)[0]:
            self._interrupt()

    def on_test_batch_end(self, *args: Any) -> None:
        if self.stop.requested:  # no collective: ranks may have different numbers of batches, and nothing is saved
            self._interrupt()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["random_states"] = all_gather_object(get_random_state(pl_module.device), trainer.world_size)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.random_states = checkpoint["random_states"]
        if (saved := len(self.random_states)) != trainer.world_size:
            raise UserError(
                f"{self.path} was saved with world_size={saved}, but this run has world_size={trainer.world_size}; "
                f"set trainer.devices={saved}, or start over with overwrite=true"
            )

    def _save(self, trainer: Trainer) -> None:
        sync_events(self.path.parent)  # they must contain all epochs of the checkpoint
        trainer.save_checkpoint(self.path)
        self.saved = monotonic()

    def _interrupt(self) -> None:
        message = f"saved to {self.path}; the same command, without overwrite=true, resumes from it"
        raise Interrupted(message, self.stop.status)

    def _check_losses(self, trainer: Trainer, model: Classifier) -> None:
        losses, self.checked = model.update_train_totals(), trainer.global_step
        for step, loss in enumerate(losses, trainer.global_step - len(losses) + 1):
            self._check("train/loss", loss, step, trainer)

    def _check_weights(self, trainer: Trainer, model: LightningModule) -> None:
        """Checks the weights after the last step. The loss of a step is computed before its update."""
        total = sum(tensor.detach().abs().sum() for tensor in (*model.parameters(), *model.buffers()))
        self._check("the sum of absolute weights", float(total), trainer.global_step, trainer)

    def _check(self, name: str, value: float, step: int, trainer: Trainer) -> None:
        if isfinite(value) or not self.stop_on_divergence:
            return
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        kept = f"{self.path} holds the last finite state" if self.path.exists() else "no checkpoint was saved"
        raise Diverged(
            f"{name} is {value} at step {step}, epoch {trainer.current_epoch + 1}, learning rate {rate:.3g}; {kept}; "
            "choose a lower model.learning_rate, or continue anyway with stop_on_divergence=false"
        )


class BestCheckpoint(ModelCheckpoint):
    """Saves `best.ckpt`: the weights of the best epoch by `monitor`, or their moving average."""

    state_key = "BestCheckpoint"  # Lightning would recompute its default in each hook of each step

    def __init__(self, folder: Path, monitor: str, average: MovingAverage | None = None) -> None:
        options: Any = {"save_weights_only": True, "save_on_train_epoch_end": True, "enable_version_counter": False}
        mode = "min" if monitor.endswith("loss") else "max"
        super().__init__(folder, "best", monitor=monitor, mode=mode, **options)
        self.best, self.average = str(folder.resolve() / "best.ckpt"), average

    def needs_step(self, step: int) -> bool:
        return False  # it acts on epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # WeightAveraging does not swap in the average for checkpoints with weights only.
        with self.average.in_place(trainer, pl_module) if self.average else nullcontext():
            super().on_train_epoch_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Lightning drops the best score if the folder was moved, and a worse epoch would overwrite best.ckpt.
        moved: dict[str, Any] = {"dirpath": self.dirpath, "best_k_models": {}}
        if state_dict["best_k_models"]:
            moved |= {"best_k_models": {self.best: state_dict["best_model_score"]}}
            moved |= {"best_model_path": self.best, "kth_best_model_path": self.best}
        super().load_state_dict(state_dict | moved)
        self.current_score = state_dict["current_score"]  # Lightning drops it too
