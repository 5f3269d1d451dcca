"""Base class of the loggers to a server. A failing server does not stop a run."""

import logging
from abc import abstractmethod
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from textwrap import shorten
from typing import Any, ClassVar

from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from cifar10.errors import one_line
from cifar10.files import write_atomically
from cifar10.training.loggers.run_logger import RunLogger, Status, result_metrics

log = logging.getLogger(__name__)


class Tracker(RunLogger):
    """Logs to a server. If the server fails, logs one warning, queues the data, and retries after the test.

    The id of the server's run is stored in the run folder, so that a resumed run continues it.
    """

    kind: ClassVar[str]
    name, version = None, None  # of the folder of Lightning's checkpoints, which this project names itself
    logger: Any = None

    def __init__(self, folder: Path, title: str, **settings: Any) -> None:
        super().__init__()
        self.folder, self.title, self.settings = folder, title, settings
        self.pending: list[Callable[[], None]] = []
        self.failed = self.warned = False

    @abstractmethod
    def open(self, run_id: str | None) -> tuple[Any, str, str]:
        """Starts a run, or continues `run_id`. Returns Lightning's logger, the run's id and its address."""

    @abstractmethod
    def log_image(self, name: str, image: Image.Image, step: int) -> None: ...

    @abstractmethod
    def log_file(self, path: Path) -> None:
        """Uploads a file of the run folder."""

    @abstractmethod
    def close(self, status: Status) -> None: ...

    def start(self, settings: dict[str, Any]) -> None:
        self._attempt(self._open)
        self._attempt(lambda: self.logger.log_hyperparams(settings))

    def _open(self) -> None:
        path = self.folder / f"{self.kind}_run_id.txt"
        self.logger, run_id, address = self.open(path.read_text() if path.exists() else None)
        write_atomically(path, lambda file: file.write(run_id.encode()))
        log.info("%s run: %s", self.kind, address)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._attempt(lambda: self.logger.log_metrics(metrics, step))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: `start` logs all settings."""

    def log_results(self, record: dict[str, Any]) -> None:
        self.failed = False  # the server may be back
        for metrics, epoch in result_metrics(record):
            self.log_metrics(metrics, epoch)
        self._attempt(lambda: self.log_file(self.folder / "best.ckpt"))

    def log_figure(self, name: str, figure: Any, step: int) -> None:
        figure.savefig(png := BytesIO(), format="png")
        self._attempt(lambda: self.log_image(name, Image.open(png), step))

    def finish(self, status: Status) -> None:
        self.failed, self.pending = False, []
        if self.logger is not None:
            self._attempt(lambda: self.close(status))

    def _attempt(self, action: Callable[[], None]) -> None:
        self.pending.append(action)
        try:
            while self.pending and not self.failed:
                self.pending[0]()
                self.pending.pop(0)
        except Exception as error:
            if not self.warned:
                reason = shorten(f"{type(error).__name__}: {one_line(error)}", 200, placeholder=" ...")
                log.warning("%s failed, and the run continues without it: %s", self.kind, reason)
            self.failed = self.warned = True
