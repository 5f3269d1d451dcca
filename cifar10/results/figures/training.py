"""Draws the training and the weights of a run. The label of a figure summarizes it in words."""

import numpy as np
import torch

from cifar10.errors import UserError
from cifar10.networks.prototype import PrototypeNetwork
from cifar10.results.figures import MAX_CLASSES, Figure
from cifar10.results.figures.curves import history_figure
from cifar10.results.figures.explanation import explanation_figure
from cifar10.results.figures.images import captioned_figure, image_rows_figure, pixel_weights_figure, weights_figure
from cifar10.results.saved_run import SavedRun

MAX_UNITS = 100
"""Maximum number of first-layer units in one figure."""
MAX_SNAPSHOTS = 7


def training_curves(run: SavedRun) -> Figure | None:
    """Draws loss, accuracy and learning rate by epoch; None after a single epoch."""
    columns, best = run.history, run.record["best_epoch"]
    epochs = columns.get("epoch", [])
    if len(epochs) < 2:
        return None
    figure = history_figure(columns, best, run.title)
    try:
        rows = (0, epochs.index(best), -1)
        loss = ", ".join(f"{columns['val/loss'][row]:.3g}" for row in rows)
        accuracy = ", ".join(f"{columns['val/accuracy'][row]:.1%}" for row in rows)
    except (KeyError, ValueError) as error:
        raise UserError(f"{run.folder}/metrics.csv: expected val/loss and val/accuracy of epoch {best}") from error
    figure.set_label(
        f"best epoch {best} of {len(epochs)}; after the first, best and last epoch: validation loss {loss}, "
        f"validation accuracy {accuracy}"
    )
    return figure


def prototypes(run: SavedRun) -> Figure | None:
    """Draws up to ten prototypes of each class; None for other models."""
    if run.prototypes is None:
        return None
    images, names = run.prototypes[:MAX_CLASSES, :10], run.class_names[:MAX_CLASSES]
    if images.shape[1] == 1:
        figure = captioned_figure(images[:, 0], names, columns=5, title=run.title)
    else:
        figure = image_rows_figure(images.transpose(0, 1), [""] * images.shape[1], names, run.title)
    counts = np.sum(run.record["test"]["confusion"], 0)
    frequent = counts.argsort()[::-1][:2]
    shares = [f"{run.class_names[label]} ({counts[label] / counts.sum():.0%})" for label in frequent]
    figure.set_label(f"most frequent predictions: {' and '.join(shares)}")
    return figure


def first_and_last(run: SavedRun) -> Figure | None:
    """Draws the initial and the trained prototype of the class that is predicted most often.

    None for several prototypes per class, and for discriminative ones.
    """
    if run.prototypes is None or run.prototypes.shape[1] > 1 or run.network.discriminative or not run.snapshots:
        return None
    label = int(np.sum(run.record["test"]["confusion"], 0).argmax())
    images = torch.stack([next(iter(run.snapshots.values()))[0, label], run.prototypes[label, 0]])
    figure = captioned_figure(images, ["initial", f"{run.class_names[label]}\nprototype"], 2)
    figure.set_label("initial and trained prototype")
    return figure


def snapshots(run: SavedRun) -> Figure | None:
    """Draws the first prototype of each class at several training steps; None for other models."""
    steps, names = list(run.snapshots), run.class_names[:MAX_CLASSES]
    if len(steps) < 2:
        return None
    indices = torch.linspace(0, len(steps) - 1, min(MAX_SNAPSHOTS, len(steps))).round().long()
    chosen = [steps[index] for index in indices]
    rows = torch.stack([run.snapshots[step][0, : len(names)] for step in chosen])
    figure = image_rows_figure(rows, [f"step {step:,}" for step in chosen], names, run.title)
    distances = [float((frame - run.snapshots[steps[-1]]).abs().mean()) for frame in run.snapshots.values()]
    step_90 = next(step for step, distance in zip(steps, distances, strict=True) if distance <= distances[0] / 10)
    figure.set_label(f"90% of the change from start to end is reached at step {step_90:,} of {steps[-1]:,}")
    return figure


def pixel_weights(run: SavedRun) -> Figure | None:
    """Draws the weight of each pixel; None for networks without `pixel_weights`."""
    if not isinstance(run.network, PrototypeNetwork) or (weights := run.network.weights()) is None:
        return None
    weights = weights.detach()
    figure = pixel_weights_figure(weights, run.title)
    edge = len(weights) // 4
    middle = weights[edge:-edge, edge:-edge]
    figure.set_label(f"{float(middle.sum() / weights.sum()):.0%} of the weight is in the middle quarter of the image")
    return figure


def explanation(run: SavedRun) -> Figure | None:
    """Draws the first test image's color difference to each class's nearest prototype; None for other models."""
    if not isinstance(run.network, PrototypeNetwork):
        return None
    figure = explanation_figure(run.network, run.data.test_images[0], run.title)
    figure.set_label(f"first test image, {run.class_names[run.data.test_labels[0]]}: {figure.get_label()}")
    return figure


def first_layer(run: SavedRun) -> Figure | None:
    """Draws the first layer's weights, at most the MAX_UNITS largest units; None for prototypes."""
    weights = run.network.first_layer()
    if weights is None:
        return None
    weights = weights.float().cpu()
    largest = weights.flatten(1).norm(dim=1).argsort(descending=True)[:MAX_UNITS].sort().values
    figure = weights_figure(weights[largest], 16 if weights.shape[-1] < 8 else 20, run.title)
    gray = float(weights.mean(1).square().sum() * 3 / weights.square().sum().clamp(min=1e-12))
    units = f"{MAX_UNITS} largest of {len(weights)} units" if len(weights) > MAX_UNITS else f"{len(weights)} units"
    figure.set_label(f"{units}; {gray:.0%} of the squared weight norm is achromatic")
    return figure
