"""The trials of a study: asked for, told of, begun again; which of them run, and which count."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import isfinite
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from cifar10.sweeps.jobs import Outcome
from cifar10.sweeps.search_space import written
from cifar10.sweeps.study import HEARTBEAT_SECONDS, SILENT_SECONDS, optuna_or_error

if TYPE_CHECKING:
    import optuna


def ask(study: "optuna.Study", space: dict[str, Any], seed: int, startup_trials: int) -> "optuna.Trial":
    """A new trial, or one to begin again; by a sampler of its own, so that a search goes on as if never stopped."""
    samplers, number = optuna_or_error().samplers, (seed * 1_000_003 + counted(study)) % 2**32
    # constant_liar: trials that run count as poor, so that those launched together differ.
    study.sampler = samplers.TPESampler(seed=number, n_startup_trials=startup_trials, constant_liar=True)
    trial = study.ask()
    _beat(study, trial)  # before it has settings: what dies from here on is known to be dead
    for name, distribution in space.items():
        trial._suggest(name, distribution)
    trial.set_user_attr("settings", [f"{key}={written(value)}" for key, value in trial.params.items()])
    trial.set_user_attr("asked", trial.number)
    return trial


def tell(study: "optuna.Study", trial: "optuna.Trial", outcome: Outcome, monitor: str) -> Outcome:
    """Tells the study what a trial came to. A result that is not finite is a failure."""
    optuna = optuna_or_error()
    if outcome.value is not None and not isfinite(outcome.value):
        outcome = outcome._replace(status="failed", message=f"{monitor} is {outcome.value}")
    if outcome.status == "lost":
        again(study, trial)
        return outcome
    with suppress(optuna.exceptions.UpdateFinishedTrialError):  # taken for dead, and begun again elsewhere
        trial.set_user_attr("folder", str(outcome.folder))
        if outcome.status == "failed":
            trial.set_user_attr("error", outcome.message)
            trial.set_user_attr("failed", trial.number)
    states = optuna.trial.TrialState
    state = {"finished": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[outcome.status]
    value = outcome.value if outcome.status == "finished" else None
    study.tell(trial, value, state, skip_if_finished=True)
    return outcome


def again(study: "optuna.Study", trial: "optuna.Trial") -> None:
    """A trial that has no result and is no failure: to be begun again, by this command or the next."""
    if not study.trials[trial.number].state.is_finished():  # as one is that was taken for dead, and begun again
        study.tell(trial, state=optuna_or_error().trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)


def fail_dead(study: "optuna.Study", unheard: dict[int, float]) -> None:
    """Trials whose command no longer says that they live have failed, and wait to be begun again.

    unheard: number of a running trial that has no settings yet -> when it was first seen, by `monotonic`; kept between
    calls.
    """
    optuna = optuna_or_error()
    optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        if trial.user_attrs.get("asked") == trial.number:
            continue
        # One that died before its first sign of life: Optuna would take it for alive for ever.
        if monotonic() - unheard.setdefault(trial.number, monotonic()) >= SILENT_SECONDS:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
            if fixed := trial.system_attrs.get("fixed_params"):
                study.enqueue_trial(fixed)


@contextmanager
def alive(study: "optuna.Study", trials: "Sequence[optuna.Trial]") -> Iterator[None]:
    """Says from time to time that the trials are run."""
    ended = Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            with suppress(Exception):  # a storage that is busy or away for a moment: said again soon
                for trial in trials:
                    _beat(study, trial)

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _beat(study: "optuna.Study", trial: "optuna.Trial") -> None:
    study._storage.record_heartbeat(trial._trial_id)


def running(study: "optuna.Study") -> int:
    return sum(trial.state.name == "RUNNING" for trial in study.trials)


def counted(study: "optuna.Study") -> int:
    """Trials that count: not those that were lost or interrupted, which are begun again under another number."""
    return sum(trial.state.name in ("COMPLETE", "PRUNED", "RUNNING") or _has_failed(trial) for trial in study.trials)


def _has_failed(trial: "optuna.trial.FrozenTrial") -> bool:
    """By its settings: not one that was lost or interrupted, and not one that begins such a one again."""
    return trial.state.name == "FAIL" and trial.user_attrs.get("failed") == trial.number


def outcomes(study: "optuna.Study") -> list[Outcome]:
    """What its trials came to, those of other commands too; but not of a version that did not keep their folders."""
    found = []
    for trial in study.trials:
        folder = trial.user_attrs.get("folder")
        if folder and _has_failed(trial):
            found.append(Outcome(Path(folder), "failed", trial.user_attrs["error"]))
        elif folder and trial.state.name in ("COMPLETE", "PRUNED"):
            found.append(Outcome(Path(folder), "finished" if trial.state.name == "COMPLETE" else "pruned"))
    return found
