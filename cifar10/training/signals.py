"""Stops training cleanly after the current batch on SIGINT or SIGTERM."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

from cifar10.errors import EXIT_SIGINT, EXIT_TEMPFAIL, Interrupted

DEBOUNCE_SECONDS = 1.0
"""Repeated signals within this time count once: a launcher forwards a signal that the terminal also sends."""


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Makes SIGTERM raise Interrupted immediately, before and after training."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise Interrupted("the same command resumes the run", EXIT_TEMPFAIL)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class StopSignals:
    """Sets `requested` and calls on_first on SIGINT or SIGTERM. A second SIGINT raises Interrupted immediately."""

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
        self.requested, self.status = False, EXIT_SIGINT
        self.on_first, self.since = on_first, 0.0

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Handles the signals until the end of the block. Does nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {signum: signal.signal(signum, self._handle) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if not self.requested:
            self.requested, self.since = True, monotonic()
            self.status = EXIT_SIGINT if signum == signal.SIGINT else EXIT_TEMPFAIL
            self.on_first()
        elif signum == signal.SIGINT and monotonic() > self.since + DEBOUNCE_SECONDS:
            raise Interrupted("immediately; the same command, without overwrite=true, resumes from the last checkpoint")
