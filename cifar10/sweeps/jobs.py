"""Runs the jobs of a sweep and collects their results."""

import json
import logging
import multiprocessing
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from cifar10.errors import UserError
from cifar10.training.config import explain
from cifar10.training.distributed import end_with_parent
from cifar10.training.run_folder import STATUS, monitored, status_of

if TYPE_CHECKING:
    from lightning import Callback

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

    hydra = HydraConfig.get()
    if hydra.launcher._target_.endswith("JoblibLauncher") and multiprocessing.parent_process():
        end_with_parent()  # otherwise joblib's workers train on after the sweep was killed
        multiprocessing.set_start_method("spawn", force=True)  # the ranks of a run cannot be started joblib's way
    try:
        os.chdir(hydra.runtime.cwd)  # a worker of Ray starts in another folder
        task = list(hydra.overrides.task)
        record = train(cfg, folder, overrides=task, callbacks=_callbacks(cfg, folder), on_finish=log_figures)
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        status = status_of(error)
        log.error("%s: %s", status, explain(error))
        return JobResult(folder, status, explain(error))
    except Exception:
        log.exception("failed")
        raise
    return JobResult(folder, "finished", value=monitored(record))


def _callbacks(cfg: DictConfig, folder: Path) -> "list[Callback]":
    from cifar10.sweeps.pruning import PruningCallback
    from cifar10.sweeps.study import StudyLocation

    sweeper = HydraConfig.get().sweeper
    if sweeper.get("trial") is None:
        return []
    location = StudyLocation(sweeper.study, sweeper.storage, sweeper.pruner)
    return [PruningCallback(location, sweeper.trial, folder / "metrics.csv", cfg.monitor)]


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
        results are read from the run folders. Raises HydraException for invalid settings.
        """
        start = time()
        try:
            returns = self.launcher.launch([list(job) for job in jobs], initial_job_idx=len(self.results))
            found = [_result(job) for job in returns]
        except HydraException:
            raise
        except Exception as error:
            message = f"{type(error).__name__}: {explain(error)}"
            log.error("the launcher failed: %s", message)
            found = [self._read_result(job, start, message) for job in jobs]
        self.results += found
        return found

    def folder(self, job: Sequence[str]) -> tuple[Path, bool]:
        """Returns the job's run folder, and its `overwrite`. Raises HydraException for invalid settings."""
        config = self.config_loader.load_sweep_config(self.config, list(job))
        hydra_config = HydraConfig.instance()
        before = hydra_config.cfg
        hydra_config.set_config(config)  # the folder's name is resolved by it
        try:
            return Path(config.hydra.sweep.dir, config.hydra.sweep.subdir).absolute(), config.overwrite
        finally:
            hydra_config.cfg = before

    def _read_result(self, job: Sequence[str], start: float, message: str) -> JobResult:
        """Reads a job's result from its folder. start: the time of its launch. message: of a job without a result."""
        folder, overwrite = self.folder(job)
        result, status_file = folder / "metrics.json", folder / STATUS
        if result.exists() and (not overwrite or result.stat().st_mtime >= start):
            with suppress(OSError, ValueError, KeyError, TypeError):  # damaged: the next command reports it
                return JobResult(folder, "finished", value=monitored(json.loads(result.read_text())))
        if status_file.exists() and status_file.stat().st_mtime >= start:
            status, _, message = status_file.read_text().strip().partition(": ")
            return JobResult(folder, status, message)
        return JobResult(folder, "lost", message)


def _result(job: JobReturn) -> JobResult:
    try:
        return job.return_value
    except Exception as error:  # a bug: Hydra raises again what the job raised
        folder = job.hydra_cfg.hydra.runtime.output_dir if job.hydra_cfg else NO_FOLDER
        return JobResult(Path(folder), "failed", f"{type(error).__name__}: {explain(error)}")
