"""The Trainer, the same for all models."""

import logging
import warnings
from collections.abc import Iterable
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from cifar10.compat import keep_signal_handlers
from cifar10.errors import UserError
from cifar10.models.classifier import Classifier
from cifar10.training.checkpoints import BestCheckpoint, LastCheckpoint, SafeCheckpointIO
from cifar10.training.ema import MovingAverage
from cifar10.training.loggers.csv_logger import EpochTable
from cifar10.training.loggers.prototype_snapshots import PrototypeSnapshots
from cifar10.training.loggers.tensorboard import TensorBoardImages, tensorboard_logger
from cifar10.training.loggers.timer import EpochTimer
from cifar10.training.precision import chosen_precision


def make_trainer(
    cfg: DictConfig,
    folder: Path,
    last: LastCheckpoint,
    model: Classifier,
    callbacks: Iterable[Callback] = (),
    epochs_done: int | None = None,
) -> Trainer:
    """Returns a Trainer for `model` that writes into `folder`. epochs_done: of the run that is resumed.

    Raises UserError if Lightning refuses an argument of `cfg.trainer`.
    """
    average = MovingAverage(cfg.ema_decay) if cfg.ema_decay else None
    callbacks = [EpochTimer(), TensorBoardImages(), BestCheckpoint(folder, cfg.monitor, average), last, *callbacks]
    callbacks += [average] if average else []
    if model.network.prototype_images() is not None:
        callbacks.append(PrototypeSnapshots(folder))
    if cfg.trainer.enable_progress_bar:
        callbacks.append(ProgressBar())
    model.gradient_clip_val = cfg.trainer.get("gradient_clip_val")
    trainer = _trainer(
        cfg,
        max_epochs=cfg.epochs,
        precision=chosen_precision(cfg.precision, cfg.trainer.accelerator),
        default_root_dir=folder,
        logger=[tensorboard_logger(folder, epochs_done), EpochTable(folder / "metrics.csv")],
        callbacks=callbacks,
        plugins=[SafeCheckpointIO(), *_cluster()],
        sync_batchnorm=cfg.trainer.accelerator != "cpu" and torch.cuda.is_available(),  # GPUs only
        num_sanity_val_steps=0,
    )
    keep_signal_handlers(trainer)
    return trainer


class ProgressBar(TQDMProgressBar):
    """Updates ten times a second: a call of `training_step` may train on one batch or on many."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=1)
        self.updated = 0.0

    def needs_step(self, step: int) -> bool:
        return False

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        loop = trainer.fit_loop.epoch_loop
        if monotonic() > self.updated + 0.1 or loop.batch_progress.is_last_batch:
            self.updated = monotonic()
            super().on_train_batch_end(trainer, *args[:-1], loop.batch_idx)


def bare_trainer(cfg: DictConfig) -> Trainer:
    """Returns a Trainer without output, which resolves `cfg.trainer` on this machine."""
    return _trainer(cfg, logger=False, enable_checkpointing=False, plugins=_cluster())


def _trainer(cfg: DictConfig, **settings: Any) -> Trainer:
    _quiet()
    chosen: Any = OmegaConf.to_container(cfg.trainer, resolve=True)
    chosen.pop("gradient_clip_val", None)  # a setting of the model's `training_step`
    try:
        return Trainer(enable_model_summary=False, **settings, **chosen)
    except (TypeError, ValueError, MisconfigurationException) as error:
        given = " ".join(f"{name}={chosen[name]}" for name in ("accelerator", "devices"))  # Lightning may name neither
        raise UserError(f"trainer: {given}: {str(error).splitlines()[0]}") from error


def _cluster() -> list[SLURMEnvironment]:
    """Turns off Lightning's own checkpoint before requeueing under SLURM: the run resumes from `last.ckpt`."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def _quiet() -> None:
    """Silences warnings that users cannot act on."""
    for part in ("pytorch", "fabric"):
        logging.getLogger(f"lightning.{part}").setLevel(logging.WARNING)
    for harmless in (  # starts of messages, regular expressions
        r"Checkpoint directory .* exists and is not empty",  # ours does: configuration and log
        r"The number of training batches .* is smaller than the logging interval",  # we log once per epoch
        "You're resuming from a checkpoint that ended before the epoch ended",  # ours goes on with the next batch
        "You're using the WeightAveraging callback, but loading a checkpoint outside",  # of the average, to test it
        ".*`dataloader_iter`",  # experimental: tests/models/test_training_step.py covers what is used of it
        "It is recommended to use `self.log",  # with sync_dist: what we log is of all ranks already
        "`torch.jit.trace",  # how TensorBoard's own writer draws the graph
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # between Lightning and PyTorch
    ):
        warnings.filterwarnings("ignore", harmless)
