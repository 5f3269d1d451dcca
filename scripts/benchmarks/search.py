"""A search whose poor trials are ended early beside one that finishes all: what each had found, and when."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar10.study import StudyPlace

if TYPE_CHECKING:
    import optuna

TRAIN = Path(__file__).resolve().parent.parent.parent / "train.py"
SEEDS = (1, 2, 3, 4, 5)
TRIALS = {"null": 20, "halving": 40}
"""By pruner. More of those that are ended early: they are compared after the same time, not the same number."""


def search(data: str) -> list[dict[str, Any]]:
    """For each seed of what is proposed, a row: `train.py -m search=mlp` without pruning, and with it in half the time.

    best: validation accuracy. trials_in_all, epochs, seconds: of the search without pruning. trials_in_half,
    pruned_in_half, epochs_in_half, best_in_half: what the one with pruning did in half of these seconds. reached: the
    share of them after which it was as good, if it was.
    """
    rows = []
    for seed in SEEDS:
        in_turn = list(TRIALS)[:: 1 if seed % 2 else -1]
        rows.append({"seed": seed} | compared({name: trials_of(name, seed, data) for name in in_turn}))
        print(f"  {rows[-1]}", file=sys.stderr)  # each takes minutes
    return rows


def trials_of(pruner: str, seed: int, data: str) -> "list[optuna.trial.FrozenTrial]":
    """The trials of one search in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        storage = f"sqlite:///{folder}/search.db"
        sweeper = {"pruner": pruner, "seed": seed, "n_trials": TRIALS[pruner], "study": "mlp", "storage": storage}
        settings = [f"hydra.sweeper.{name}={value}" for name, value in sweeper.items()]
        settings += [f"data={data}", f"runs={folder}", "trainer.enable_progress_bar=false"]
        # Not checked: a trial that diverges is counted, and makes the command end with another status than 0.
        subprocess.run([sys.executable, TRAIN, "-m", "search=mlp", *settings], check=False, stdout=subprocess.DEVNULL)
        trials = StudyPlace("mlp", storage, None).open("val/accuracy").trials
        if len(trials) < TRIALS[pruner] or not all(trial.state.is_finished() for trial in trials):
            sys.exit(f"benchmark.py: the search ended after {len(trials)} of {TRIALS[pruner]} trials")
        return trials


def compared(searches: "dict[str, Sequence[optuna.trial.FrozenTrial]]") -> dict[str, Any]:
    """What `search` says of one seed; a search's time is the sum of its trials', from proposal to result."""
    ends = {
        name: list(accumulate((trial.datetime_complete - trial.datetime_start).total_seconds() for trial in trials))
        for name, trials in searches.items()
    }
    seconds, whole = ends["null"][-1], searches["null"]
    # Optuna keeps an ended trial's last value as its result, but it is none.
    results = [trial.value if trial.state.name == "COMPLETE" else 0.0 for trial in searches["halving"]]
    half = [trial for trial, end in zip(searches["halving"], ends["halving"], strict=True) if end <= seconds / 2]
    best = max(trial.value for trial in whole if trial.state.name == "COMPLETE")
    reached = [end / seconds for result, end in zip(results, ends["halving"], strict=True) if result >= best]
    return {
        "best": best,
        "trials_in_all": len(whole),
        "epochs": epochs(whole),
        "seconds": seconds,
        "best_in_half": max(results[: len(half)], default=0.0),
        "trials_in_half": len(half),
        "pruned_in_half": sum(trial.state.name == "PRUNED" for trial in half),
        "epochs_in_half": epochs(half),
        "reached": reached[0] if reached else None,
    }


def epochs(trials: "Sequence[optuna.trial.FrozenTrial]") -> int:
    """How many were trained in all. An epoch is told to the study when the next one begins, so the last one is not."""
    return sum(len(trial.intermediate_values) + (trial.state.name == "COMPLETE") for trial in trials)
