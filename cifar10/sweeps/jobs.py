"""Runs the jobs of a sweep, collects their results and summarizes them."""

import json
import logging
import multiprocessing
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import time
from typing import NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from cifar10.errors import UserError
from cifar10.training.config import explain
from cifar10.training.distributed import exit_with_parent
from cifar10.training.run_folder import RESULT, STATUS, monitored_value, result_overrides, safe_name, status_of

log = logging.getLogger(__name__)

STATUSES = ("finished", "pruned", "failed", "lost")
"""failed: by its settings or a bug. lost: its worker or launcher ended, or another process uses its folder."""
NO_FOLDER = Path()
"""The folder of a job whose settings cannot be composed."""


class JobResult(NamedTuple):
    """The run folder of one job, its status of STATUSES, a one-line message and the value of `monitor`."""

    folder: Path
    status: str
    message: str = ""
    value: float | None = None


def run_job(cfg: DictConfig, folder: Path) -> JobResult:
    """Runs one job of a sweep in the process that the launcher chose.

    Returns the errors that a user can fix, since they must not stop the other jobs; raises any other.
    """
    from cifar10.results.figures import log_figures
    from cifar10.training.run import train

    hydra, callbacks = HydraConfig.get(), []
    if hydra.launcher._target_.endswith("JoblibLauncher") and multiprocessing.parent_process():
        exit_with_parent()  # otherwise joblib's workers train on after the sweep was killed
        multiprocessing.set_start_method("spawn", force=True)  # the ranks of a run cannot be started joblib's way
    if (trial := hydra.sweeper.get("trial")) is not None:
        from cifar10.sweeps.pruning import PruningCallback
        from cifar10.sweeps.study import StudyLocation

        location = StudyLocation(hydra.sweeper.study, hydra.sweeper.storage, hydra.sweeper.pruner)
        callbacks = [PruningCallback(location, trial, folder / "metrics.csv", cfg.monitor)]
    try:
        os.chdir(hydra.runtime.cwd)  # a worker of Ray starts in another folder
        overrides = list(hydra.overrides.task)
        record = train(cfg, folder, overrides=overrides, callbacks=callbacks, on_finish=log_figures)
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        status = status_of(error)
        log.error("%s: %s", status, explain(error))
        return JobResult(folder, status, explain(error))
    except Exception:
        log.exception("failed")
        raise
    return JobResult(folder, "finished", value=monitored_value(record))


class JobLauncher:
    """Composes and launches the jobs of one sweep. A job is a list of overrides."""

    def __init__(self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.config_loader = config, hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.results: list[JobResult] = []

    def launch(self, jobs: Sequence[Sequence[str]]) -> list[JobResult]:
        """Returns the results of the jobs, and appends them to `results`.

        Where the launcher itself raises an error, as joblib, submitit and Ray do for a worker that was killed, the
        results are read from the run folders.
        """
        start = time()
        try:
            returns = self.launcher.launch([list(job) for job in jobs], initial_job_idx=len(self.results))
            found = [_result(job) for job in returns]
        except Exception as error:
            message = f"the launcher failed: {type(error).__name__}: {explain(error)}"
            found = [self._read_result(job, start, message) for job in jobs]
        self.results += found
        return found

    def check(self, job: Sequence[str]) -> None:
        """Raises HydraException for settings that cannot be composed."""
        self.config_loader.load_sweep_config(self.config, list(job))

    def _read_result(self, job: Sequence[str], start: float, message: str) -> JobResult:
        """Reads a job's result from its folder. start: the time of its launch. message: of a job without a result."""
        config = self.config_loader.load_sweep_config(self.config, list(job))
        hydra_config = HydraConfig.instance()
        before = hydra_config.cfg
        hydra_config.set_config(config)  # the folder's name is resolved by it
        try:
            folder = Path(config.hydra.sweep.dir, config.hydra.sweep.subdir).absolute()
        finally:
            hydra_config.cfg = before
        result, status_file = folder / RESULT, folder / STATUS
        if result.exists() and (not config.overwrite or result.stat().st_mtime >= start):
            with suppress(OSError, ValueError, KeyError, TypeError):  # damaged: the next command reports it
                return JobResult(folder, "finished", value=monitored_value(json.loads(result.read_text())))
        if status_file.exists() and status_file.stat().st_mtime >= start:
            status, _, reason = status_file.read_text().strip().partition(": ")
            if status in STATUSES:  # else the worker was killed while it wrote
                return JobResult(folder, status, reason)
        return JobResult(folder, "lost", message)


def _result(job: JobReturn) -> JobResult:
    try:
        return job.return_value
    except Exception as error:  # a bug: Hydra raises again what the job raised
        folder = job.hydra_cfg.hydra.runtime.output_dir if job.hydra_cfg else NO_FOLDER
        return JobResult(Path(folder), "failed", f"{type(error).__name__}: {explain(error)}")


def summarize(results: Sequence[JobResult], arguments: Sequence[str], config: DictConfig) -> None:
    """Logs the results and the table of the finished runs, best first, which is also written to `<runs>/sweeps/`.

    The overrides `arguments` make the file's name. Raises UserError where a job failed or was lost.
    """
    from cifar10.files import write_atomically
    from cifar10.results import load
    from cifar10.results.table import aggregate, best_first, to_csv, to_text

    counts = Counter(result.status for result in results)
    lines = [", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status]) or "no job"]
    messages = [f"{result.status}: {result.message} ({result.folder})" for result in results if result.message]
    lines += [line.removesuffix(f" ({NO_FOLDER})") for line in dict.fromkeys(messages)]
    runs = load(dict.fromkeys(result.folder for result in results if result.status == "finished"))
    lines += runs.attrs["skipped"]
    if len(runs):
        rows = best_first(aggregate(runs))
        path = Path(str(config.runs), "sweeps", f"{safe_name(' '.join(result_overrides(arguments))) or 'defaults'}.csv")
        write_atomically(path, lambda file: file.write(to_csv(rows).encode()))
        lines += [to_text(rows), f"table: {path}"]
    log.info("%s", "\n".join(lines))
    if failed := [result.message for result in results if result.status in ("failed", "lost")]:
        raise UserError(f"{len(failed)} of {len(results)} jobs failed: {failed[0]}")
