"""From the command to its answer: --help, the first training step, and what the imports take of it."""

import subprocess
import sys
import tempfile
from time import perf_counter
from typing import Any

from benchmarks.measure import ROOT, child

FIRST_STEP = """
import os, runpy, sys
from cifar10.models.classifier import Classifier

def stop(self, batch, batch_idx):
    os._exit(0)

Classifier.training_step = stop
sys.argv = ["train.py", *sys.argv[1:]]
runpy.run_path("train.py", run_name="__main__")
"""
IMPORTS = """
from importlib import import_module
from time import perf_counter
for name in ("hydra", "torch", "torchvision", "torchmetrics", "lightning", "kornia", "cifar10.training.trainer"):
    start = perf_counter()
    import_module(name)
    print(name, perf_counter() - start)
"""


def startup(data: str, rounds: int) -> dict[str, Any]:
    """What -> seconds, one value a round; of the imports each one beyond those before it."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        start = perf_counter()
        subprocess.run([sys.executable, "train.py", "--help"], cwd=ROOT, capture_output=True, check=True)
        found.setdefault("--help", []).append(perf_counter() - start)
        for model in ("prototype", "mlp", "cnn"):
            with tempfile.TemporaryDirectory() as folder:
                start = perf_counter()
                child(FIRST_STEP, f"model={model}", f"data={data}", f"runs={folder}")
                found.setdefault(f"first step, model={model}", []).append(perf_counter() - start)
        for line in child(IMPORTS).splitlines():
            name, seconds = line.split()
            found.setdefault(f"import {name}", []).append(float(seconds))
    return found
