"""A search's trials, where they are kept, for the command that proposes them and the jobs that they are."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cifar10.errors import UserError

if TYPE_CHECKING:
    import optuna

HEARTBEAT_SECONDS, SILENT_SECONDS = 5, 20
"""How often a command says that its trials live; after how long a silent one is taken for dead."""

LOCK_SECONDS = 10
"""How long to wait for an SQLite file that another process holds: less than until a silent one is taken for dead."""

FINISHED_FIRST = 2
"""Trials before any is ended: few, since they take as much time as is saved by ending some."""


class StudyPlace(NamedTuple):
    """Where a study's trials are kept, by name and SQLAlchemy URL, and which of them are ended early.

    pruner: `halving` lets the best third of all trials that came as far go on after 1, 3, 9 ... epochs (asynchronous
    successive halving, Li and others, MLSys 2020), `hyperband` (Li and others, JMLR 18, 2018) does so from several
    first epochs on; `median` ends a trial that is below the median of the finished ones after as many epochs, once
    there are FINISHED_FIRST; None ends none.
    """

    study: str
    storage: str
    pruner: str | None

    def overrides(self) -> list[str]:
        """What tells a job of it."""
        quoted = (text.replace("\\", "\\\\").replace("'", "\\'") for text in (self.study, self.storage))
        return [f"hydra.sweeper.{name}='{text}'" for name, text in zip(("study", "storage"), quoted, strict=True)]

    def open(self, monitor: str) -> "optuna.Study":
        """The study, new or as it is. Raises UserError where it was begun for another `monitor`."""
        optuna = optuna_or_error()
        prune = {
            None: lambda: optuna.pruners.NopPruner(),
            "median": lambda: optuna.pruners.MedianPruner(FINISHED_FIRST),
            "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
            "hyperband": lambda: optuna.pruners.HyperbandPruner(),
        }
        if self.pruner not in prune:
            raise UserError(f"hydra.sweeper.pruner={self.pruner}: choose halving, hyperband, median or null")
        sqlite = self.storage.startswith("sqlite:///")
        if sqlite:
            Path(self.storage.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        storage = optuna.storages.RDBStorage(
            self.storage,
            engine_kwargs={"connect_args": {"timeout": LOCK_SECONDS}}
            if sqlite
            else {},  # several jobs write to one file
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=SILENT_SECONDS,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
        )
        study = optuna.create_study(
            study_name=self.study,
            storage=storage,
            pruner=prune[self.pruner](),
            direction="minimize" if monitor.endswith("loss") else "maximize",
            load_if_exists=True,
        )
        if (begun := study.user_attrs.get("monitor", monitor)) != monitor:
            raise UserError(
                f"study {self.study} was begun for monitor={begun}, now it is {monitor}; set it back, or begin another "
                "with hydra.sweeper.study=NAME"
            )
        if "monitor" not in study.user_attrs:
            study.set_user_attr("monitor", monitor)
        return study

    @property
    def shown(self) -> str:
        """The URL for messages, without the password that it may hold."""
        return re.sub(r"(://[^:@/]*):[^@/]*@", r"\1:***@", self.storage)


class Trial(NamedTuple):
    """One trial of a study, by its number."""

    study: StudyPlace
    number: int


@contextmanager
def storage_errors(place: StudyPlace) -> Iterator[None]:
    """What Optuna and SQLAlchemy say of a file that is locked, read-only or something else, in a line."""
    OptunaError = optuna_or_error().exceptions.OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (OptunaError, SQLAlchemyError, OSError, ImportError) as error:  # of a database's driver
        cause = getattr(error, "orig", None) or error.__cause__ or error
        reason = str(getattr(cause, "orig", None) or cause).splitlines()[0]
        raise UserError(
            f"the study in {place.shown} cannot be used: {reason}; set hydra.sweeper.storage=URL"
        ) from error


def optuna_or_error() -> Any:
    """Optuna, imported where it is needed. Raises UserError that says how to install it."""
    try:
        import optuna
    except ImportError:
        raise UserError("a search needs Optuna: pip install -e '.[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings(
        "ignore", "Heartbeat of storage is supposed"
    )  # here it is Hydra's launcher that runs trials
    return optuna
