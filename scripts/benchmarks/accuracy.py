"""Seconds to a target accuracy, by the recipes: for accelerators, where it takes minutes at most."""

import csv
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import compose
from train import train

TARGETS = {"cnn_fast": 0.759, "cnn_best": 0.93, "mlp_fast": 0.507, "mlp_best": 0.62}


def accuracy(data: str, seeds: int) -> dict[str, Any]:
    """Experiment -> per seed: test accuracy, seconds of all its training, and until validation reached the target.

    The last is None where it never did.
    """
    found: dict[str, Any] = {}
    for experiment, target in TARGETS.items():
        found[experiment] = []
        for seed in range(1, seeds + 1):
            with tempfile.TemporaryDirectory() as folder:
                record = train(compose(f"experiment={experiment}", f"data={data}", f"seed={seed}"), Path(folder))
                with (Path(folder) / "metrics.csv").open(newline="") as file:
                    reached = seconds_to(target, list(csv.DictReader(file)))
            found[experiment].append(
                {
                    "target": target,
                    "test_accuracy": record["test"]["accuracy"],
                    "seconds": record["seconds"]["train"],
                    "seconds_to_target": reached,
                }
            )
    return found


def seconds_to(target: float, epochs: list[dict[str, str]]) -> float | None:
    """Seconds of training up to the first epoch whose validation accuracy is at least the target."""
    total = 0.0
    for epoch in epochs:
        total += float(epoch["seconds"])
        if float(epoch["val/accuracy"]) >= target:
            return total
    return None
