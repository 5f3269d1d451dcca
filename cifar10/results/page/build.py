"""Builds one self-contained HTML page of finished runs."""

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
"""Runs with figures: each takes up to a megabyte of a page of less than five."""


PROTOTYPES = ("first_and_last", "prototypes", "snapshots", "explanation")


class Section(NamedTuple):
    id: str
    heading: str
    figures: Sequence[str] = ()

    @property
    def text(self) -> str:
        return TEXTS.get(self.id, "")


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
    "accuracy": """Accuracy on all test images with the weights of the best validation epoch. Each model has a bar for
the study's protocol and for its best experiment, the one of highest validation accuracy.""",
    "confusion": "Rows are true classes, columns predictions, the diagonal removed; all maps share one scale.",
    "curves": "The dotted line marks the tested epoch. Runs of one epoch have no curves.",
    "prototypes": """A prototype starts as noise, or as a training image where there are several per class. An image is
classified by its nearest prototype; the class scores of prototypes that were trained to discriminate are a log-sum-exp
over negative distances.""",
    "pairs": "The two classes that a run confuses most: rows are true classes, columns predictions.",
    "errors": "Each caption gives the prediction with its probability, then the true class.",
    "calibration": """A calibrated model is on the diagonal, an overconfident one below it. The expected calibration
error (ECE) is the mean distance from the diagonal.""",
    "layers": "Weights as images, each on its own scale; grey is zero.",
}
STUDY = """ In the study of 2019 two confusions remain in every model: trucks and automobiles, and above all cats and
dogs."""


def page(runs: pd.DataFrame) -> tuple[str, list[str]]:
    """Returns the page, and a line for each run or figure that it leaves out.

    runs: from `cifar10.results.load`. Raises UserError if there is none.
    """
    if runs.empty:
        raise UserError("no finished run given")
    rows = aggregate(runs)
    with_figures = runs[runs["data"] == "cifar10"] if "cifar10" in set(runs["data"]) else runs
    data = with_figures["data_sha256"].mode().iloc[0]  # figures are of one data set, that with the most runs
    shown = rows[rows["data_sha256"] == data].reset_index(drop=True)
    name = shown["data"].iloc[0]
    every = report_runs(shown)
    drawn = every[:MAX_RUNS]
    missing: Missing = {}
    figures = {
        section.id: [panel for name in section.figures for panel in panels(name, drawn, missing)]
        for section in SECTIONS
    }
    figures["classes"] = [class_accuracies(drawn)]
    table_of = {
        "accuracy": tables.Table("results", "Test accuracy: mean ± standard deviation over seeds", results_table(rows)),
        "confusion": tables.confusions(shown),
        "classes": tables.class_accuracies(shown),
        "provenance": tables.provenance(runs),
    }
    skipped = [f"{name}, without {', '.join(what)}: {reason}" for (name, reason), what in missing.items()]
    skipped += [f"{one.name}, without figures: the page has room for {MAX_RUNS} runs" for one in every[MAX_RUNS:]]
    others = dict.fromkeys(rows["data"][rows["data_sha256"] != data])
    environment = Environment(
        loader=PackageLoader("cifar10.results.page", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    text = environment.get_template("page.html.jinja").render(
        data=name,
        other_data=[other if other != name else f"other images of data={name}" for other in others],
        runs=len(runs),
        bars=_bars(every),
        sections=[section for section in SECTIONS if figures[section.id] or section.id in table_of],
        study=STUDY if name == "cifar10" else "",
        panels=figures,
        tables=table_of,
        skipped=[*runs.attrs["skipped"], *skipped],
    )
    return text, skipped


def report_runs(rows: pd.DataFrame) -> list[ReportRun]:
    """Returns a run by the study's protocol for each model, then the best validated ones, preferably with weights."""
    chosen = pd.concat([study_of(rows), best_of(rows)])
    found = []
    for row in chosen[~chosen.index.duplicated()].itertuples():
        files = [path for path in row.paths if path.name == "metrics.json"]
        path = next((path for path in files if path.with_name("best.ckpt").exists()), (files or row.paths)[0])
        run = SavedRun(path.parent, row.records[row.paths.index(path)])
        found.append(ReportRun(row, run, path.name == "metrics.json"))
    return found


def _bars(every: list[ReportRun]) -> list[tuple[str, float, str, str]]:
    """Returns name, share, text and kind of each bar, those of a model together."""
    bars = []
    for model in dict.fromkeys(one.row.model for one in every):
        rows = [one.row for one in every if one.row.model == model]
        if study := study_accuracy(rows[0]):
            bars.append((f"{model}, study, 2019", study, f"{study:.1%}", "then"))
        bars += [(f"{model}, {row.name}", row.accuracy, format_accuracy(row), "now") for row in rows]
    return bars


def _breakable(text: str) -> Markup:
    """Allows line breaks in long names of settings."""
    return Markup(re.sub("([_=])", r"\1<wbr>", str(escape(text))))
