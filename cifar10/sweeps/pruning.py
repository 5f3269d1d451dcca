"""Prunes a run of a search between two epochs where other trials are better."""

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
    """Reports `monitor` of each epoch to the trial, and raises Pruned if it should be pruned.

    number: of the trial in its study. table: the run's `metrics.csv`, which includes the epochs before a resumption.
    The callback can be pickled until it opens the study.
    """

    def __init__(self, location: StudyLocation, number: int, table: Path, monitor: str) -> None:
        self.location, self.number, self.table, self.monitor = location, number, table, monitor

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not at the end of an epoch: its checkpoints are not written yet, and after the last one nothing is saved.
        prune = trainer.is_global_zero and trainer.current_epoch > 0 and self.should_prune()
        if trainer.strategy.broadcast(prune):
            raise Pruned(
                f"after epoch {trainer.current_epoch} of {trainer.max_epochs}, others have better {self.monitor}"
            )

    def should_prune(self) -> bool:
        """Reports the epochs that the study lacks; returns whether to prune after any of them."""
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
            # The study is locked or unreachable for a moment: reported with the next epoch. Or the trial was considered
            # stale: the requeued one finds this run's result.
            log.warning("%s; the run continues", error)
            return False
        return prune

    @cached_property
    def _trial(self) -> optuna.Trial:
        """The job's trial. Opened once: connecting checks the whole database."""
        storage = self.location.connect()
        study = optuna.load_study(study_name=self.location.study, storage=storage, pruner=self.location.make_pruner())
        return optuna.Trial(study, trial_id(study, storage, self.number))
