"""What a finished run leaves: `metrics.json`, and the same as a few lines for the terminal."""

import csv
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
from cifar10.training.run_folder import readable

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "kornia", "hydra-core")


def make_record(
    cfg: DictConfig, trainer: Trainer, model: Classifier, data: ImageData, folder: Path, phases: dict[str, Any]
) -> dict[str, Any]:
    """Everything about a finished run, as plain Python. phases: `commit` at the start, seconds of `data` and `test`."""
    table, monitor = folder / "metrics.csv", cfg.monitor
    with readable(table), table.open(newline="") as file:
        epochs = list(csv.DictReader(file))
        best = (min if monitor.endswith("loss") else max)(epochs, key=lambda row: float(row[monitor]))
        train_seconds, val_seconds = (sum(float(row[name]) for row in epochs) for name in ("seconds", "val_seconds"))
    trained = len(epochs) * min(trainer.num_training_batches * data.batch_size, len(data.train_labels))
    return {
        "model": OmegaConf.select(cfg, "model._target_").rpartition(".")[2],
        "data": data.name,
        "data_sha256": data.checksum,
        "images": {split: len(getattr(data, f"{split}_labels")) for split in ("train", "val", "test")},
        "seed": cfg.seed,
        "test": model.test_results,
        "best_epoch": int(best["epoch"]),
        "epochs": len(epochs),
        "val_loss": float(best["val/loss"]),
        "val_accuracy": float(best["val/accuracy"]),
        # Its `train/loss` and, of the exact solver, `train/gap` say how far training got. JSON knows no infinity.
        "last_epoch": {name: float(value) for name, value in epochs[-1].items() if value and isfinite(float(value))},
        "seconds": {
            "data": phases["data"],
            "train": train_seconds,
            "validation": val_seconds,
            "test": phases["test"],
        },
        "images_per_second": trained / train_seconds,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "device": _device(trainer),
        "precision": str(trainer.precision),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "commit": phases["commit"],
        "config": OmegaConf.to_container(cfg, resolve=True),
    }


def summary(results: dict[str, Any], folder: Path) -> str:
    """The closing table of a run."""
    seconds = results["seconds"]
    rows = {
        "model": f"{results['model']}, {results['parameters']:,} parameters, seed {results['seed']}",
        "data": results["data"] + (" (drawn images, not CIFAR-10)" if results["data"] == "synthetic" else ""),
        "test accuracy": f"{results['test']['accuracy']:.2%} of {results['images']['test']:,} images",
        "test loss": f"{results['test']['loss']:.4f}",
        "best epoch": f"{results['best_epoch']} of {results['epochs']} (validation accuracy "
        f"{results['val_accuracy']:.2%}, loss {results['val_loss']:.4f})",
        "seconds": ", ".join(f"{phase} {value:.1f}" for phase, value in seconds.items()),
        "training": f"{results['images_per_second']:,.0f} images/s, {results['precision']}, {results['device']}",
        "folder": str(folder),
    }
    width = max(map(len, rows))
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows.items())


def _device(trainer: Trainer) -> str:
    device = trainer.strategy.root_device
    name = device_name(device) + (f", {torch.get_num_threads()} threads" if device.type == "cpu" else "")
    return name if trainer.world_size == 1 else f"{trainer.world_size} x {name}"


def device_name(device: torch.device) -> str:
    """The accelerator's name, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return getattr(torch.cpu, "get_capabilities", dict)().get("cpu_name") or platform.processor() or "CPU"


def git_commit() -> str | None:
    """The commit that the code is at, with "+" where files differ from it; None outside a repository."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--abbrev=40",
        "--exclude=*",
        "--dirty=+",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
