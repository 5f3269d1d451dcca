"""Measures `train.py -m search=mlp` with 20 trials, without pruning and with the `halving` pruner.

Each round is another seed. "best" is the validation accuracy on 5,000 images, with a standard error of 0.7 points.
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
    """Runs a search of TRIALS trials and returns them. Exits if some are missing."""
    with tempfile.TemporaryDirectory() as folder:
        location = StudyLocation("mlp", f"sqlite:///{folder}/search.db", None)
        sweeper = {"pruner": pruner, "seed": seed, "n_trials": TRIALS}
        settings = [*location.overrides(), *(f"hydra.sweeper.{name}={value}" for name, value in sweeper.items())]
        settings += [f"data={data}", f"runs={folder}", "trainer.enable_progress_bar=false"]
        # The exit status is not checked: a diverged trial counts, but makes the command fail.
        command = [sys.executable, "train.py", "-m", "search=mlp", *settings]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
        trials = [trial for trial in location.open("val/accuracy").trials if trial.state.is_finished()]
    if len(trials) < TRIALS:
        sys.exit(f"benchmark.py: the search ended after {len(trials)} of {TRIALS} trials")
    return trials


def summarize(trials: list[FrozenTrial]) -> dict[str, float]:
    """Returns the columns of one search: column -> value."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    return {
        "pruned": sum(trial.state is TrialState.PRUNED for trial in trials),
        # An epoch is reported when the next one starts, so the last epoch of a complete trial is missing.
        "epochs": sum(len(trial.intermediate_values) for trial in trials) + len(complete),
        "seconds": sum(trial.duration.total_seconds() for trial in trials if trial.duration),
        "best, %": 100 * max(trial.value for trial in complete if trial.value is not None),
    }
