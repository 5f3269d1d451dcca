"""Measures `train.py -m search=mlp` of 20 trials that all finish, and of 20 of which `halving` prunes some.

Each round is another seed. Best: validation accuracy, with a standard error of 0.7 points for 5,000 images.
"""

import subprocess
import sys
import tempfile

from optuna.trial import FrozenTrial, TrialState

from benchmarks.measure import ROOT, Rows
from cifar10.sweeps.study import StudyLocation

TRIALS = 20


def search(data: str, rounds: int) -> dict[str, Rows]:
    rows: Rows = {}
    for seed in range(1, rounds + 1):
        for row, pruner in {"all trials finish": "null", "halving": "halving"}.items():
            for column, value in summarize(run_search(pruner, seed, data)).items():
                rows.setdefault(row, {}).setdefault(column, []).append(value)
        print(f"  {rows}", file=sys.stderr)  # each seed takes minutes
    return {"search": rows}


def run_search(pruner: str, seed: int, data: str) -> list[FrozenTrial]:
    """Returns the finished trials."""
    with tempfile.TemporaryDirectory() as folder:
        place = StudyLocation("mlp", f"sqlite:///{folder}/search.db", None)
        sweeper = {"pruner": pruner, "seed": seed, "n_trials": TRIALS, "study": place.study, "storage": place.storage}
        settings = [f"hydra.sweeper.{name}={value}" for name, value in sweeper.items()]
        settings += [f"data={data}", f"runs={folder}", "trainer.enable_progress_bar=false"]
        # Its status is not checked: a trial that diverges is counted, and makes the command fail.
        command = [sys.executable, "train.py", "-m", "search=mlp", *settings]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
        trials = [trial for trial in place.open("val/accuracy").trials if trial.state.is_finished()]
    if len(trials) < TRIALS:
        sys.exit(f"benchmark.py: the search ended after {len(trials)} of {TRIALS} trials")
    return trials


def summarize(trials: list[FrozenTrial]) -> dict[str, float]:
    """Returns the columns of one search."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    return {
        "pruned": sum(trial.state is TrialState.PRUNED for trial in trials),
        # An epoch is reported when the next one begins, so the last one of a complete trial is not.
        "epochs": sum(len(trial.intermediate_values) for trial in trials) + len(complete),
        "seconds": sum(trial.duration.total_seconds() for trial in trials if trial.duration),
        "best, %": 100 * max(trial.value for trial in complete if trial.value is not None),
    }
