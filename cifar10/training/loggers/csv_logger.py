"""`metrics.csv`: one row per epoch, all of its values in it; and a line of the log."""

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


class EpochTable(Logger):
    """Merges what Lightning logs at an epoch's several ends (Lightning's own CSV logger writes a row for each).

    A resumed run goes on with the rows that are there and replaces those of epochs that it trains again.
    """

    name, version = "table", ""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @cached_property
    def rows(self) -> dict[int, dict[str, Any]]:
        """Epoch -> its values; read when the first is logged, not when an object is made that might never log."""
        if not self.path.exists():
            return {}
        with readable(self.path), self.path.open(newline="") as file:
            return {int(row["epoch"]): row for row in csv.DictReader(file)}

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        values = {name: value for name, value in metrics.items() if not name.startswith("test/")}
        if not values:
            return
        row = self.rows.setdefault(step, {"epoch": step})
        row.update(values)
        if "train/loss" in values:  # what an epoch logs last
            accuracy = f", accuracy {row['train/accuracy']:.2%}" if "train/accuracy" in row else ""
            log.info(
                "epoch %d: train loss %.4f%s; validation loss %.4f, accuracy %.2f%%; %.1f s",
                step,
                row["train/loss"],
                accuracy,
                row["val/loss"],
                100 * row["val/accuracy"],
                row["seconds"],
            )

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
        """A table of epochs has no place for them."""
