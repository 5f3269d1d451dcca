"""Runs the examples of README.md and docs/use.md again and puts what they say in the place of what stood there.

python scripts/examples.py runs                    runs/ holds prototype, mlp and cnn, each with seed=1
python scripts/examples.py runs --only predict.py  of the commands just those with this word in them; no Python

In a block ```console each line that begins with $ is a command, what follows it is what it said; ```pycon is Python.
The table between <!-- corruptions --> and <!-- /corruptions --> is made of what scripts/evaluate.py finds.
"""

import argparse
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
from functools import cache
from itertools import chain
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/use.md")
MODELS = ("prototype", "mlp", "cnn")
CONSOLE = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)
PYTHON = re.compile(r"(?<=^```pycon\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)
TABLE = re.compile(r"(?<=<!-- corruptions -->\n).*?(?=<!-- /corruptions -->)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="a folder with prototype/seed=1, mlp/seed=1 and cnn/seed=1")
    parser.add_argument("--only", default="", metavar="WORD", help="leave the others as they are")
    args = parser.parse_args()
    if missing := [name for name in MODELS if not (args.runs / name / "seed=1/metrics.json").exists()]:
        sys.exit(f"examples.py: {args.runs}: no finished run {missing[0]}/seed=1; python train.py model={missing[0]}")
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        for name, path in {"runs": args.runs, "scripts": ROOT / "scripts", "data": ROOT / "data"}.items():
            (here / name).symlink_to(path.resolve())
        run = shell(here)
        run("python scripts/photos.py photos")  # others look at them
        for page in PAGES:
            text = (ROOT / page).read_text()
            text = CONSOLE.sub(lambda block: again(block[0], run, args.only), text)
            if args.only in corruptions_command("prototype"):
                text = TABLE.sub(lambda _: corruptions(here, run), text)
            if not args.only:
                with contextlib.chdir(here):
                    found: dict[str, Any] = {}
                    text = PYTHON.sub(lambda block: answered(block[0], found), text)  # noqa: B023 (called at once)
            (ROOT / page).write_text(text)


def shell(here: Path) -> Callable[[str], str]:
    """What a command says in the folder `here`, as in a terminal; each runs once, one that fails ends all."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"

    @cache
    def run(command: str) -> str:
        print(f"$ {command}", file=sys.stderr)
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(command, shell=True, cwd=here, env=environment, text=True, check=False, **streams)
        if done.returncode:
            sys.exit(f"examples.py: {command}\n{done.stdout}")
        return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())

    return run


def commands(block: str) -> list[tuple[str, str]]:
    """Each command of a ```console block, and what it said."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)
    if parts[0]:
        raise ValueError(f"output of no command: {parts[0]!r}")
    return [(part.partition("\n")[0], part.partition("\n")[2]) for part in parts[1:]]


def again(block: str, run: Callable[[str], str], only: str = "") -> str:
    """The block with what its commands say now, of those with the word `only` in them."""
    said = [(command, run(command) if only in command else before) for command, before in commands(block)]
    return "".join(f"$ {command}\n{output}" for command, output in said)


def answered(block: str, found: dict[str, Any]) -> str:
    """A ```pycon block with what its lines print now. found: the variables so far, which it adds to."""
    lines = []
    for example in doctest.DocTestParser().get_examples(block):
        first, *more = example.source.splitlines()
        lines += [f">>> {first}", *(f"... {line}" for line in more)]
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(example.source, "<example>", "single"), found)
        lines += printed.getvalue().splitlines()
    return "\n".join(lines) + "\n"


def corruptions_command(model: str) -> str:
    return f"python scripts/evaluate.py runs/{model}/seed=1 --corruptions --json {model}.json"


def corruptions(here: Path, run: Callable[[str], str]) -> str:
    """The three models side by side, as Markdown."""
    for model in MODELS:
        run(corruptions_command(model))
    return corruptions_table([json.loads((here / f"{model}.json").read_text()) for model in MODELS])


def corruptions_table(found: Sequence[dict[str, Any]]) -> str:
    """found: for each model what `evaluate.py --corruptions --json` writes."""
    rows = [f"| {found[0]['images']:,} test images | {' | '.join(one['model'] for one in found)} |"]
    rows += [
        f"| --- |{' --- |' * len(found)}",
        row("no corruption", [[one["test"] | {"ece": one["ece"]}] for one in found]),
    ]
    for kind in found[0]["corruptions"]:
        rows.append(row(kind, [one["corruptions"][kind] for one in found]))
    rows.append(row("all corruptions", [list(chain(*one["corruptions"].values())) for one in found]))
    return "\n".join(rows) + "\n"


def row(what: str, models: Sequence[Sequence[dict[str, Any]]]) -> str:
    """Accuracy and, in brackets, expected calibration error: for each model the mean over the strengths."""
    cells = [f"{mean(one['accuracy'] for one in some):.1%} ({mean(one['ece'] for one in some):.1%})" for some in models]
    return f"| {what} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
