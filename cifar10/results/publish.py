"""What the repository keeps of finished runs: `docs/results/`, README's table, the figures of README and docs."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure

from cifar10.errors import UserError
from cifar10.results.figures.confusion import confusion_figure, confusions_figure
from cifar10.results.figures.curves import calibration, class_accuracy_figure, history_figure, reliability_figure
from cifar10.results.figures.images import captioned_figure, image_rows_figure
from cifar10.results.figures.run_figures import confused_pair_figure, first_layer_figure, mistakes_figure
from cifar10.results.page.rows import Row, choose, make_rows
from cifar10.results.saved_run import FinishedRun
from cifar10.results.table import (
    Group,
    Record,
    differences,
    find_records,
    group_by_settings,
    markdown_table,
    recipe,
    settings_key,
)

TABLE = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)
SIDE = 0.62
"""Inches of an image among many: at 72 dots an inch little more than its pixels."""
EXAMPLE = 6
"""The class whose way from noise is shown: the frog, as in the study."""


def publish(records: Sequence[Record], runs: Sequence[FinishedRun], root: Path) -> list[str]:
    """Adds the records to docs/results/, then makes table and comparisons from all there; pictures from `runs`.

    root: of the repository. Pictures of runs that are not given stay as they are. Returns a line for each run whose
    files do not make its pictures.
    """
    _keep(records, root / "docs/results")
    found, _ = find_records([root / "docs/results"])
    table = markdown_table(group_by_settings(found.values()))
    readme = root / "README.md"
    readme.write_text(TABLE.sub(lambda part: part[1] + table + "\n" + part[2], readme.read_text()))
    chosen = choose([row for row in make_rows(found)[0] if row.first["data"] == "cifar10"])
    study = [one.row for one in chosen if "study" in one.role]
    if study:
        _compare(study, [one.row for one in chosen if "best" in one.role], root / "docs")

    first: dict[str, FinishedRun] = {}
    left_out = []
    for run in sorted(runs, key=lambda run: run.record["seed"], reverse=True):
        if run.record["data"] == "cifar10":
            first[settings_key(run.record)] = run
    for key, run in list(first.items()):
        try:
            _ = run.model
        except UserError as error:
            left_out.append(str(error))
            del first[key]
    by_accuracy = sorted(first.values(), key=lambda run: run.record["test"]["accuracy"])
    _publish_prototypes([run for run in by_accuracy if run.record["model"] == "Prototype"], root / "docs")
    for key in {settings_key(row.first) for row in study} & first.keys():
        try:
            _publish_run(first[key], root / "docs/pictures")
        except UserError as error:
            left_out.append(str(error))
    return left_out


def _keep(records: Sequence[Record], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    kept = {}  # (settings, seed) -> file: hashes of settings change when the project gets new ones, names stay
    for file in folder.glob("*.json"):
        record = json.loads(file.read_text())
        kept[settings_key(record), record["seed"]] = file
    for record in records:
        for group, place in ((record["config"], "runs"), (record["config"]["data"], "root")):
            group.pop(place, None)  # of one machine
        key = settings_key(record), record["seed"]
        name = f"{record['model'].lower()}-{recipe(record)}-{record['data']}-{_hash(record)}-seed{record['seed']}.json"
        kept.get(key, folder / name).write_text(json.dumps(record) + "\n")


def _compare(study: Sequence[Row], best: Sequence[Row], folder: Path) -> None:
    """What each model takes for what, by the study's protocol, and what the recipes change in each class."""
    shown = [row.first for row in study]
    names = study[0].class_names
    titles = [f"{record['model']}, {record['test']['accuracy']:.1%}" for record in shown]
    _save(confusions_figure([one["test"]["confusion"] for one in shown], titles, names), folder / "confusions.png", 80)
    accuracies = {row.name: row.class_accuracy for row in (*study, *best)}
    _save(class_accuracy_figure(accuracies, names), folder / "pictures/class_accuracy.png", 80)


def _publish_prototypes(runs: Sequence[FinishedRun], folder: Path) -> None:
    """A row for each run with one prototype per class, in one picture; those with K a picture each, in K rows.

    Of several runs of one recipe and K > 1 it is the one that validates best.
    """
    single, several = {}, {}
    for run, changed in zip(runs, differences([Group([run.record]) for run in runs]), strict=True):
        prototypes = run.model.prototypes.detach().unflatten(0, (len(run.class_names), -1)).transpose(0, 1)
        label = ", ".join(filter(None, (recipe(run.record), changed, f"{run.record['test']['accuracy']:.1%}")))
        if len(prototypes) == 1:
            single[label.replace(", ", "\n")] = prototypes[0]
        else:
            found = run.record["val_accuracy"], prototypes
            name = f"prototypes_{recipe(run.record)}_{len(prototypes)}.png"
            several[name] = max(found, several.get(name, found), key=lambda one: one[0])
    for name, (_, prototypes) in several.items():
        figure = image_rows_figure(prototypes, [""] * len(prototypes), runs[0].class_names, side=SIDE)
        _save(figure, folder / name)
    if single:
        figure = image_rows_figure(torch.stack(list(single.values())), list(single), runs[0].class_names, side=SIDE)
        _save(figure, folder / "prototypes.png")


def _publish_run(run: FinishedRun, folder: Path) -> None:
    """What the study shows of a model, and what this project adds to it."""
    names, said, images, title = run.class_names, run.predictions, run.data.test_images, run.title
    figures: dict[str, Figure | None] = {
        "confusion": confusion_figure(torch.from_numpy(said.confusion(len(names))), names, title),
        "history": history_figure(run.history, run.record["best_epoch"], title),
        "pair": confused_pair_figure(said, images, names, title),
        "mistakes": mistakes_figure(said, images, names, title),
        "calibration": reliability_figure(calibration(said.probabilities, said.labels), title),
        "first_layer": first_layer_figure(run.model, title),
    }
    if run.evolution:
        frames = torch.stack([frame[0] for frame in run.evolution.values()])  # (steps, C, 3, H, W)
        figures["begun"] = captioned_figure(frames[[0, -1], EXAMPLE], ["random image", f"typical {names[EXAMPLE]}"], 2)
        figures["typical"] = captioned_figure(frames[-1], names, 5, title)
        titles = [f"step {step}" if step else "random" for step in run.evolution]
        figures["evolution"] = image_rows_figure(frames, titles, names, title, SIDE)
    for name, figure in figures.items():
        if figure is not None:
            _save(figure, folder / f"{run.record['model'].lower()}_{name}.png")


def _save(figure: Figure, path: Path, dpi: int = 72) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)


def _hash(record: Record) -> str:
    return hashlib.sha256(settings_key(record).encode()).hexdigest()[:8]
