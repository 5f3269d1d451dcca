"""Builds the page's panels: a figure of the registry with its finding as the caption, the animation, the banner."""

from collections.abc import Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from cifar10.errors import UserError
from cifar10.results.figures import MAX_CLASSES
from cifar10.results.figures.curves import class_accuracy_figure
from cifar10.results.figures.images import in_rows, sheet
from cifar10.results.figures.registry import FIGURES
from cifar10.results.page.svg import png, svg
from cifar10.results.saved_run import SavedRun
from cifar10.results.table import class_accuracy

WIDE = ("training_curves", "snapshots", "explanation", "first_layer")
"""Figures of several panels in a row, too small for half a page."""


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


Missing = dict[tuple[str, str], list[str]]
"""(run, reason) -> names of the panels that cannot be drawn."""


def panels(name: str, runs: Sequence[ReportRun], missing: Missing) -> list[Panel]:
    """Returns a panel for each run that has this figure; adds those that cannot be drawn to `missing`."""
    found = []
    for one in runs:
        try:
            if name != "confusion_errors" and not one.has_files:
                raise UserError("only its record is here, not its run folder")
            found.append(animation(one) if name == "animation" else _panel(name, one))
        except UserError as error:
            missing.setdefault((one.name, str(error)), []).append(name.replace("_", " "))
    return [panel for panel in found if panel is not None]


def _panel(name: str, one: ReportRun) -> Panel | None:
    figure = FIGURES[name](one.run)
    if figure is None:
        return None
    picture = svg(figure, f"{name.replace('_', ' ')} of {one.name}: {figure.get_label()}")
    return Panel(picture, f"{one.name}: {figure.get_label()}", name in WIDE)


def animation(one: ReportRun) -> Panel | None:
    """Returns the snapshots as an animation, a still image for readers who prefer reduced motion."""
    frames = [frame[0, :MAX_CLASSES] for frame in one.run.snapshots.values()]
    if len(frames) < 2:
        return None
    sheets = [sheet(in_rows(frame, ceil(len(frame) / 5), 5)) for frame in frames]
    height, width = sheets[0].shape[:2]
    alt = f"{one.name}: prototypes of {', '.join(one.run.class_names[:MAX_CLASSES])} during training"
    picture = Markup(
        '<picture><source media="(prefers-reduced-motion: reduce)" srcset="{}">'
        '<img class="moving" src="{}" alt="{}" width="{}" height="{}"></picture>'
    ).format(png(sheets[-1]), png(*sheets), alt, 3 * width, 3 * height)
    return Panel(picture, f"{one.name}: from the first step to the last")


def banner(runs: Sequence[ReportRun]) -> Markup | None:
    """Returns the prototypes of the first run that has some, side by side."""
    for one in runs:
        try:
            images = one.run.prototypes if one.has_files else None
        except UserError:
            continue  # the panel of its prototypes reports it
        if images is not None:
            alt = f"{one.name}: prototypes of {', '.join(one.run.class_names[:MAX_CLASSES])}"
            uri = png(sheet(images[None, :MAX_CLASSES, 0]))
            return Markup('<img class="banner" src="{}" alt="{}">').format(uri, alt)
    return None


def class_accuracies(runs: Sequence[ReportRun]) -> Panel:
    """Returns a figure of the accuracies by class of all runs, of many classes for those of lowest accuracy."""
    names = np.array(runs[0].run.class_names)
    values = np.array([class_accuracy(one.row) for one in runs])
    mean = values.mean(0)
    kept = np.sort(mean.argsort()[:MAX_CLASSES])
    high, low = mean.argmax(), mean.argmin()
    finding = f"highest on average for {names[high]} ({mean[high]:.0%}), lowest for {names[low]} ({mean[low]:.0%})"
    shown = {one.name: row[kept] for one, row in zip(runs, values, strict=True)}
    picture = svg(
        class_accuracy_figure(shown, list(names[kept])), f"Accuracy by class of {', '.join(shown)}: {finding}"
    )
    return Panel(picture, finding, wide=True)
