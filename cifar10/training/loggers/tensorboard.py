"""TensorBoard event files: scalars and images per epoch, then results and hyperparameters.

Training writes separate files with the suffix `.train`. A resumed run keeps them and replaces the others.
"""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from torchvision.utils import make_grid

from cifar10.training.loggers.run_logger import RunLogger, Status, hyperparameters, result_metrics

FOLDER, SUFFIX = "tensorboard", ".train"
CHARTS = {
    "training and validation": {name: ["Multiline", [f"train/{name}", f"val/{name}"]] for name in ("loss", "accuracy")}
}
"""Layout of the tab CUSTOM SCALARS: training and validation curves share a chart."""


class RunTensorBoardLogger(RunLogger, TensorBoardLogger):
    """Writes TensorBoard event files into a run folder. TensorBoard purges what was logged after `epochs_done`."""

    def __init__(self, folder: Path, epochs_done: int | None = None) -> None:
        purge: dict[str, Any] = {} if epochs_done is None else {"purge_step": epochs_done + 1}
        super().__init__(folder, FOLDER, "", default_hp_metric=False, filename_suffix=SUFFIX, **purge)

    @cached_property
    def results(self) -> Any:
        """A SummaryWriter of the results, in another file than training."""
        return SummaryWriter(self.log_dir)

    def log_results(self, record: dict[str, Any]) -> None:
        """Logs results and settings, which the tab HPARAMS lists."""
        for metrics, epoch in result_metrics(record):
            for name, value in metrics.items():
                self.results.add_scalar(name, value, epoch)
        # Without the list of columns that add_hparams writes: TensorBoard would apply the list of one run to all runs.
        _, start, end = hparams(hyperparameters(record), {})
        for summary in (start, end):
            self.results.file_writer.add_summary(summary)
        self.results.flush()

    def log_figure(self, name: str, figure: Any, step: int) -> None:
        self.results.add_figure(name, figure, step)
        self.results.flush()

    def finish(self, status: Status) -> None:
        if "results" in vars(self):
            self.results.close()


def remove_events(folder: Path, of_training: bool) -> None:
    """Removes the event files of the results and, with of_training, those of training."""
    for path in (folder / FOLDER).glob("events.out.tfevents.*"):
        if of_training or path.suffix != SUFFIX:
            path.unlink()


def sync_events(folder: Path) -> None:
    """Syncs the event files of training to disk, in case the machine fails."""
    for path in (folder / FOLDER).glob(f"events.out.tfevents.*{SUFFIX}"):
        with path.open("rb") as file:
            os.fsync(file.fileno())


class TensorBoardImages(Callback):
    """Logs the chart layout and the graph once, and the class prototypes after each epoch."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        example = pl_module.example_input_array
        for writer in _writers(trainer) if trainer.global_step == 0 else []:  # not when resumed
            writer.add_custom_scalars(CHARTS)
            if example is not None:  # not by log_graph of Lightning, which would repeat it for the test
                writer.add_graph(pl_module, example.to(pl_module.device))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        images = pl_module.network.prototype_images()
        for writer in _writers(trainer) if images is not None else []:
            per_class = len(images) // len(pl_module.class_names)
            grid = make_grid(images, nrow=per_class if per_class > 1 else 5)
            writer.add_image("prototypes", grid, trainer.current_epoch + 1)


def _writers(trainer: Trainer) -> list[SummaryWriter]:
    """Returns the writers of TensorBoard; empty in ranks that write no files."""
    loggers = trainer.loggers if trainer.is_global_zero else []
    return [logger.experiment for logger in loggers if isinstance(logger, TensorBoardLogger)]
