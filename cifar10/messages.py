"""Errors as one line each: what is wrong, where, what to do."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

CONF = Path(__file__).resolve().parent.parent / "conf"
NAMED = 3
"""Examples in a message that stands for many."""


def one_line(error: Exception) -> str:
    """The message of a UserError, or of Hydra or OmegaConf, which write several lines for programmers."""
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return f"there is no {group}={choice}; choose from {', '.join(error.options)}"
    if isinstance(error, OSError) and not isinstance(error, MissingConfigException):
        return f"{error.strerror or error}: {error.filename or 'a file of the run'}; what was saved before is whole"
    message = str(error)
    if unknown := re.match(r"Could not override '([^']+)'", message):
        close = get_close_matches(unknown[1], _settings(), n=1)
        if close == [unknown[1]]:
            return f"there is no setting {unknown[1]} here, only with another model=, data=, search= or trainer="
        hint = f"did you mean {close[0]}? " if close else ""
        return f"there is no setting {unknown[1]}; {hint}python train.py --help shows all"
    lines = [line.strip() for line in message.partition("Config search path:")[0].splitlines()]
    for_programmers = ("full_key:", "object_type=", "See https", "Set the env")
    return " ".join(line for line in lines if line and not line.startswith(for_programmers))


def _settings() -> list[str]:
    """Every key that the files in `conf/` set, dotted."""
    keys: list[str] = []

    def walk(prefix: str, node: object) -> None:
        if isinstance(node, dict):
            for name, child in node.items():
                keys.append(prefix + str(name))
                walk(f"{prefix}{name}.", child)

    for file in CONF.rglob("*.yaml"):
        walk(
            {"data": "data.", "trainer": "trainer.", "sweeper": "hydra.sweeper."}.get(file.parent.name, ""),
            OmegaConf.to_container(OmegaConf.load(file)),
        )
    return keys


def some(names: Sequence[str]) -> str:
    """The first few, quoted, so that a line break in a name stays one line, and how many more."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(repr, names[:NAMED])) + more
