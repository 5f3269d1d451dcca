"""Measures whole processes with their files in the disk cache. "first step" ends when its checkpoint is written."""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter, sleep

from PIL import Image

from benchmarks.measure import ROOT, Measurement, Rows, interleaved, python, seconds, train_briefly


def startup(data: str, rounds: int) -> dict[str, Rows]:
    with tempfile.TemporaryDirectory() as folder:
        run, image = train_briefly(Path(folder), "model=mlp", "data=synthetic"), Path(folder) / "image.png"
        Image.new("RGB", (32, 32)).save(image)
        commands: dict[str, Measurement] = {
            "import torch": seconds(partial(python, "-c", "import torch")),
            "import lightning": seconds(partial(python, "-c", "import lightning")),
            "train.py --help": seconds(partial(python, "train.py", "--help")),
            "predict.py, mlp, one image": seconds(partial(python, "scripts/predict.py", run, image, "--device", "cpu")),
        }
        for model in ("prototype", "mlp", "cnn"):
            commands[f"train.py model={model}, first step"] = partial(first_step, f"model={model}", f"data={data}")
        return {"command": interleaved({name: {"seconds": measure} for name, measure in commands.items()}, rounds)}


def first_step(*settings: str) -> float:
    """Returns the seconds from the start of train.py to the checkpoint of its first step; then kills it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "train.py", *settings, f"runs={folder}", "checkpoint.every_n_steps=1"]
        start = perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not any(Path(folder).rglob("last.ckpt")):
                if process.poll() is not None:
                    sys.exit(f"benchmark.py: train.py {' '.join(settings)} ended before its first step")
                sleep(0.01)
            return perf_counter() - start
        finally:
            process.kill()
            process.wait()
