"""Searches hyperparameters: Optuna proposes trials, Hydra's launcher runs them as jobs."""

import logging
import shlex
from collections.abc import Sequence
from time import sleep

import optuna
from hydra.core.override_parser.types import Override
from optuna.trial import FrozenTrial, TrialState

from cifar10.errors import UserError, shorten
from cifar10.sweeps.jobs import Job, JobLauncher, JobResult, summarize
from cifar10.sweeps.search_space import read_space
from cifar10.sweeps.study import GRACE_SECONDS, HEARTBEAT_SECONDS, StudyLocation
from cifar10.sweeps.trials import TrialQueue
from cifar10.training.run_folder import result_overrides

log = logging.getLogger(__name__)

MAX_IDENTICAL_FAILURES = 3
"""Stop after this many consecutive identical failures: the cause is the environment, not the hyperparameters."""


def search(
    overrides: Sequence[Override],
    launcher: JobLauncher,
    location: StudyLocation,
    monitor: str,
    n_trials: int,
    n_startup_trials: int,
    batch_size: int,
    seed: int,
) -> None:
    """Runs trials, `batch_size` at a time, until the study has `n_trials`. Then summarizes all of its trials.

    The first `n_startup_trials` of the study are random; TPE proposes the others (Bergstra et al., NIPS 2011).
    Trials of a dead process are requeued and resumed. A lost trial is requeued too, but stops this search, as do
    MAX_IDENTICAL_FAILURES. Raises UserError for an invalid space or study, and if a trial failed or was lost.
    """
    space = read_space(overrides)
    fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
    if not space:
        raise UserError("nothing to search: add a space, such as 'model.learning_rate=tag(log,interval(1e-4,1e-1))'")
    if not any(launcher.config_loader.get_group_options(name) for name in space):  # a choice may bring settings along
        launcher.compose([*fixed, *(f"{name}=null" for name in space)])
    queue = TrialQueue(location, monitor)
    _check_overrides(
        queue.study, [f"monitor={monitor}", *result_overrides([str(override.input_line) for override in overrides])]
    )
    log.info("study %s: %d of %d trials started or finished", location.study, queue.count(), n_trials)
    queue.fail_stale_trials()
    if running := len(queue.running()):  # of another process, or of a dead one: requeued before new trials
        log.info("waiting %d seconds for heartbeats of %d running trials", GRACE_SECONDS, running)
        sleep(GRACE_SECONDS + 1)
    done: list[JobResult] = []
    while not _must_stop(done):
        queue.fail_stale_trials()
        batch = range(min(batch_size, n_trials - queue.count()))
        if trials := [queue.ask(space, seed, n_startup_trials) for _ in batch]:
            with queue.heartbeat(trials):
                done += _run_trials(queue, trials, [*fixed, *location.overrides()], launcher)
        elif queue.running():
            sleep(HEARTBEAT_SECONDS)  # trials of other processes may become stale
        else:
            break
    results = [*queue.results(), *(result for result in done if result.status == "lost")]
    best, notes = queue.best_first(), []
    if best:
        kept = [text for text in fixed if not text.startswith("overwrite=")]  # it would repeat the training
        command = shlex.join(["python", "train.py", *kept, *best[0].user_attrs["settings"]])
        notes = [f"best trial: {best[0].number}; to test it: {command}"]
    summarize(results, launcher.runs, location.study, *_tables(best, monitor), notes)


def _tables(trials: Sequence[FrozenTrial], monitor: str) -> tuple[str, str]:
    """Returns the trials as CSV and as text; "" without trials."""
    import pandas as pd

    rows = [{"trial": trial.number, monitor: trial.value, **_settings(trial)} for trial in trials]
    table = pd.DataFrame(rows)
    return (table.to_csv(index=False, lineterminator="\n"), table.to_string(index=False)) if rows else ("", "")


def _settings(trial: FrozenTrial) -> dict[str, str]:
    return dict(text.split("=", 1) for text in trial.user_attrs["settings"])


def _run_trials(
    queue: TrialQueue, trials: Sequence[optuna.Trial], fixed: Sequence[str], launcher: JobLauncher
) -> list[JobResult]:
    """Runs trials and stores their results. Trials with equal settings, which share a run folder, are one job."""
    settings = [tuple(trial.user_attrs["settings"]) for trial in trials]
    numbers: dict[Job, int] = {}
    for trial, chosen in zip(trials, settings, strict=True):
        numbers.setdefault(chosen, trial.number)
    try:
        found = launcher.launch([(*fixed, *chosen, f"hydra.sweeper.trial={n}") for chosen, n in numbers.items()])
    except BaseException:  # for example KeyboardInterrupt
        for trial in trials:
            queue.requeue_unfinished(trial)
        raise
    results = dict(zip(numbers, found, strict=True))
    return [queue.tell(trial, results[chosen]) for trial, chosen in zip(trials, settings, strict=True)]


def _must_stop(done: Sequence[JobResult]) -> bool:
    """Returns whether a trial was lost, or the last trials failed with the same message in different folders."""
    last = done[-MAX_IDENTICAL_FAILURES:]
    messages = {result.message.replace(str(result.folder), "") for result in last}
    failed = all(result.status == "failed" and result.value is None for result in last)
    alike = failed and len(messages) == 1 and len({result.folder for result in last}) == MAX_IDENTICAL_FAILURES
    return alike or any(result.status == "lost" for result in done)


def _check_overrides(study: optuna.Study, overrides: list[str]) -> None:
    """Raises UserError if other overrides or another program created the study: its trials are not comparable."""
    started = any(trial.state != TrialState.WAITING for trial in study.trials)
    stored = study.user_attrs.get("overrides", [] if started else overrides)
    if changed := sorted(set(stored) ^ set(overrides)):
        raise UserError(
            f"study {study.study_name} has trials with other settings: {shorten(changed)}; restore them, or choose "
            "another study with hydra.sweeper.study_name=NAME"
        )
    study.set_user_attr("overrides", overrides)
