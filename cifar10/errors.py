"""User errors, their one-line form, and exit statuses. Imports only the standard library."""

from collections.abc import Sequence
from importlib.util import find_spec

EXIT_SIGINT = 130
"""Exit status after SIGINT, as in a shell."""
EXIT_TEMPFAIL = 75
"""Exit status after SIGTERM, EX_TEMPFAIL of sysexits.h: the same command resumes the run."""
MAX_NAMES = 3
"""Maximum number of names listed in a message; the others are counted."""


class UserError(Exception):
    """Error that a user can cause and fix. Its message is one line, which `train.py` and the scripts print."""


class Busy(UserError):
    """Another process has locked the run folder."""


class StorageError(UserError):
    """The study of a search cannot be read or written."""


class Diverged(UserError):
    """A loss or a weight is not finite."""


class Pruned(UserError):
    """The pruner stopped this trial of a search."""


class Interrupted(BaseException):
    """SIGINT or SIGTERM. Derives from BaseException, so that a sweep stops instead of counting a failed job.

    status: the exit status of the program.
    """

    def __init__(self, message: str, status: int = EXIT_SIGINT) -> None:
        super().__init__(message, status)
        self.status = status

    def __str__(self) -> str:
        return self.args[0]


def one_line(error: Exception) -> str:
    """Returns the message of an error as one line, without the details that Hydra and OmegaConf add."""
    if hasattr(error, "missing_cfg_file"):  # Hydra's MissingConfigException, which is an OSError too
        options = getattr(error, "options", None)
        if error.missing_cfg_file and options:
            group, _, choice = str(error.missing_cfg_file).rpartition("/")
            return f"invalid {group}={choice}: expected one of {', '.join(options)}"
    elif isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
    lines = [line.strip() for line in str(error).partition("Config search path:")[0].splitlines()]
    details = ("full_key:", "object_type=", "See https", "Set the env")
    return " ".join(line for line in lines if line and not line.startswith(details))


def require_packages(extra: str, *names: str) -> None:
    """Raises UserError if a package of the optional dependency group `extra` is not installed."""
    found = {name: find_spec(name) for name in names}  # a folder of that name is a package without origin
    if missing := [name for name, spec in found.items() if spec is None or spec.origin is None]:
        raise UserError(f"{', '.join(missing)} not installed; pip install -e '.[{extra}]'")


def shorten(names: Sequence[str]) -> str:
    """Returns the first MAX_NAMES names, quoted by `repr`, and the number of the others."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(map(repr, names[:MAX_NAMES])) + more
