"""Opens the Optuna study shared by the search process and its jobs."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import NamedTuple

import optuna
from hydra.core.override_parser.types import Quote, QuotedString
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from cifar10.errors import StorageError, UserError

HEARTBEAT_SECONDS, GRACE_SECONDS = 5, 20
"""Interval of a running trial's heartbeats. A trial is stale after a grace period without one."""
LOCK_SECONDS = 10
"""Time to wait for an SQLite file that another process has locked; shorter than the grace period."""


class StudyLocation(NamedTuple):
    """Locates a study by its name and the SQLAlchemy URL of its database, and names its pruner.

    pruner: `halving` continues the best third of all trials after 1, 3, 9 ... epochs (asynchronous successive halving,
    Li and others, MLSys 2020). `hyperband` (Li and others, JMLR 18, 2018) does so from several first epochs on.
    `median` prunes a trial below the median of the completed ones at the same epoch. None prunes no trial.
    """

    study: str
    storage: str
    pruner: str | None = None

    def overrides(self) -> list[str]:
        """Returns the overrides by which a job finds the study."""
        quoted = (QuotedString(text, Quote.single).with_quotes() for text in (self.study, self.storage))
        return [f"hydra.sweeper.{name}={text}" for name, text in zip(("study", "storage"), quoted, strict=True)]

    def open(self, monitor: str, storage: RDBStorage | None = None) -> optuna.Study:
        """Creates or loads the study, which minimizes a loss and maximizes any other `monitor`."""
        return optuna.create_study(
            study_name=self.study,
            storage=storage or self.connect(),
            pruner=self.make_pruner(),
            direction="minimize" if monitor.endswith("loss") else "maximize",
            load_if_exists=True,
        )

    def connect(self, retry: bool = True) -> RDBStorage:
        """Connects to the database, whose tables it creates. Retries once: another process may create them too."""
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed")  # to be used by Study.optimize
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        engine = {}
        if (url := make_url(self.storage)).get_backend_name() == "sqlite":
            if url.database in (None, "", ":memory:"):
                raise UserError(f"hydra.sweeper.storage={self.storage}: jobs cannot share it: use sqlite:///PATH")
            Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
            engine = {"connect_args": {"timeout": LOCK_SECONDS}}
        try:
            return RDBStorage(
                self.storage,
                engine_kwargs=engine,
                heartbeat_interval=HEARTBEAT_SECONDS,
                grace_period=GRACE_SECONDS,
                heartbeat_stale_trial_callback=requeue,
            )
        except SQLAlchemyError:
            if not retry:
                raise
        sleep(1)
        return self.connect(retry=False)

    def make_pruner(self) -> optuna.pruners.BasePruner:
        choices = {
            None: optuna.pruners.NopPruner(),
            "median": optuna.pruners.MedianPruner(n_startup_trials=2),  # few: they take the time that pruning saves
            "halving": optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
            "hyperband": optuna.pruners.HyperbandPruner(),
        }
        if self.pruner not in choices:
            raise UserError(f"hydra.sweeper.pruner={self.pruner}: choose halving, hyperband, median or null")
        return choices[self.pruner]


def requeue(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    """Enqueues a new trial with the parameters of one that was lost, without its user attributes."""
    trial.user_attrs = {}
    RetryHeartbeatStaleTrialCallback()(study, trial)


def trial_id(study: optuna.Study, storage: RDBStorage, number: int) -> int:
    """Returns the storage's key of the study's trial of this number."""
    return storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(study.study_name), number)


@contextmanager
def storage_errors(location: StudyLocation) -> Iterator[None]:
    """Raises StorageError, with the cause in one line, for a database that is locked, read-only or no study."""
    try:
        yield
    except (optuna.exceptions.OptunaError, SQLAlchemyError, OSError, ImportError) as error:  # or a driver's import
        cause = getattr(error, "orig", None) or error.__cause__ or error
        line = str(getattr(cause, "orig", None) or cause).partition("\n")[0]
        raise StorageError(f"study {location.study} cannot be used: {line}; set hydra.sweeper.storage=URL") from error


def sqlite_url(path: str) -> str:
    """Returns the URL of an SQLite file, whose path may contain any character."""
    return URL.create("sqlite", database=path).render_as_string()
