"""One run, from its settings to its results."""

import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from hydra.errors import InstantiationException
from omegaconf import DictConfig

from cifar10.errors import Busy, Interrupted, Pruned, UserError
from cifar10.messages import one_line
from cifar10.training.run_folder import STATUS, claim, finished_result

log = logging.getLogger("cifar10")


def train(
    cfg: DictConfig, folder: Path, *, overrides: Any = None, callbacks: Sequence[Any] = (), on_finish: Any = None
) -> dict[str, Any]:
    """Trains what `cfg` describes into `folder`, or goes on with what is there; returns the run's `metrics.json`.

    callbacks: more of Lightning's. overrides, on_finish: not used yet.
    Raises UserError for what a user can mend, Interrupted after Ctrl-C or
    SIGTERM.
    """
    from cifar10.training.config import check_settings
    from cifar10.training.distributed import is_first_process, processes_to_start, train_in_processes
    from cifar10.training.lock import held

    check_settings(cfg)
    if finished := _finished(folder, cfg):
        return finished

    if (count := processes_to_start(cfg)) > 1:
        try:
            train_in_processes(cfg, folder, callbacks, count)
        except UserError as error:  # of a rank, or of one that died without a word
            if not isinstance(error, Busy):
                _tell(folder / STATUS, error)
            raise
        return json.loads((folder / "metrics.json").read_text())
    if not is_first_process():
        return _train(cfg, folder, callbacks)
    with held(folder):
        if finished := _finished(folder, cfg):  # by another process, while this one started
            return finished
        stopped = folder / STATUS
        stopped.unlink(missing_ok=True)
        try:
            return _train(cfg, folder, callbacks)
        except Exception as error:
            _tell(stopped, error)
            raise


def _finished(folder: Path, cfg: DictConfig) -> dict[str, Any] | None:
    """What the folder's run came to, shown; None where there is something to do."""
    from cifar10.training.distributed import is_first_process

    if finished := finished_result(folder, cfg):
        from cifar10.training.record import summary

        if is_first_process():
            log.info("finished before (overwrite=true does it again)\n%s", summary(finished, folder))
    return finished


def _tell(stopped: Path, error: Exception) -> None:
    """Keeps why a run ended that was not interrupted."""
    with suppress(OSError):
        stopped.write_text(f"{_ending(error)}: {one_line(error) or type(error).__name__}\n")


def _ending(error: Exception) -> str:
    return "pruned" if isinstance(error, Pruned) else "failed"


def _train(cfg: DictConfig, folder: Path, callbacks: Sequence[Any]) -> dict[str, Any]:
    # PyTorch and Lightning take seconds to import: not for --help, not for a typing error.
    from lightning import seed_everything
    from tqdm.contrib.logging import logging_redirect_tqdm

    from cifar10.files import epochs_done, write_json
    from cifar10.training.checkpoints import LastCheckpoint
    from cifar10.training.loggers.events import forget_after
    from cifar10.training.loggers.tensorboard import log_hyperparameters
    from cifar10.training.record import git_commit, make_record, summary
    from cifar10.training.signals import StopSignals
    from cifar10.training.trainer import make_trainer

    phases: dict[str, Any] = {"commit": git_commit()}
    data = _built(cfg.data, batch_size=cfg.batch_size, seed=cfg.seed)
    data.prepare_data()
    start = perf_counter()
    data.setup()
    phases["data"] = perf_counter() - start

    seed_everything(cfg.seed, verbose=False)
    os.environ.pop("PL_GLOBAL_SEED")  # of several processes each would begin anew with it, after the model is made
    model = _built(cfg.model, class_names=data.class_names)
    stop = StopSignals()
    last = LastCheckpoint(folder / "last.ckpt", stop, cfg.stop_on_divergence, **cfg.checkpoint)
    trainer = make_trainer(cfg, folder, last, model, callbacks)
    if trainer.is_global_zero:
        claim(folder, cfg)  # only now: with overwrite=true it removes what is there
    resume = None if cfg.overwrite or not last.path.exists() else last.path  # of several processes one removes the file
    if trainer.is_global_zero:
        forget_after(epochs_done(resume) if resume else None, folder / "tensorboard")
    with logging_redirect_tqdm(), stop.caught():
        trainer.fit(model, data, ckpt_path=resume, weights_only=True)
        start = perf_counter()
        trainer.test(model, data, ckpt_path=folder / "best.ckpt", weights_only=True, verbose=False)
        phases["test"] = perf_counter() - start
        record = make_record(cfg, trainer, model, data, folder, phases)
        if trainer.is_global_zero:
            model.test_predictions.save(folder)
            log_hyperparameters(trainer, record)
            write_json(folder / "metrics.json", record)
            log.info("%s", summary(record, folder))
    if stop.asked:  # too late for this run, not for the sweep that it may be part of
        raise Interrupted(f"{folder} is finished", stop.status)
    return record


def _built(settings: DictConfig, **rest: Any) -> Any:
    """What the settings describe. A UserError of its constructor comes as it is, not in one of Hydra's."""
    from hydra.utils import instantiate

    try:
        return instantiate(settings, _convert_="all", **rest)
    except InstantiationException as error:
        raise error.__cause__ if isinstance(error.__cause__, UserError) else error from None
