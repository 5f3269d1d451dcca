"""Registers the figures of a run, by the name of their files, TensorBoard tags and panels."""

from collections.abc import Callable

import torch
from matplotlib.figure import Figure

from cifar10.models.test_predictions import most_confused
from cifar10.networks.base import to_unit
from cifar10.networks.prototype import PrototypeNetwork
from cifar10.results.figures.confusion import confusion_figure, confusions_figure
from cifar10.results.figures.curves import calibration, history_figure, reliability_figure
from cifar10.results.figures.explanation import explanation_figure
from cifar10.results.figures.images import captioned_figure, image_rows_figure, pair_figure, weights_figure
from cifar10.results.saved_run import SavedRun

MAX_CLASSES = 20
"""Classes that a figure of prototypes has room for."""
MAX_UNITS = 100
"""Units of a first layer in one figure."""
MAX_SNAPSHOTS = 7


def confusion(run: SavedRun) -> Figure:
    """Draws the confusion matrix with counts."""
    return confusion_figure(torch.tensor(run.record["test"]["confusion"]), run.class_names, run.title)


def confusion_errors(run: SavedRun) -> Figure:
    """Draws the confusion matrix with its diagonal removed."""
    return confusions_figure([run.record["test"]["confusion"]], [run.title], run.class_names)


def training_curves(run: SavedRun) -> Figure | None:
    """Draws loss, accuracy and learning rate by epoch; None for a single epoch."""
    if len(run.history.get("epoch", [])) < 2:
        return None
    return history_figure(run.history, run.record["best_epoch"], run.title)


def confused_pair(run: SavedRun, classes: tuple[int, int] | None = None) -> Figure:
    """Draws test images of two classes as a confusion matrix, by default those that are confused most."""
    first, second = classes or most_confused(run.predictions.confusion(len(run.class_names)))
    images = run.data.test_images
    cells = [[run.predictions.taken(true, guess) for guess in (first, second)] for true in (first, second)]
    panels = [[to_unit(images[torch.from_numpy(places[:16])]) for places in row] for row in cells]
    counts = torch.tensor([[len(places) for places in row] for row in cells])
    return pair_figure(panels, counts, [run.class_names[first], run.class_names[second]], run.title)


def confident_errors(run: SavedRun) -> Figure | None:
    """Draws the 20 wrongly classified test images of highest confidence."""
    found, names = run.predictions, run.class_names
    worst = found.confident_errors(20)
    captions = [
        f"{names[found.predicted[place]]}, {found.confidence[place]:.0%}\ntruly {names[found.labels[place]]}"
        for place in worst
    ]
    images = run.data.test_images[torch.from_numpy(worst)]
    return captioned_figure(to_unit(images), captions, columns=5, title=run.title) if len(worst) else None


def calibration_curve(run: SavedRun) -> Figure:
    """Draws accuracy over confidence."""
    return reliability_figure(calibration(run.predictions.probabilities, run.predictions.labels), run.title)


def first_layer(run: SavedRun) -> Figure | None:
    """Draws the first layer's weights, of many units the largest; None for prototypes."""
    weights = run.network.first_layer()
    if weights is None:
        return None
    largest = weights.flatten(1).norm(dim=1).argsort(descending=True)[:MAX_UNITS].sort().values
    columns = 16 if weights.shape[-1] < 8 else 20
    return weights_figure(weights[largest].float().cpu(), columns, run.title)


def prototypes(run: SavedRun) -> Figure | None:
    """Draws up to ten prototypes of each class; None for networks."""
    if run.prototypes is None:
        return None
    images, names = run.prototypes.detach()[:MAX_CLASSES, :10], run.class_names[:MAX_CLASSES]
    if images.shape[1] == 1:
        return captioned_figure(images[:, 0], names, columns=5, title=run.title)
    return image_rows_figure(images.transpose(0, 1), [""] * images.shape[1], names, run.title)


def first_and_last(run: SavedRun) -> Figure | None:
    """Draws the noise that a prototype began as, beside the prototype, of the class that is predicted most often.

    None where prototypes begin as training images (several per class) or do not look like their class.
    """
    if run.prototypes is None or run.prototypes.shape[1] > 1 or run.network.discriminative or not run.snapshots:
        return None
    label = int(torch.tensor(run.record["test"]["confusion"]).sum(0).argmax())
    images = torch.stack([next(iter(run.snapshots.values()))[0, label], run.prototypes.detach()[label, 0]])
    return captioned_figure(images, ["random noise", f"a typical {run.class_names[label]}"], 2)


def snapshots(run: SavedRun) -> Figure | None:
    """Draws each class's first prototype at several training steps; None for networks."""
    steps, names = list(run.snapshots), run.class_names[:MAX_CLASSES]
    if len(steps) < 2:
        return None
    places = torch.linspace(0, len(steps) - 1, min(MAX_SNAPSHOTS, len(steps))).round().long()
    chosen = [steps[place] for place in places]
    rows = torch.stack([run.snapshots[step][0, : len(names)] for step in chosen])
    return image_rows_figure(rows, [f"step {step}" if step else "random" for step in chosen], names, run.title)


def explanation(run: SavedRun) -> Figure | None:
    """Draws where the first test image differs from each class's nearest prototype; None for networks."""
    if not isinstance(run.network, PrototypeNetwork):
        return None
    return explanation_figure(run.network, run.data.test_images[0], run.title)


FIGURES: dict[str, Callable[[SavedRun], Figure | None]] = {
    "confusion": confusion,
    "confusion_errors": confusion_errors,
    "training_curves": training_curves,
    "prototypes": prototypes,
    "first_and_last": first_and_last,
    "snapshots": snapshots,
    "explanation": explanation,
    "confused_pair": confused_pair,
    "confident_errors": confident_errors,
    "calibration": calibration_curve,
    "first_layer": first_layer,
}
"""Name -> function that draws the figure of a run, or returns None where the run has none."""
