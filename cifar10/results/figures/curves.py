"""Draws training curves, accuracy by class and reliability diagrams."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import PercentFormatter

from cifar10.results.figures import COLORS, WIDTH, Figure

MARKERS = "osD^vP*"


def history_figure(history: Mapping[str, Sequence[float]], best_epoch: int, title: str = "") -> Figure:
    """Draws loss, accuracy and learning rate by epoch and marks the best epoch.

    history: columns of `metrics.csv`, name -> one value per epoch; missing columns are not drawn.
    """
    panels = {
        "loss": {"training": "train/loss", "validation": "val/loss"},
        "accuracy": {"training": "train/accuracy", "validation": "val/accuracy"},
        "learning rate": {"": "lr"},
    }
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    for axes, (label, curves) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        available = {name: history[column] for name, column in curves.items() if column in history}
        axes.axvline(best_epoch, color="gray", linewidth=1, linestyle=":")
        for color, (name, values) in zip(COLORS, available.items(), strict=False):
            epochs = history["epoch"]
            line, size = "--" if name == "validation" else "-", 3 if len(epochs) < 30 else 0
            axes.plot(epochs, values, line, color=color, label=name, marker="o", markersize=size)
        if len(available) > 1:
            axes.legend(frameon=False)
        if label == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        if label == "learning rate":
            axes.set_ylim(0, 1.05 * max(history.get("lr", [1])))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_title(label)
        axes.set_xlabel(f"epoch (best: {best_epoch})")
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    return figure


def class_accuracy_figure(accuracies: Mapping[str, np.ndarray], class_names: Sequence[str]) -> Figure:
    """Draws the accuracy of each class, one point per run, classes ordered by mean accuracy.

    accuracies: run -> (C,) in [0, 1].
    """
    values = np.array(list(accuracies.values()))
    order = values.mean(0).argsort()
    figure = Figure(figsize=(WIDTH, 0.3 * len(class_names) + 0.2 * len(accuracies) + 0.6), layout="constrained")
    axes, positions = figure.subplots(), range(len(class_names))
    axes.hlines(positions, values.min(0)[order], values.max(0)[order], color="gray", linewidth=1, zorder=1)
    for run, (name, row) in enumerate(zip(accuracies, values, strict=True)):
        color, marker = COLORS[run % len(COLORS)], MARKERS[run % len(MARKERS)]
        axes.plot(row[order], positions, marker, color=color, label=name, markersize=6, clip_on=False)
    axes.set_yticks(positions, [class_names[label] for label in order])
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside lower left")
    return figure


class Calibration(NamedTuple):
    """Mean confidence, accuracy and fraction of images per bin of equal width, (B,) each; ECE in [0, 1]."""

    confidence: np.ndarray
    accuracy: np.ndarray
    fraction: np.ndarray
    ece: float


def calibration(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> Calibration:
    """Bins images by confidence, the highest probability, and computes the expected calibration error (ECE).

    probabilities: (N, C) in [0, 1], labels: (N,) int. The ECE is the mean of |accuracy - confidence| over bins,
    weighted by their fraction of the images (Guo et al., "On calibration of modern neural networks", ICML 2017).
    Empty bins have confidence and accuracy 0.
    """
    confidence = probabilities.max(1).astype(np.float64)
    correct = probabilities.argmax(1) == labels
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    mean_confidence, accuracy = (
        np.bincount(index, weights=values, minlength=bins) / np.maximum(count, 1) for values in (confidence, correct)
    )
    fraction = count / len(labels)
    return Calibration(mean_confidence, accuracy, fraction, float(fraction @ np.abs(accuracy - mean_confidence)))


def reliability_figure(result: Calibration, title: str = "") -> Figure:
    """Draws a reliability diagram: accuracy over confidence, and the fraction of images per bin."""
    figure = Figure(figsize=(4, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    bins = len(result.fraction)
    left, occupied = np.arange(bins) / bins, result.fraction > 0
    upper.plot([0, 1], [0, 1], color="gray", linewidth=1, linestyle=":")
    upper.bar(left[occupied], result.accuracy[occupied], 1 / bins, align="edge", color=COLORS[5], edgecolor=COLORS[0])
    points = result.confidence[occupied], result.accuracy[occupied]
    upper.plot(*points, "o", color=COLORS[4], markersize=4, clip_on=False)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=f"ECE {result.ece:.1%}")
    lower.bar(left, result.fraction, 1 / bins, align="edge", color="gray")
    lower.set(xlabel="confidence", ylabel="fraction")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    return figure
