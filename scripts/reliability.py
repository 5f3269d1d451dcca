"""Runs the fault tests with more cases than pytest by default, and updates the table in docs/reliability.md.

python scripts/reliability.py                     100 kills, 1,000 random cases; 20 minutes on two CPU cores
python scripts/reliability.py --kills 500         more kills
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cifar10.errors import UserError
from cifar10.inference.command_line import make_parser, one_line_errors, positive_int
from cifar10.results.markdown import find_table, markdown_table, replace_table

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
    with one_line_errors():
        find_table(PAGE, "faults")  # a page without the table fails before the tests
        replace_table(PAGE, "faults", faults(args.kills, args.cases))


def faults(kills: int, cases: int) -> str:
    """Runs the fault tests; returns a table of faults, numbers of cases and outcomes. Raises UserError if one fails."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "faults.json"
        environment = {"KILLS": str(kills), "CASES": str(cases), "FAULTS_JSON": str(results)}
        command = [sys.executable, "-m", "pytest", *(f"tests/{name}" for name in FILES), "-m", "not real_data"]
        if subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=False).returncode:
            raise UserError("a test failed; the page is unchanged")
        rows = json.loads(results.read_text())
    cells = ([fault, f"{count:,}", outcome] for fault, (count, outcome) in sorted(rows.items()))
    return markdown_table([["fault", "cases", "outcome"], *cells])


if __name__ == "__main__":
    main()
