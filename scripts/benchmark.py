"""Compares the speed of this project with a bare PyTorch loop and standard alternatives; writes JSON and Markdown.

python scripts/benchmark.py                          all parts except search; 30 minutes on two CPU cores
python scripts/benchmark.py --only search            one part; each round of search is a seed and takes 10 minutes
python scripts/benchmark.py --out docs               updates docs/benchmark.json and docs/benchmark.md
"""

import argparse
import json
import platform
import sys
import warnings
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.tables import markdown
from cifar10.errors import UserError
from cifar10.inference.command_line import make_parser, one_line_errors, positive_int

PARTS = ("training", "choices", "loading", "startup", "scale", "predict", "search")
"""Modules of `benchmarks`. Each defines a function of the same name: (data, rounds) -> table -> rows. Its docstring is
printed on the page."""


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--only", choices=PARTS, help="measure one part (default: all except search)")
    parser.add_argument(
        "--data", choices=("cifar10", "synthetic"), default="cifar10", help="synthetic needs no download"
    )
    parser.add_argument("--rounds", type=positive_int, default=5, metavar="N", help="number of rounds (default: 5)")
    parser.add_argument("--out", type=Path, help="update benchmark.json and benchmark.md in this folder")
    args = parser.parse_args()
    with one_line_errors():
        print(markdown(measure(args)), end="")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measures the chosen parts and returns part -> metadata and tables. Updates `--out` after each part."""
    warnings.filterwarnings("ignore")  # Lightning's advice on the standard baseline
    if args.out:
        update({}, args.out)  # an unwritable folder fails before the first measurement
    about, measured = describe(args), {}
    for name in [args.only] if args.only else PARTS[:-1]:
        print(f"measuring {name} ...", file=sys.stderr)
        try:
            module = import_module(f"benchmarks.{name}")
        except ImportError as error:
            raise UserError(f"{error}; pip install -e '.[search,export]'") from error
        tables = getattr(module, name)(args.data, args.rounds)
        measured[name] = about | {"note": (module.__doc__ or "").strip(), "tables": tables}
        if args.out:
            update(measured, args.out)
    return measured


def describe(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the metadata of a measurement: machine, versions, commit, command."""
    import torch

    from cifar10.training.precision import best_device
    from cifar10.training.record import PACKAGES, device_name, git_commit

    only = f" --only {args.only}" if args.only else ""
    return {
        "device": device_name(best_device()),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "commit": git_commit(),
        "rounds": args.rounds,
        "command": f"python scripts/benchmark.py --data {args.data} --rounds {args.rounds}{only}",
    }


def update(measured: dict[str, Any], folder: Path) -> None:
    """Replaces the measured parts in the folder's benchmark.json and benchmark.md; keeps the others."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "benchmark.json"
    results = (json.loads(path.read_text()) if path.exists() else {}) | measured
    results = {name: results[name] for name in PARTS if name in results}
    path.write_text(json.dumps(results, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown(results))


if __name__ == "__main__":
    main()
