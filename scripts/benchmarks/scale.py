"""Measures training in float32 by one process and by two that share each batch and the cores.

Then jobs that, all the time, report an epoch to a study in one SQLite file and ask whether to go on.
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
    return {  # of each run the second epoch is measured, so no round is needed to warm up
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
    """Returns how long a job waits for its study after an epoch, while so many jobs report all the time."""
    with tempfile.TemporaryDirectory() as folder:
        place = StudyLocation("speed", f"sqlite:///{folder}/study.db", "halving")
        place.open("val/accuracy")
        context = get_context("spawn")
        with context.Manager() as manager, ProcessPoolExecutor(jobs, context) as pool:
            barrier = manager.Barrier(jobs)
            return mean(pool.map(report_epochs, [place] * jobs, [barrier] * jobs))


def report_epochs(place: StudyLocation, barrier: Any) -> float:
    """Reports one epoch after the other; returns the mean milliseconds of those after the first."""
    trial = place.open("val/accuracy").ask()
    trial.report(0.6, 0)
    barrier.wait(60)  # until all jobs have opened the study
    start = perf_counter()
    for epoch in range(1, REPORTS + 1):
        trial.report(0.6, epoch)
        trial.should_prune()
    return 1000 * (perf_counter() - start) / REPORTS
