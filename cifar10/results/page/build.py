"""Builds a self-contained HTML page of finished runs."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from cifar10.errors import UserError
from cifar10.results.page import tables
from cifar10.results.page.panels import Missing, ReportRun, class_accuracies, panels
from cifar10.results.saved_run import SavedRun
from cifar10.results.table import aggregate, best_of, format_accuracy, results_table, study_accuracy, study_of

MAX_RUNS = 6
"""Maximum number of runs with figures: each adds up to a megabyte, and the page should stay below five."""


class Section(NamedTuple):
    id: str
    heading: str
    figures: Sequence[str] = ()


PROTOTYPES = ["first_and_last", "prototypes", "snapshots", "nearest_and_farthest", "pixel_weights", "explanation"]
SECTIONS = (
    Section("accuracy", "Accuracy"),
    Section("confusion", "Confusion matrices", ["confusion_errors"]),
    Section("curves", "Training curves", ["training_curves"]),
    Section("prototypes", "Prototypes", PROTOTYPES),
    Section("pairs", "Most confused pair", ["confused_pair"]),
    Section("classes", "Per-class accuracy"),
    Section("errors", "Most confident errors", ["confident_errors"]),
    Section("calibration", "Calibration", ["calibration"]),
    Section("layers", "First-layer weights", ["first_layer"]),
    Section("provenance", "Provenance"),
)
TEXTS = {
    "accuracy": """Accuracy on all test images with the weights of the best validation epoch. The bars show for each
model the study's protocol and the experiment with the highest validation accuracy.""",
    "confusion": "Rows are true classes, columns predictions. The diagonal is removed; all matrices share one scale.",
    "curves": "The dotted line marks the best epoch. Runs of one epoch have no curves.",
    "prototypes": """Prototypes are initialized with uniform noise, training images or class means. An image is assigned
to the class of its nearest prototype. With objective=discriminative the class score is a log-sum-exp over negative
distances.""",
    "pairs": "Test images of the two classes that a run confuses most, by true class (rows) and prediction (columns).",
    "errors": "Captions give the prediction with its probability, then the true class.",
    "calibration": """Points of a calibrated model are on the diagonal, points of an overconfident model below it. The
expected calibration error (ECE) is the mean distance from the diagonal, weighted by the number of images.""",
    "layers": "Weights as images, each scaled by its largest weight; gray is zero.",
}
STUDY = """ In the 2019 study, every model confuses trucks with automobiles and, most of all, cats with dogs."""


def page(runs: pd.DataFrame) -> tuple[str, list[str]]:
    """Returns the page and a line for each run or figure that it skips.

    runs: from `cifar10.results.load`. Raises UserError if it is empty.
    """
    if runs.empty:
        raise UserError("no finished run given")
    rows = aggregate(runs)
    with_figures = runs[runs["data"] == "cifar10"] if "cifar10" in set(runs["data"]) else runs
    data = with_figures["data_sha256"].mode().iloc[0]  # figures show one data set, the one with the most runs
    selected = rows[rows["data_sha256"] == data].reset_index(drop=True)
    name = selected["data"].iloc[0]
    every = report_runs(selected)
    drawn = every[:MAX_RUNS]
    missing: Missing = {}
    figures = {
        section.id: [panel for name in section.figures for panel in panels(name, drawn, missing)]
        for section in SECTIONS
    }
    figures["classes"] = [class_accuracies(drawn)]
    table_of = {
        "accuracy": tables.Table("results", "Test accuracy: mean ± standard deviation over seeds", results_table(rows)),
        "confusion": tables.confusions(selected),
        "classes": tables.class_accuracies(selected),
        "provenance": tables.provenance(runs),
    }
    skipped = [f"{name}, without {', '.join(what)}: {reason}" for (name, reason), what in missing.items()]
    skipped += [f"{run.name}, without figures: the page shows those of {MAX_RUNS} runs" for run in every[MAX_RUNS:]]
    others = dict.fromkeys(rows["data"][rows["data_sha256"] != data])
    loader = PackageLoader("cifar10.results.page", "")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters["breakable"] = _breakable
    text = environment.get_template("page.html.jinja").render(
        data=name,
        other_data=[other if other != name else f"other images of data={name}" for other in others],
        runs=len(runs),
        bars=_bars(every),
        sections=[section for section in SECTIONS if figures[section.id] or section.id in table_of],
        texts=TEXTS | ({"confusion": TEXTS["confusion"] + STUDY} if name == "cifar10" else {}),
        panels=figures,
        tables=table_of,
        skipped=[*runs.attrs["skipped"], *skipped],
    )
    return text, skipped


def report_runs(rows: pd.DataFrame) -> list[ReportRun]:
    """Returns for each model a run of the study's protocol, then of the best experiment, preferably with weights."""
    chosen = pd.concat([study_of(rows), best_of(rows)])
    found = []
    for row in chosen[~chosen.index.duplicated()].itertuples():
        files = [path for path in row.paths if path.name == "metrics.json"]
        path = next((path for path in files if path.with_name("best.ckpt").exists()), (files or row.paths)[0])
        run = SavedRun(path.parent, row.records[row.paths.index(path)])
        found.append(ReportRun(row, run, path.name == "metrics.json"))
    return found


def _bars(every: list[ReportRun]) -> list[tuple[str, float, str, str]]:
    """Returns name, accuracy, label and kind of each bar, grouped by model."""
    bars = []
    for model in dict.fromkeys(run.row.model for run in every):
        rows = [run.row for run in every if run.row.model == model]
        if study := study_accuracy(rows[0]):
            bars.append((f"{model}, 2019 study", study, f"{study:.1%}", "then"))
        bars += [(f"{model}, {row.name}", row.accuracy, format_accuracy(row), "now") for row in rows]
    return bars


def _breakable(text: str) -> Markup:
    """Allows line breaks after `_` and `=` in names of settings."""
    return Markup(re.sub("([_=])", r"\1<wbr>", str(escape(text))))
