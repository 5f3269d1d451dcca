"""Builds the page's panels: a figure of the registry, its caption, and its findings as alternative text."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import torch
from markupsafe import Markup
from matplotlib.figure import Figure

from cifar10.errors import UserError
from cifar10.models.test_predictions import most_confused
from cifar10.results.figures.curves import calibration, class_accuracy_figure
from cifar10.results.figures.images import in_rows, sheet
from cifar10.results.figures.registry import FIGURES, MAX_CLASSES, MAX_UNITS
from cifar10.results.page.svg import moving_png, png, svg
from cifar10.results.saved_run import SavedRun
from cifar10.results.table import class_accuracy

WIDE = ("training_curves", "snapshots", "explanation", "first_layer")
"""Figures of several panels in a row, too small for half a page."""
FRAME_MILLISECONDS = 350


class ReportRun(NamedTuple):
    """A run with figures. row: its setting's row of `table.aggregate`; has_files: not only its record is kept."""

    row: Any
    run: SavedRun
    has_files: bool

    @property
    def name(self) -> str:
        return f"{self.row.model}, {self.row.name}"


class Panel(NamedTuple):
    picture: Markup
    caption: str
    wide: bool = False


class PanelBuilder:
    """Builds panels run by run, and collects why others cannot be built."""

    def __init__(self, runs: Sequence[ReportRun]) -> None:
        self.runs = runs
        self.missing: dict[tuple[str, str], list[str]] = {}  # (run, reason) -> names of panels

    def figures(self, name: str) -> list[Panel]:
        """Returns the panels of a figure of the registry, without runs that have no such figure."""

        def panel(one: ReportRun) -> Panel | None:
            figure = FIGURES[name](one.run)
            if figure is None:
                return None
            caption, alt = WORDS[name](one)
            return Panel(svg(figure, f"{one.name}: {alt}"), f"{one.name}: {caption}", name in WIDE)

        return self.build(name, panel, needs_files=name != "confusion_errors")

    def animations(self) -> list[Panel]:
        return self.build("snapshots", animation)

    def build(self, name: str, make: Callable[[ReportRun], Panel | None], needs_files: bool = True) -> list[Panel]:
        panels = []
        for one in self.runs:
            try:
                if needs_files and not one.has_files:
                    raise UserError("only its record is here, not its run folder")
                panels.append(make(one))
            except UserError as error:
                self.missing.setdefault((one.name, str(error)), []).append(name.replace("_", " "))
        return [panel for panel in panels if panel is not None]

    @property
    def skipped(self) -> list[str]:
        """One line per run and reason."""
        return [
            f"{name}, without {', '.join(dict.fromkeys(names))}: {reason}"
            for (name, reason), names in self.missing.items()
        ]


def confusion_errors(one: ReportRun) -> tuple[str, str]:
    confusion = np.array(one.run.record["test"]["confusion"])
    rates = confusion / confusion.sum(1, keepdims=True).clip(min=1) * (1 - np.eye(len(confusion)))
    names = one.run.class_names
    worst = [np.unravel_index(place, rates.shape) for place in rates.ravel().argsort()[::-1][:3]]
    errors = ", ".join(f"{names[true]} as {names[label]} ({rates[true, label]:.0%})" for true, label in worst)
    accuracy = one.run.record["test"]["accuracy"]
    return f"{accuracy:.1%} correct", f"confusion matrix without its diagonal. Most frequent errors: {errors}."


def training_curves(one: ReportRun) -> tuple[str, str]:
    columns, best = one.run.history, one.run.record["best_epoch"]
    epochs = [int(epoch) for epoch in columns["epoch"]]
    places = (0, epochs.index(best), -1)
    loss = ", ".join(f"{columns['val/loss'][place]:.3g}" for place in places)
    accuracy = ", ".join(f"{columns['val/accuracy'][place]:.1%}" for place in places)
    alt = (
        f"loss, accuracy and learning rate over {len(epochs)} epochs. After the first epoch, the tested epoch {best} "
        f"and the last, the validation loss is {loss}, the validation accuracy {accuracy}."
    )
    return f"the weights of epoch {best} of {len(epochs)} were tested", alt


def prototypes(one: ReportRun) -> tuple[str, str]:
    counts, names = np.sum(one.run.record["test"]["confusion"], 0), one.run.class_names
    first, second = counts.argsort()[::-1][:2]
    shares = [f"{names[label]} ({counts[label] / counts.sum():.0%})" for label in (first, second)]
    finding = f"most test images are classified as {' and '.join(shares)}"
    return finding, f"prototypes of {', '.join(names[:MAX_CLASSES])}; {finding}."


def first_and_last(one: ReportRun) -> tuple[str, str]:
    return "initial noise and trained prototype", "a square of random colours, and the blurred image trained from it."


def snapshots(one: ReportRun) -> tuple[str, str]:
    frames = one.run.snapshots
    first, *_, last = frames
    distances = {step: float((frame - frames[last]).abs().mean()) for step, frame in frames.items()}
    near = next(step for step in frames if distances[step] <= distances[first] / 10)
    finding = f"after {near} of {last} steps nine tenths of the distance are covered"
    return finding, f"prototypes after several training steps: {finding}."


def explanation(one: ReportRun) -> tuple[str, str]:
    names, data = one.run.class_names, one.run.data
    with torch.inference_mode():
        predicted = names[one.run.network(data.test_images[:1])[0].argmax()]
    verdict = f"first test image, {names[data.test_labels[0]]}, predicted {predicted}"
    return verdict, f"differences of each pixel to each class's nearest prototype; {verdict}."


def confused_pair(one: ReportRun) -> tuple[str, str]:
    counts, names = one.run.predictions.confusion(len(one.run.class_names)), one.run.class_names
    first, second = most_confused(counts)
    a, b = names[first], names[second]
    alt = (
        f"test images of {a} and {b}, up to 16 in each cell of their confusion matrix: {counts[first, first]} {a} "
        f"correct, {counts[first, second]} predicted {b}; {counts[second, second]} {b} correct, "
        f"{counts[second, first]} predicted {a}."
    )
    return f"{a} and {b}", alt


def confident_errors(one: ReportRun) -> tuple[str, str]:
    found, names = one.run.predictions, one.run.class_names
    worst = ", ".join(
        f"{names[found.labels[place]]} predicted {names[found.predicted[place]]} ({found.confidence[place]:.0%})"
        for place in found.confident_errors(3)
    )
    return "most confident errors", f"wrongly classified test images of highest confidence: {worst}, and so on."


def calibration_curve(one: ReportRun) -> tuple[str, str]:
    found = calibration(one.run.predictions.probabilities, one.run.predictions.labels)
    confidence, accuracy = (float(found.share @ values) for values in (found.confidence, found.accuracy))
    verdict = f"{'over' if confidence > accuracy else 'under'}confident, ECE {found.ece:.1%}"
    return verdict, f"accuracy by confidence; {verdict}, mean confidence {confidence:.1%}, accuracy {accuracy:.1%}."


def first_layer(one: ReportRun) -> tuple[str, str]:
    weights = one.run.network.first_layer()
    assert weights is not None, "has a figure"
    grey = float(weights.mean(1).square().sum() * 3 / weights.square().sum().clamp(min=1e-12))
    shown = f"the {MAX_UNITS} largest of {len(weights)} units" if len(weights) > MAX_UNITS else f"{len(weights)} units"
    finding = f"{shown}; {grey:.0%} of the weights' energy is luminance, the rest colour"
    return finding, f"first-layer weights as images, {finding}."


WORDS: dict[str, Callable[[ReportRun], tuple[str, str]]] = {
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
"""Figure -> function that returns its caption and its content in words."""


def animation(one: ReportRun) -> Panel | None:
    """Returns the snapshots as an animation, a still image for readers who prefer reduced motion."""
    if len(one.run.snapshots) < 2:
        return None
    names, columns = one.run.class_names[:MAX_CLASSES], 5
    rows = ceil(len(names) / columns)
    frames = [sheet(in_rows(frame[0, : len(names)], rows, columns)) for frame in one.run.snapshots.values()]
    height, width = frames[0].shape[:2]
    picture = Markup(
        '<picture><source media="(prefers-reduced-motion: reduce)" srcset="{}">'
        '<img class="moving" src="{}" alt="{}: prototypes of {} during training" width="{}" height="{}"></picture>'
    ).format(png(frames[-1]), moving_png(frames, FRAME_MILLISECONDS), one.name, ", ".join(names), 3 * width, 3 * height)
    return Panel(picture, f"{one.name}: from the first step to the last")


def banner(runs: Sequence[ReportRun]) -> Markup | None:
    """Returns the prototypes of the first run that has some, side by side."""
    for one in runs:
        try:
            images = one.run.prototypes if one.has_files else None
        except UserError:
            continue  # the panel of its prototypes reports it
        if images is not None:
            names = one.run.class_names[:MAX_CLASSES]
            uri = png(sheet(images.detach()[None, : len(names), 0]))
            return Markup('<img class="banner" src="{}" alt="{}: prototypes of {}">').format(
                uri, one.name, ", ".join(names)
            )
    return None


def class_accuracies(runs: Sequence[ReportRun]) -> Panel:
    names = runs[0].run.class_names
    mean = np.mean([class_accuracy(one.row) for one in runs], 0)
    kept = np.sort(mean.argsort()[:MAX_CLASSES])
    finding = (
        f"highest on average for {names[mean.argmax()]} ({mean.max():.0%}), lowest for {names[mean.argmin()]} "
        f"({mean.min():.0%})"
    )
    accuracies = {one.name: class_accuracy(one.row)[kept] for one in runs}
    figure: Figure = class_accuracy_figure(accuracies, [names[place] for place in kept])
    return Panel(svg(figure, f"Accuracy of each class by {', '.join(accuracies)}: {finding}."), finding, wide=True)
