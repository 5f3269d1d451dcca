"""Builds one self-contained HTML page of finished runs."""

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from typing import NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from cifar10.errors import UserError
from cifar10.results.page import tables
from cifar10.results.page.panels import Panel, PanelBuilder, ReportRun, banner, class_accuracies
from cifar10.results.saved_run import SavedRun
from cifar10.results.table import aggregate, best_of, format_accuracy, results_table, study_accuracy, study_of

MAX_RUNS = 6
"""Runs with figures: each takes up to a megabyte of a page of less than five."""
NUMBER = re.compile(r"[\d.,]*%?( ± [\d.]+| \([\d, ]+\))?")


class Table(NamedTuple):
    id: str
    caption: str
    cells: pd.DataFrame

    @property
    def numeric(self) -> list[bool]:
        return [all(NUMBER.fullmatch(text) for text in self.cells.iloc[:, at]) for at in range(self.cells.shape[1])]


class Section(NamedTuple):
    id: str
    heading: str
    text: str = ""
    panels: Sequence[Panel] = ()
    table: Table | None = None
    layout: str = ""


def page(runs: pd.DataFrame) -> tuple[str, list[str]]:
    """Returns the page, and a line for each run or figure that it leaves out.

    runs: from `cifar10.results.load`. Raises UserError if there is none.
    """
    if runs.empty:
        raise UserError("no finished run given")
    rows = aggregate(runs)
    # Figures are of one data set: CIFAR-10, or else the one with the most runs.
    data = max(runs["data_sha256"].unique(), key=lambda data: _priority(runs[runs["data_sha256"] == data]))
    shown = rows[rows["data_sha256"] == data].reset_index(drop=True)
    name = shown["data"].iloc[0]
    every = report_runs(shown)
    builder = PanelBuilder(every[:MAX_RUNS])
    sections = _sections(runs, rows, shown, builder)
    crowded = [f"{one.name}, without figures: the page has room for {MAX_RUNS} runs" for one in every[MAX_RUNS:]]
    skipped = [*builder.skipped, *crowded]
    others = dict.fromkeys(rows["data"][rows["data_sha256"] != data])
    environment = Environment(
        loader=PackageLoader("cifar10.results.page", ""), autoescape=True, undefined=StrictUndefined
    )
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters["breakable"] = _breakable
    text = environment.get_template("page.html.jinja").render(
        data=name,
        other_data=[other if other != name else f"other images of data={name}" for other in others],
        runs=len(runs),
        banner=banner(builder.runs),
        bars=_bars(every),
        sections=sections,
        versions=tables.versions(runs),
        skipped=[*runs.attrs["skipped"], *skipped],
        version=_version(),
    )
    return text, skipped


def _priority(runs: pd.DataFrame) -> tuple[bool, int]:
    return runs["data"].iloc[0] == "cifar10", len(runs)


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


def _bars(every: list[ReportRun]) -> dict[str, list[tuple[str, float, str, str]]]:
    """Returns name, share, text and kind of each model's bars."""
    bars: dict[str, list[tuple[str, float, str, str]]] = {}
    for one in every:
        study = study_accuracy(one.row)
        first = [("study, 2019", study, f"{study:.1%}", "then")] if study else []
        own = bars.setdefault(one.row.model, first)
        own.append((one.row.name, one.row.accuracy, format_accuracy(one.row), "now"))
    return bars


def _sections(runs: pd.DataFrame, rows: pd.DataFrame, shown: pd.DataFrame, builder: PanelBuilder) -> list[Section]:
    """Returns the sections that have content, in the order of the page."""
    figures = builder.figures
    prototypes = [figures("first_and_last"), builder.animations()]
    prototypes += [figures(name) for name in ("prototypes", "snapshots", "explanation")]
    results = Table("results", "Test accuracy: mean ± standard deviation over seeds", results_table(rows))
    confusions = Table("named", "Share of a true class's test images, over all seeds", tables.confusions(shown))
    by_class = Table("by-class", "Accuracy of each class, mean over seeds", tables.class_accuracies(shown))
    classes = len(shown["records"].iloc[0][0]["test"]["class_accuracy"])
    if (named := by_class.cells.shape[1] - 1) < classes:
        by_class = by_class._replace(caption=f"{by_class.caption}, the {named} lowest of {classes}")
    provenance = Table("runs", "One row per run; + marks a commit with local changes", tables.provenance(runs))
    confusion = f"{CONFUSION} {CONFUSION_STUDY}" if shown["data"].iloc[0] == "cifar10" else CONFUSION
    sections = [
        Section("accuracy", "Accuracy", ACCURACY, table=results),
        Section("confusion", "Confusion matrices", confusion, figures("confusion_errors"), confusions, "small"),
        Section("curves", "Training curves", CURVES, figures("training_curves")),
        Section("prototypes", "Prototypes", PROTOTYPES, [*chain(*prototypes)], layout="half"),
        Section("pairs", "Most confused pair", PAIRS, figures("confused_pair"), layout="half"),
        Section("classes", "Per-class accuracy", "", [class_accuracies(builder.runs)], by_class),
        Section("errors", "Most confident errors", ERRORS, figures("confident_errors"), layout="half"),
        Section("calibration", "Calibration", CALIBRATION, figures("calibration"), layout="small"),
        Section("layers", "First-layer weights", LAYERS, figures("first_layer")),
        Section("provenance", "Provenance", table=provenance),
    ]
    return [section for section in sections if section.panels or section.table is not None]


ACCURACY = """Accuracy on all test images with the weights of the best validation epoch. Each model has a bar for the
study's protocol and for its best experiment, the one of highest validation accuracy."""
CONFUSION = "Rows are true classes, columns predictions, the diagonal removed; all maps share one scale."
CONFUSION_STUDY = """In the study of 2019 two confusions remain in every model: trucks and automobiles, and above all
cats and dogs."""
CURVES = "The dotted line marks the tested epoch. Runs of one epoch have no curves."
PROTOTYPES = """A prototype starts as noise, or as a training image where there are several per class. An image is
classified by its nearest prototype; the class scores of prototypes that were trained to discriminate are a log-sum-exp
over negative distances."""
PAIRS = "The two classes that a run confuses most: rows are true classes, columns predictions."
ERRORS = "Each caption gives the prediction with its probability, then the true class."
CALIBRATION = """A calibrated model is on the diagonal, an overconfident one below it. The expected calibration error
(ECE) is the mean distance from the diagonal."""
LAYERS = "Weights as images, each on its own scale; grey is zero."


def _breakable(text: str) -> Markup:
    """Allows line breaks in long names of settings."""
    return Markup(re.sub("([_=])", r"\1<wbr>", str(escape(text))))


def _version() -> str:
    try:
        return version("cifar10")
    except PackageNotFoundError:
        return ""
