"""Prints a table of finished runs. Optionally writes CSV or an HTML page, or publishes the runs.

python scripts/report.py runs                    prints a table of all finished runs, by validation accuracy
python scripts/report.py runs --csv table.csv    writes the table as CSV
python scripts/report.py runs --page page.html   writes one HTML file with tables and figures
python scripts/report.py runs/cnn --publish      adds the records to docs/results/, renders tables and figures, and
                                                 writes the weights to cifar10/weights/
"""

import argparse
import sys
from pathlib import Path

from cifar10.errors import UserError
from cifar10.files import write_atomically
from cifar10.inference.command_line import make_parser, one_line_errors
from cifar10.results import load
from cifar10.results.table import aggregate, best_first, to_csv, to_markdown

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a run folder, a folder of run folders, or a metrics.json"
    )
    parser.add_argument("--page", type=Path, metavar="FILE", help="write one HTML file with tables and figures")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table as CSV")
    parser.add_argument(
        "--publish", action="store_true", help="update docs/results, cifar10/weights, tables and figures of the docs"
    )
    args = parser.parse_args()
    with one_line_errors():
        report(args)


def report(args: argparse.Namespace) -> None:
    runs = load(args.runs)
    print_skipped(runs.attrs["skipped"])
    if runs.empty:
        raise UserError("no finished run found; train one with python train.py, then pass its folder")
    rows = best_first(aggregate(runs))
    if args.page:
        from cifar10.results.page.build import page

        text, skipped = page(runs)
        print_skipped(skipped)
        write(args.page, text)
    if args.csv:
        write(args.csv, to_csv(rows))
    if args.publish:
        from cifar10.inference.publish_weights import publish_weights
        from cifar10.results.publish import publish

        skipped = publish(runs, ROOT)
        names, unreadable = publish_weights(runs, ROOT / "cifar10/weights")
        print_skipped(list(dict.fromkeys(skipped + unreadable)))
        print(f"published weights: {', '.join(names) or 'none'}", file=sys.stderr)
    print(to_markdown(rows))


def print_skipped(lines: list[str]) -> None:
    for line in lines:
        print(f"skipped: {line}", file=sys.stderr)


def write(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode(errors="replace")))
    print(f"wrote {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
