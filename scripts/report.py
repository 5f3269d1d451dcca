"""One table of finished runs; with --publish also the README's table and figures.

python scripts/report.py runs                    prints the table of all finished runs below runs/
python scripts/report.py runs/cnn --publish      keeps their metrics.json in docs/results/ and redraws the README's part
"""

import argparse
import sys
from pathlib import Path

from cifar10.results import group_by_settings, markdown_table, read_records

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder, a folder of them, or a file")
    parser.add_argument("--publish", action="store_true", help="rewrite docs/results, docs/*.png and README's table")
    args = parser.parse_args()

    records, complaints = read_records(args.runs)
    for complaint in complaints:
        print(f"left out: {complaint}", file=sys.stderr)
    if not records:
        sys.exit("report.py: no finished run given; train one with python train.py, then name its folder")
    if args.publish:
        from cifar10.finished import finished_runs
        from cifar10.publish import publish

        publish(records, [run for run in finished_runs(args.runs) if run.record in records], ROOT)
    print(markdown_table(group_by_settings(records)))


if __name__ == "__main__":
    main()
