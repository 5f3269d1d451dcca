"""How the benchmark measures: turn and turn about, ratios within a round, medians with their spread."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from math import ceil
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from cifar10.data.datamodule import ImageData

ROOT = Path(__file__).resolve().parent.parent.parent


class Spread(NamedTuple):
    """Median, least and greatest of a few measurements."""

    median: float
    least: float
    greatest: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def number(value: Spread, digits: int = 0) -> str:
    """The median, with the least and the greatest in brackets."""
    return f"{value.median:,.{digits}f} ({value.least:,.{digits}f} to {value.greatest:,.{digits}f})"


def ratio(first: Sequence[float], second: Sequence[float]) -> Spread:
    """first / second, each pair measured in the same round: what slows the machine slows both."""
    return spread([a / b for a, b in zip(first, second, strict=True)])


def interleaved(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measures every way once a round, in turned order from round to round; a first, uncounted round warms up."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            value = ways[name]()
            if number:
                found[name].append(value)
    return found


def synchronize() -> None:
    """Waits until the accelerator has done what it was told, if there is one."""
    import torch

    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def compose(*overrides: str) -> DictConfig:
    """The settings of `python train.py <overrides>`."""
    import hydra

    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return hydra.compose("train", list(overrides))


def read_images(cfg: DictConfig, at_least: int) -> ImageData:
    """The data of `cfg`, its training images repeated until there are enough."""
    from hydra.utils import instantiate

    data = instantiate(cfg.data, _convert_="all", batch_size=cfg.batch_size)
    data.prepare_data()
    data.setup()
    times = ceil(at_least / len(data.train_labels))
    data.train_images, data.train_labels = data.train_images.repeat(times, 1, 1, 1), data.train_labels.repeat(times)
    return data


@contextmanager
def quietly() -> Iterator[None]:
    """Keeps progress bars off the terminal."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


def child(code: str, *arguments: str) -> str:
    """Standard output of a new Python process that runs `code` with the repository in its path."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"benchmark.py: a measurement failed: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout
