"""Runs the fault tests with more cases than pytest by default, and updates the table in docs/reliability.md.

python scripts/reliability.py                     100 kills, 1,000 random cases; 20 minutes on two CPU cores
python scripts/reliability.py --kills 500         more kills
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from cifar10.inference.command_line import make_parser, positive_int

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/reliability.md"
FILES = ("faults", "data", "training", "inference/test_predictor.py", "sweeps/test_trials.py", "sweeps/test_jobs.py")


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--kills", type=positive_int, default=100, help="total number of SIGKILLs (default: 100)")
    parser.add_argument(
        "--cases", type=positive_int, default=1000, help="number of random cases of each other kind (default: 1000)"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "faults.json"
        environment = {"KILLS": str(args.kills), "CASES": str(args.cases), "FAULTS_JSON": str(results)}
        command = [sys.executable, "-m", "pytest", *(f"tests/{name}" for name in FILES), "-m", "not real_data"]
        if subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=False).returncode:
            sys.exit("reliability.py: a test failed; the page is unchanged")
        rows = json.loads(results.read_text())
    PAGE.write_text(with_table(PAGE.read_text(), rows))


def with_table(page: str, rows: dict[str, tuple[int, str]]) -> str:
    """Returns the page with the table of faults between its two markers. rows: fault -> number of cases, outcome."""
    lines = ["| fault | cases | outcome |", "| --- | --- | --- |"]
    lines += [f"| {fault} | {count:,} | {outcome} |" for fault, (count, outcome) in sorted(rows.items())]
    table = "\n".join(["<!-- faults -->", *lines, "<!-- /faults -->"])
    return re.sub(r"<!-- faults -->.*<!-- /faults -->", lambda match: table, page, flags=re.DOTALL)


if __name__ == "__main__":
    main()
