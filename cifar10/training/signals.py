"""Ctrl-C and SIGTERM as a wish that is met after the batch at hand."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

from cifar10.errors import CTRL_C, RESUME_ME, Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ONE_PRESS_SECONDS = 1.0
"""A terminal's signal that a launcher passes on as well comes twice, and is meant once."""


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Within it SIGTERM raises Interrupted at once, where nothing else catches it: before and after training."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise Interrupted("the same command goes on", RESUME_ME)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class StopSignals:
    """Remembers that SIGINT or SIGTERM asked to stop; a second SIGINT raises Interrupted at once."""

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
        self.asked, self.status = False, CTRL_C
        self.on_first, self.since = on_first, 0.0

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Within it the signals come here; in a thread, which can catch none, nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {signum: signal.signal(signum, self._remember) for signum in SIGNALS}
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
