"""Fixtures: a small search, and a fast replacement for training."""

import json
import random
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from cifar10.errors import Diverged
from cifar10.training import run

TRAIN = str(Path(__file__).resolve().parents[2] / "train.py")
SMALL = (
    "search=mlp",
    "model.warmup_fraction=0.3",
    "batch_size=20",
    "data=synthetic",
    "data.train_size=200",
    "data.val_size=100",
    "data.test_size=20",
    "epochs=2",
    "ema_decay=null",  # after so few steps the average would be close to the initial weights
    "trainer.enable_progress_bar=false",
    "hydra.sweeper.pruner=null",
    "hydra.sweeper.study_name=s",
    "hydra.sweeper.storage=sqlite:///s.db",
)


@pytest.fixture(autouse=True)
def fast_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns off the fsync of SQLite, the slowest part on a busy machine."""
    import sqlite3

    class Connection(sqlite3.Connection):
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            super().__init__(*arguments, **keywords)
            self.execute("PRAGMA synchronous = OFF")

    connect = sqlite3.dbapi2.connect
    monkeypatch.setattr(sqlite3.dbapi2, "connect", partial(connect, factory=Connection))


@pytest.fixture
def sweep(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_script: Callable[..., tuple[Any, str]]
) -> Callable[..., tuple[Any, str]]:
    """Runs `train.py -m` in an empty folder; returns its exit status or error message, and its output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    return partial(run_script, TRAIN, "-m")


@pytest.fixture
def search(sweep: Callable[..., tuple[Any, str]]) -> Callable[..., tuple[Any, str]]:
    """Runs a small search in an empty folder; returns its exit status or error message, and its output."""
    pytest.importorskip("optuna", reason="Optuna is not installed")
    return partial(sweep, *SMALL)


@pytest.fixture
def command() -> list[str]:
    """Returns the command of the same search, for a subprocess."""
    return [sys.executable, TRAIN, "-m", *SMALL]


@pytest.fixture
def location(tmp_path: Path) -> Any:
    """Returns the location of the study of that search."""
    studies = pytest.importorskip("cifar10.sweeps.study", reason="Optuna is not installed")
    return studies.StudyLocation("s", f"sqlite:///{tmp_path}/s.db")


@pytest.fixture
def study(location: Any) -> Callable[[], Any]:
    """Returns a function that opens that study."""
    return partial(location.open, "val/accuracy")


@pytest.fixture
def fake_train(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Replaces `train` by a function that writes random results, determined by the settings."""

    def train(cfg: Any, folder: Path, overrides: Any = None, test: bool = True, **_: Any) -> dict[str, Any]:
        config = OmegaConf.to_container(cfg, resolve=True)
        values = random.Random(json.dumps(config | {"runs": ""}))
        loss = values.random()
        if cfg.model.learning_rate > 1e20:
            if cfg.stop_on_divergence:
                raise Diverged("train/loss is nan at step 2, epoch 1")
            loss = float("nan")
        record = {
            "model": cfg.model._target_.rpartition(".")[2],
            "data": "synthetic",
            "data_sha256": "synthetic",
            "images": {"train": 100, "val": 40, "test": 50},
            "seed": cfg.seed,
            "test": {"accuracy": values.random(), "loss": 1.0, "class_accuracy": {"car": 1.0}, "confusion": [[50]]},
            "best_epoch": cfg.epochs,
            "epochs": cfg.epochs,
            "val_loss": loss,
            "val_accuracy": values.random(),
            "last_epoch": {},
            "seconds": {"train": 60.0},
            "images_per_second": 1.0,
            "parameters": 1,
            "device": "CPU",
            "precision": "32-true",
            "versions": {},
            "commit": None,
            "overrides": overrides,
            "config": config,
        }
        folder.mkdir(parents=True, exist_ok=True)
        row = f"{cfg.epochs},{record['val_loss']},{record['val_accuracy']}"
        (folder / "metrics.csv").write_text(f"epoch,val/loss,val/accuracy\n{row}\n")
        torch.save({"model": "MLP", "epoch": cfg.epochs - 1}, folder / "best.ckpt")
        if test:
            (folder / "metrics.json").write_text(json.dumps(record))
        else:
            (folder / "status.txt").write_text("validated: not tested\n")
        return record if test else {}

    monkeypatch.setattr(run, "train", train)
    return train
