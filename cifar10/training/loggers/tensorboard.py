"""TensorBoard event files: scalars and images per epoch, then results and hyperparameters.

Training writes separate files with the suffix `.train`. A resumed run keeps them and replaces the others.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from torchvision.utils import make_grid

from cifar10.training.config import flatten
from cifar10.training.run_folder import WITHOUT_EFFECT

FOLDER, SUFFIX = "tensorboard", ".train"
CHARTS = {
    "training and validation": {name: ["Multiline", [f"{name}/train", f"{name}/val"]] for name in ("loss", "accuracy")}
}
"""Layout of the tab CUSTOM SCALARS: training and validation curves share a chart."""


class CurveLogger(TensorBoardLogger):
    """Logs `train/loss` as `loss/train`: TensorBoard groups and sorts charts by the first part of a tag."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics({"/".join(reversed(name.split("/"))): value for name, value in metrics.items()}, step)


def tensorboard_logger(folder: Path, epochs_done: int | None) -> TensorBoardLogger:
    """Returns the logger for training. TensorBoard purges events that an earlier attempt logged after epochs_done."""
    purge: dict[str, Any] = {} if epochs_done is None else {"purge_step": epochs_done + 1}
    return CurveLogger(folder, FOLDER, "", default_hp_metric=False, filename_suffix=SUFFIX, **purge)


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


def log_results(folder: Path, record: dict[str, Any]) -> None:
    """Logs the results, which the tab HPARAMS lists, and the settings. record: the content of `metrics.json`."""
    # Without the list of columns that add_hparams writes: TensorBoard would apply the list of one run to all runs.
    _, start, end = hparams(hyperparameters(record), {})
    with SummaryWriter(folder / FOLDER) as writer:
        for name in ("loss", "accuracy"):
            writer.add_scalar(f"results/test_{name}", record["test"][name], record["epochs"])
            writer.add_scalar(f"results/val_{name}", record[f"val_{name}"], record["best_epoch"])
        for summary in (start, end):
            writer.file_writer.add_summary(summary)


def hyperparameters(record: dict[str, Any]) -> dict[str, bool | int | float | str]:
    """Returns the settings that are set and affect the result, by their names on the command line."""
    return {"model": record["model"], "data": record["data"]} | {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in flatten(record["config"])
        if value is not None and name not in WITHOUT_EFFECT and not name.endswith("._target_")
    }


def _writers(trainer: Trainer) -> list[SummaryWriter]:
    """Returns the writers of TensorBoard; empty in ranks that write no files."""
    loggers = trainer.loggers if trainer.is_global_zero else []
    return [logger.experiment for logger in loggers if isinstance(logger, TensorBoardLogger)]
