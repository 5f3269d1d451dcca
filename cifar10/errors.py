"""User errors, their one-line form, and exit statuses. Imports nothing but the standard library."""

from collections.abc import Sequence

CTRL_C = 130
"""Exit status after Ctrl-C, as in a shell."""
RESUME_ME = 75
"""Exit status after SIGTERM, EX_TEMPFAIL of sysexits.h: the same command resumes the run."""
MAX_NAMES = 3
"""Names listed in a message; the others are counted."""


class UserError(Exception):
    """An error that a user can cause and fix. Its message is one line; `train.py` and the scripts print just that."""


class Busy(UserError):
    """Another process holds the run folder."""


class StorageError(UserError):
    """A search's study cannot be read or written."""


class Diverged(UserError):
    """The loss is not finite."""


class Pruned(UserError):
    """A trial of a search ended early because others are better."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM. Derives from BaseException, so that a sweep does not count it as a failed job and go on.

    status: the program's exit status.
    """

    def __init__(self, message: str, status: int = CTRL_C) -> None:
        super().__init__(message, status)
        self.status = status

    def __str__(self) -> str:
        return self.args[0]


def one_line(error: Exception) -> str:
    """Returns an error's message as one line, without what Hydra and OmegaConf add for programmers."""
    if hasattr(error, "missing_cfg_file"):  # Hydra's MissingConfigException, which is an OSError too
        options = getattr(error, "options", None)
        if error.missing_cfg_file and options:
            group, _, choice = str(error.missing_cfg_file).rpartition("/")
            return f"there is no {group}={choice}; choose from {', '.join(options)}"
    elif isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or 'a file of the run'}; what was saved before is whole"
    lines = [line.strip() for line in str(error).partition("Config search path:")[0].splitlines()]
    for_programmers = ("full_key:", "object_type=", "See https", "Set the env")
    return " ".join(line for line in lines if line and not line.startswith(for_programmers))


def shorten(names: Sequence[str]) -> str:
    """Returns the first names, quoted (a line break in a name stays one line), and the number of the others."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(map(repr, names[:MAX_NAMES])) + more
