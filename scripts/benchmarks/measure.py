"""Measures alternatives in interleaved rounds, so that a temporary slowdown of the machine affects all of them."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from cifar10.data.datamodule import ImageData

ROOT = Path(__file__).resolve().parents[2]
Measurement = Callable[[], float]
Rows = dict[str, dict[str, list[float]]]  # row -> column -> one value per round


def interleaved(cells: Mapping[str, Mapping[str, Measurement]], rounds: int, warm_up: bool = True) -> Rows:
    """Measures each cell (row -> column) once per round, in rotating order. With warm_up, discards a first round."""
    rows: Rows = {row: {column: [] for column in columns} for row, columns in cells.items()}
    keys = [(row, column) for row, columns in cells.items() for column in columns]
    for turn in range(-1 if warm_up else 0, rounds):
        first = (turn + 1) % len(keys)
        for row, column in keys[first:] + keys[:first]:
            value = cells[row][column]()
            if turn >= 0:
                rows[row][column].append(value)
    return rows


def seconds(call: Callable[[], Any], times: int = 1) -> Measurement:
    """Returns a measurement of the seconds per call, averaged over `times` calls."""

    def measure() -> float:
        synchronize()
        start = perf_counter()
        for _ in range(times):
            call()
        synchronize()
        return (perf_counter() - start) / times

    return measure


def per_second(count: int, measure: Measurement) -> Measurement:
    """Returns a measurement of items per second, from a measurement of the seconds for `count` items."""
    return lambda: count / measure()


def synchronize() -> None:
    """Waits for the accelerator, if there is one."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def load_data(cfg: DictConfig, at_least: int = 1) -> ImageData:
    """Returns the data of `cfg`, with the training images repeated until there are `at_least` many."""
    data = instantiate(cfg.data, _convert_="all", batch_size=cfg.batch_size)
    data.prepare_data()
    data.setup()
    times = ceil(at_least / len(data.train_labels))
    data.train_images, data.train_labels = data.train_images.repeat(times, 1, 1, 1), data.train_labels.repeat(times)
    return data


def python(*arguments: str | Path) -> None:
    """Runs Python in the repository's root. Exits with the last line of stderr if it fails."""
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"benchmark.py: {arguments[0]} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")


def train_briefly(folder: Path, *settings: str, epochs: int = 1, steps: int = 1) -> Path:
    """Trains `epochs` epochs of `steps` steps on the CPU; returns the run folder."""
    length = f"epochs={epochs}", f"trainer.limit_train_batches={steps}"
    fixed = "trainer.accelerator=cpu", "trainer.enable_progress_bar=false", f"runs={folder}"
    python("train.py", *length, *fixed, *settings)
    (record,) = folder.rglob("metrics.json")
    return record.parent
