"""Reads records (`metrics.json`) of finished runs into a table with one row per run."""

import json
import os
import shlex
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Self

import pandas as pd
from pydantic import BaseModel, ValidationError, model_validator

from cifar10.errors import one_line
from cifar10.training.config import flatten
from cifar10.training.run_folder import CONFIG, NOT_COMPARED, OFFICIAL_DATA, RESULT, STATUS, comparable

Record = dict[str, Any]
"""The content of a run's `metrics.json`."""
MODEL_CARD = "card.json"
"""File of `scripts/export.py` in run folders; not a record."""
COLUMNS = ["model", "experiment", "data", "data_sha256", "seed", "changes", "accuracy", "loss", "val_accuracy"]
COLUMNS += ["val_loss", "settings", "seconds", "device", "precision", "commit", "path", "record"]


class _Test(BaseModel, strict=True):
    accuracy: float
    loss: float | None  # None: not finite, which JSON lacks
    class_accuracy: dict[str, float]
    confusion: list[list[int]]

    @model_validator(mode="after")
    def _confusion_is_square(self) -> Self:
        classes = len(self.class_accuracy)
        if [len(row) for row in self.confusion] != [classes] * classes:
            raise ValueError(f"expected a confusion matrix of {classes} x {classes}")
        return self


class _Schema(BaseModel, strict=True):
    """The fields of a record that the tables and the page read."""

    model: str
    data: str
    data_sha256: str
    seed: int
    test: _Test
    best_epoch: int
    epochs: int
    val_accuracy: float
    val_loss: float | None
    seconds: dict[str, float]
    parameters: int
    device: str
    precision: str
    versions: dict[str, str]
    commit: str | None
    config: dict[str, Any]
    overrides: list[str] | None = None


def read_runs(paths: str | PathLike[str] | Iterable[str | PathLike[str]]) -> pd.DataFrame:
    """Implements `cifar10.results.load`."""
    skipped: list[str] = []
    records: dict[Path, Record] = {}
    for path in map(Path, [paths] if isinstance(paths, str | PathLike) else paths):
        files = [path] if path.is_file() else list(_walk(path, skipped))
        unfinished = [file.parent for file in files if file.name == CONFIG and not file.with_name(RESULT).exists()]
        files = [file for file in files if file == path or (file.suffix == ".json" and file.name != MODEL_CARD)]
        skipped += [f"{folder}: {_why_unfinished(folder)}" for folder in unfinished]
        if not files and not unfinished:
            skipped.append(f"{path}: no finished run found")
        for file in files:
            try:
                records[file.resolve()] = _read_record(file)
            except (OSError, ValueError) as error:
                skipped.append(f"{file}: not a run's metrics.json ({_reason(error)})")
    rows = [_row(file, records[file]) for file in _drop_duplicates(records, skipped)]
    runs = pd.DataFrame(rows, columns=COLUMNS).astype({"loss": float, "val_loss": float})
    runs.attrs["skipped"] = skipped
    return runs


def _walk(path: Path, skipped: list[str]) -> Iterator[Path]:
    """Yields the files below a folder, through symbolic links, each folder once; reports what it cannot read."""

    def report(error: OSError) -> None:
        if Path(error.filename) != path:
            skipped.append(f"{error.filename}: {error.strerror}")

    visited = set()
    for folder, folders, names in os.walk(path, onerror=report, followlinks=True):
        if (target := Path(folder).resolve()) in visited:
            skipped.append(f"{folder}: links to {target}, which is read already")
            folders.clear()
            continue
        visited.add(target)
        folders.sort()
        for file in (Path(folder, name) for name in sorted(names)):
            if file.is_symlink() and not file.exists():
                skipped.append(f"{file}: broken symbolic link")
            else:
                yield file


def _read_record(file: Path) -> Record:
    record: Record = json.loads(file.read_text())
    _Schema.model_validate(record)
    return record


def settings(record: Record) -> dict[str, Any]:
    """Returns the settings that affect a run's result, without its seed: name on the command line -> value."""
    ignored = {"seed", *NOT_COMPARED}
    return {name: value for name, value in flatten(record["config"]) if name not in ignored}


def settings_key(record: Record) -> str:
    """Returns a key that runs of the same model, settings and data share, on any device and with any seed."""
    values = {name: comparable(name, value) for name, value in settings(record).items()}
    return json.dumps([record["model"], record["data_sha256"], values], sort_keys=True)


def experiment(record: Record) -> str:
    """Returns the name of the run's experiment; `study` is the default."""
    return record["config"].get("experiment", "study")


def distinguishing_overrides(record: Record) -> list[str]:
    """Returns a run's overrides other than model, experiment, data set and seed; [] for runs without Hydra."""
    own_columns = ("model", "experiment", "data", "seed", "search")
    dropped = {*own_columns, *NOT_COMPARED} - ({"data.root"} if record["data"] not in OFFICIAL_DATA else set())
    return sorted(text for text in record.get("overrides") or [] if override_key(text) not in dropped)


def override_key(text: str) -> str:
    """Returns the setting's name: `data.root` for `+data.root=PATH`."""
    return text.lstrip("+~").partition("=")[0]


def command(record: Record) -> str | None:
    """Returns the command that trains the run, or None for a run that was started from Python."""
    if record.get("overrides") is None:
        return None
    seed = [] if any(override_key(text) == "seed" for text in record["overrides"]) else [f"seed={record['seed']}"]
    return f"python train.py {shlex.join([*record['overrides'], *seed])}"


def _row(file: Path, record: Record) -> dict[str, Any]:
    return {name: record.get(name) for name in COLUMNS} | {
        "experiment": experiment(record),
        "changes": ", ".join(distinguishing_overrides(record)),
        "accuracy": record["test"]["accuracy"],
        "loss": record["test"]["loss"],
        "settings": settings(record),
        "seconds": sum(record["seconds"].values()),
        "path": file,
        "record": record,
    }


def _drop_duplicates(records: dict[Path, Record], skipped: list[str]) -> list[Path]:
    """Returns one file per settings and seed, in the order of `records`; reports duplicates with other results."""
    chosen: dict[tuple[str, int], Path] = {}
    for file in sorted(records, key=lambda file: file.name == RESULT):
        run = settings_key(records[file]), records[file]["seed"]
        if run in chosen and records[chosen[run]]["test"] != records[file]["test"]:
            skipped.append(f"{chosen[run]}: superseded by {file}, which has the same settings and seed")
        chosen[run] = file
    kept = set(chosen.values())
    return [file for file in records if file in kept]


def _why_unfinished(folder: Path) -> str:
    try:
        return (folder / STATUS).read_text().strip()
    except OSError:
        return "not finished; repeat its command to resume it"


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return one_line(error)
