"""Command-line parts shared by the scripts. Imports nothing heavy."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from cifar10.errors import UserError, one_line

CHECKPOINT = "name of published weights, such as cnn_best, folder of a finished run, or a checkpoint"


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Returns an argument parser. Its --help prints the description with its line breaks."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Adds the positional argument CKPT."""
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help=CHECKPOINT)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Adds the option --device."""
    parser.add_argument("--device", help="cpu, cuda, ... (default: an available accelerator)")


def add_figure(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds the option --out, the file of a figure."""
    help = f"output file: .png, .svg or .pdf (default: {default})"
    parser.add_argument("--out", type=_figure_path, default=Path(default), metavar="FILE", help=help)


def _figure_path(text: str) -> Path:
    if Path(text).suffix not in (".png", ".svg", ".pdf"):
        raise argparse.ArgumentTypeError(f"got {text}, expected a file name that ends in .png, .svg or .pdf")
    return Path(text)


def positive_int(text: str) -> int:
    """Parses a count. Raises ArgumentTypeError if it is not an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected an integer of at least 1")
    return int(text)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Exits with the line `SCRIPT: message` on UserError, OSError and Ctrl-C.

    Output that the encoding of stdout cannot represent is escaped, as Python does on stderr.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    script = Path(sys.argv[0]).name
    try:
        yield
    except (UserError, OSError) as error:
        sys.exit(f"{script}: {one_line(error)}")
    except KeyboardInterrupt:
        sys.exit(f"\n{script}: interrupted")
