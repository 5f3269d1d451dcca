"""Summarizes the jobs of a sweep: counts, messages, and a table of the finished runs."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

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
    from cifar10.results import load
    from cifar10.results.table import aggregate, best_first, to_csv, to_text

    counts = Counter(result.status for result in results)
    lines = [", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status]) or "no job"]
    for result in results:
        if result.message:
            folder = f" ({result.folder})" if result.folder != NO_FOLDER else ""
            lines.append(f"{result.status}: {result.message}{folder}")
    runs = load(dict.fromkeys(result.folder for result in results if result.status == "finished"))
    lines += runs.attrs["skipped"]
    if len(runs):
        rows = best_first(aggregate(runs))
        path = Path(str(config.runs), "sweeps", f"{safe_name(' '.join(words(arguments))) or 'defaults'}.csv")
        write_atomically(path, lambda file: file.write(to_csv(rows).encode()))
        lines += [to_text(rows), f"table: {path}"]
    log.info("%s", "\n".join(lines))
    if failed := [result.message for result in results if result.status in ("failed", "lost")]:
        raise UserError(f"{len(failed)} of {len(results)} jobs failed: {failed[0]}")
