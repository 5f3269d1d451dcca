"""Trains one run, from its settings to its results: `train`."""

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from cifar10.errors import Interrupted, UserError, one_line, require_packages
from cifar10.files import write_json
from cifar10.training.config import check_settings, fill_defaults
from cifar10.training.distributed import launched_rank, ranks_to_start, spawn_ranks, unset_stale_rank_variables
from cifar10.training.run_folder import (
    RESULT,
    STATUS,
    VALIDATED,
    finished_result,
    init_run_folder,
    lock_run_folder,
    log_failure_to_status,
    read_record,
    readable,
)

if TYPE_CHECKING:
    from lightning import Callback

    from cifar10.models.classifier import Classifier
    from cifar10.training.loggers.run_logger import RunLogger

    OnFinish = Callable[[Path, "Record", Sequence[RunLogger]], None]

log = logging.getLogger("cifar10")

Record = dict[str, Any]


def train(
    cfg: DictConfig,
    folder: Path,
    *,
    overrides: Sequence[str] | None = None,
    callbacks: "Iterable[Callback]" = (),
    on_finish: "OnFinish | None" = None,
    test: bool = True,
) -> Record:
    """Trains and tests the model of `cfg` in `folder`, or resumes there; returns the record (`metrics.json`).

    overrides: Hydra's task overrides, for the record. callbacks: additional ones for the Trainer. on_finish(folder,
    record, loggers): called in rank 0 before `metrics.json` is written; its exceptions are logged as warnings. With
    several ranks, all three are pickled. test: False for a trial of a search, which returns {}; a later call with True
    tests it and writes `metrics.json`. Raises UserError for errors that a user can fix, Interrupted after SIGINT or
    SIGTERM.
    """
    unset_stale_rank_variables()
    check_settings(cfg)
    # The record holds all settings: a default that changes later must not change its meaning.
    cfg = OmegaConf.create(fill_defaults(OmegaConf.to_container(cfg, resolve=True)))  # type: ignore[arg-type]
    if finished := _finished_before(folder, cfg):
        return finished
    for name in {"mlflow", "wandb"} & cfg.get("logger", {}).keys():
        require_packages(name, name)  # before the data is downloaded
    arguments: dict[str, Any] = {"overrides": overrides, "callbacks": callbacks, "on_finish": on_finish, "test": test}
    if (world_size := ranks_to_start(cfg)) > 1:
        with log_failure_to_status(folder):
            spawn_ranks(world_size, partial(train, cfg, folder, **arguments))
        return read_record(folder / RESULT) if test else {}
    if launched_rank()[0] > 0:
        return _fit_and_test(cfg, folder, **arguments)
    with lock_run_folder(folder):
        if finished := _finished_before(folder, cfg):  # by another process in the meantime
            return finished
        (folder / STATUS).unlink(missing_ok=True)
        with log_failure_to_status(folder):
            return _fit_and_test(cfg, folder, **arguments)


def _fit_and_test(cfg: DictConfig, folder: Path, overrides: Any, callbacks: Any, on_finish: Any, test: bool) -> Record:
    # Imported here: PyTorch and Lightning take seconds, which --help and an invalid setting need not wait for.
    from tqdm.contrib.logging import logging_redirect_tqdm

    from cifar10.training.checkpoints import LastCheckpoint, epochs_done
    from cifar10.training.loggers.run_logger import RunLogger, hyperparameters, log_results, started
    from cifar10.training.loggers.tensorboard import remove_events
    from cifar10.training.record import git_commit, make_record, nan_to_null, summary
    from cifar10.training.signals import StopSignals
    from cifar10.training.trainer import make_trainer, misconfiguration_as_user_error

    commit, seconds = git_commit(), {}
    data, seconds["data"] = _load_data(cfg)
    model = _make_model(cfg, data.class_names)
    stop = StopSignals()
    last = LastCheckpoint(folder / "last.ckpt", stop, cfg.stop_on_divergence, **cfg.checkpoint)
    resume = last.path if last.path.exists() and not cfg.overwrite else None
    trainer = make_trainer(cfg, folder, last, model, callbacks, epochs_done(resume) if resume else None)
    loggers: list[RunLogger] = []
    if trainer.is_global_zero:
        init_run_folder(folder, cfg)
        remove_events(folder, of_training=resume is None)
        loggers = [logger for logger in trainer.loggers if isinstance(logger, RunLogger)]
    config = OmegaConf.to_container(cfg, resolve=True)
    settings = hyperparameters({"model": type(model).__name__, "data": data.name, "config": config})
    with logging_redirect_tqdm(), stop.caught(), misconfiguration_as_user_error(), started(loggers, settings):
        trainer.fit(model, data, ckpt_path=resume, weights_only=True)
        record: Record = {}
        if test:
            trainer.loggers = []  # log_results logs the test metrics
            start = perf_counter()
            trainer.test(model, data, ckpt_path=folder / "best.ckpt", weights_only=True, verbose=False)
            seconds["test"] = perf_counter() - start
            record = make_record(cfg, trainer, model, data, folder, seconds)
            record |= {"commit": commit, "overrides": overrides and list(overrides)}
            if trainer.is_global_zero:
                assert model.test_predictions is not None  # computed by the test
                model.test_predictions.save(folder)
                log.info("%s", summary(record, folder))  # before the figures are drawn
                for log_end in (log_results, on_finish):
                    _call_on_finish(log_end, folder, record, loggers)
                write_json(folder / RESULT, nan_to_null(record))
        elif trainer.is_global_zero:
            (folder / STATUS).write_text(f"{VALIDATED}: not tested; repeat its command without -m\n")
    if stop.requested:  # the run has finished, but a sweep must stop
        raise Interrupted(f"after {folder} has finished", stop.status)
    return record


def _finished_before(folder: Path, cfg: DictConfig) -> Record | None:
    """Logs and returns the record of a finished run; returns None if training is needed."""
    if finished := finished_result(folder, cfg):
        from cifar10.training.record import summary

        with readable(folder / RESULT):
            text = summary(finished, folder)
        if launched_rank()[0] == 0:
            log.info("already finished (overwrite=true repeats the run)\n%s", text)
            _warn_if_data_changed(finished, cfg)
    return finished


def _warn_if_data_changed(finished: Record, cfg: DictConfig) -> None:
    recorded = finished.get("data_fingerprint")
    try:
        if recorded and recorded != make_data(cfg).compute_fingerprint():
            log.warning("the images of data=%s changed after this run; overwrite=true trains on them", finished["data"])
    except (UserError, OSError) as error:
        log.warning("the images of data=%s cannot be compared with the run's: %s", finished["data"], one_line(error))


def make_data(cfg: DictConfig) -> Any:
    """Returns the data module of the settings. Raises UserError for invalid settings."""
    try:
        return instantiate(cfg.data, _convert_="all", batch_size=cfg.batch_size, seed=cfg.seed)
    except InstantiationException as error:  # wraps a UserError of the constructor
        raise error.__cause__ if isinstance(error.__cause__, UserError) else error from None


def _load_data(cfg: DictConfig) -> tuple[Any, float]:
    """Returns the data module after `setup`, and the seconds of `setup`, without the download."""
    data = make_data(cfg)
    data.prepare_data()
    start = perf_counter()
    data.setup()
    return data, perf_counter() - start


def _make_model(cfg: DictConfig, class_names: Sequence[str]) -> "Classifier":
    from lightning import seed_everything

    from cifar10.models.build import build_model

    seed_everything(cfg.seed, verbose=False)
    os.environ.pop("PL_GLOBAL_SEED", None)  # else each rank would seed again after the model is built
    settings: Any = OmegaConf.to_container(cfg.model, resolve=True)
    return build_model(settings, class_names)


def _call_on_finish(on_finish: "OnFinish | None", folder: Path, record: Record, loggers: "Sequence[RunLogger]") -> None:
    try:
        if on_finish is not None:
            on_finish(folder, record, loggers)
    except Exception as error:
        name = getattr(on_finish, "__name__", on_finish)
        log.warning("%s failed: %s: %s", name, type(error).__name__, one_line(error))
