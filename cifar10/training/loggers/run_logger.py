"""Base class of the loggers of a whole run: its settings, metrics per epoch, results, figures and best checkpoint."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning.pytorch.loggers.logger import Logger

from cifar10.errors import Interrupted, Pruned
from cifar10.training.config import flatten
from cifar10.training.run_folder import NOT_COMPARED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Status = Literal["FINISHED", "FAILED", "KILLED"]
"""As in MLflow; an interrupted or pruned run is KILLED."""


class RunLogger(Logger):
    """Logger with the same names of metrics, settings, results and figures in each subclass."""

    def start(self, settings: dict[str, Any]) -> None:
        """Called in rank 0 before training. settings: from `hyperparameters`."""

    @abstractmethod
    def log_results(self, record: dict[str, Any]) -> None:
        """Logs the results of a finished run. record: content of `metrics.json`."""

    @abstractmethod
    def log_figure(self, name: str, figure: "Figure", step: int) -> None:
        """Logs a figure of a finished run. step: the number of epochs."""

    def finish(self, status: Status) -> None:
        """Called in rank 0 at the end of the run."""


@contextmanager
def started(loggers: Sequence[RunLogger], settings: dict[str, Any]) -> Iterator[None]:
    """Starts the loggers, and finishes them at the end of the block with the status of the run."""
    status: Status = "FAILED"
    try:
        for logger in loggers:
            logger.start(settings)
        yield
        status = "FINISHED"
    except (Interrupted, Pruned):
        status = "KILLED"
        raise
    finally:
        for logger in loggers:
            logger.finish(status)


def log_results(folder: Path, record: dict[str, Any], loggers: Sequence[RunLogger]) -> None:
    """Logs the results of a finished run in `folder` to all loggers."""
    for logger in loggers:
        logger.log_results(record)


def result_metrics(record: dict[str, Any]) -> Iterator[tuple[dict[str, float], int]]:
    """Yields (metrics, epoch): of the test after the last epoch, and of the validation of the tested epoch."""
    yield {f"results/test_{name}": record["test"][name] for name in ("loss", "accuracy")}, record["epochs"]
    yield {f"results/val_{name}": record[f"val_{name}"] for name in ("loss", "accuracy")}, record["best_epoch"]


def hyperparameters(record: dict[str, Any]) -> dict[str, bool | int | float | str]:
    """Returns the settings that are set and affect the result, by their names on the command line.

    record: `model`, `data` and `config` as in `metrics.json`.
    """
    return {"model": record["model"], "data": record["data"]} | {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in flatten(record["config"])
        if value is not None and name not in NOT_COMPARED and not name.endswith("._target_")
    }
