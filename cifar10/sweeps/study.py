"""Opens the Optuna study shared by the search process and its jobs."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import NamedTuple

import optuna
from hydra.core.override_parser.types import Quote, QuotedString
from optuna.storages import RDBStorage
from sqlalchemy import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from cifar10.errors import StorageError, UserError

HEARTBEAT_SECONDS, GRACE_SECONDS = 5, 20
"""Interval between heartbeats of a running trial, and the time without one after which it is stale."""
LOCK_SECONDS = 10
"""Timeout for an SQLite file that another process has locked; shorter than GRACE_SECONDS."""


class StudyLocation(NamedTuple):
    """Name of a study, SQLAlchemy URL of its database, and name of its pruner.

    pruner: `halving` keeps the best third of all trials after 1, 3, 9 ... epochs (asynchronous successive halving, Li
    et al., MLSys 2020). `hyperband` (Li et al., JMLR 18, 2018) runs several brackets of it with different first epochs.
    `median` prunes a trial that is worse than the median of completed ones at the same epoch. None disables pruning.
    """

    study: str
    storage: str
    pruner: str | None = None

    def overrides(self) -> list[str]:
        """Returns the overrides that pass the study to a job."""
        quoted = (QuotedString(text, Quote.single).with_quotes() for text in (self.study, self.storage))
        return [f"hydra.sweeper.{name}={text}" for name, text in zip(("study_name", "storage"), quoted, strict=True)]

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
        """Connects to the database and creates its tables. Retries once, in case another process creates them too."""
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed")  # by Study.optimize only
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        engine = {}
        if (url := make_url(self.storage)).get_backend_name() == "sqlite":
            if url.database in (None, "", ":memory:"):
                hint = "an in-memory study cannot be shared with jobs: use sqlite:///PATH"
                raise UserError(f"hydra.sweeper.storage={self.storage}: {hint}")
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
        """Returns the pruner. Raises UserError for an unknown name."""
        choices = {
            None: optuna.pruners.NopPruner(),
            "median": optuna.pruners.MedianPruner(n_startup_trials=2),  # few: they run without pruning
            "halving": optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
            "hyperband": optuna.pruners.HyperbandPruner(),
        }
        if self.pruner not in choices:
            raise UserError(f"hydra.sweeper.pruner={self.pruner}: choose halving, hyperband, median or null")
        return choices[self.pruner]


def requeue(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    """Enqueues a new trial with the parameters of `trial`."""
    study.enqueue_trial(trial.params)


def trial_id(study: optuna.Study, storage: RDBStorage, number: int) -> int:
    """Returns the storage's id of the trial with this number."""
    return storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(study.study_name), number)


@contextmanager
def storage_errors(location: StudyLocation) -> Iterator[None]:
    """Converts the errors of a locked, read-only, unreachable or invalid database to a one-line StorageError."""
    try:
        yield
    except (optuna.exceptions.OptunaError, SQLAlchemyError, OSError, ImportError) as error:  # or a driver's import
        cause = getattr(error, "orig", None) or error.__cause__ or error
        line = str(getattr(cause, "orig", None) or cause).partition("\n")[0]
        raise StorageError(f"study {location.study} cannot be used: {line}; set hydra.sweeper.storage=URL") from error


def sqlite_url(path: str) -> str:
    """Returns the URL of an SQLite file, whose path may contain any character."""
    return URL.create("sqlite", database=path).render_as_string()
