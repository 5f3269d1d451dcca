"""Logs the messages of a run to `train.log`."""

import logging
from contextlib import suppress


class RunLogHandler(logging.FileHandler):
    """Appends messages to a file. Drops them if the file cannot be opened, as in a read-only folder."""

    def __init__(self, filename: str) -> None:
        super().__init__(filename, encoding="utf-8", errors="backslashreplace", delay=True)

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            super().emit(record)
