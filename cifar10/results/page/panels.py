"""Builds the page's panels: figures of the registry, each with its finding as the caption."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from cifar10.errors import UserError
from cifar10.results.figures import MAX_CLASSES
from cifar10.results.figures.curves import class_accuracy_figure
from cifar10.results.figures.registry import FIGURES
from cifar10.results.page.svg import svg
from cifar10.results.saved_run import SavedRun
from cifar10.results.table import class_accuracy


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


Missing = dict[tuple[str, str], list[str]]
"""(run, reason) -> names of the panels that cannot be drawn."""


def panels(name: str, runs: Sequence[ReportRun], missing: Missing) -> list[Panel]:
    """Returns a panel for each run that has this figure; adds those that cannot be drawn to `missing`."""
    found = []
    for one in runs:
        try:
            if name != "confusion_errors" and not one.has_files:
                raise UserError("only its record is here, not its run folder")
            figure = FIGURES[name](one.run)
        except UserError as error:
            missing.setdefault((one.name, str(error)), []).append(name.replace("_", " "))
            continue
        if figure is not None:
            finding = figure.get_label()
            picture = svg(figure, f"{name.replace('_', ' ')} of {one.name}: {finding}")
            found.append(Panel(picture, f"{one.name}: {finding}"))
    return found


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
    return Panel(picture, finding)
