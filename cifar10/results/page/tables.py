"""Builds the tables of the page as DataFrames of text. The first column is the row header."""

import re
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cifar10.models.test_predictions import most_confused
from cifar10.results.figures import MAX_CLASSES
from cifar10.results.records import command
from cifar10.results.table import class_accuracy

STUDY_PAIRS = (("cat", "dog"), ("dog", "cat"), ("truck", "automobile"), ("automobile", "truck"))
"""The confusions that the study discusses: (true class, prediction)."""
NUMBER = re.compile(r"[\d.,]*%?( ± [\d.]+| \([\d, ]+\))?")


class Table(NamedTuple):
    id: str
    caption: str
    cells: pd.DataFrame

    @property
    def numeric(self) -> list[bool]:
        return [all(map(NUMBER.fullmatch, self.cells.iloc[:, at])) for at in range(self.cells.shape[1])]


def confusions(rows: pd.DataFrame) -> Table:
    """Returns the confusions that the study discusses, where the classes exist, and the most confused pair."""
    names = list(rows["records"].iloc[0][0]["test"]["class_accuracy"])
    pairs = [pair for pair in STUDY_PAIRS if set(pair) <= set(names)]
    cells = []
    for row in rows.itertuples():
        counts = np.sum([record["test"]["confusion"] for record in row.records], 0)
        rates = counts / counts.sum(1, keepdims=True).clip(min=1)
        first, second = most_confused(counts)
        both = ((first, second), (second, first))
        worst = ", ".join(f"{names[true]} as {names[label]} {rates[true, label]:.1%}" for true, label in both)
        shares = {f"{true} as {label}": f"{rates[names.index(true), names.index(label)]:.1%}" for true, label in pairs}
        cells.append({"model": f"{row.model}, {row.name}", **shares, "most confused pair": worst})
    return Table("named", "Fraction of the true class's test images, over all seeds", pd.DataFrame(cells))


def class_accuracies(rows: pd.DataFrame) -> Table:
    """Returns a column per class, limited to the MAX_CLASSES classes of lowest mean accuracy."""
    names = np.array(list(rows["records"].iloc[0][0]["test"]["class_accuracy"]))
    values = np.array([class_accuracy(row) for row in rows.itertuples()])
    kept = np.sort(values.mean(0).argsort()[:MAX_CLASSES])
    cells = pd.DataFrame(values[:, kept], columns=names[kept]).map("{:.1%}".format)
    cells.insert(0, "model", list(rows["model"] + ", " + rows["name"]), allow_duplicates=True)
    lowest = f", the {len(kept)} lowest of {len(names)}" if len(kept) < len(names) else ""
    return Table("by-class", f"Accuracy of each class, mean over seeds{lowest}", cells)


def provenance(runs: pd.DataFrame) -> Table:
    """Returns one row per run: command, accuracy, seconds by phase, commit, version of PyTorch, device, precision."""
    phases = list(dict.fromkeys(phase for record in runs["record"] for phase in record["seconds"]))

    def cells(run: Any) -> dict[str, str]:
        seconds, commit = run.record["seconds"], run.commit or "none"
        return {
            "command": command(run.record) or f"unknown: {run.path}",
            "test accuracy": f"{run.accuracy:.2%}",
            **{f"{phase}, s": f"{seconds[phase]:,.1f}" if phase in seconds else "" for phase in phases},
            "commit": commit[:10] + "+" * commit.endswith("+"),
            "torch": run.record["versions"].get("torch", ""),
            "device": run.device,
            "precision": run.precision,
        }

    caption = "One row per run; + marks uncommitted changes"
    return Table("runs", caption, pd.DataFrame([cells(run) for run in runs.itertuples()]))
