"""Measures the speed of this project beside a bare loop and standard alternatives; writes JSON and Markdown.

python scripts/benchmark.py                          all parts but search, half an hour on two CPU cores
python scripts/benchmark.py --only training          one part
python scripts/benchmark.py --only search            its rounds are seeds, 10 minutes each
python scripts/benchmark.py --data synthetic         without CIFAR-10; the speeds are the same
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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # train.py and conf/ lie beside scripts/

PARTS = ("training", "choices", "loading", "startup", "scale", "predict", "search")
"""Modules of `benchmarks`; each has a function of its name: (data, rounds) -> table -> rows. The page has its docs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, help="one part (default: all but search)")
    parser.add_argument("--data", choices=("cifar10", "synthetic"), default="cifar10")
    parser.add_argument("--rounds", type=int, choices=range(1, 100), default=5, metavar="N", help="(default: 5)")
    parser.add_argument("--out", type=Path, help="folder whose benchmark.json and benchmark.md are updated")
    args = parser.parse_args()

    from benchmarks.tables import markdown
    from cifar10.errors import UserError

    warnings.filterwarnings("ignore")  # Lightning's advice about the standard baseline
    try:
        update({}, args.out)  # fails before the first measurement where the folder is not writable
        about, measured = describe(args), {}
        for name in [args.only] if args.only else PARTS[:-1]:
            print(f"measuring {name} ...", file=sys.stderr)
            module = import_module(f"benchmarks.{name}")
            tables = getattr(module, name)(args.data, args.rounds)
            measured[name] = about | {"note": (module.__doc__ or "").strip(), "tables": tables}
            update(measured, args.out)
    except ImportError as error:
        sys.exit(f"benchmark.py: {error}; pip install -e '.[search,export]'")
    except (UserError, OSError) as error:
        sys.exit(f"benchmark.py: {error}")
    except KeyboardInterrupt:
        sys.exit("\nbenchmark.py: stopped; finished parts are written")
    print(markdown(measured), end="")


def describe(args: argparse.Namespace) -> dict[str, Any]:
    """Returns what is stored beside each part: machine, versions, commit, command."""
    import torch

    from cifar10.training.precision import best_device
    from cifar10.training.record import PACKAGES, device_name, git_commit

    command = f"python scripts/benchmark.py --data {args.data} --rounds {args.rounds}"
    return {
        "device": device_name(best_device()),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "commit": git_commit(),
        "rounds": args.rounds,
        "command": command + (f" --only {args.only}" if args.only else ""),
    }


def update(measured: dict[str, Any], folder: Path | None) -> None:
    """Replaces the measured parts in the folder's benchmark.json and benchmark.md, and keeps the others."""
    from benchmarks.tables import markdown

    if not folder:
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "benchmark.json"
    results = (json.loads(path.read_text()) if path.exists() else {}) | measured
    results = {name: results[name] for name in PARTS if name in results}
    path.write_text(json.dumps(results, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown(results))


if __name__ == "__main__":
    main()
