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

import optuna

from cifar10.study import StudyPlace

TRAIN = Path(__file__).resolve().parent.parent.parent / "train.py"
REPORTS = 50
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
    """Milliseconds until a trial's value is kept and looked at, with so many processes that do it all the time."""
    with tempfile.TemporaryDirectory() as folder:
        study = StudyPlace("speed", f"sqlite:///{folder}/study.db", None, 1)
        study.open("val/accuracy")
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            return sum(pool.map(_reports, [study] * processes)) / processes


def _reports(study: StudyPlace) -> float:
    opened = study.open("val/accuracy")
    trial = opened.ask()
    start = perf_counter()
    for step in range(REPORTS):
        optuna.Trial(opened, trial._trial_id).report(0.5, step)
        trial.should_prune()
    return 1000 * (perf_counter() - start) / REPORTS
