"""Runs the jobs of a sweep, collects their results and summarizes them."""

import logging
import multiprocessing
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from cifar10.errors import UserError
from cifar10.files import write_atomically
from cifar10.training.config import explain
from cifar10.training.distributed import exit_with_parent
from cifar10.training.run_folder import RESULT, STATUS, VALIDATED, safe_name, status_of

log = logging.getLogger(__name__)

STATUSES = ("finished", "pruned", "failed", "lost")
"""failed: an error in its settings or in the code. lost: its worker died, or another process has locked its folder."""

Job = tuple[str, ...]
"""The overrides of one job."""


class JobResult(NamedTuple):
    """Result of one job: run folder ("" if it has none), one of STATUSES, one-line message, and for a trial
    its best value of `monitor`."""

    folder: str
    status: str
    message: str = ""
    value: float | None = None


def run_job(cfg: DictConfig, folder: Path) -> JobResult:
    """Runs one job of a sweep, in the process of the launcher or of a worker. A trial of a search is not tested.

    Returns a user error as a result, so that the other jobs continue. Raises any other error.
    """
    from cifar10.results.figures import log_figures
    from cifar10.training.run import train

    hydra, callbacks = HydraConfig.get(), []
    if hydra.launcher._target_.endswith("JoblibLauncher") and multiprocessing.parent_process():
        exit_with_parent()  # otherwise joblib's workers train on after the sweep was killed
        multiprocessing.set_start_method("spawn", force=True)  # joblib's start method cannot start the ranks of a run
    if (trial := hydra.sweeper.get("trial")) is not None:
        from cifar10.sweeps.pruning import PruningCallback
        from cifar10.sweeps.study import StudyLocation

        location = StudyLocation(hydra.sweeper.study_name, hydra.sweeper.storage, hydra.sweeper.pruner)
        callbacks = [PruningCallback(location, trial, folder / "metrics.csv", cfg.monitor)]
    try:
        os.chdir(hydra.runtime.cwd)  # a Ray worker starts in another folder
        overrides = list(hydra.overrides.task)
        train(cfg, folder, overrides=overrides, callbacks=callbacks, on_finish=log_figures, test=trial is None)
        return _finished(folder, cfg.monitor, trial)
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        status = status_of(error)
        log.error("%s: %s", status, explain(error))
        return JobResult(str(folder), status, explain(error))
    except Exception:
        log.exception("failed")
        raise


def _finished(folder: Path, monitor: str, trial: int | None) -> JobResult:
    from cifar10.training.record import validation_results

    value = None if trial is None else validation_results(folder)[monitor.replace("/", "_")]
    return JobResult(str(folder), "finished", value=value)


class JobLauncher:
    """Launcher of the jobs of one sweep."""

    def __init__(self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.config_loader = config, hydra_context.config_loader
        self.runs = config.hydra.sweep.dir  # absolute, with ~ expanded
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.results: list[JobResult] = []

    def launch(self, jobs: Sequence[Job]) -> list[JobResult]:
        """Returns the results of the jobs, and appends them to `results`.

        A job that cannot start has failed, and the others run: a launcher would abort all of them. If the launcher
        itself fails, as joblib, submitit and Ray do after a worker was killed, the results are read from the folders.
        """
        results: dict[Job, JobResult] = {}
        prepared: dict[Job, tuple[DictConfig, Path, float]] = {}
        for job in jobs:
            folder = Path()
            try:
                folder = _folder(config := self.compose(job))
                prepared[job] = config, folder, _create_log(folder, config.hydra.job.name)
            except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
                results[job] = JobResult(str(folder) if folder.name else "", "failed", explain(error))
                log.error("failed: %s: %s", " ".join(job), explain(error))
        try:
            lists = [list(job) for job in prepared]
            returns = self.launcher.launch(lists, initial_job_idx=len(self.results)) if lists else []
            results |= zip(prepared, map(_result, returns), strict=True)
        except Exception as error:
            message = f"the launcher failed: {type(error).__name__}: {explain(error)}"
            results |= {job: _read_result(*prepared[job], message) for job in prepared}
        found = [results[job] for job in jobs]
        self.results += found
        return found

    def compose(self, job: Sequence[str]) -> DictConfig:
        """Returns the configuration of a job. Raises HydraException if it cannot be composed."""
        return self.config_loader.load_sweep_config(self.config, list(job))


def _folder(config: DictConfig) -> Path:
    """Returns the run folder of a job."""
    instance = HydraConfig.instance()
    before = instance.cfg
    instance.set_config(config)  # resolves the folder's name
    try:
        return Path(config.hydra.sweep.dir, config.hydra.sweep.subdir).absolute()
    finally:
        instance.cfg = before


def _create_log(folder: Path, name: str) -> float:
    """Creates the folder and the log file of a job, which the launcher opens later. Returns the file system's time.

    The clock of a file server may differ from this machine's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.log").open("a") as file:
        os.utime(file.fileno())
        return os.fstat(file.fileno()).st_mtime


def _read_result(config: DictConfig, folder: Path, start: float, message: str) -> JobResult:
    """Reads a job's result from its folder. start: the time of its launch. message: for a job without a result."""
    result, status_file = folder / RESULT, folder / STATUS
    status, reason = "", ""
    if status_file.exists() and status_file.stat().st_mtime >= start:
        status, _, reason = status_file.read_text().strip().partition(": ")
    is_new = result.exists() and (not config.overwrite or result.stat().st_mtime >= start)
    if status == VALIDATED or is_new:
        with suppress(UserError):  # damaged: the next command reports it
            return _finished(folder, config.monitor, config.hydra.sweeper.get("trial"))
    return JobResult(str(folder), status, reason) if status in STATUSES else JobResult(str(folder), "lost", message)


def _result(job: JobReturn) -> JobResult:
    try:
        return job.return_value
    except Exception as error:  # a bug: Hydra raises the job's exception
        folder = job.hydra_cfg.hydra.runtime.output_dir if job.hydra_cfg else ""
        return JobResult(folder, "failed", f"{type(error).__name__}: {explain(error)}")


def summarize(
    results: Sequence[JobResult], runs: str, name: str, csv: str, text: str, notes: Sequence[str] = ()
) -> None:
    """Logs the results, the table `text` and the notes. Writes the table `csv`, if not empty, to `<runs>/sweeps/`.

    Raises UserError if a job failed or was lost.
    """
    counts = Counter(result.status for result in results)
    lines = [", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status]) or "no jobs"]
    failures = [result for result in dict.fromkeys(results) if result.message]
    lines += [f"{job.status}: {job.message}" + (f" ({job.folder})" if job.folder else "") for job in failures]
    if csv:
        path = Path(runs, "sweeps", f"{safe_name(name) or 'defaults'}.csv")
        write_atomically(path, lambda file: file.write(csv.encode()))
        lines += [text, f"table: {path}"]
    log.info("%s", "\n".join([*lines, *notes]))
    if failed := [result.message for result in results if result.status in ("failed", "lost")]:
        raise UserError(f"{len(failed)} of {len(results)} jobs failed: {failed[0]}")
