"""Tries every fault that the tests know of, more often than they do by themselves, and writes docs/reliability.md.

python scripts/reliability.py                     100 kills, 1,000 cases of each kind; twenty minutes on two CPU cores
python scripts/reliability.py --kills 500         more
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/reliability.md"
FILES = ("faults", "data", "training", "inference/test_predictor.py", "sweeps/test_trials.py", "sweeps/test_jobs.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs in all (default: 100)")
    parser.add_argument("--cases", type=int, default=1000, help="damaged files and settings of each kind (1000)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tried = Path(folder) / "tried.json"
        more = {"KILLS": str(args.kills), "CASES": str(args.cases), "FAULTS_JSON": str(tried)}
        command = [sys.executable, "-m", "pytest", *(f"tests/{name}" for name in FILES), "-m", "not real_data"]
        status = subprocess.run(command, cwd=ROOT, env=os.environ | more, check=False).returncode
        if status:
            sys.exit("reliability.py: a fault was not met as it should be; the page is left as it was")
        rows = json.loads(tried.read_text())
    PAGE.write_text(with_table(PAGE.read_text(), rows))


def with_table(page: str, rows: dict[str, tuple[int, str]]) -> str:
    """The page with a row for each fault, (how often it was tried, what came of it), between its two marks."""
    lines = ["| fault | tried | what happened |", "| --- | --- | --- |"]
    lines += [f"| {fault} | {count:,} | {outcome} |" for fault, (count, outcome) in sorted(rows.items())]
    table = "\n".join(["<!-- faults -->", *lines, "<!-- /faults -->"])
    return re.sub(r"<!-- faults -->.*<!-- /faults -->", lambda match: table, page, flags=re.DOTALL)


if __name__ == "__main__":
    main()
