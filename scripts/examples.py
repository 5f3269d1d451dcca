"""Runs the examples of README.md and docs/use.md and updates their outputs.

python scripts/examples.py

A ```console block holds commands, on lines that start with $, and their outputs; ```pycon holds a Python session.
The table between <!-- corruptions --> and <!-- /corruptions --> is computed from scripts/evaluate.py.
"""

import contextlib
import doctest
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path
from statistics import mean
from typing import Any

from cifar10.errors import UserError
from cifar10.inference.command_line import make_parser, one_line_errors
from cifar10.results.markdown import markdown_table, replace_table

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/use.md")
MODELS = ("prototype", "mlp", "cnn")
CONSOLE = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)
PYTHON = re.compile(r"(?<=^```pycon\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)
EVALUATE = "python scripts/evaluate.py {0} --corruptions --json {0}.json"


def main() -> None:
    make_parser(__doc__).parse_args()
    with one_line_errors(), tempfile.TemporaryDirectory() as temporary:
        for name in ("scripts", "docs", "data"):
            (Path(temporary) / name).symlink_to(ROOT / name)
        with contextlib.chdir(temporary):
            run_command("python scripts/photos.py photos")  # other commands use the photos
            for page in PAGES:
                (ROOT / page).write_text(update((ROOT / page).read_text()))
            replace_table(ROOT / "docs/use.md", "corruptions", corruption_table([evaluate(name) for name in MODELS]))


def update(text: str) -> str:
    """Returns a page's text with updated outputs."""
    text = CONSOLE.sub(lambda block: update_commands(block[0], run_command), text)
    return PYTHON.sub(partial(update_python, variables={}), text)


@cache
def run_command(command: str) -> str:
    """Runs a command and returns its output; cached. Raises UserError if it fails."""
    print(f"$ {command}", file=sys.stderr)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PATH": path}
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, shell=True, env=environment, check=False, **streams)
    if done.returncode:
        raise UserError(f"{command}\n{done.stdout}")
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def commands(block: str) -> list[tuple[str, str]]:
    """Splits a ```console block into commands and their outputs."""
    first, *parts = re.split(r"^\$ ", block, flags=re.MULTILINE)
    if first:
        raise ValueError(f"output without a command: {first!r}")
    return [(part.partition("\n")[0], part.partition("\n")[2]) for part in parts]


def update_commands(block: str, run: Callable[[str], str]) -> str:
    """Returns a ```console block with updated outputs."""
    return "".join(f"$ {command}\n{run(command)}" for command, _ in commands(block))


def update_python(block: re.Match[str], variables: dict[str, Any]) -> str:
    """Returns a ```pycon block with updated outputs. variables: namespace of the session, shared by its blocks."""
    lines = []
    for example in doctest.DocTestParser().get_examples(block[0]):
        first, *more = example.source.splitlines()
        lines += [f">>> {first}", *(f"... {line}" for line in more)]
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(example.source, "<example>", "single"), variables)
        lines += printed.getvalue().splitlines()
    return "\n".join(lines) + "\n"


def evaluate(name: str) -> dict[str, Any]:
    run_command(EVALUATE.format(name))
    return json.loads(Path(f"{name}.json").read_text())


def corruption_table(results: Sequence[dict[str, Any]]) -> str:
    """Returns a Markdown table of accuracy and calibration error by corruption, mean over severities.

    results: output of `evaluate.py --corruptions --json` for each network.
    """

    def row(name: str, by_network: Sequence[Sequence[dict[str, Any]]]) -> list[str]:
        means = [[mean(one[key] for one in values) for key in ("accuracy", "ece")] for values in by_network]
        return [name, *(f"{accuracy:.1%} ({ece:.1%})" for accuracy, ece in means)]

    rows = [[f"{results[0]['images']:,} test images", *(one["model"] for one in results)]]
    rows.append(row("no corruption", [[one["test"] | {"ece": one["ece"]}] for one in results]))
    rows += [row(kind, [one["corruptions"][kind] for one in results]) for kind in results[0]["corruptions"]]
    rows.append(row("all corruptions", [list(chain(*one["corruptions"].values())) for one in results]))
    return markdown_table(rows)


if __name__ == "__main__":
    main()
