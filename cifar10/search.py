"""Searches for settings: Optuna proposes, Hydra's launcher runs the jobs, poor ones are ended early."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from time import sleep
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.plugins.launcher import Launcher

from cifar10.errors import UserError
from cifar10.study import HEARTBEAT_SECONDS, Study, optuna_or_error, storage_errors
from cifar10.sweep import Outcome, outcomes

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)


def search(
    overrides: Sequence[Override], launcher: Launcher, monitor: str, of: Study, n_trials: int, at_once: int, seed: int
) -> list[Outcome]:
    """Runs trials until the study has `n_trials`; returns the outcomes of those that this call ran.

    Trials of a command that died are begun again, with the same settings, so that their runs go on. Raises UserError
    for a space or a storage that cannot be used.
    """
    space = _space(overrides)
    fixed = [override.input_line for override in overrides if not override.is_sweep_override()]
    if not space:
        raise UserError("nothing to search: give a space, as in 'model.learning_rate=tag(log,interval(1e-4,1e-1))'")
    with storage_errors(of.storage):
        kept, done = of.open(monitor), []
        log.info("study %s in %s: %d of %d trials done", of.study, of.storage, _counted(kept), n_trials)
        while True:
            optuna_or_error().storages.fail_stale_trials(kept)
            if (left := n_trials - _counted(kept)) > 0:
                trials = [_asked(kept, space, seed, of.startup_trials) for _ in range(min(at_once, left))]
                done += _launched(kept, trials, fixed, launcher, len(done), monitor, of)
            elif any(trial.state.name == "RUNNING" for trial in kept.trials):
                sleep(HEARTBEAT_SECONDS)  # of another command, which may die yet
            else:
                break
        finished = [trial for trial in kept.trials if trial.state.name == "COMPLETE"]
        if finished:
            settings = " ".join(kept.best_trial.user_attrs["settings"])
            log.info("best of %d finished trials: %s %.4f with %s", len(finished), monitor, kept.best_value, settings)
        return done


def _asked(study: "optuna.Study", space: dict[str, Any], seed: int, startup_trials: int) -> "optuna.Trial":
    """A new trial, or one to begin again; by a sampler of its own, so that a search goes on as if never stopped."""
    samplers, number = optuna_or_error().samplers, (seed * 1_000_003 + _counted(study)) % 2**32
    study.sampler = samplers.TPESampler(seed=number, n_startup_trials=startup_trials)
    return study.ask(space)


def _launched(
    study: "optuna.Study",
    trials: "Sequence[optuna.Trial]",
    fixed: Sequence[str],
    launcher: Launcher,
    first: int,
    monitor: str,
    of: Study,
) -> list[Outcome]:
    for trial in trials:
        trial.set_user_attr("settings", [f"{key}={_written(value)}" for key, value in trial.params.items()])
    batch = [
        [*fixed, *trial.user_attrs["settings"], *of.overrides(), f"hydra.sweeper.trial={trial.number}"]
        for trial in trials
    ]
    states = optuna_or_error().trial.TrialState
    try:
        with _alive(study, trials):
            done = outcomes(launcher.launch(batch, initial_job_idx=first))
    except BaseException:  # Ctrl-C, mostly: not failed, to be begun again
        for trial in trials:
            study.tell(trial, state=states.FAIL)
            study.enqueue_trial(trial.params)
        raise
    for trial, outcome in zip(trials, done, strict=True):
        if outcome.status == "finished":
            record = json.loads((outcome.folder / "metrics.json").read_text())
            study.tell(trial, record[monitor.replace("/", "_")])
        else:
            if outcome.status == "failed":
                trial.set_user_attr("error", outcome.message)
            study.tell(trial, state=states.PRUNED if outcome.status == "pruned" else states.FAIL)
    return done


@contextmanager
def _alive(study: "optuna.Study", trials: "Sequence[optuna.Trial]") -> Iterator[None]:
    """Says from time to time that the trials are run."""
    ended = Event()

    def beat() -> None:
        while True:
            for trial in trials:
                study._storage.record_heartbeat(trial._trial_id)
            if ended.wait(HEARTBEAT_SECONDS):
                return

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _space(overrides: Sequence[Override]) -> "dict[str, optuna.distributions.BaseDistribution]":
    """What Hydra calls a sweep, as Optuna's distributions; choices as they are written on the command line."""
    distributions = optuna_or_error().distributions
    space: dict[str, Any] = {}
    for override in overrides:
        sweep, key = override.value(), override.get_key_element()
        if not override.is_sweep_override():
            continue
        if isinstance(sweep, IntervalSweep):
            whole = isinstance(sweep.start, int) and isinstance(sweep.end, int)
            kind = distributions.IntDistribution if whole else distributions.FloatDistribution
            space[key] = kind(sweep.start, sweep.end, log="log" in sweep.tags)
        elif isinstance(sweep, RangeSweep) and all(isinstance(n, int) for n in (sweep.start, sweep.stop, sweep.step)):
            numbers = range(sweep.start, sweep.stop, sweep.step)
            space[key] = distributions.IntDistribution(numbers[0], numbers[-1], step=sweep.step)
        elif isinstance(sweep, ChoiceSweep | RangeSweep):
            space[key] = distributions.CategoricalDistribution(list(override.sweep_string_iterator()))
        else:
            raise UserError(f"{override.input_line}: a search knows interval, range and choice")
    return space


def _written(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)  # a run's name is made of it


def _counted(study: "optuna.Study") -> int:
    """Trials that count: not those that died or were interrupted, which are begun again under another number."""
    return sum(
        trial.state.name in ("COMPLETE", "PRUNED", "RUNNING") or "error" in trial.user_attrs for trial in study.trials
    )
