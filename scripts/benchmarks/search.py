"""A search whose poor trials are ended early beside one that finishes all: epochs, time, and what they find."""

import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from cifar10.study import Study

TRAIN = Path(__file__).resolve().parent.parent.parent / "train.py"
TRIALS, SEEDS = 20, (1,)


def search(data: str) -> list[dict[str, float | str]]:
    """For each seed of what is proposed, and each way to end trials, what `train.py -m search=mlp` came to."""
    return [measured(pruner, seed, data) for seed in SEEDS for pruner in ("null", "quarter")]


def measured(pruner: str, seed: int, data: str) -> dict[str, float | str]:
    """One search in a process of its own: trials ended early, epochs trained in all, seconds, the best accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        storage = f"sqlite:///{folder}/search.db"
        sweeper = {"pruner": pruner, "seed": seed, "n_trials": TRIALS, "study": "mlp", "storage": storage}
        settings = [f"hydra.sweeper.{name}={value}" for name, value in sweeper.items()]
        settings += [f"data={data}", f"runs={folder}", "trainer.enable_progress_bar=false"]
        start = perf_counter()
        subprocess.run([sys.executable, TRAIN, "-m", "search=mlp", *settings], check=True, stdout=subprocess.DEVNULL)
        seconds = perf_counter() - start
        tables = Path(folder).glob("search_mlp/*/*/metrics.csv")
        epochs = sum(len(table.read_text().splitlines()) - 1 for table in tables)
        study = Study("mlp", storage, None, 0).open("val/accuracy")
        pruned = sum(trial.state.name == "PRUNED" for trial in study.trials)
        found = {"seed": seed, "pruner": pruner, "pruned": pruned, "epochs": epochs, "seconds": seconds}
        return found | {"best": study.best_value, "trials": len(study.trials)}
