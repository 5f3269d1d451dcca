"""A search's trials, where they are kept, for the command that proposes them and the jobs that they are."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.override_parser.types import Quote, QuotedString

from cifar10.errors import StorageError, UserError

if TYPE_CHECKING:
    import optuna

HEARTBEAT_SECONDS, SILENT_SECONDS = 5, 20
"""How often a command says that its trials live; after how long a silent one is taken for dead."""

LOCK_SECONDS = 10
"""How long to wait for an SQLite file that another process holds: less than until a silent one is taken for dead."""

BEGUN_TOGETHER = 5
"""How often to try again where another command makes the study's tables at the same time, a second apart."""

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
        given = {"study": self.study, "storage": self.storage}
        quoted = {name: QuotedString(text, Quote.single).with_quotes() for name, text in given.items()}
        return [f"hydra.sweeper.{name}={text}" for name, text in quoted.items()]

    def open(self, monitor: str) -> "optuna.Study":
        """The study, new or as it is. Raises UserError where it was begun for another `monitor`."""
        for _ in range(BEGUN_TOGETHER):  # two commands that make the same tables and study at once: one of them fails
            try:
                return self._open(monitor)
            except Exception as error:
                if not re.search("unique|already exists", _cause(error), re.IGNORECASE):
                    raise
                sleep(1)
        return self._open(monitor)

    def _open(self, monitor: str) -> "optuna.Study":
        optuna = optuna_or_error()
        directions = optuna.study.StudyDirection
        direction = directions.MINIMIZE if monitor.endswith("loss") else directions.MAXIMIZE
        study = optuna.create_study(
            study_name=self.study,
            storage=self._opened_storage(),
            pruner=self._chosen_pruner(),
            direction=direction,
            load_if_exists=True,
        )
        if (begun := study.user_attrs.get("monitor", monitor)) != monitor:
            raise UserError(
                f"study {self.study} was begun for monitor={begun}, now it is {monitor}; set it back, or begin another "
                "with hydra.sweeper.study=NAME"
            )
        if study.direction != direction:
            raise UserError(
                f"study {self.study} was begun to {study.direction.name.lower()} its values, but monitor={monitor} "
                f"is to {direction.name.lower()}; begin another with hydra.sweeper.study=NAME"
            )
        return study

    def load(self) -> "optuna.Study":
        """The study as it is, for a job of it. Raises UserError where there is none."""
        load = optuna_or_error().load_study
        try:
            return load(study_name=self.study, storage=self._opened_storage(), pruner=self._chosen_pruner())
        except KeyError:
            raise UserError(f"there is no study {self.study} in {self.shown}") from None

    def _chosen_pruner(self) -> "optuna.pruners.BasePruner":
        """Raises UserError for a name that there is not."""
        optuna = optuna_or_error()
        pruners = {
            None: lambda: optuna.pruners.NopPruner(),
            "median": lambda: optuna.pruners.MedianPruner(FINISHED_FIRST),
            "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
            "hyperband": lambda: optuna.pruners.HyperbandPruner(),
        }
        if self.pruner not in pruners:
            raise UserError(f"hydra.sweeper.pruner={self.pruner}: choose halving, hyperband, median or null")
        return pruners[self.pruner]()

    def _opened_storage(self) -> "optuna.storages.RDBStorage":
        from sqlalchemy import make_url

        optuna, arguments = optuna_or_error(), {}
        if (url := make_url(self.storage)).get_backend_name() == "sqlite":
            if not url.database or url.database == ":memory:":
                raise UserError(
                    f"hydra.sweeper.storage={self.storage}: a study in memory is none for its jobs; name a file, "
                    "sqlite:///PATH"
                )
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            arguments = {"connect_args": {"timeout": LOCK_SECONDS}}  # several jobs write to one file
        return optuna.storages.RDBStorage(
            self.storage,
            engine_kwargs=arguments,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=SILENT_SECONDS,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
        )

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
    """Raises StorageError: what is said of a file that is locked, read-only or no study, in a line."""
    OptunaError = optuna_or_error().exceptions.OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (OptunaError, SQLAlchemyError, OSError, ImportError) as error:  # of a database's driver
        raise StorageError(
            f"the study in {place.shown} cannot be used: {_cause(error)}; set hydra.sweeper.storage=URL"
        ) from error


def _cause(error: BaseException) -> str:
    """What the database said, in a line."""
    cause = getattr(error, "orig", None) or error.__cause__ or error
    return str(getattr(cause, "orig", None) or cause).partition("\n")[0]


def sqlite(path: str) -> str:
    """The URL of a file, whose name may hold anything."""
    optuna_or_error()
    from sqlalchemy import URL

    return URL.create("sqlite", database=path).render_as_string()


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
