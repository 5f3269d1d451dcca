"""Asks a study for trials, keeps them alive, reports their results and requeues those that were lost."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import isfinite
from pathlib import Path
from threading import Event, Thread

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from cifar10.sweeps.jobs import JobResult
from cifar10.sweeps.search_space import format_value
from cifar10.sweeps.study import HEARTBEAT_SECONDS, requeue

STATES = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
STATUSES = {state: status for status, state in STATES.items()}


def ask(
    study: optuna.Study, storage: RDBStorage, space: dict[str, BaseDistribution], seed: int, startup: int
) -> optuna.Trial:
    """Returns a requeued trial or a new one, random if it is one of the first `startup` of the study.

    Each trial has its own sampler, seeded by the number of trials before it. An interrupted search therefore proposes
    the same parameters as an uninterrupted one.
    """
    seed = (seed * 1_000_003 + num_counted(study)) % 2**32
    # constant_liar: running trials count as poor, so that the trials of one batch differ.
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)
    trial = study.ask(fixed_distributions=space)
    _start_heartbeat(storage, trial_id(study, storage, trial.number))
    trial.set_user_attr("settings", [f"{name}={format_value(value)}" for name, value in trial.params.items()])
    return trial


def tell(study: optuna.Study, trial: optuna.Trial, result: JobResult, monitor: str) -> JobResult:
    """Reports a job's result to the study; requeues a lost trial. A value that is not finite is a failure."""
    if result.value is not None and not isfinite(result.value):
        result = result._replace(status="failed", message=f"{monitor} is {result.value}")
    if result.status == "lost":
        requeue_unfinished(study, trial)
        return result
    with suppress(UpdateFinishedTrialError):  # was considered stale, and is requeued
        trial.set_user_attr("folder", str(result.folder))
        if result.status == "failed":
            trial.set_user_attr("error", result.message)
    value = result.value if result.status == "finished" else None
    study.tell(trial, value, STATES[result.status], skip_if_finished=True)
    return result


def requeue_unfinished(study: optuna.Study, trial: optuna.Trial) -> None:
    """Requeues a trial that has no result, unless it was considered stale and is requeued already."""
    frozen = study.trials[trial.number]
    if not frozen.state.is_finished():
        study.tell(trial, state=TrialState.FAIL)
        requeue(study, frozen)


def fail_stale_trials(study: optuna.Study, storage: RDBStorage) -> None:
    """Fails and requeues the running trials whose search process no longer sends heartbeats."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if "heartbeat" not in trial.user_attrs:  # Optuna never considers such a trial stale: its time starts now
            with suppress(UpdateFinishedTrialError):
                _start_heartbeat(storage, trial_id(study, storage, trial.number))
    optuna.storages.fail_stale_trials(study)


def _start_heartbeat(storage: RDBStorage, key: int) -> None:
    storage.record_heartbeat(key)
    storage.set_trial_user_attr(key, "heartbeat", True)


def trial_id(study: optuna.Study, storage: RDBStorage, number: int) -> int:
    """Returns the storage's key of the study's trial of this number."""
    return storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(study.study_name), number)


@contextmanager
def heartbeat(study: optuna.Study, storage: RDBStorage, trials: Sequence[optuna.Trial]) -> Iterator[None]:
    """Records heartbeats of the trials in a thread until the end of the block."""
    ended, keys = Event(), [trial_id(study, storage, trial.number) for trial in trials]

    def record() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            with suppress(Exception):  # locked or unreachable for a moment: the grace period allows for it
                for key in keys:
                    storage.record_heartbeat(key)

    thread = Thread(target=record, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def num_running(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))


def num_counted(study: optuna.Study) -> int:
    """Returns the number of running and ended trials, without those that were lost or interrupted."""
    return num_running(study) + sum(map(_has_result, study.trials))


def _has_result(trial: FrozenTrial) -> bool:
    # A trial that failed by its own settings has an error; one that was lost has none.
    return trial.state in STATUSES and (trial.state != TrialState.FAIL or "error" in trial.user_attrs)


def results(study: optuna.Study) -> list[JobResult]:
    """Returns the results of the study's trials, including those of other processes."""
    return [
        JobResult(Path(trial.user_attrs["folder"]), STATUSES[trial.state], trial.user_attrs.get("error", ""))
        for trial in study.trials
        if _has_result(trial) and "folder" in trial.user_attrs
    ]
