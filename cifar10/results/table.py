"""Finished runs as one table: mean and standard deviation over seeds, minutes, device."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from cifar10.training.config import fill_defaults, flatten
from cifar10.training.run_folder import STATUS, WITHOUT_EFFECT

STUDY = {"Prototype": 0.2876, "MLP": 0.507, "CNN": 0.759}
"""Test accuracy that the notebook of 2019 reached, by model."""
STUDY_DELTA = "redmean"
"""The colour difference of its prototypes."""

Record = dict[str, Any]
"""A run's `metrics.json`."""


class Group(NamedTuple):
    """Runs that differ in nothing but their seed, sorted by it."""

    records: list[Record]

    @property
    def accuracies(self) -> list[float]:
        return [record["test"]["accuracy"] for record in self.records]

    @property
    def minutes(self) -> float:
        """Mean of what a run spent on reading the data, training, validation and test."""
        return mean(sum(record["seconds"].values()) for record in self.records) / 60


def read_records(paths: Iterable[Path]) -> tuple[list[Record], list[str]]:
    """The records at or below `paths`, and a line for each path, file or unfinished run that holds none."""
    found, complaints = find_records(paths)
    return list(found.values()), complaints


def find_records(paths: Iterable[Path]) -> tuple[dict[Path, Record], list[str]]:
    """As `read_records`, with the file that each record is from.

    A run counts once: named twice, copied, or repeated with the same settings and seed. A run's own folder goes before
    a copy, what comes later before what comes earlier.
    """
    found: dict[Path, Record] = {}
    complaints = []
    for path in paths:
        files = [path] if path.is_file() else sorted(path.rglob("*.json"))
        begun = sorted(file.parent for file in path.rglob("config.yaml") if not file.with_name("metrics.json").exists())
        complaints += [f"{folder}: {_why_unfinished(folder)}" for folder in begun]
        if not files and not begun:
            complaints.append(f"{path}: no finished run here")
        for file in files:
            try:
                record = json.loads(file.read_text())
                record["test"]["accuracy"], record["seed"], sum(record["seconds"].values()), record["config"]["data"]
                record["val_accuracy"], record["val_loss"]
                settings_key(record)  # its model and data are still known
                found[file.resolve()] = record
            except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
                complaints.append(f"{file}: not a run's metrics.json ({type(error).__name__}: {error})")
    once: dict[tuple[str, int], Path] = {}
    for file in sorted(found, key=lambda file: file.name == "metrics.json"):
        run = settings_key(found[file]), found[file]["seed"]
        if run in once and found[once[run]]["test"] != found[file]["test"]:
            complaints.append(f"{once[run]}: {file} has the same settings and seed, and is counted")
        once[run] = file
    kept = set(once.values())
    return {file: record for file, record in found.items() if file in kept}, complaints


def _why_unfinished(folder: Path) -> str:
    try:
        return (folder / STATUS).read_text().strip()
    except OSError:
        return "not finished; the command that began it goes on"


def recipe(record: Record) -> str:
    """`study`, or the experiment that the run's settings came from."""
    return record["config"].get("experiment", "study")


def settings_key(record: Record) -> str:
    """What makes runs comparable: all settings but the seed and those without effect, data, device, precision."""
    config = deepcopy(fill_defaults(record["config"]))
    for key in ("seed", "checkpoint", *WITHOUT_EFFECT):
        group, _, name = key.rpartition(".")
        (config.get(group, {}) if group else config).pop(name, None)
    compared = [config, *(record[name] for name in ("model", "data_sha256", "device", "precision"))]
    return json.dumps(_with_floats(compared), sort_keys=True)


def _with_floats(value: Any) -> Any:
    """The same with every number as a float: a setting of 0 is one of 0.0."""
    if isinstance(value, dict):
        return {name: _with_floats(child) for name, child in value.items()}
    if isinstance(value, list):
        return [_with_floats(child) for child in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def group_by_settings(records: Iterable[Record]) -> list[Group]:
    """One group for each set of settings without the seed: CIFAR-10 first, the study's models in order, by accuracy."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(settings_key(record), []).append(record)
    order = list(STUDY)
    found = [Group(sorted(group, key=lambda record: record["seed"])) for group in groups.values()]

    def place(group: Group) -> tuple[bool, int, float, str]:
        model, data = (group.records[0][name] for name in ("model", "data"))
        rank = order.index(model) if model in order else len(order)
        return data != "cifar10", rank, mean(group.accuracies), settings_key(group.records[0])

    return sorted(found, key=place)


def best_first(groups: Iterable[Group]) -> list[Group]:
    """By validation accuracy, of equal ones by validation loss; never by the test set: what is best is chosen so."""

    def place(group: Group) -> tuple[float, ...]:
        return -mean(record["val_accuracy"] for record in group.records), mean(one["val_loss"] for one in group.records)

    return sorted(groups, key=place)


def differences(groups: Sequence[Group]) -> list[str]:
    """For each group the settings in which it differs from most others of the same model, recipe and data, or ""."""
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    flat = []
    for group in groups:
        first = group.records[0]
        key = (first["model"], recipe(first), first["data"])
        settings, _, checksum, device, precision = json.loads(settings_key(first))
        settings |= {"data": settings["data"] | {"sha256": str(checksum)[:8]}, "device": device, "precision": precision}
        flat.append((key, {name: str(value).removesuffix(".0") for name, value in flatten(settings)}))
        alike.setdefault(key, []).append(flat[-1][1])
    texts = []
    for key, settings in flat:
        changed = [name for name in settings if settings[name] != _usual(other.get(name) for other in alike[key])]
        texts.append(", ".join(f"{name.rpartition('.')[2]}={settings[name]}" for name in changed))
    return texts


def _usual(values: Iterable[Any]) -> Any:
    """The most frequent one; None where two are."""
    (first, count), *rest = Counter(values).most_common(2)
    return first if not rest or rest[0][1] < count else None


def markdown_table(groups: Sequence[Group]) -> str:
    """The README's result table."""
    lines = [
        "| model | recipe | data | study | here: test accuracy | seeds | minutes a run | device, precision |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for group, changed in zip(groups, differences(groups), strict=True):
        first, accuracies = group.records[0], group.accuracies
        name = f"{recipe(first)}, {changed}" if changed else recipe(first)
        spread = f" ± {100 * stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
        seeds = ", ".join(str(record["seed"]) for record in group.records)
        study = f"{STUDY[first['model']]:.2%}" if first["data"] == "cifar10" and first["model"] in STUDY else ""
        lines.append(
            f"| {first['model']} | {name} | {first['data']} | {study} | **{mean(accuracies):.2%}**{spread} "
            f"| {len(accuracies)} ({seeds}) | {group.minutes:.1f} | {first['device']}, {first['precision']} |"
        )
    return "\n".join(lines)
