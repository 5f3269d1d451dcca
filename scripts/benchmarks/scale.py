"""What limits several processes: one run shared by two, and a study in one SQLite file."""

import json
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

from cifar10.sweeps.pruning import PruningCallback
from cifar10.sweeps.study import StudyLocation

TRAIN = Path(__file__).resolve().parent.parent.parent / "train.py"
REPORTS = 50
FINISHED, EPOCHS = 20, 10  # of the study, before it is measured
RUNS = {
    "mlp, 32": "model=mlp",
    "mlp, 256": "model=mlp batch_size=256",
    "cnn, 32": "model=cnn",
    "cnn, 256": "model=cnn batch_size=256",
}
STEPS = {"mlp": 300, "cnn": 30}


def scale(data: str, rounds: int) -> dict[str, Any]:
    """Images a second of one process with all cores and of two with half of them; milliseconds of a study's write."""
    speeds: dict[str, dict[str, list[float]]] = {name: {"one": [], "two": []} for name in RUNS}
    for _ in range(rounds):
        for name, choice in RUNS.items():
            for processes, more in (
                ("one", []),
                ("two", ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]),
            ):
                speeds[name][processes].append(images_per_second([*choice.split(), f"data={data}", *more]))
    return {"processes": speeds, "storage": {str(count): report_ms(count) for count in (1, 2, 4, 8)}}


def images_per_second(overrides: list[str]) -> float:
    """Of the second epoch of a short run."""
    steps = STEPS["mlp" if "model=mlp" in overrides else "cnn"]
    with tempfile.TemporaryDirectory() as folder:
        settings = ["epochs=2", "precision=32-true", f"+trainer.limit_train_batches={steps}", f"runs={folder}"]
        settings.append("trainer.enable_progress_bar=false")
        subprocess.run([sys.executable, TRAIN, *overrides, *settings], check=True, stdout=subprocess.DEVNULL)
        (path,) = Path(folder).rglob("metrics.json")
        record = json.loads(path.read_text())
        return steps * record["config"]["batch_size"] / record["last_epoch"]["seconds"]


def report_ms(processes: int) -> float:
    """Milliseconds that a job waits for its study after an epoch, with so many processes that ask all the time."""
    with tempfile.TemporaryDirectory() as folder:
        place = StudyLocation("speed", f"sqlite:///{folder}/study.db", "halving")
        study = place.open("val/accuracy")
        for _ in range(FINISHED):
            trial = study.ask()
            for epoch in range(EPOCHS):
                trial.report(0.5, epoch)
            study.tell(trial, 0.5)
        context = get_context("spawn")
        start = context.Barrier(processes)
        with ProcessPoolExecutor(processes, context, _wait_for_all, (start,)) as pool:
            return sum(pool.map(_asking, [place] * processes, [Path(folder)] * processes)) / processes


def _wait_for_all(start: Any) -> None:
    global barrier
    barrier = start


def _asking(place: StudyLocation, folder: Path) -> float:
    trial = place.open("val/accuracy").ask()
    table = folder / f"{trial.number}.csv"
    pruning = PruningCallback(place, trial.number, table, "val/accuracy")
    seconds = 0.0
    for epoch in range(REPORTS + 1):
        table.write_text(f"epoch,val/accuracy\n{epoch},0.6\n")
        if epoch == 1:  # all are there, with what is opened once
            barrier.wait(60)
        start = perf_counter()
        pruning.should_prune()
        seconds += perf_counter() - start if epoch else 0
    return 1000 * seconds / REPORTS
