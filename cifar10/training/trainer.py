"""Builds the Lightning Trainer, with the same callbacks for all models."""

import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from cifar10.compat import keep_signal_handlers
from cifar10.errors import UserError
from cifar10.models.classifier import Classifier
from cifar10.training.checkpoints import BestCheckpoint, LastCheckpoint, SafeCheckpointIO
from cifar10.training.ema import MovingAverage
from cifar10.training.loggers.build import make_run_loggers
from cifar10.training.loggers.csv_logger import EpochCSVLogger
from cifar10.training.loggers.prototype_snapshots import PrototypeSnapshots
from cifar10.training.loggers.tensorboard import TensorBoardImages
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
    """Returns a Trainer for `model` that writes into `folder`. epochs_done: completed epochs of a resumed run.

    Raises UserError if Lightning refuses an argument of `cfg.trainer`.
    """
    # Lightning sets it to 1. Without a driver, each step of PyTorch's Adam would then search for NVML: 50 microseconds.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    average = MovingAverage(cfg.ema_decay) if cfg.ema_decay else None
    callbacks = [EpochTimer(), TensorBoardImages(), BestCheckpoint(folder, cfg.monitor, average), last, *callbacks]
    callbacks += [average] if average else []
    if model.network.prototype_images() is not None:
        callbacks.append(PrototypeSnapshots(folder))
    if _shows_progress_bar(cfg):
        callbacks.append(ProgressBar())
    model.gradient_clip_val = cfg.trainer.gradient_clip_val
    trainer = _build_trainer(
        cfg,
        max_epochs=cfg.epochs,
        precision=chosen_precision(cfg.precision, cfg.trainer.accelerator),
        default_root_dir=folder,
        logger=[*make_run_loggers(cfg, folder, epochs_done), EpochCSVLogger(folder / "metrics.csv")],
        callbacks=callbacks,
        plugins=[SafeCheckpointIO(), *_cluster_plugins()],
        sync_batchnorm=cfg.trainer.accelerator != "cpu" and torch.cuda.is_available(),  # GPUs only
        num_sanity_val_steps=0,
    )
    # The import of Lightning has set it from the environment, which may hold a stale rank.
    rank_zero_only.rank = trainer.global_rank  # type: ignore[attr-defined]
    keep_signal_handlers(trainer)
    return trainer


class ProgressBar(TQDMProgressBar):
    """Updates ten times a second: a call of `training_step` may train on one batch or on many."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=1)
        self.updated = 0.0

    def needs_step(self, step: int) -> bool:
        return False

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        super().on_train_start(trainer)
        self.on_train_epoch_start(trainer)  # Lightning omits it when a run resumes within an epoch
        self.train_progress_bar.initial = trainer.fit_loop.epoch_loop.batch_progress.current.ready

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(f"Epoch {trainer.current_epoch + 1}")  # from 1, as in the log

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        loop = trainer.fit_loop.epoch_loop
        if monotonic() > self.updated + 0.1 or loop.batch_progress.is_last_batch:
            self.updated = monotonic()
            super().on_train_batch_end(trainer, pl_module, outputs, batch, loop.batch_idx)


def bare_trainer(cfg: DictConfig) -> Trainer:
    """Returns a Trainer without output, to resolve `cfg.trainer` on this machine."""
    return _build_trainer(cfg, logger=False, enable_checkpointing=False, plugins=_cluster_plugins())


def _build_trainer(cfg: DictConfig, **settings: Any) -> Trainer:
    _silence_warnings()
    chosen: Any = OmegaConf.to_container(cfg.trainer, resolve=True)
    chosen.pop("gradient_clip_val", None)  # a setting of the model's `training_step`
    chosen["enable_progress_bar"] = _shows_progress_bar(cfg)
    try:
        return Trainer(enable_model_summary=False, **settings, **chosen)
    except (TypeError, ValueError, RuntimeError, ImportError, MisconfigurationException) as error:
        given = f"accelerator={chosen['accelerator']} devices={chosen['devices']}"  # the message may name neither
        raise UserError(f"trainer: {given}: {str(error).splitlines()[0]}") from error


@contextmanager
def misconfiguration_as_user_error() -> Iterator[None]:
    """Converts the errors of Lightning about settings that do not fit the model or the data to UserError."""
    try:
        yield
    except MisconfigurationException as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error


def _shows_progress_bar(cfg: DictConfig) -> bool:
    chosen = cfg.trainer.enable_progress_bar
    return chosen if chosen is not None else sys.stdout is not None and sys.stdout.isatty()


def _cluster_plugins() -> list[SLURMEnvironment]:
    """Disables Lightning's requeueing and its checkpoint under SLURM: the run resumes from `last.ckpt`."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def _silence_warnings() -> None:
    """Silences warnings that users cannot act on."""
    for part in ("pytorch", "fabric"):
        logging.getLogger(f"lightning.{part}").setLevel(logging.WARNING)
    for message in (  # regular expressions that match the start of a warning
        r"Checkpoint directory .* exists and is not empty",  # the run folder holds settings and log
        r"The number of training batches .* is smaller than the logging interval",  # metrics are logged once per epoch
        "You're resuming from a checkpoint that ended before the epoch ended",  # the data resumes with the next batch
        "You're using the WeightAveraging callback, but loading a checkpoint outside",  # best.ckpt, to test it
        ".*`dataloader_iter`",  # experimental: tests/models/test_training_step.py covers what is used of it
        "It is recommended to use `self.log",  # with sync_dist: the logged values are already reduced over all ranks
        "`torch.jit.trace",  # SummaryWriter.add_graph uses it
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # used by Lightning
    ):
        warnings.filterwarnings("ignore", message)
