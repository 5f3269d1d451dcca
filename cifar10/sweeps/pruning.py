"""Prunes poor trials of a search between two epochs."""

import logging
from functools import cached_property
from pathlib import Path

import optuna
from lightning import Callback, LightningModule, Trainer

from cifar10.errors import Pruned, StorageError
from cifar10.sweeps.study import StudyLocation, storage_errors, trial_id
from cifar10.training.loggers.csv_logger import read_epochs
from cifar10.training.run_folder import readable

log = logging.getLogger(__name__)


class PruningCallback(Callback):
    """Callback that reports `monitor` of each epoch to the trial, and raises Pruned if the pruner stops it.

    number: trial number in the study. table: the run's `metrics.csv`, which includes the epochs before a resumption.
    The callback can be pickled until it opens the study.
    """

    def __init__(self, location: StudyLocation, number: int, table: Path, monitor: str) -> None:
        self.location, self.number, self.table, self.monitor = location, number, table, monitor

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not in on_train_epoch_end: the checkpoints of the epoch are not written yet.
        prune = trainer.is_global_zero and trainer.current_epoch > 0 and self.should_prune()
        if trainer.strategy.broadcast(prune):
            raise Pruned(
                f"after epoch {trainer.current_epoch} of {trainer.max_epochs}, other trials have better {self.monitor}"
            )

    def should_prune(self) -> bool:
        """Reports the epochs missing in the study; returns whether the pruner stops the trial at any of them."""
        with readable(self.table):
            values = {int(row["epoch"]): float(row[self.monitor]) for row in read_epochs(self.table)}
        prune = False
        try:
            with storage_errors(self.location):
                reported = self._trial.study.trials[self.number].intermediate_values
                for epoch in sorted(values.keys() - reported.keys()):
                    self._trial.report(values[epoch], epoch)
                    prune |= self._trial.should_prune()
        except StorageError as error:
            # The study is temporarily locked or unreachable: the next call reports this epoch too. Or the trial became
            # stale: the requeued trial uses this run's result.
            log.warning("%s; the run continues", error)
            return False
        return prune

    @cached_property
    def _trial(self) -> optuna.Trial:
        """The trial of this job. Cached: connecting checks the whole database."""
        storage = self.location.connect()
        study = optuna.load_study(study_name=self.location.study, storage=storage, pruner=self.location.make_pruner())
        return optuna.Trial(study, trial_id(study, storage, self.number))
