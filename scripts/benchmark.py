"""Measures the speed of this project beside a bare loop and the usual ways, and writes it as JSON and Markdown.

python scripts/benchmark.py                          everything, half an hour on two CPU cores
python scripts/benchmark.py --only training          one part
python scripts/benchmark.py --data synthetic         without CIFAR-10; the speeds are the same
python scripts/benchmark.py --out docs               rewrites docs/benchmark.json and docs/benchmark.md
python scripts/benchmark.py --only search --out docs/search    its table is in docs/sweeps.md; 40 minutes
"""

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # train.py and conf/ lie beside scripts/

PARTS = ("training", "choices", "loading", "startup", "figures", "growth", "scale", "predict", "accuracy", "search")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", choices=PARTS, help="one part; everything is without search, and accuracy only on an accelerator"
    )
    parser.add_argument("--data", choices=("cifar10", "synthetic"), default="cifar10")
    parser.add_argument("--rounds", type=positive, default=5, help="measurements of each kind (default: 5)")
    parser.add_argument("--out", type=Path, help="a folder for benchmark.json and benchmark.md (default: print only)")
    args = parser.parse_args()

    from cifar10.errors import UserError

    try:
        for results in measure(args):
            write(results, args.out)
    except (UserError, OSError) as error:
        sys.exit(f"benchmark.py: {error}")
    except KeyboardInterrupt:
        sys.exit("\nbenchmark.py: stopped; what was measured is written")
    from benchmarks.tables import markdown

    print(markdown(results), end="")


def write(results: dict[str, Any], folder: Path | None) -> None:
    """Leaves benchmark.json and benchmark.md in the folder, if one is given."""
    from benchmarks.tables import markdown

    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "benchmark.json").write_text(json.dumps(results, indent=1) + "\n")
        (folder / "benchmark.md").write_text(markdown(results))


def positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def measure(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The machine and the versions, then with them one part more at a time of what was asked for."""
    import warnings

    import torch

    from benchmarks.accuracy import accuracy
    from benchmarks.choices import choices
    from benchmarks.figures import figures
    from benchmarks.growth import growth
    from benchmarks.loading import loading
    from benchmarks.predict import predict
    from benchmarks.scale import scale
    from benchmarks.search import search
    from benchmarks.startup import startup
    from benchmarks.training import training
    from cifar10.training.precision import best_device
    from cifar10.training.record import PACKAGES, device_name, git_commit

    warnings.filterwarnings("ignore")  # what Lightning says of the usual way
    parts = {
        "training": lambda: training(args.data, args.rounds),
        "choices": lambda: choices(min(args.rounds, 3)),
        "loading": lambda: loading(args.data, args.rounds),
        "startup": lambda: startup(args.data, min(args.rounds, 3)),
        "figures": lambda: figures(args.data, min(args.rounds, 3)),
        "growth": growth,
        "scale": lambda: scale(args.data, min(args.rounds, 3)),
        "predict": lambda: predict(args.data, args.rounds),
        "accuracy": lambda: accuracy(args.data, args.rounds),
        "search": lambda: search(args.data),
    }
    device = best_device()
    results: dict[str, Any] = {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "commit": git_commit(),
        "rounds": args.rounds,
        "command": f"python scripts/benchmark.py --data {args.data} --rounds {args.rounds}"
        + (f" --only {args.only}" if args.only else ""),
    }
    yield results  # before the first measurement: a folder that cannot be written is found now
    for name, part in parts.items():
        in_all = name != "search" and (name != "accuracy" or device.type != "cpu")
        if args.only == name or (args.only is None and in_all):
            print(f"measuring {name} ...", file=sys.stderr)
            results[name] = part()
            yield results


if __name__ == "__main__":
    main()
