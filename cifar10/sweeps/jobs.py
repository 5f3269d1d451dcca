"""What a sweep's jobs came to, and what is said of them all at the end."""

import csv
import io
import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from math import isfinite, nan
from pathlib import Path
from statistics import mean, stdev
from time import time
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from cifar10.errors import UserError
from cifar10.training.config import explain
from cifar10.training.run_folder import STATUS, monitored, safe_name, words

log = logging.getLogger(__name__)


STATUSES = ("finished", "pruned", "failed", "lost")
"""failed: by its settings or a bug. lost: with its worker or launcher, or since another process has its folder."""


NOWHERE = Path()
"""The folder of a job whose settings make none."""


class Outcome(NamedTuple):
    """Of one job: its run's folder, one of STATUSES, why, in a line, and what its `monitor` was if it finished."""

    folder: Path
    status: str
    message: str = ""
    value: float | None = None


def launched(launcher: Launcher, jobs: Sequence[Sequence[str]], first: int) -> list[Outcome]:
    """What the launcher's jobs, lists of overrides, came to. first: the number of the first one in its sweep.

    Where the launcher itself ends with an error, as joblib, submitit and Ray do for a worker that was killed, each
    job's folder tells what it came to. Raises HydraException for settings that there are not.
    """
    begun = time()
    try:
        return _outcomes(launcher.launch(jobs, initial_job_idx=first))
    except HydraException:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {explain(error)}"
        log.error("the launcher failed: %s", said)
        return [_found(launcher, job, begun, said) for job in jobs]


def settings(launcher: Any, job: Sequence[str]) -> tuple[Path, bool]:
    """Where the job's run is, and whether it is forced; every launcher of Hydra keeps its context and configuration.

    Raises HydraException for settings that there are not.
    """
    config = launcher.hydra_context.config_loader.load_sweep_config(launcher.config, list(job))
    of_hydra, before = HydraConfig.instance(), HydraConfig.instance().cfg
    of_hydra.set_config(config)  # by which the folder's name is resolved
    try:
        return (Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir).absolute(), config.overwrite
    finally:
        of_hydra.cfg = before


def _found(launcher: Launcher, job: Sequence[str], begun: float, otherwise: str) -> Outcome:
    """What the job's folder tells of it. begun: when it was launched, in seconds."""
    folder, forced = settings(launcher, job)
    result, stopped = folder / "metrics.json", folder / STATUS
    if result.exists() and (not forced or result.stat().st_mtime >= begun):
        with suppress(OSError, ValueError, LookupError, TypeError):  # damaged: the job again will say so
            return Outcome(folder, "finished", value=monitored(json.loads(result.read_text())))
    if stopped.exists() and stopped.stat().st_mtime >= begun:
        status, _, message = stopped.read_text().strip().partition(": ")
        return Outcome(folder, status, message)
    return Outcome(folder, "lost", otherwise)


def _outcomes(returns: Iterable[JobReturn]) -> list[Outcome]:
    """What the jobs returned; one that ended otherwise, by a bug, has failed."""
    found = []
    for job in returns:
        if job.status == JobStatus.COMPLETED:
            found.append(job.return_value)
        else:
            error, folder = job._return_value, job.hydra_cfg.hydra.runtime.output_dir if job.hydra_cfg else NOWHERE
            found.append(Outcome(Path(folder), "failed", f"{type(error).__name__}: {explain(error)}"))
    return found


def distinct(jobs: Sequence[Sequence[str]]) -> list[list[str]]:
    """Each list of overrides once: two of the same would share a folder."""
    return [list(job) for job in dict.fromkeys(tuple(job) for job in jobs)]


def finish(done: Sequence[Outcome], arguments: Sequence[str], config: DictConfig) -> None:
    """Prints the table of a sweep's runs, best first, and keeps it as a CSV file, whose name the arguments make.

    Raises UserError where a job has failed or was lost.
    """
    from cifar10.files import write_atomically
    from cifar10.results.table import find_records, group_by_settings

    folders = list(dict.fromkeys(outcome.folder for outcome in done if outcome.status == "finished"))
    found, complaints = find_records(folders)
    rows = table(group_by_settings(found.values()))
    counts = Counter(outcome.status for outcome in done)
    lines = [", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status]) or "no job"]
    for outcome in done:
        if outcome.message:
            where = f" ({outcome.folder})" if outcome.folder != NOWHERE else ""
            lines.append(f"{outcome.status}: {outcome.message}{where}")
    lines += complaints
    if rows:
        name = safe_name(" ".join(words(arguments))) or "defaults"
        path = Path(str(config.runs)) / "sweeps" / f"{name}.csv"
        write_atomically(path, lambda file: file.write(as_csv(rows).encode()))
        lines += [as_text(rows), f"kept as {path}"]
    log.info("%s", "\n".join(lines))
    if failed := [outcome.message for outcome in done if outcome.status in ("failed", "lost")]:
        raise UserError(f"{len(failed)} of {len(done)} jobs failed: {failed[0]}")


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
