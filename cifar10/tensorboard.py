"""What TensorBoard shows of a run besides its curves: charts, the model's pictures by epoch, figures at the end."""

from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from cifar10.models.base import Classifier

CHARTS = {
    "training and validation": {name: ["Multiline", [f"train/{name}", f"val/{name}"]] for name in ("loss", "accuracy")}
}
"""The tab CUSTOM SCALARS: both curves in one chart."""


class TensorBoardPictures(Callback):
    """Charts, pictures and figures. title: stands over each figure, with the name of the data."""

    def __init__(self, title: str) -> None:
        self.title = title

    def on_train_start(self, trainer: Trainer, pl_module: Classifier) -> None:
        for writer in _writers(trainer):
            writer.add_custom_scalars(CHARTS)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Classifier) -> None:
        images = pl_module.pictures()
        if images is not None:
            for writer in _writers(trainer):
                writer.add_images("prototypes", images, trainer.current_epoch + 1)

    def on_test_end(self, trainer: Trainer, pl_module: Classifier) -> None:
        for writer in _writers(trainer):
            for name, figure in self._figures(trainer, pl_module):
                writer.add_figure(name, figure, trainer.current_epoch)

    def _figures(self, trainer: Trainer, model: Classifier) -> Any:
        # Matplotlib takes most of a second to import: not before the first step.
        from cifar10.pictures import confused_pair_figure, first_layer_figure, mistakes_figure
        from cifar10.plots.confusion import confusion_figure, confusions_figure
        from cifar10.plots.curves import calibration, reliability_figure

        said, images, names = model.test_predictions, trainer.datamodule.test_images.cpu(), model.class_names
        confusion = torch.tensor(model.test_results["confusion"])
        title = f"{self.title}, {trainer.datamodule.name}"
        yield "test/confusion", confusion_figure(confusion, names, title)
        yield "test/confusions_only", confusions_figure([confusion], [title], names)
        yield "test/most_confused_pair", confused_pair_figure(said, images, names, title)
        yield "test/surest_mistakes", mistakes_figure(said, images, names, title)
        yield "test/calibration", reliability_figure(calibration(said.probabilities, said.labels), title)
        if (figure := first_layer_figure(model, title)) is not None:
            yield "first_layer", figure


def _writers(trainer: Trainer) -> list[Any]:
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
