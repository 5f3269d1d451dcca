"""Logs one row per epoch to `metrics.csv`, and one line per epoch to the log."""

import csv
import io
import logging
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from cifar10.files import write_atomically
from cifar10.training.run_folder import readable

log = logging.getLogger(__name__)


class EpochCSVLogger(Logger):
    """Writes one row per epoch. Lightning's CSVLogger writes one row per call of `log`.

    A resumed run keeps the rows of completed epochs and replaces the rows of repeated epochs.
    """

    name, version = "table", ""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @cached_property
    def rows(self) -> dict[int, dict[str, Any]]:
        """Epoch -> its values, read on first use."""
        if not self.path.exists():
            return {}
        with readable(self.path):
            return {int(row["epoch"]): row for row in read_epochs(self.path)}

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Adds values to the row of an epoch. step: the epoch, from 1."""
        row = self.rows.setdefault(step or 0, {"epoch": step})
        row.update(metrics)
        if "train/loss" in metrics:  # logged last in an epoch
            accuracy = ", accuracy {train/accuracy:.2%}" if "train/accuracy" in row else ""
            line = f"epoch {{epoch}}: train loss {{train/loss:.4f}}{accuracy}; validation loss {{val/loss:.4f}}, "
            log.info((line + "accuracy {val/accuracy:.2%}; {seconds:.1f} s").format_map(row))

    @rank_zero_only
    def save(self) -> None:
        if not self.rows:
            return
        text = io.StringIO()
        columns = dict.fromkeys(name for row in self.rows.values() for name in row)
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows[epoch] for epoch in sorted(self.rows))
        write_atomically(self.path, lambda file: file.write(text.getvalue().encode()))

    @property
    @rank_zero_experiment
    def experiment(self) -> None:
        return None

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: hyperparameters are constant over epochs."""


def read_epochs(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of `metrics.csv`. Missing cells are empty."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file, restval=""))
