"""The exceptions for what a user can cause and mend."""

CTRL_C = 130
"""The shell's exit status for Ctrl-C."""
RESUME_ME = 75
"""The exit status after SIGTERM, EX_TEMPFAIL of sysexits.h: nothing is wrong, the same command goes on."""


class UserError(Exception):
    """Its message is one line: what is wrong, where, and what to do. `train.py` and the scripts print just that."""


class Busy(UserError):
    """Another process has the run's folder."""


class StorageError(UserError):
    """A search's study cannot be read or written."""


class Diverged(UserError):
    """A loss that is not finite."""


class Pruned(UserError):
    """A run of a search that was ended early because others are better."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM. No Exception, so that nothing takes it for a failed job of a sweep and goes on with the next.

    status: what the program ends with.
    """

    def __init__(self, message: str, status: int = CTRL_C) -> None:
        super().__init__(message, status)
        self.status = status

    def __str__(self) -> str:
        return self.args[0]
