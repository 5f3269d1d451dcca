"""The one Trainer that all models run under."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from cifar10.errors import UserError
from cifar10.files import SafeCheckpointIO
from cifar10.models.classifier import Classifier
from cifar10.training.checkpoints import BestCheckpoint, LastCheckpoint
from cifar10.training.ema import MovingAverage
from cifar10.training.loggers.csv_logger import EpochTable
from cifar10.training.loggers.prototype_snapshots import Evolution
from cifar10.training.loggers.tensorboard import TensorBoardPictures
from cifar10.training.loggers.timer import EpochTimer
from cifar10.training.precision import chosen_precision

STEP_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)


def make_trainer(
    cfg: DictConfig, folder: Path, last: LastCheckpoint, model: Classifier, more: Sequence[Callback] = ()
) -> Trainer:
    """A Trainer for `model` that leaves its checkpoints, tables and TensorBoard files in `folder`.

    Raises UserError where Lightning refuses an argument of `cfg.trainer`.
    """
    title = f"{model.network.name}, {cfg.experiment}, seed {cfg.seed}"
    average = MovingAverage(cfg.ema_decay) if cfg.ema_decay else None
    callbacks = [EpochTimer(), TensorBoardPictures(title), BestCheckpoint(folder, cfg.monitor, average), last, *more]
    callbacks += [average] if average else []
    if model.network.prototype_images() is not None:
        callbacks.append(Evolution(folder))
    if cfg.trainer.enable_progress_bar:
        callbacks.append(TQDMProgressBar(refresh_rate=50))
    for part, base in [(model, LightningModule), *((callback, Callback) for callback in callbacks)]:
        skip_idle_hooks(part, base)
    trainer = _trainer(
        cfg,
        max_epochs=cfg.epochs,
        precision=chosen_precision(cfg.precision, cfg.trainer.accelerator),
        default_root_dir=folder,
        logger=[
            TensorBoardLogger(folder, name="tensorboard", version="", default_hp_metric=False),
            EpochTable(folder / "metrics.csv"),
        ],
        callbacks=callbacks,
        plugins=[SafeCheckpointIO(), *_cluster()],
        sync_batchnorm=cfg.trainer.accelerator != "cpu" and torch.cuda.is_available(),  # PyTorch has it for GPUs alone
        num_sanity_val_steps=0,
    )
    # Signals are the business of `StopSignals` alone: Lightning's handler of SIGTERM ends a run without saving it.
    trainer._signal_connector.register_signal_handlers = lambda: None
    return trainer


def bare_trainer(cfg: DictConfig) -> Trainer:
    """One that writes and shows nothing, to ask what `cfg.trainer` comes to on this machine."""
    return _trainer(cfg, logger=False, enable_checkpointing=False, plugins=_cluster())


def _trainer(cfg: DictConfig, **settings: Any) -> Trainer:
    _quiet()
    chosen = OmegaConf.to_container(cfg.trainer, resolve=True)
    try:
        return Trainer(enable_model_summary=False, **settings, **chosen)
    except (TypeError, ValueError, MisconfigurationException) as error:
        said = " ".join(f"{name}={chosen[name]}" for name in ("accelerator", "devices"))
        raise UserError(f"trainer: {said}: {str(error).splitlines()[0]}") from error  # of a GPU it may name neither


def _cluster() -> list[SLURMEnvironment]:
    """Under SLURM without Lightning's own checkpoint before requeueing: a later one would not be looked at."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def skip_idle_hooks(part: Any, base: type) -> None:
    """Takes from `part` the hooks of a training step in which it does nothing more than `base`.

    Lightning wraps every hook of every part in contexts, which takes a good part of a small model's step: it passes
    over what is not callable.
    """
    for hook in STEP_HOOKS:
        if getattr(type(part), hook) is getattr(base, hook) and hook not in vars(part):
            setattr(part, hook, None)


def _quiet() -> None:
    """Keeps off the terminal what a user of this project can neither use nor mend."""
    for part in ("pytorch", "fabric"):
        logging.getLogger(f"lightning.{part}").setLevel(logging.WARNING)
    for harmless in (  # starts of messages, regular expressions
        r"Checkpoint directory .* exists and is not empty",  # ours does: configuration and log
        r"The number of training batches .* is smaller than the logging interval",  # we log once per epoch
        "You're resuming from a checkpoint that ended before the epoch ended",  # ours goes on with the next batch
        "You're using the WeightAveraging callback, but loading a checkpoint outside",  # of the average, to test it
        "It is recommended to use `self.log",  # with sync_dist: what we log is of all ranks already
        "`torch.jit.trace",  # how TensorBoard's own writer draws the graph
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # between Lightning and PyTorch
    ):
        warnings.filterwarnings("ignore", harmless)
