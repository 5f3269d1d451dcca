"""Ends a run of a search early, where others are better."""

import logging
from csv import DictReader
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lightning import Callback, LightningModule, Trainer

from cifar10.errors import Pruned, StorageError
from cifar10.sweeps.study import Trial, storage_errors
from cifar10.training.run_folder import readable

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)


class Pruning(Callback):
    """Tells the study of each epoch's `monitor`, and asks whether to go on: raises Pruned between two epochs.

    trial: what the run is. table: the run's `metrics.csv`, which has the epochs before a resumption too.
    """

    def __init__(self, trial: Trial, table: Path, monitor: str) -> None:
        self.trial, self.table, self.monitor = trial, table, monitor

    @cached_property
    def study(self) -> "optuna.Study":
        """Opened once: to open one is to check its whole storage."""
        return self.trial.study.load()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not at an epoch's end: its checkpoints are not written yet, and the last epoch needs no such question.
        poor = trainer.is_global_zero and trainer.current_epoch > 0 and self._is_poor()
        if trainer.strategy.broadcast(poor):
            raise Pruned(
                f"after epoch {trainer.current_epoch} of {trainer.max_epochs}, others have better {self.monitor}"
            )

    def _is_poor(self) -> bool:
        with readable(self.table), self.table.open(newline="") as file:
            found = {int(row["epoch"]): float(row[self.monitor]) for row in DictReader(file)}
        try:
            return self._told(found)
        except StorageError as error:  # busy, or away for a moment: told of with the next epoch
            log.warning("%s; the run goes on", error)
            return False

    def _told(self, found: dict[int, float]) -> bool:
        """Tells the study of epochs that it does not know; whether any of them was poor."""
        import optuna

        with storage_errors(self.trial.study):
            frozen = self.study.trials[self.trial.number]
            trial = optuna.Trial(self.study, frozen._trial_id)
            poor = False
            try:
                for epoch in sorted(found.keys() - frozen.intermediate_values.keys()):  # also those before a resumption
                    trial.report(found[epoch], epoch)
                    poor |= trial.should_prune()
            except optuna.exceptions.UpdateFinishedTrialError:
                return False  # taken for dead or lost while it lived: it goes on, and is found finished
            return poor
