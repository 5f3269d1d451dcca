"""Stops training cleanly after the current batch on SIGINT or SIGTERM."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

from cifar10.errors import CTRL_C, RESUME_ME, Interrupted

ONE_PRESS_SECONDS = 1.0
"""A terminal's signal that a launcher passes on too arrives twice within this time, and counts once."""


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Makes SIGTERM raise Interrupted at once, before and after training."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise Interrupted("the same command goes on", RESUME_ME)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class StopSignals:
    """Sets `asked` on SIGINT or SIGTERM, and calls on_first; a second SIGINT raises Interrupted at once."""

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
        self.asked, self.status = False, CTRL_C
        self.on_first, self.since = on_first, 0.0

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Handles the signals until the end of the block. Does nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {signum: signal.signal(signum, self._remember) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.asked, self.since = True, monotonic()
            self.status = CTRL_C if signum == signal.SIGINT else RESUME_ME
            self.on_first()
        elif signum == signal.SIGINT and monotonic() > self.since + ONE_PRESS_SECONDS:
            raise Interrupted("at once; the same command, without overwrite=true, goes on from the last checkpoint")
