"""The one Trainer that all models run under."""

from pathlib import Path

from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from cifar10.callbacks import EpochTimer, LastCheckpoint, TensorBoardPictures
from cifar10.epoch_table import EpochTable
from cifar10.files import AtomicCheckpointIO
from cifar10.precision import fast_precision


def make_trainer(cfg: DictConfig, folder: Path) -> Trainer:
    """A Trainer that leaves its checkpoints, tables and TensorBoard files in `folder`."""
    best = ModelCheckpoint(
        dirpath=folder,
        filename="best",
        monitor=cfg.monitor,
        mode="min" if cfg.monitor.endswith("loss") else "max",
        save_weights_only=True,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    callbacks = [EpochTimer(), TensorBoardPictures(), best, LastCheckpoint(folder / "last.ckpt")]
    arguments = OmegaConf.to_container(cfg.trainer, resolve=True)
    if arguments.get("enable_progress_bar", True):
        callbacks.append(TQDMProgressBar(refresh_rate=50))
    return Trainer(
        max_epochs=cfg.epochs,
        precision=fast_precision() if cfg.precision == "auto" else cfg.precision,
        default_root_dir=folder,
        logger=[
            TensorBoardLogger(folder, name="tensorboard", version="", default_hp_metric=False),
            EpochTable(folder / "metrics.csv"),
        ],
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        num_sanity_val_steps=0,
        enable_model_summary=False,
        **arguments,
    )
