"""Builds the panels of the page: figures with captions."""

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
    """A run on the page. row: its row of `table.aggregate`; has_files: whether its run folder is available."""

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
"""(run, reason) -> names of the figures that cannot be drawn."""


def panels(name: str, runs: Sequence[ReportRun], missing: Missing) -> list[Panel]:
    """Returns a panel for each run that has this figure; adds failures to `missing`."""
    result = []
    for run in runs:
        try:
            if name != "confusion_errors" and not run.has_files:
                raise UserError("needs the run folder, only the record is available")
            figure = FIGURES[name](run.run)
        except UserError as error:
            missing.setdefault((run.name, str(error)), []).append(name.replace("_", " "))
            continue
        if figure is not None:
            caption = figure.get_label()
            picture = svg(figure, f"{name.replace('_', ' ')} of {run.name}: {caption}")
            result.append(Panel(picture, f"{run.name}: {caption}"))
    return result


def class_accuracies(runs: Sequence[ReportRun]) -> Panel:
    """Returns the panel of accuracies by class, limited to the MAX_CLASSES classes of lowest accuracy."""
    names = np.array(runs[0].run.class_names)
    values = np.array([class_accuracy(run.row) for run in runs])
    mean = values.mean(0)
    kept = np.sort(mean.argsort()[:MAX_CLASSES])
    high, low = mean.argmax(), mean.argmin()
    caption = f"highest on average for {names[high]} ({mean[high]:.0%}), lowest for {names[low]} ({mean[low]:.0%})"
    accuracies = {run.name: row[kept] for run, row in zip(runs, values, strict=True)}
    picture = svg(
        class_accuracy_figure(accuracies, list(names[kept])), f"Accuracy by class of {', '.join(accuracies)}: {caption}"
    )
    return Panel(picture, caption)
