"""Publishes finished runs: records in `docs/results/`, tables and figures of README and docs."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from math import ceil
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from cifar10.errors import UserError
from cifar10.results import load
from cifar10.results.figures import Figure
from cifar10.results.figures.confusion import confusions_figure
from cifar10.results.figures.curves import class_accuracy_figure
from cifar10.results.figures.images import image_rows_figure, in_rows, tile
from cifar10.results.figures.registry import FIGURES
from cifar10.results.records import Record, distinguishing_overrides, experiment, override_key, settings_key
from cifar10.results.saved_run import SavedRun
from cifar10.results.table import aggregate, best_of, class_accuracy, study_of, to_markdown, to_summary
from cifar10.training.run_folder import RESULT

TABLE = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)
PUBLISHED = ["prototypes", "first_and_last", "snapshots", "confused_pair", "confident_errors", "first_layer"]
PUBLISHED += ["confusion", "training_curves", "calibration", "nearest_and_farthest"]
"""Figures of the study's runs in docs/pictures: PNG, except the confusion matrix, which is SVG."""
PUBLISHED_OF_BEST = ["pixel_weights"]


def publish(runs: pd.DataFrame, root: Path) -> list[str]:
    """Adds the records of `runs` to docs/results/ and renders tables and figures; returns a line per skipped part.

    runs: from `cifar10.results.load`; root: the repository. Figures of other runs are not changed.
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
    for row, names in [*((row, PUBLISHED) for row in study), *((row, PUBLISHED_OF_BEST) for row in best)]:
        if (chosen := first.get(settings_key(row.records[0]))) is None:
            continue
        try:
            for name in names:
                if (figure := FIGURES[name](chosen)) is not None:
                    suffix = "svg" if name == "confusion" else "png"
                    _save(figure, root / f"docs/pictures/{row.model.lower()}_{name}.{suffix}")
            if names is PUBLISHED and chosen.snapshots:
                animate_prototypes(chosen.snapshots, root / "docs/pictures/prototype_evolution.png")
        except UserError as error:
            skipped.append(str(error))
    return skipped


def _write_tables(rows: pd.DataFrame, root: Path) -> list[str]:
    """Replaces the text between the markers of README.md and docs/results.md; returns a line per page without them."""
    skipped = []
    for path, table in {root / "README.md": to_summary(rows), root / "docs/results.md": to_markdown(rows)}.items():
        if path.exists() and TABLE.search(page := path.read_text()):
            escaped = table.replace("\\", r"\\")
            path.write_text(TABLE.sub(rf"\g<1>{escaped}\n\g<2>", page))
        else:
            skipped.append(f"{path}: no table between <!-- results --> and <!-- /results -->")
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
    _save(figure, folder / "confusions.svg")
    accuracies = {f"{row.model}, {row.name}": class_accuracy(row) for row in (*study, *best)}
    _save(class_accuracy_figure(accuracies, names), folder / "pictures/class_accuracy.svg")


def _draw_prototypes(runs: Sequence[SavedRun], folder: Path) -> None:
    """Draws all runs with one prototype per class in one figure, and for each K > 1 the run of best validation."""
    single = {}
    for run in sorted(runs, key=lambda run: run.record["val_accuracy"]):
        if run.prototypes is None:
            continue
        images, name = run.prototypes.transpose(0, 1), experiment(run.record)
        if len(images) == 1:
            changes = [text.removeprefix("model.") for text in distinguishing_overrides(run.record)]
            words = [name, *changes, f"{run.record['test']['accuracy']:.1%}"]
            single[fill(", ".join(words), 18, break_long_words=False)] = images[0]
        else:  # a better run replaces it
            figure = image_rows_figure(images, [""] * len(images), run.class_names)
            _save(figure, folder / f"prototypes_{name}_{len(images)}.png")
    if single:
        figure = image_rows_figure(torch.stack(list(single.values())), list(single), runs[0].class_names)
        _save(figure, folder / "prototypes.png")


def animate_prototypes(snapshots: Mapping[int, Tensor], path: Path) -> None:
    """Writes an animated PNG (APNG) of the first prototype of each class, in two rows, one frame per snapshot.

    snapshots: step -> (K, C, 3, H, W) in [0, 1].
    """
    frames = []
    for prototypes in snapshots.values():
        pixels = tile(in_rows(prototypes[0], 2, ceil(prototypes.shape[1] / 2)))
        frames.append(Image.fromarray(pixels.repeat(3, 0).repeat(3, 1)))
    durations = [500] * (len(frames) - 1) + [3000]  # milliseconds
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0)


def _save(figure: Figure, path: Path) -> None:
    """Writes a file for a page of WIDTH: SVG, or PNG at twice the resolution. Equal figures give equal files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "cifar10"}):
        figure.savefig(path, dpi=192, metadata={"Date": None} if path.suffix == ".svg" else None)
