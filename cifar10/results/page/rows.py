"""The rows of the page's tables: runs that differ in their seed only, and which of them have pictures."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np

from cifar10.errors import UserError
from cifar10.results.command import changes
from cifar10.results.saved_run import FinishedRun
from cifar10.results.table import STUDY, Record, differences, group_by_settings, recipe

MOST_SHOWN = 8
"""Rows with pictures: each takes up to half a megabyte of a page that is to have less than five."""
DataSet = tuple[str, str]
"""The name and the checksum: images of one's own all have the name `folder`."""


class Row(NamedTuple):
    """Runs that differ in nothing but their seed. recipe: with the settings that tell it from rows of the same name."""

    records: list[Record]
    files: list[Path]
    recipe: str
    minutes: float

    @property
    def first(self) -> Record:
        return self.records[0]

    @property
    def model(self) -> str:
        return self.first["model"]

    @property
    def name(self) -> str:
        return f"{self.model}, {self.recipe}"

    @property
    def data(self) -> DataSet:
        return self.first["data"], self.first["data_sha256"]

    @property
    def class_names(self) -> list[str]:
        return list(self.first["test"]["class_accuracy"])

    @property
    def accuracy(self) -> float:
        return mean(record["test"]["accuracy"] for record in self.records)

    @property
    def deviation(self) -> float | None:
        """Of the accuracies over seeds; None of a single one."""
        return stdev(record["test"]["accuracy"] for record in self.records) if len(self.records) > 1 else None

    @property
    def val_accuracy(self) -> float:
        return mean(record["val_accuracy"] for record in self.records)

    @property
    def study(self) -> float | None:
        """What the study of 2019 reached with this model on these images."""
        return STUDY.get(self.model) if self.first["data"] == "cifar10" else None

    @property
    def confusion(self) -> np.ndarray:
        """Counts over all seeds, (C, C); rows are true classes."""
        return np.sum([record["test"]["confusion"] for record in self.records], 0)

    @property
    def rates(self) -> np.ndarray:
        """Shares of the true class that were taken for each class, over all seeds, (C, C)."""
        return self.confusion / self.confusion.sum(1, keepdims=True).clip(min=1)

    @property
    def class_accuracy(self) -> np.ndarray:
        """Mean over seeds, (C,) in [0, 1]."""
        return np.mean([list(record["test"]["class_accuracy"].values()) for record in self.records], 0)


class Shown(NamedTuple):
    """A row with pictures, of its first seed whose weights are there.

    role: `study`, `best`, or both in one. changed: in what a row of the study's recipe differs from the protocol.
    """

    row: Row
    role: str
    changed: str
    run: FinishedRun | None

    @property
    def name(self) -> str:
        return self.row.name


def make_rows(found: dict[Path, Record]) -> tuple[list[Row], list[str]]:
    """Rows in the order of the README's table, and a line for each record that lacks what the page tells."""
    whole, complaints = {}, []
    for file, record in found.items():
        try:
            _check(record)
            whole[id(record)] = file, record
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            complaints.append(f"{file}: of another version, left out ({type(error).__name__}: {error})")
    groups = group_by_settings(record for _, record in whole.values())
    rows = []
    for group, changed in zip(groups, differences(groups), strict=True):
        files = [whole[id(record)][0] for record in group.records]
        name = ", ".join(filter(None, (recipe(group.records[0]), changed)))
        rows.append(Row(group.records, files, name, group.minutes))
    return rows, complaints


def _check(record: Record) -> None:
    for key in ("model", "data", "data_sha256", "seed", "device", "precision", "parameters", "versions", "commit"):
        record[key]
    for key in ("val_accuracy", "val_loss", "best_epoch", "epochs"):
        float(record[key])
    classes = len(record["test"]["class_accuracy"])
    if np.shape(record["test"]["confusion"]) != (classes, classes):
        raise ValueError(f"a confusion matrix of {np.shape(record['test']['confusion'])} for {classes} classes")


def pictured_data(rows: Iterable[Row]) -> DataSet:
    """The data set that the page has pictures of: CIFAR-10, or else the one with the most runs."""
    counts = Counter()
    for row in rows:
        counts[row.data] += len(row.records)
    return max(counts, key=lambda data: (data[0] == "cifar10", counts[data]))


def choose(rows: Sequence[Row]) -> list[Shown]:
    """Of each model its study protocol and, where it is another, the row with the highest validation accuracy."""
    shown = []
    for model in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == model]
        protocol = [row for row in own if recipe(row.first) == "study"]
        study = min(protocol, key=lambda row: (len(_changed(row)), -len(row.records)), default=None)
        best = max(own, key=lambda row: row.val_accuracy)
        roles = {"study best": best} if study is best else {"study": study, "best": best}
        shown += [Shown(row, role, ", ".join(_changed(row)), _run(row)) for role, row in roles.items() if row]
    return shown


def _changed(row: Row) -> list[str]:
    try:
        return changes(row.first)
    except UserError:
        return []


def _run(row: Row) -> FinishedRun | None:
    """None of a record that is kept without its run, as in docs/results/."""
    folders = [file.parent for file in row.files if file.name == "metrics.json"]
    with_weights = [folder for folder in folders if (folder / "best.ckpt").exists()]
    return FinishedRun((with_weights or folders)[0]) if folders else None
