"""What pictures cost: those that a run makes while it trains, and its figures before and after."""

import json
from typing import Any

from benchmarks.measure import child

LIMITS = {"prototype": 1.0, "mlp": 1.0, "cnn": 0.04}
"""Share of an epoch's batches that is trained; what it takes is divided by it."""

RUN = """
import json, sys, tempfile
sys.path.insert(0, "scripts")
from pathlib import Path
from time import perf_counter
from benchmarks.measure import compose, quietly, synchronize
from cifar10.training.loggers.prototype_snapshots import Evolution
from cifar10.training.loggers.tensorboard import TensorBoardPictures
from train import train

spent = {"training": 0.0, "once": 0.0}

def timed(callback, hook, when):
    do = getattr(callback, hook)
    def timing(self, *args, **kwargs):
        synchronize()
        start = perf_counter()
        do(self, *args, **kwargs)
        spent[when] += perf_counter() - start
    setattr(callback, hook, timing)

timed(TensorBoardPictures, "on_train_start", "once")
timed(TensorBoardPictures, "on_train_epoch_end", "training")
timed(TensorBoardPictures, "on_test_end", "once")
timed(Evolution, "on_train_start", "once")
timed(Evolution, "on_train_batch_end", "training")
timed(Evolution, "on_train_end", "once")

model, data, limit = sys.argv[1:]
epochs = compose(f"model={model}").epochs
cfg = compose(f"model={model}", f"data={data}", "epochs=1", f"+trainer.limit_train_batches={limit}")
cfg.trainer.enable_progress_bar = False
with tempfile.TemporaryDirectory() as folder, quietly():
    seconds = train(cfg, Path(folder))["seconds"]["train"] / float(limit)
print(json.dumps(spent | {"epochs": epochs, "epoch_seconds": seconds}))
"""


def figures(data: str, rounds: int) -> dict[str, Any]:
    """Model -> for each round the seconds of pictures in an epoch and once a run, of an epoch, and epochs."""
    found: dict[str, Any] = {model: [] for model in LIMITS}
    for _ in range(rounds):
        for model, limit in LIMITS.items():
            found[model].append(json.loads(child(RUN, model, data, str(limit))))
    return found
