"""Searches for settings: Optuna proposes, Hydra's launcher runs the jobs, poor ones are ended early."""

import logging
from collections.abc import Mapping, Sequence
from itertools import product
from time import sleep
from typing import TYPE_CHECKING

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher

from cifar10.errors import UserError
from cifar10.sweeps.jobs import NOWHERE, Outcome, launched, settings
from cifar10.sweeps.search_space import check_words, read_space, some_values, written
from cifar10.sweeps.study import HEARTBEAT_SECONDS, SILENT_SECONDS, StudyPlace, storage_errors
from cifar10.sweeps.trials import again, alive, ask, counted, fail_dead, outcomes, running, tell
from cifar10.training.config import explain
from cifar10.training.run_folder import words

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
    _check_space(launcher, fixed, space)
    done: list[Outcome] = []
    lost: list[Outcome] = []
    unheard: dict[int, float] = {}
    with storage_errors(place):
        study = place.open(monitor)
        check_words(study, words([override.input_line for override in overrides]))
        study.set_user_attr("monitor", monitor)
        log.info("study %s in %s: %d of %d trials done", place.study, place.shown, counted(study), n_trials)
        fail_dead(study, unheard)
        if running(study):  # of another command, or of one that is dead: so it is begun again before others are
            log.info("waiting %d seconds to see whether its %d running trials live", SILENT_SECONDS, running(study))
            sleep(SILENT_SECONDS)
    while True:
        with storage_errors(place):
            fail_dead(study, unheard)
            left = n_trials - counted(study)
            trials = [ask(study, space, seed, startup_trials) for _ in range(min(batch, left))]
            if left <= 0 and not running(study):
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
        return [*outcomes(study), *lost]


def _check_space(
    launcher: Launcher, fixed: Sequence[str], space: "Mapping[str, optuna.distributions.BaseDistribution]"
) -> None:
    """Raises HydraException where no choice of model, data and the like has all of the settings."""
    errors = []
    for values in product(*(some_values(name, distribution) for name, distribution in space.items())):
        chosen = [f"{name}={written(value)}" for name, value in zip(space, values, strict=True)]
        try:
            settings(launcher, [*fixed, *chosen])
        except HydraException as error:
            errors.append(error)
        else:
            return
    raise errors[0]


def _failed_alike(last: Sequence[Outcome]) -> bool:
    """Whether these are ALIKE runs that failed with the same words, and not by results that are no numbers."""
    words_of_each = {outcome.message.replace(str(outcome.folder), "") for outcome in last}
    failed = all(outcome.status == "failed" and outcome.value is None for outcome in last)
    return failed and len(words_of_each) == 1 and len({outcome.folder for outcome in last}) == ALIKE


def _refused(launcher: Launcher, job: Sequence[str]) -> Outcome | None:
    """What comes of a job whose choices do not allow one of its settings; None for any other job."""
    try:
        settings(launcher, job)
    except HydraException as error:
        return Outcome(NOWHERE, "failed", explain(error))
    return None


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
    done: dict[tuple[str, ...], Outcome] = {}
    try:
        with alive(study, trials):
            for trial in trials:
                job = tuple(trial.user_attrs["settings"])
                if refused := _refused(launcher, [*fixed, *job]):
                    done[job] = refused
                else:
                    jobs.setdefault(job, trial.number)
            of_study = place.overrides()
            batch = [[*fixed, *job, *of_study, f"hydra.sweeper.trial={number}"] for job, number in jobs.items()]
            done |= zip(jobs, launched(launcher, batch, first_job) if batch else [], strict=True)
    except BaseException:  # Ctrl-C, mostly
        with storage_errors(place):
            for trial in trials:
                again(study, trial)
        raise
    with storage_errors(place):
        return [tell(study, trial, done[tuple(trial.user_attrs["settings"])], monitor) for trial in trials]
