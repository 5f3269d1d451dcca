"""Reads records (`metrics.json`) of finished runs into a table with one row per run."""

import json
import shlex
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError

from cifar10.training.config import fill_defaults, flatten
from cifar10.training.run_folder import DEFAULT_DATA, STATUS, WITHOUT_EFFECT

Record = dict[str, Any]
"""The content of a run's `metrics.json`."""
COLUMNS = ["model", "experiment", "data", "data_sha256", "seed", "changes", "accuracy", "loss", "val_accuracy"]
COLUMNS += ["val_loss", "settings", "seconds", "device", "precision", "commit", "path", "record"]
IN_OWN_COLUMN = ("model", "experiment", "data", "seed", "search")
"""Overrides that the columns of a table show already, or that choose a search space."""


class _Test(BaseModel):
    model_config = ConfigDict(strict=True)

    accuracy: float
    loss: float
    class_accuracy: dict[str, float]
    confusion: list[list[int]]


def _is_square(test: _Test) -> _Test:
    classes = len(test.class_accuracy)
    if [len(row) for row in test.confusion] != [classes] * classes:
        raise ValueError(f"expected a confusion matrix of {classes} x {classes}")
    return test


class _Schema(BaseModel):
    """The fields of a record that tables and page read."""

    model_config = ConfigDict(strict=True)

    model: str
    data: str
    data_sha256: str
    seed: int
    test: Annotated[_Test, AfterValidator(_is_square)]
    best_epoch: int
    epochs: int
    val_accuracy: float
    val_loss: float
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
        files = [path] if path.is_file() else sorted(path.rglob("*.json"))
        configs = sorted(file for file in path.rglob("config.yaml") if not file.with_name("metrics.json").exists())
        skipped += [f"{config.parent}: {_why_unfinished(config.parent)}" for config in configs]
        if not files and not configs:
            skipped.append(f"{path}: no finished run here")
        for file in files:
            try:
                records[file.resolve()] = read_record(file)
            except (OSError, ValueError) as error:
                skipped.append(f"{file}: not a run's metrics.json ({_one_line(error)})")
    rows = [_row(file, records[file]) for file in _once(records, skipped)]
    runs = pd.DataFrame(rows, columns=COLUMNS)
    runs.attrs["skipped"] = skipped
    return runs


def read_record(file: Path) -> Record:
    """Returns the content of a `metrics.json`. Raises OSError, or ValueError for anything else."""
    record = json.loads(file.read_text())
    TypeAdapter(_Schema).validate_python(record)
    try:
        settings(record)
    except ImportError as error:
        raise ValueError(f"config: {error}") from error
    return record


def settings(record: Record) -> dict[str, Any]:
    """Returns the settings that affect a run's result, without its seed, by their names on the command line."""
    ignored = {"seed", *WITHOUT_EFFECT}
    return {name: value for name, value in flatten(fill_defaults(record["config"])) if name not in ignored}


def settings_key(record: Record) -> str:
    """Returns a text that is equal for runs of the same model, settings and data, on any device by any seed."""
    numbers = {name: float(value) if type(value) is int else value for name, value in settings(record).items()}
    return json.dumps([record["model"], record["data_sha256"], numbers], sort_keys=True)


def experiment(record: Record) -> str:
    """Returns the experiment that the run's settings come from, or `study`."""
    return record["config"].get("experiment", "study")


def distinguishing_overrides(record: Record) -> list[str]:
    """Returns the overrides that set a run apart from its model, experiment and data set, sorted.

    Empty for a run that was not started from the command line.
    """
    dropped = {*IN_OWN_COLUMN, *WITHOUT_EFFECT} - ({"data.root"} if record["data"] != DEFAULT_DATA else set())
    return sorted(text for text in record.get("overrides") or [] if override_key(text) not in dropped)


def override_key(text: str) -> str:
    """Returns the name of the setting: `data.root` for `+data.root=PATH`."""
    return text.lstrip("+~").partition("=")[0]


def command(record: Record) -> str | None:
    """Returns the command that trains the run, or None for one that was not started from the command line."""
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


def _once(records: dict[Path, Record], skipped: list[str]) -> list[Path]:
    """Returns one file per settings and seed, in the order of `records`; reports different results as skipped."""
    chosen: dict[tuple[str, int], Path] = {}
    for file in sorted(records, key=lambda file: file.name == "metrics.json"):
        run = settings_key(records[file]), records[file]["seed"]
        if run in chosen and records[chosen[run]]["test"] != records[file]["test"]:
            skipped.append(f"{chosen[run]}: {file} has the same settings and seed, and is counted")
        chosen[run] = file
    kept = set(chosen.values())
    return [file for file in records if file in kept]


def _why_unfinished(folder: Path) -> str:
    try:
        return (folder / STATUS).read_text().strip()
    except OSError:
        return "not finished; repeat its command to resume it"


def _one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(f"{type(error).__name__}: {error}".split())
