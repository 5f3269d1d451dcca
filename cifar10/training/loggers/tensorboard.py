"""What TensorBoard shows of a run besides its curves: charts, the model's pictures by epoch, figures at the end."""

from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard.summary import hparams
from torchvision.utils import make_grid

from cifar10.models.classifier import Classifier
from cifar10.training.config import dotted
from cifar10.training.run_folder import WITHOUT_EFFECT

CHARTS = {
    "training and validation": {name: ["Multiline", [f"train/{name}", f"val/{name}"]] for name in ("loss", "accuracy")}
}
"""The tab CUSTOM SCALARS: both curves in one chart."""


class TensorBoardPictures(Callback):
    """Charts, pictures and figures. title: stands over each figure, with the name of the data."""

    def __init__(self, title: str) -> None:
        self.title = title

    def on_train_start(self, trainer: Trainer, pl_module: Classifier) -> None:
        example = pl_module.example_input_array
        for writer in _writers(trainer) if trainer.global_step == 0 else []:  # not where the run goes on
            writer.add_custom_scalars(CHARTS)
            if example is not None:  # Lightning's own way writes it again for the test
                writer.add_graph(pl_module, example.to(pl_module.device))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Classifier) -> None:
        images = pl_module.pictures()
        if images is not None:
            for writer in _writers(trainer):
                several = len(images) // len(pl_module.class_names)
                grid = make_grid(images, nrow=several if several > 1 else 5)
                writer.add_image("prototypes", grid, trainer.current_epoch + 1)


def log_hyperparameters(trainer: Trainer, record: dict[str, Any]) -> None:
    """The run's row in HPARAMS: its settings, beside the last values of all that was logged.

    record: the run's `metrics.json`.
    """
    # Without the list of columns that Lightning writes with each run: TensorBoard takes one run's list for all of them.
    # Left to find columns in the rows, it has those of every run.
    _, started, ended = hparams(hyperparameters(record), {})
    for writer in _writers(trainer):
        for name in ("val_accuracy", "val_loss"):
            writer.add_scalar(f"best/{name}", record[name], record["best_epoch"])
        for summary in (started, ended):
            writer._get_file_writer().add_summary(summary)
        writer.flush()


def hyperparameters(record: dict[str, Any]) -> dict[str, bool | int | float | str]:
    """What a run was asked for, by names of the command line, without what changes no result and what is not set."""
    named: dict[str, Any] = {"model": record["model"], "data": record["data"]}
    for name, value in dotted(record["config"]):
        if value is not None and name not in WITHOUT_EFFECT and not name.endswith("._target_"):
            named[name] = value if isinstance(value, bool | int | float | str) else str(value)
    return named


def _writers(trainer: Trainer) -> list[Any]:
    """None in a process that writes no files."""
    loggers = trainer.loggers if trainer.is_global_zero else []
    return [logger.experiment for logger in loggers if isinstance(logger, TensorBoardLogger)]
