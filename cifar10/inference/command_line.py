"""Shared parts of the scripts' command lines; imports nothing heavy."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from cifar10.errors import UserError


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Returns a parser whose --help shows a script's docstring as written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Adds the positional argument of scripts that load one network."""
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="a finished run's folder, or a checkpoint")


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cpu, cuda ... (default: the accelerator, if there is one)")


def positive_int(text: str) -> int:
    """The type of arguments that count something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: choose at least 1")
    return int(text)


def require_packages(extra: str, *names: str) -> None:
    """Raises UserError if one of the packages of an optional dependency group is not installed."""
    if missing := [name for name in names if find_spec(name) is None]:
        raise UserError(f"{', '.join(missing)} not installed; pip install -e '.[{extra}]'")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Exits with `SCRIPT: message` on what a user can cause: UserError, OSError and Ctrl-C."""
    script = Path(sys.argv[0]).name
    try:
        yield
    except UserError as error:
        sys.exit(f"{script}: {error}")
    except OSError as error:
        sys.exit(f"{script}: {error.filename}: {error.strerror}" if error.filename else f"{script}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"\n{script}: interrupted")
