"""Asks a study for trials, records their heartbeats, tells their results and requeues lost trials."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import isfinite
from threading import Event, Thread

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from cifar10.sweeps.jobs import JobResult
from cifar10.sweeps.search_space import format_value
from cifar10.sweeps.study import HEARTBEAT_SECONDS, StudyLocation, requeue, trial_id

STATES = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
"""Optuna's state of each job status. A lost job is requeued."""


class TrialQueue:
    """Trials of one study, in the search process."""

    def __init__(self, location: StudyLocation, monitor: str) -> None:
        self.monitor, self.storage = monitor, location.connect()
        self.study = location.open(monitor, self.storage)
        self.revived: set[int] = set()

    def ask(self, space: dict[str, BaseDistribution], seed: int, n_startup_trials: int) -> optuna.Trial:
        """Returns a requeued or a new trial. The first `n_startup_trials` of the study are random.

        Each trial has its own sampler, seeded by the number of trials before it. An interrupted search therefore
        proposes the same parameters as an uninterrupted one.
        """
        seed = (seed * 1_000_003 + self.count()) % 2**32
        # constant_liar: running trials count as poor, so the trials of one batch differ.
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=n_startup_trials, constant_liar=True)
        self.study.sampler = sampler
        trial = self.study.ask(fixed_distributions=space)
        self.storage.record_heartbeat(trial_id(self.study, self.storage, trial.number))
        trial.set_user_attr("settings", [f"{name}={format_value(value)}" for name, value in trial.params.items()])
        return trial

    def tell(self, trial: optuna.Trial, result: JobResult) -> JobResult:
        """Stores a job's result in the study, or requeues a lost trial. A value that is not finite is a failure."""
        if result.value is not None and not isfinite(result.value):
            result = result._replace(status="failed", message=f"{self.monitor} is {result.value}")
        if result.status == "lost":
            self.requeue_unfinished(trial)
            return result
        with suppress(UpdateFinishedTrialError):  # became stale and was requeued
            trial.set_user_attr("folder", result.folder)
            if result.status == "failed":
                trial.set_user_attr("error", result.message)
        value = result.value if result.status == "finished" else None
        self.study.tell(trial, value, STATES[result.status], skip_if_finished=True)
        return result

    def requeue_unfinished(self, trial: optuna.Trial) -> None:
        """Requeues a trial without a result, unless it became stale and was requeued before."""
        frozen = self.study.trials[trial.number]
        if not frozen.state.is_finished():
            self.study.tell(trial, state=TrialState.FAIL)
            requeue(self.study, frozen)

    @contextmanager
    def heartbeat(self, trials: Sequence[optuna.Trial]) -> Iterator[None]:
        """Records heartbeats of the trials in a thread until the end of the block."""
        ended, keys = Event(), [trial_id(self.study, self.storage, trial.number) for trial in trials]

        def record() -> None:
            while not ended.wait(HEARTBEAT_SECONDS):
                with suppress(Exception):  # temporarily locked or unreachable; the grace period is longer
                    for key in keys:
                        self.storage.record_heartbeat(key)

        thread = Thread(target=record, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def fail_stale_trials(self) -> None:
        """Fails and requeues the trials of dead processes."""
        for trial in self.running():
            if "settings" not in trial.user_attrs and trial.number not in self.revived:
                # Its process may have died before the first heartbeat, and Optuna ignores trials without one.
                self.storage.record_heartbeat(trial_id(self.study, self.storage, trial.number))
                self.revived.add(trial.number)
        fail_stale_trials(self.study)

    def running(self) -> list[FrozenTrial]:
        """Returns the running trials, including those of other and of dead processes."""
        return self.study.get_trials(states=(TrialState.RUNNING,))

    def ended(self) -> list[FrozenTrial]:
        """Returns the trials with a result. Lost and interrupted trials are failed ones without an error message."""
        ended = self.study.get_trials(states=tuple(STATES.values()))
        return [trial for trial in ended if trial.state != TrialState.FAIL or "error" in trial.user_attrs]

    def count(self) -> int:
        """Returns the number of running and ended trials."""
        return len(self.running()) + len(self.ended())

    def results(self) -> list[JobResult]:
        """Returns the results of the study's trials, including those of other processes."""
        statuses = {state: status for status, state in STATES.items()}
        return [
            JobResult(trial.user_attrs["folder"], statuses[trial.state], trial.user_attrs.get("error", ""))
            for trial in self.ended()
        ]

    def best_first(self) -> list[FrozenTrial]:
        """Returns the complete trials, best value first, ties by number; one trial for each combination of settings."""
        complete = self.study.get_trials(states=(TrialState.COMPLETE,))
        sign = 1 if self.study.direction is StudyDirection.MINIMIZE else -1
        once = {tuple(trial.user_attrs["settings"]): trial for trial in reversed(complete)}
        return sorted(once.values(), key=lambda trial: (sign * float(trial.value or 0), trial.number))
