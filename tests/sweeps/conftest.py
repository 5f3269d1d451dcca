"""A small search, as typed."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest

from cifar10.sweeps.study import StudyPlace

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
    "ema_decay=null",  # of so few steps it would be that of the initial weights
    "trainer.enable_progress_bar=false",
    "hydra.sweeper.pruner=null",
    "hydra.sweeper.study=s",
    "hydra.sweeper.storage=sqlite:///s.db",
)


@pytest.fixture
def search(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_script: Callable[..., tuple[Any, str]]
) -> Callable[..., tuple[Any, str]]:
    """Runs a search in an empty folder; returns its exit status or message, and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    return partial(run_script, TRAIN, "-m", *SMALL)


@pytest.fixture
def command() -> list[str]:
    """The same search, for a process of its own."""
    return [sys.executable, TRAIN, "-m", *SMALL]


@pytest.fixture
def place(tmp_path: Path) -> StudyPlace:
    """Where that search keeps its study."""
    return StudyPlace("s", f"sqlite:///{tmp_path}/s.db", None)


@pytest.fixture
def study(place: StudyPlace) -> Callable[[], optuna.Study]:
    """Opens that study."""
    return partial(place.open, "val/accuracy")
