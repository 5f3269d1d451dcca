"""One table of finished runs; with --page also a page of pictures, with --publish the README's table and figures.

python scripts/report.py runs                    prints the table of all finished runs, best validation first
python scripts/report.py runs --csv table.csv    writes it as CSV, by validation accuracy, best first
python scripts/report.py runs --page page.html   writes one HTML file with all there is to see of them
python scripts/report.py runs/cnn --publish      keeps their metrics.json in docs/results/ and redraws the README's part
"""

import argparse
import sys
from pathlib import Path

from cifar10.results.table import Record, best_first, find_records, group_by_settings, markdown_table
from cifar10.sweeps.summary import as_csv, table

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder, a folder of them, or a file")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write a page of tables and figures, one HTML file")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table of a sweep, best validation first")
    parser.add_argument("--publish", action="store_true", help="rewrite docs/results, docs/*.png and README's table")
    args = parser.parse_args()

    found, complaints = find_records(args.runs)
    records = list(found.values())
    for complaint in complaints:
        print(f"left out: {complaint}", file=sys.stderr)
    if not records:
        sys.exit("report.py: no finished run given; train one with python train.py, then name its folder")
    if args.page:
        write_page(args.page, found, complaints)
    if args.csv:
        write(args.csv, as_csv(table(group_by_settings(records))))
    if args.publish:
        from cifar10.results.publish import publish
        from cifar10.results.saved_run import FinishedRun

        runs = [FinishedRun(file.parent) for file in found if file.name == "metrics.json"]
        for line in publish(records, runs, ROOT):
            print(f"left out: {line}", file=sys.stderr)
    print(markdown_table(best_first(group_by_settings(records))))


def write_page(path: Path, found: dict[Path, Record], complaints: list[str]) -> None:
    from cifar10.errors import UserError
    from cifar10.results.page.build import page

    try:
        text, left_out = page(found, complaints)
    except UserError as error:
        sys.exit(f"report.py: {error}")
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)
    write(path, text)


def write(path: Path, text: str) -> None:
    from cifar10.errors import UserError
    from cifar10.files import write_atomically

    try:
        write_atomically(path, lambda file: file.write(text.encode()))
    except UserError as error:
        sys.exit(f"report.py: {error}")
    print(f"{path}: written", file=sys.stderr)


if __name__ == "__main__":
    main()
