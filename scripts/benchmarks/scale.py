"""Measures training in float32 with one process and with two DDP ranks that share the batch and the cores.

The second table measures jobs that continuously report epochs to a study in one SQLite file and query the pruner.
"""

import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

from benchmarks.measure import Rows, interleaved, train_briefly
from cifar10.sweeps.study import StudyLocation

STEPS = {"mlp": 300, "cnn": 30}
REPORTS = 50


def scale(data: str, rounds: int) -> dict[str, Rows]:
    processes = {"one process": [], "two processes": ["trainer=ddp", "trainer.devices=2"]}
    runs = {
        f"{model}, {size}": {
            name: partial(images_per_second, model, size, f"data={data}", *more) for name, more in processes.items()
        }
        for model in STEPS
        for size in (32, 256)
    }
    reports = {f"{jobs}": {"milliseconds per report": partial(milliseconds_per_report, jobs)} for jobs in (1, 2, 4, 8)}
    return {  # the second epoch of each run is measured, so no warm-up round is needed
        "model, batch size: images per second": interleaved(runs, rounds, warm_up=False),
        "jobs": interleaved(reports, rounds),
    }


def images_per_second(model: str, batch_size: int, *settings: str) -> float:
    """Returns the throughput of the second epoch of a short run."""
    with tempfile.TemporaryDirectory() as folder:
        choice = (f"model={model}", f"batch_size={batch_size}", "precision=32-true", *settings)
        run = train_briefly(Path(folder), *choice, epochs=2, steps=STEPS[model])
        record = json.loads((run / "metrics.json").read_text())
    return STEPS[model] * batch_size / record["last_epoch"]["seconds"]


def milliseconds_per_report(jobs: int) -> float:
    """Returns the mean milliseconds of a report to the study while `jobs` jobs report continuously."""
    with tempfile.TemporaryDirectory() as folder:
        location = StudyLocation("speed", f"sqlite:///{folder}/study.db", "halving")
        location.open("val/accuracy")
        context = get_context("spawn")
        with context.Manager() as manager, ProcessPoolExecutor(jobs, context) as pool:
            barrier = manager.Barrier(jobs)
            return mean(pool.map(report_epochs, [location] * jobs, [barrier] * jobs))


def report_epochs(location: StudyLocation, barrier: Any) -> float:
    """Reports REPORTS epochs after a first one; returns their mean milliseconds."""
    trial = location.open("val/accuracy").ask()
    trial.report(0.6, 0)
    barrier.wait(60)  # until all jobs have opened the study
    start = perf_counter()
    for epoch in range(1, REPORTS + 1):
        trial.report(0.6, epoch)
        trial.should_prune()
    return 1000 * (perf_counter() - start) / REPORTS
