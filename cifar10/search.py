"""Searches for settings: Optuna proposes, Hydra's launcher runs the jobs, poor ones are ended early."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import isfinite
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override
from hydra.plugins.launcher import Launcher

from cifar10.errors import UserError
from cifar10.run import words
from cifar10.space import check_words, first_value, read_space
from cifar10.study import HEARTBEAT_SECONDS, SILENT_SECONDS, StudyPlace, optuna_or_error, storage_errors
from cifar10.sweep import Outcome, launched, settings

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

ALIKE = 3
"""Failures in a row with the same words that are the command's, not the settings': no data, or a full disk."""


def search(
    overrides: Sequence[Override],
    launcher: Launcher,
    monitor: str,
    place: StudyPlace,
    n_trials: int,
    startup_trials: int,
    batch: int,
    seed: int,
) -> list[Outcome]:
    """Runs trials, `batch` at a time, until the study has `n_trials`; returns what all of the study's came to.

    The first `startup_trials` of the study are random, later ones proposed by TPE (Bergstra and others, NIPS 2011).
    Trials of a command that died are begun again, with the same settings, so that their runs go on; so are those that
    were lost, by the next command: this one ends there, and where ALIKE trials in a row failed with the same words.
    Raises UserError for a space or a storage that cannot be used, HydraException for settings that there are not.
    """
    space = read_space(overrides)
    fixed = [override.input_line for override in overrides if not override.is_sweep_override()]
    if not space:
        raise UserError("nothing to search: give a space, as in 'model.learning_rate=tag(log,interval(1e-4,1e-1))'")
    settings(launcher, [*fixed, *(f"{name}={_written(first_value(values))}" for name, values in space.items())])
    done: list[Outcome] = []
    lost: list[Outcome] = []
    unheard: dict[int, float] = {}
    with storage_errors(place):
        study = place.open(monitor)
        check_words(study, words([override.input_line for override in overrides]))
        log.info("study %s in %s: %d of %d trials done", place.study, place.shown, _counted(study), n_trials)
        _fail_dead(study, unheard)
        if _running(study):  # of another command, or of one that is dead: so it is begun again before others are
            log.info("waiting %d seconds to see whether its %d running trials live", SILENT_SECONDS, _running(study))
            sleep(SILENT_SECONDS)
    while True:
        with storage_errors(place):
            _fail_dead(study, unheard)
            left = n_trials - _counted(study)
            trials = [_asked(study, space, seed, startup_trials) for _ in range(min(batch, left))]
            if left <= 0 and not _running(study):
                break
        if trials:
            done += _launched(study, trials, fixed, launcher, len(done), monitor, place)
        else:
            sleep(HEARTBEAT_SECONDS)  # trials of another command, which may die yet
        lost = [outcome for outcome in done if outcome.status == "lost"]
        if lost or _failed_alike(done[-ALIKE:]):
            break
    with storage_errors(place):
        if finished := sum(trial.state.name == "COMPLETE" for trial in study.trials):
            best = " ".join(study.best_trial.user_attrs["settings"])
            log.info("best of %d finished trials: %s %.4f with %s", finished, monitor, study.best_value, best)
        return [*_outcomes(study), *lost]


def _failed_alike(last: Sequence[Outcome]) -> bool:
    """Whether these are ALIKE runs that failed with the same words, and not by results that are no numbers."""
    words_of_each = {outcome.message.replace(str(outcome.folder), "") for outcome in last}
    failed = all(outcome.status == "failed" and outcome.value is None for outcome in last)
    return failed and len(words_of_each) == 1 and len({outcome.folder for outcome in last}) == ALIKE


def _outcomes(study: "optuna.Study") -> list[Outcome]:
    """What its trials came to, those of other commands too; but not of a version that did not keep their folders."""
    found = []
    for trial in study.trials:
        folder = trial.user_attrs.get("folder")
        if folder and _has_failed(trial):
            found.append(Outcome(Path(folder), "failed", trial.user_attrs["error"]))
        elif folder and trial.state.name in ("COMPLETE", "PRUNED"):
            found.append(Outcome(Path(folder), "finished" if trial.state.name == "COMPLETE" else "pruned"))
    return found


def _has_failed(trial: "optuna.trial.FrozenTrial") -> bool:
    """By its settings: not one that was lost or interrupted, and not one that begins such a one again."""
    return trial.state.name == "FAIL" and trial.user_attrs.get("failed") == trial.number


def _asked(study: "optuna.Study", space: dict[str, Any], seed: int, startup_trials: int) -> "optuna.Trial":
    """A new trial, or one to begin again; by a sampler of its own, so that a search goes on as if never stopped."""
    samplers, number = optuna_or_error().samplers, (seed * 1_000_003 + _counted(study)) % 2**32
    # constant_liar: trials that run count as poor, so that those launched together differ.
    study.sampler = samplers.TPESampler(seed=number, n_startup_trials=startup_trials, constant_liar=True)
    trial = study.ask()
    _beat(study, trial)  # before it has settings: what dies from here on is known to be dead
    for name, distribution in space.items():
        trial._suggest(name, distribution)
    trial.set_user_attr("settings", [f"{key}={_written(value)}" for key, value in trial.params.items()])
    trial.set_user_attr("asked", trial.number)
    return trial


def _fail_dead(study: "optuna.Study", unheard: dict[int, float]) -> None:
    """Trials whose command no longer says that they live have failed, and wait to be begun again.

    unheard: since when such trials are known, in seconds, which never said it; kept between calls.
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


def _launched(
    study: "optuna.Study",
    trials: "Sequence[optuna.Trial]",
    fixed: Sequence[str],
    launcher: Launcher,
    first_job: int,
    monitor: str,
    place: StudyPlace,
) -> list[Outcome]:
    """Runs trials and tells the study what they came to. Of equal ones, which would share a folder, one is run."""
    jobs: dict[tuple[str, ...], int] = {}
    for trial in trials:
        jobs.setdefault(tuple(trial.user_attrs["settings"]), trial.number)
    batch = [[*fixed, *job, *place.overrides(), f"hydra.sweeper.trial={number}"] for job, number in jobs.items()]
    try:
        with _alive(study, trials):
            done = dict(zip(jobs, launched(launcher, batch, first_job), strict=True))
    except BaseException:  # Ctrl-C, mostly
        with storage_errors(place):
            for trial in trials:
                _again(study, trial)
        raise
    with storage_errors(place):
        return [_told(study, trial, done[tuple(trial.user_attrs["settings"])], monitor) for trial in trials]


def _told(study: "optuna.Study", trial: "optuna.Trial", outcome: Outcome, monitor: str) -> Outcome:
    """Tells the study what a trial came to. A result that is not finite is a failure."""
    optuna = optuna_or_error()
    if outcome.value is not None and not isfinite(outcome.value):
        outcome = outcome._replace(status="failed", message=f"{monitor} is {outcome.value}")
    if outcome.status == "lost":
        _again(study, trial)
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


def _again(study: "optuna.Study", trial: "optuna.Trial") -> None:
    """A trial that has no result and is no failure: to be begun again, by this command or the next."""
    if not study.trials[trial.number].state.is_finished():  # as one is that was taken for dead, and begun again
        study.tell(trial, state=optuna_or_error().trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)


@contextmanager
def _alive(study: "optuna.Study", trials: "Sequence[optuna.Trial]") -> Iterator[None]:
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


def _written(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)  # a run's name is made of it


def _running(study: "optuna.Study") -> int:
    return sum(trial.state.name == "RUNNING" for trial in study.trials)


def _counted(study: "optuna.Study") -> int:
    """Trials that count: not those that were lost or interrupted, which are begun again under another number."""
    return sum(trial.state.name in ("COMPLETE", "PRUNED", "RUNNING") or _has_failed(trial) for trial in study.trials)
