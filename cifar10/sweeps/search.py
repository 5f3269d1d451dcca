"""Searches hyperparameters: Optuna proposes trials, Hydra's launcher runs them as jobs."""

import logging
from collections.abc import Sequence
from time import sleep

import optuna
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from optuna.storages import fail_stale_trials
from optuna.trial import TrialState

from cifar10.errors import UserError, shorten
from cifar10.sweeps.jobs import NO_FOLDER, JobLauncher, JobResult
from cifar10.sweeps.search_space import read_space
from cifar10.sweeps.study import GRACE_SECONDS, HEARTBEAT_SECONDS, StudyLocation
from cifar10.sweeps.trials import TrialQueue
from cifar10.training.config import explain
from cifar10.training.run_folder import result_overrides

log = logging.getLogger(__name__)

MAX_IDENTICAL_FAILURES = 3
"""Consecutive failures with one message that end a search: the cause is the environment, not the hyperparameters."""


def search(
    overrides: Sequence[Override],
    launcher: JobLauncher,
    location: StudyLocation,
    monitor: str,
    n_trials: int,
    startup_trials: int,
    batch_size: int,
    seed: int,
) -> list[JobResult]:
    """Runs trials, `batch_size` at a time, until the study has `n_trials`. Returns the results of all of its trials.

    The first `startup_trials` of the study are random, later ones are proposed by TPE (Bergstra and others, NIPS 2011).
    Trials of a process that died are requeued and resumed. A lost trial is requeued too, but ends this search, as
    MAX_IDENTICAL_FAILURES do. Raises UserError for a space or a study that cannot be used.
    """
    space = read_space(overrides)
    fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
    if not space:
        raise UserError("nothing to search: give a space, as in 'model.learning_rate=tag(log,interval(1e-4,1e-1))'")
    if not any(launcher.config_loader.get_group_options(name) for name in space):  # a choice may bring settings along
        launcher.check([*fixed, *(f"{name}=null" for name in space)])
    queue = TrialQueue(location, monitor)
    _check_overrides(
        queue.study, [f"monitor={monitor}", *result_overrides([str(override.input_line) for override in overrides])]
    )
    log.info("study %s: %d of %d trials done", location.study, queue.count(), n_trials)
    fail_stale_trials(queue.study)
    if running := len(queue.running()):  # of another process, or of a dead one: those are requeued before new ones
        log.info("waiting %d seconds for heartbeats of %d running trials", GRACE_SECONDS, running)
        sleep(GRACE_SECONDS + 1)
    done: list[JobResult] = []
    while not _must_stop(done):
        fail_stale_trials(queue.study)
        batch = range(min(batch_size, n_trials - queue.count()))
        if trials := [queue.ask(space, seed, startup_trials) for _ in batch]:
            with queue.heartbeat(trials):
                done += _run_trials(queue, trials, [*fixed, *location.overrides()], launcher)
        elif queue.running():
            sleep(HEARTBEAT_SECONDS)  # trials of another process, which may become stale
        else:
            break
    return [*queue.results(), *(result for result in done if result.status == "lost")]


def _run_trials(
    queue: TrialQueue, trials: Sequence[optuna.Trial], fixed: Sequence[str], launcher: JobLauncher
) -> list[JobResult]:
    """Runs trials and reports their results to the study. Equal trials, which share a run folder, are run once."""
    jobs: dict[tuple[str, ...], list[str]] = {}
    done: dict[tuple[str, ...], JobResult] = {}
    try:
        for trial in trials:
            settings = tuple(trial.user_attrs["settings"])
            job = [*fixed, *settings, f"hydra.sweeper.trial={trial.number}"]
            try:
                launcher.check(job)
                jobs.setdefault(settings, job)
            except HydraException as error:  # one of its choices does not allow one of its settings
                done[settings] = JobResult(NO_FOLDER, "failed", explain(error))
        done |= zip(jobs, launcher.launch(list(jobs.values())) if jobs else [], strict=True)
    except BaseException:  # mostly KeyboardInterrupt
        for trial in trials:
            queue.requeue_unfinished(trial)
        raise
    return [queue.tell(trial, done[tuple(trial.user_attrs["settings"])]) for trial in trials]


def _must_stop(done: Sequence[JobResult]) -> bool:
    """Returns whether a trial was lost, or the last ones failed with one message, in different folders."""
    last = done[-MAX_IDENTICAL_FAILURES:]
    messages = {result.message.replace(str(result.folder), "") for result in last}
    failed = all(result.status == "failed" and result.value is None for result in last)
    alike = failed and len(messages) == 1 and len({result.folder for result in last}) == MAX_IDENTICAL_FAILURES
    return alike or any(result.status == "lost" for result in done)


def _check_overrides(study: optuna.Study, overrides: list[str]) -> None:
    """Raises UserError where the study has other overrides, or trials of another program, which cannot be compared."""
    started = any(trial.state != TrialState.WAITING for trial in study.trials)
    stored = study.user_attrs.get("overrides", [] if started else overrides)
    if changed := sorted(set(stored) ^ set(overrides)):
        raise UserError(
            f"study {study.study_name} has trials of other settings, see {shorten(changed)}; set them back, or choose "
            "another study: hydra.sweeper.study=NAME"
        )
    study.set_user_attr("overrides", overrides)
