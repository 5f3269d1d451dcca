"""Answers of each model on the CPU: one image, many, and a folder of files by scripts/predict.py."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image

import cifar10
from benchmarks.measure import ROOT, compose, interleaved, quietly, read_images
from cifar10.data.image_io import read_images as decoded
from cifar10.inference.predictor import Predictor
from train import train

IMAGES = {"prototype": 2000, "mlp": 20_000, "cnn": 1000}
"""Images of a measurement of many, in batches of 100."""
TIMES = 100
"""Calls of a measurement of one image."""
FILES = 10_000


def predict(data: str, rounds: int, files: int = FILES) -> dict[str, Any]:
    """one: model -> way -> milliseconds an image; many: model -> way -> images per second; folder: what -> seconds.

    The weights are those after one step, which take as long as others. One value a round, of the folder of at most
    three. Raises UserError without onnxruntime.
    """
    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]:
        raise cifar10.UserError(f"predict: {', '.join(missing)} not installed; pip install -e '.[export]'")
    test_images = read_images(compose(f"data={data}"), at_least=1).test_images
    count = max(files, *IMAGES.values())
    images = test_images.repeat(-(-count // len(test_images)), 1, 1, 1)[:count]
    found: dict[str, Any] = {"one": {}, "many": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = written(images[:files].numpy(), folder / "images")
        for name, number in IMAGES.items():
            trained = cifar10.load(begun(name, folder / name), "cpu")
            found["one"][name], found["many"][name] = answers(trained, images[:number], paths[0], rounds)
        found["folder"] = of_folder(folder, paths, min(rounds, 3))
    return found


def answers(trained: Predictor, images: torch.Tensor, path: Path, rounds: int) -> tuple[dict[str, Any], ...]:
    """Way -> milliseconds of one image; way -> images per second of many."""
    from cifar10.inference.export import BATCH, export_network, onnx_runtime, to_onnx

    runtime = onnx_runtime(to_onnx(export_network(trained.network), trained.class_names))
    image = images[0].numpy()
    alone = images[:1]
    one = {
        "PyTorch alone": lambda: bare(trained, alone),
        "predict, an array": lambda: trained.predict(image),
        "predict, a PNG file": lambda: trained.predict(path),
        "onnxruntime": lambda: runtime(alone),
    }
    many = {
        "predict": lambda: trained.predict(images, batch_size=BATCH),
        "onnxruntime": lambda: [runtime(batch) for batch in images.split(BATCH)],
    }
    one_seconds = interleaved({way: clocked(call, TIMES) for way, call in one.items()}, rounds)
    many_seconds = interleaved({way: clocked(call) for way, call in many.items()}, rounds)
    return (
        {way: [1000 * value for value in values] for way, values in one_seconds.items()},
        {way: [len(images) / value for value in values] for way, values in many_seconds.items()},
    )


@torch.inference_mode()
def bare(trained: Predictor, images: torch.Tensor) -> torch.Tensor:
    return trained.network(images)


def of_folder(folder: Path, paths: list[Path], rounds: int) -> dict[str, Any]:
    """Files, and what -> seconds: decoding alone; scripts/predict.py as typed, for one and for all."""
    ways = {
        "decoding alone": clocked(lambda: decoded(paths)),
        "predict.py, mlp, one file": clocked(command(folder / "mlp", paths[0])),
    }
    ways |= {f"predict.py, {name}": clocked(command(folder / name, paths[0].parent)) for name in IMAGES}
    with quietly():
        return {"files": len(paths), "seconds": interleaved(ways, rounds)}


def command(run: Path, images: Path) -> Callable[[], Any]:
    typed = [sys.executable, ROOT / "scripts/predict.py", run, images, "--csv", "--device", "cpu"]
    return lambda: subprocess.run(typed, cwd=ROOT, capture_output=True, check=True)


def clocked(call: Callable[[], Any], times: int = 1) -> Callable[[], float]:
    """Seconds of a call, on average over so many."""

    def measure() -> float:
        start = perf_counter()
        for _ in range(times):
            call()
        return (perf_counter() - start) / times

    return measure


def written(images: np.ndarray, folder: Path) -> list[Path]:
    """PNG files of images (N, 3, 32, 32) uint8, in their order."""
    folder.mkdir()
    paths = [folder / f"{number:05}.png" for number in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        Image.fromarray(image.transpose(1, 2, 0)).save(path)
    return paths


def begun(name: str, folder: Path) -> Path:
    """A run of one step on drawn images."""
    small = ["epochs=1", "+trainer.limit_train_batches=1", "data.test_size=100", "trainer.enable_progress_bar=false"]
    with quietly():
        train(compose(f"model={name}", "data=synthetic", "trainer.accelerator=cpu", *small), folder)
    return folder
