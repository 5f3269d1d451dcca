"""Builds the page's tables as DataFrames of text. The first column is the heading of a row."""

from typing import Any

import numpy as np
import pandas as pd

from cifar10.models.test_predictions import most_confused
from cifar10.results.figures.registry import MAX_CLASSES
from cifar10.results.records import Record, command
from cifar10.results.table import class_accuracy

NAMED = (("cat", "dog"), ("dog", "cat"), ("truck", "automobile"), ("automobile", "truck"))
"""The confusions that the study discusses: true class, prediction."""


def confusions(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the study's confusions, where there are such classes, and each row's most confused pair."""
    names = list(rows["records"].iloc[0][0]["test"]["class_accuracy"])
    named = [pair for pair in NAMED if set(pair) <= set(names)]
    cells = []
    for row in rows.itertuples():
        counts = np.sum([record["test"]["confusion"] for record in row.records], 0)
        rates = counts / counts.sum(1, keepdims=True).clip(min=1)
        first, second = most_confused(counts)
        cells.append(
            {"model": f"{row.model}, {row.name}"}
            | {f"{true} as {label}": f"{rates[names.index(true), names.index(label)]:.1%}" for true, label in named}
            | {"most confused pair": f"{names[first]} as {names[second]}, {names[second]} as {names[first]}"}
            | {"first": f"{rates[first, second]:.1%}", "second": f"{rates[second, first]:.1%}"}
        )
    return pd.DataFrame(cells)


def class_accuracies(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns a column for each class, of many classes for those of lowest mean accuracy."""
    names = list(rows["records"].iloc[0][0]["test"]["class_accuracy"])
    values = np.array([class_accuracy(row) for row in rows.itertuples()])
    kept = np.sort(values.mean(0).argsort()[:MAX_CLASSES])
    table = pd.DataFrame(values[:, kept], columns=[names[place] for place in kept]).map("{:.1%}".format)
    table.insert(0, "model", list(rows["model"] + ", " + rows["name"]), allow_duplicates=True)
    return table


def versions(runs: pd.DataFrame) -> dict[str, str]:
    """Returns versions of the libraries -> a letter, in the order of the runs."""
    texts = dict.fromkeys(map(_versions, runs["record"]))
    return {text: chr(ord("A") + place) if place < 26 else str(place + 1) for place, text in enumerate(texts)}


def _versions(record: Record) -> str:
    return ", ".join(f"{name} {version}" for name, version in record["versions"].items())


def provenance(runs: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per run: command, result, seconds by phase, commit, versions, device, precision."""
    letters = versions(runs)
    phases = list(dict.fromkeys(phase for record in runs["record"] for phase in record["seconds"]))

    def cells(run: Any) -> dict[str, str]:
        seconds, commit = run.record["seconds"], run.commit or "none"
        return {
            "command": command(run.record) or f"unknown: {run.path}",
            "test accuracy": f"{run.accuracy:.2%}",
            **{f"{phase}, s": f"{seconds[phase]:,.1f}" if phase in seconds else "" for phase in phases},
            "commit": commit[:10] + "+" * commit.endswith("+"),
            "versions": letters[_versions(run.record)],
            "device": run.device,
            "precision": run.precision,
        }

    return pd.DataFrame([cells(run) for run in runs.itertuples()])
