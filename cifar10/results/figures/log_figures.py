"""The figures of a finished run, in TensorBoard."""

from pathlib import Path
from typing import Any


def log_figures(folder: Path, record: dict[str, Any]) -> None:
    """Writes a run's figures into its TensorBoard folder. record: its `metrics.json`, which is not written yet."""
    # Matplotlib takes most of a second to import: not before the first step.
    import torch
    from torch.utils.tensorboard import SummaryWriter

    from cifar10.results.figures.confusion import confusion_figure, confusions_figure
    from cifar10.results.figures.curves import calibration, reliability_figure
    from cifar10.results.figures.run_figures import confused_pair_figure, first_layer_figure, mistakes_figure
    from cifar10.results.saved_run import FinishedRun

    run = FinishedRun(folder, record)
    predictions, images, names, title = run.predictions, run.data.test_images.cpu(), run.class_names, run.title
    confusion = torch.tensor(record["test"]["confusion"])
    figures = {
        "test/confusion": lambda: confusion_figure(confusion, names, title),
        "test/confusions_only": lambda: confusions_figure([confusion], [title], names),
        "test/most_confused_pair": lambda: confused_pair_figure(predictions, images, names, title),
        "test/surest_mistakes": lambda: mistakes_figure(predictions, images, names, title),
        "test/calibration": lambda: reliability_figure(
            calibration(predictions.probabilities, predictions.labels), title
        ),
        "first_layer": lambda: first_layer_figure(run.model.network, title),
    }
    with SummaryWriter(folder / "tensorboard") as writer:
        for name, draw in figures.items():
            if (figure := draw()) is not None:
                writer.add_figure(name, figure, record["epochs"])
