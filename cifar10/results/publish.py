"""Publishes finished runs: records in `docs/results/`, tables and figures of README and docs."""

import hashlib
import json
import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from textwrap import fill
from typing import Any

import pandas as pd
import torch

from cifar10.errors import UserError
from cifar10.results import load
from cifar10.results.figures import save_figure
from cifar10.results.figures.confusion import confusions_figure
from cifar10.results.figures.curves import class_accuracy_figure
from cifar10.results.figures.images import animate_prototypes, image_rows_figure
from cifar10.results.figures.registry import FIGURES
from cifar10.results.markdown import replace_table
from cifar10.results.records import Record, distinguishing_overrides, experiment, override_key, settings_key
from cifar10.results.saved_run import SavedRun
from cifar10.results.table import aggregate, best_of, class_accuracy, study_of, to_markdown, to_summary
from cifar10.training.run_folder import RESULT

PICTURE = re.compile(r"pictures/(prototype|mlp|cnn)_(\w+)\.(?:png|svg)")
"""A figure of a run in docs/pictures.md: its model and the name of the figure."""
OF_BEST = "pixel_weights"
"""The figure of the most accurate run of a model. The others are of the run that follows the study's protocol."""


def publish(runs: pd.DataFrame, root: Path) -> list[str]:
    """Adds the records of `runs` to docs/results/ and renders tables and figures; returns a line per skipped part.

    Draws the figures of single runs that docs/pictures.md shows. Figures of other runs are not changed.
    runs: from `cifar10.results.load`; root: the repository.
    """
    _write_records(runs["record"], root / "docs/results")
    rows = aggregate(load(root / "docs/results"))
    skipped = _write_tables(rows, root)
    rows = rows[rows["data"] == "cifar10"]
    study = list(study_of(rows).itertuples())
    best = list(best_of(rows).itertuples())
    _draw_comparisons(study, best, root / "docs")

    first: dict[str, SavedRun] = {}  # settings -> the run with the lowest seed
    for row in runs[runs["data"] == "cifar10"].sort_values("seed").itertuples():
        run = SavedRun(row.path.parent, row.record)
        try:
            if row.path.name == RESULT and run.network:  # a run folder, not only a record
                first.setdefault(settings_key(row.record), run)
        except UserError as error:
            skipped.append(str(error))
    _draw_prototypes(list(first.values()), root / "docs")
    page = root / "docs/pictures.md"
    pictures = {match.group(0, 1, 2) for match in PICTURE.finditer(page.read_text() if page.exists() else "")}
    for path, model, name in sorted(pictures):
        rows_shown = [row for row in (best if name == OF_BEST else study) if row.model.lower() == model]
        for run in filter(None, (first.get(settings_key(row.records[0])) for row in rows_shown)):
            skipped += _draw_picture(run, name, root / "docs" / path)
    return list(dict.fromkeys(skipped))


def _draw_picture(run: SavedRun, name: str, path: Path) -> list[str]:
    """Draws a figure if it applies to the run; returns a line if the run's files are missing or damaged."""
    try:
        if name == "evolution" and run.snapshots:
            animate_prototypes(run.snapshots, path)
        elif name in FIGURES and (figure := FIGURES[name](run)) is not None:
            save_figure(figure, path)
    except UserError as error:
        return [str(error)]
    return []


def _write_tables(rows: pd.DataFrame, root: Path) -> list[str]:
    """Replaces the text between the markers of README.md and docs/results.md; returns a line per page without them."""
    skipped = []
    for path, table in {root / "README.md": to_summary(rows), root / "docs/results.md": to_markdown(rows)}.items():
        try:
            replace_table(path, "results", table)
        except UserError as error:
            skipped.append(str(error))
    return skipped


def _write_records(records: Sequence[Record], folder: Path) -> None:
    """Writes the records without local paths. An updated record keeps its file name."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {(settings_key(run.record), run.seed): run.path for run in load(folder).itertuples()}
    for record in map(without_local_paths, records):
        key = settings_key(record)
        digest = hashlib.sha256(key.encode()).hexdigest()[:8]
        name = f"{record['model'].lower()}-{experiment(record)}-{record['data']}-{digest}-seed{record['seed']}.json"
        files.get((key, record["seed"]), folder / name).write_text(json.dumps(record) + "\n")


def without_local_paths(record: Record) -> Record:
    """Returns a copy of a record without the paths of its run folder and its data."""
    record = deepcopy(record)
    record["config"].pop("runs", None)
    record["config"]["data"].pop("root", None)
    if record.get("overrides") is not None:
        kept = [text for text in record["overrides"] if override_key(text) != "runs"]
        record["overrides"] = ["data.root=PATH" if override_key(text) == "data.root" else text for text in kept]
    return record


def _draw_comparisons(study: Sequence[Any], best: Sequence[Any], folder: Path) -> None:
    """Draws the confusion matrices of the study's protocol, and the class accuracies of all given rows."""
    if not study:
        return
    records = [row.records[0] for row in study]
    names = list(records[0]["test"]["class_accuracy"])
    titles = [f"{record['model']}, {record['test']['accuracy']:.1%}" for record in records]
    figure = confusions_figure([record["test"]["confusion"] for record in records], titles, names)
    save_figure(figure, folder / "confusions.svg")
    accuracies = {f"{row.model}, {row.name}": class_accuracy(row) for row in (*study, *best)}
    save_figure(class_accuracy_figure(accuracies, names), folder / "pictures/class_accuracy.svg")


def _draw_prototypes(runs: Sequence[SavedRun], folder: Path) -> None:
    """Draws the study's protocol and the experiments: those of one prototype per class together, each K > 1 alone."""
    single = {}
    for run in sorted(runs, key=lambda run: run.record["val_accuracy"]):
        if distinguishing_overrides(run.record) or run.prototypes is None:
            continue
        images, name = run.prototypes.transpose(0, 1), experiment(run.record)
        if len(images) == 1:
            label = f"{name}, {run.record['test']['accuracy']:.1%}"
            single[fill(label, 18, break_long_words=False)] = images[0]
        else:
            figure = image_rows_figure(images, [""] * len(images), run.class_names)
            save_figure(figure, folder / f"prototypes_{name}_{len(images)}.png")
    if single:
        figure = image_rows_figure(torch.stack(list(single.values())), list(single), runs[0].class_names)
        save_figure(figure, folder / "prototypes.png")
