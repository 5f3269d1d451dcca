"""What more data and more classes cost: seconds an epoch and peak memory, each in a process of its own."""

import json
from typing import Any

from benchmarks.measure import child

TIMES = (1, 2, 5, 10)
CLASSES = (10, 20, 50, 100)
IMAGES = {"prototype": 4900, "mlp": 4900, "cnn": 320}
"""Training images at one time the data."""

EPOCH = """
import json, sys, tempfile
sys.path.insert(0, "scripts")
from pathlib import Path
import torch
from benchmarks.measure import compose, quietly, read_images
from hydra.utils import instantiate
from cifar10.training.checkpoints import LastCheckpoint
from cifar10.training.trainer import make_trainer

def memory_mb(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(what))) / 1024

model, images, classes = sys.argv[1], *map(int, sys.argv[2:])
cfg = compose(f"model={model}", "data=synthetic", "epochs=1", "data.train_size=600", "data.val_size=100")
data = read_images(cfg, at_least=images)
data.train_images, data.train_labels = data.train_images[:images].clone(), torch.arange(images) % classes
data.class_names = [str(number) for number in range(classes)]
network = instantiate(cfg.model, _convert_="all", class_names=data.class_names)
with tempfile.TemporaryDirectory() as folder, quietly():
    trainer = make_trainer(cfg, Path(folder), LastCheckpoint(Path(folder) / "last.ckpt"), network)
    before = memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    trainer.fit(network, data)
    peak = memory_mb("VmHWM")
    rows = (Path(folder) / "metrics.csv").read_text().splitlines()
seconds = float(dict(zip(rows[0].split(","), rows[-1].split(",")))["seconds"])
print(json.dumps({"seconds": seconds, "peak_mb": peak - before, "data_mb": images * 3072 / 2**20}))
"""


def growth() -> dict[str, Any]:
    """Model -> for each number of images, and for the prototypes of classes, an epoch's seconds and peak memory.

    peak_mb: MiB of the process at most while it trains, less what it held with its data before. By Linux's /proc.
    """

    def measure(model: str, images: int, classes: int) -> dict[str, float]:
        return {"images": images, "classes": classes} | json.loads(child(EPOCH, model, str(images), str(classes)))

    found: dict[str, Any] = {
        model: [measure(model, images * times, 10) for times in TIMES] for model, images in IMAGES.items()
    }
    found["prototype, classes"] = [measure("prototype", IMAGES["prototype"], classes) for classes in CLASSES]
    return found
