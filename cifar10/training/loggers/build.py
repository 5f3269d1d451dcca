"""Builds the loggers of a run from settings."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cifar10.training.loggers.mlflow import MLflowTracker
from cifar10.training.loggers.run_logger import RunLogger
from cifar10.training.loggers.tensorboard import RunTensorBoardLogger
from cifar10.training.loggers.wandb import WandbTracker


def make_run_loggers(cfg: DictConfig, folder: Path, epochs_done: int | None = None) -> list[RunLogger]:
    """Returns the loggers that `cfg.logger` chooses. epochs_done: completed epochs of a resumed run."""
    chosen: Any = OmegaConf.to_container(cfg.get("logger") or OmegaConf.create(), resolve=True)
    runs, absolute = Path(cfg.runs).expanduser().absolute(), folder.absolute()
    title = str(absolute.relative_to(runs) if absolute.is_relative_to(runs) else absolute.name)
    loggers: list[RunLogger] = [RunTensorBoardLogger(folder, epochs_done)] if chosen.get("tensorboard") else []
    for tracker in (MLflowTracker, WandbTracker):
        if (settings := chosen.get(tracker.kind)) is not None:
            loggers.append(tracker(folder, title, **settings))
    return loggers
