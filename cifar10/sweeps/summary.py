"""Summarizes the jobs of a sweep: counts, messages, and a table of the finished runs."""

import csv
import io
import logging
from collections import Counter
from collections.abc import Sequence
from math import isfinite, nan
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from omegaconf import DictConfig

from cifar10.errors import UserError
from cifar10.sweeps.jobs import NO_FOLDER, STATUSES, JobResult
from cifar10.training.run_folder import safe_name, words

log = logging.getLogger(__name__)


def summarize(results: Sequence[JobResult], arguments: Sequence[str], config: DictConfig) -> None:
    """Logs the results and the table of the finished runs, best first, which is also written to `<runs>/sweeps/`.

    arguments: the sweep's overrides, from which the file's name is made. Raises UserError where a job failed or was
    lost.
    """
    from cifar10.files import write_atomically
    from cifar10.results.table import find_records, group_by_settings

    counts = Counter(result.status for result in results)
    lines = [", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status]) or "no job"]
    for result in results:
        if result.message:
            folder = f" ({result.folder})" if result.folder != NO_FOLDER else ""
            lines.append(f"{result.status}: {result.message}{folder}")
    found, skipped = find_records(dict.fromkeys(result.folder for result in results if result.status == "finished"))
    lines += skipped
    if rows := table(group_by_settings(found.values())):
        path = Path(str(config.runs), "sweeps", f"{safe_name(' '.join(words(arguments))) or 'defaults'}.csv")
        write_atomically(path, lambda file: file.write(as_csv(rows).encode()))
        lines += [as_text(rows), f"table: {path}"]
    log.info("%s", "\n".join(lines))
    if failed := [result.message for result in results if result.status in ("failed", "lost")]:
        raise UserError(f"{len(failed)} of {len(results)} jobs failed: {failed[0]}")


def table(groups: Sequence[Any]) -> list[dict[str, str]]:
    """A row for each group of `cifar10.results.table`, in `best_first`'s order: means, deviations, n.

    Shares are in percent, deviations empty for n = 1.
    """
    from cifar10.results.table import best_first, differences, recipe

    rows, groups = [], best_first(groups)
    for group, changed in zip(groups, differences(groups), strict=True):
        first = group.records[0]
        row = {"model": first["model"], "experiment": recipe(first), "data": first["data"], "settings": changed}
        row |= {"n": str(len(group.records)), "seeds": " ".join(str(record["seed"]) for record in group.records)}
        for name, values in {
            "val_accuracy": [100 * record["val_accuracy"] for record in group.records],
            "val_loss": [record["val_loss"] for record in group.records],
            "test_accuracy": [100 * accuracy for accuracy in group.accuracies],
        }.items():
            row |= _mean_and_deviation(name, values, 4 if name == "val_loss" else 2)
        rows.append(row | {"minutes": f"{group.minutes:.1f}"})
    return rows


def _mean_and_deviation(name: str, values: Sequence[float], digits: int) -> dict[str, str]:
    deviation = ""
    if len(values) > 1:
        deviation = f"{stdev(values) if all(map(isfinite, values)) else nan:.{digits}f}"
    return {name: f"{mean(values):.{digits}f}", f"{name}_std": deviation}


def as_csv(rows: Sequence[dict[str, str]]) -> str:
    """The rows with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_text(rows: Sequence[dict[str, str]]) -> str:
    """The rows in columns for a terminal, without those that are empty throughout."""
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    cells = [names, *([row[name] for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )
