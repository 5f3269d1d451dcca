"""A search whose poor trials are ended early beside one that finishes all: what each had found, and when."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import accumulate
from math import inf
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

from cifar10.sweeps.study import StudyLocation

if TYPE_CHECKING:
    import optuna

TRAIN = Path(__file__).resolve().parent.parent.parent / "train.py"
SEEDS = (1, 2, 3, 4)
TRIALS, MORE = 20, 60
"""Of the search that finishes all, and more than the other one comes to in half of the time."""


def search(data: str) -> list[dict[str, Any]]:
    """For each seed of what is proposed, a row: `train.py -m search=mlp` without pruning, and with it in half the time.

    best: validation accuracy. trials_in_all, epochs, seconds: of the search without pruning. trials_in_half,
    pruned_in_half, epochs_in_half, best_in_half: what the one with pruning did in half of these seconds. reached: the
    share of them after which it was as good, if it was in that half.
    """
    rows = []
    for seed in SEEDS:
        whole = trials_of("null", TRIALS, seed, data)
        rows.append({"seed": seed} | compared(whole, trials_of("halving", MORE, seed, data, ends(whole)[-1] / 2)))
        print(f"  {rows[-1]}", file=sys.stderr)  # each takes minutes
    return rows


def trials_of(pruner: str, n_trials: int, seed: int, data: str, until: float = inf) -> "list[optuna.trial.FrozenTrial]":
    """The finished trials of one search in a process of its own, which is stopped after so many seconds of them."""
    with tempfile.TemporaryDirectory() as folder:
        place = StudyLocation("mlp", f"sqlite:///{folder}/search.db", None)
        study = place.open("val/accuracy")
        sweeper = {"pruner": pruner, "seed": seed, "n_trials": n_trials, "study": place.study, "storage": place.storage}
        settings = [f"hydra.sweeper.{name}={value}" for name, value in sweeper.items()]
        settings += [f"data={data}", f"runs={folder}", "trainer.enable_progress_bar=false"]
        process = subprocess.Popen([sys.executable, TRAIN, "-m", "search=mlp", *settings], stdout=subprocess.DEVNULL)
        while process.poll() is None:
            sleep(2)
            if max(ends(finished(study)), default=0) > until:
                process.send_signal(signal.SIGINT)
                break
        # Not checked: a trial that diverges is counted, and makes the command end with another status than 0.
        process.wait()
        trials = finished(study)
        if len(trials) < n_trials and ends(trials)[-1] < until:
            sys.exit(f"benchmark.py: the search ended after {len(trials)} of {n_trials} trials")
        return trials


def finished(study: "optuna.Study") -> "list[optuna.trial.FrozenTrial]":
    return [trial for trial in study.trials if trial.state.is_finished()]


def ends(trials: "Sequence[optuna.trial.FrozenTrial]") -> list[float]:
    """After how many seconds of its search each trial ended: the sum of all so far, from proposal to result."""
    return list(accumulate((trial.datetime_complete - trial.datetime_start).total_seconds() for trial in trials))


def compared(
    whole: "Sequence[optuna.trial.FrozenTrial]", pruned: "Sequence[optuna.trial.FrozenTrial]"
) -> dict[str, Any]:
    """What `search` says of one seed."""
    seconds = ends(whole)[-1]
    half = [trial for trial, end in zip(pruned, ends(pruned), strict=True) if end <= seconds / 2]
    # Optuna keeps an ended trial's last value as its result, but it is none.
    results = [trial.value if trial.state.name == "COMPLETE" else 0.0 for trial in half]
    best = max(trial.value for trial in whole if trial.state.name == "COMPLETE")
    reached = [end / seconds for result, end in zip(results, ends(half), strict=True) if result >= best]
    return {
        "best": best,
        "trials_in_all": len(whole),
        "epochs": epochs(whole),
        "seconds": seconds,
        "best_in_half": max(results, default=0.0),
        "trials_in_half": len(half),
        "pruned_in_half": sum(trial.state.name == "PRUNED" for trial in half),
        "epochs_in_half": epochs(half),
        "reached": reached[0] if reached else None,
    }


def epochs(trials: "Sequence[optuna.trial.FrozenTrial]") -> int:
    """How many were trained in all. An epoch is told to the study when the next one begins, so the last one is not."""
    return sum(len(trial.intermediate_values) + (trial.state.name == "COMPLETE") for trial in trials)
