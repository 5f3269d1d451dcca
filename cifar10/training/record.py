"""Record of a finished run (`metrics.json`) and its summary for the terminal."""

import os
import platform
import subprocess
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from omegaconf import DictConfig, OmegaConf

from cifar10.data.datamodule import ImageData
from cifar10.models.classifier import Classifier
from cifar10.networks.checkpoint import read_checkpoint
from cifar10.training.loggers.csv_logger import read_epochs
from cifar10.training.precision import cpu_capabilities
from cifar10.training.run_folder import readable

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "kornia", "hydra-core")


def make_record(
    cfg: DictConfig, trainer: Trainer, model: Classifier, data: ImageData, folder: Path, seconds: dict[str, float]
) -> dict[str, Any]:
    """Returns the record of a finished run, as plain Python. seconds: durations of "data" (reading) and "test"."""
    validation = validation_results(folder)
    with readable(folder / "metrics.csv"):
        epochs = read_epochs(folder / "metrics.csv")
        columns = {"train": "seconds", "validation": "val_seconds"}
        train_and_validation = {name: sum(float(row[column]) for row in epochs) for name, column in columns.items()}
    device = device_name(trainer.strategy.root_device)
    if trainer.strategy.root_device.type == "cpu":
        threads = torch.get_num_threads()
        device += f", {threads} thread{'s' if threads > 1 else ''}"
    trained = len(epochs) * min(trainer.num_training_batches * data.batch_size, len(data.train_labels))
    return {
        "model": OmegaConf.select(cfg, "model._target_").rpartition(".")[2],
        "data": data.name,
        "data_sha256": data.checksum,
        "data_fingerprint": data.fingerprint,
        "images": {split: len(getattr(data, f"{split}_labels")) for split in ("train", "val", "test")},
        "seed": cfg.seed,
        "test": model.test_results,
        **validation,
        # Holds `train/loss` and, for the Weiszfeld solver, `train/gap`.
        "last_epoch": {name: float(value) for name, value in epochs[-1].items() if value and isfinite(float(value))},
        "seconds": {"data": seconds["data"], **train_and_validation, "test": seconds["test"]},
        "images_per_second": trained / train_and_validation["train"],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "device": device if trainer.world_size == 1 else f"{trainer.world_size} x {device}",
        "precision": str(trainer.precision),
        "compiled": bool(model.network.arguments.get("compile")),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "config": OmegaConf.to_container(cfg, resolve=True),
    }


def validation_results(folder: Path) -> dict[str, Any]:
    """Returns the epoch of `best.ckpt`, the number of epochs, and the validation loss and accuracy of that epoch."""
    best_epoch = read_checkpoint(folder / "best.ckpt")["epoch"] + 1
    with readable(folder / "metrics.csv"):
        epochs = read_epochs(folder / "metrics.csv")
        best = {int(row["epoch"]): row for row in epochs}[best_epoch]
        values = {f"val_{name}": float(best[f"val/{name}"]) for name in ("loss", "accuracy")}
    return {"best_epoch": best_epoch, "epochs": len(epochs), **values}


def nan_to_null(value: Any) -> Any:
    """Returns plain Python data with None for numbers that are not finite, which JSON lacks."""
    if isinstance(value, dict):
        return {name: nan_to_null(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [nan_to_null(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def summary(record: dict[str, Any], folder: Path) -> str:
    """Returns the summary that a run logs when it has finished."""
    rows = {
        "model": "{model}, {parameters:,} parameters, seed {seed}",
        "data": "{data} (synthetic images, not CIFAR-10)" if record["data"] == "synthetic" else "{data}",
        "test accuracy": "{test[accuracy]:.2%} of {images[test]:,} images",
        "test loss": "{test[loss]:.4f}",
        "best epoch": "{best_epoch} of {epochs} (validation accuracy {val_accuracy:.2%}, loss {val_loss:.4f})",
        "seconds": ", ".join(f"{phase} {value:.1f}" for phase, value in record["seconds"].items()),
        "training": "{images_per_second:,.0f} images/s, {precision}, {device}",
    }
    lines = {name: template.format_map(record) for name, template in rows.items()} | {"folder": folder}
    return "\n".join(f"  {name:<13}  {value}" for name, value in lines.items())


def device_name(device: torch.device) -> str:
    """Returns the name of the accelerator or processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_capabilities().get("cpu_name") or platform.processor() or "CPU"


def git_commit() -> str | None:
    """Returns the commit of this project, with "+" for uncommitted changes; None outside its repository."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    # Without the ceiling, and with GIT_DIR as in a hook, git would describe another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_CEILING_DIRECTORIES"] = str(root.parent)
    try:
        return subprocess.check_output(command, cwd=root, env=environment, text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return None
