"""Measures prediction of one image and of 10,000 PNG files (32 x 32 px) on the CPU in float32.

`predict` is the method of `cifar10.load(RUN)`. onnxruntime runs the model that `scripts/export.py` writes,
with the same number of threads. `predict.py` is the whole command, including its start.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import cifar10
from benchmarks.measure import Rows, interleaved, load_data, per_second, python, seconds, train_briefly
from cifar10.data.image_io import read_images
from cifar10.inference.export import export_network, onnx_runtime, to_onnx
from cifar10.inference.predictor import Predictor
from cifar10.training.config import compose_settings

CALLS, FILES = 100, 10_000


def predict(data: str, rounds: int) -> dict[str, Rows]:
    images = load_data(compose_settings(f"data={data}")).test_images
    with tempfile.TemporaryDirectory() as pictures, tempfile.TemporaryDirectory() as runs:
        folder = Path(pictures)
        paths = [folder / f"{number:05}.png" for number in range(FILES)]
        for number, path in enumerate(paths):
            Image.fromarray(images[number % len(images)].permute(1, 2, 0).numpy()).save(path)
        commands: dict[str, Callable[[], Any]] = {"decoding alone": partial(read_images, paths)}
        one: Rows = {}
        for name in ("prototype", "mlp", "cnn"):
            run = train_briefly(Path(runs) / name, f"model={name}", "data=synthetic")
            one |= interleaved({name: latency(cifar10.load(run, "cpu"), images[:1], paths[0])}, rounds)
            command = ("scripts/predict.py", run, folder, "--csv", "--device", "cpu")
            commands[f"predict.py, {name}"] = partial(python, *command)
        cells = {name: {"images per second": per_second(FILES, seconds(call))} for name, call in commands.items()}
        return {"milliseconds for one image": one, "10,000 files": interleaved(cells, rounds)}


def latency(model: Predictor, image: Tensor, path: Path) -> dict[str, Callable[[], float]]:
    """Returns measurements of the milliseconds for one image (1, 3, 32, 32), also stored in the file `path`."""
    runtime, array = onnx_runtime(to_onnx(export_network(model.network), model.class_names)), image[0].numpy()
    calls: dict[str, Callable[[], Any]] = {
        "PyTorch alone": partial(torch.inference_mode()(model.network), image),
        "predict, an array": partial(model.predict, array),
        "predict, a PNG file": partial(model.predict, path),
        "onnxruntime": partial(runtime, image),
    }
    return {name: partial(milliseconds, call) for name, call in calls.items()}


def milliseconds(call: Callable[[], Any]) -> float:
    """Returns the milliseconds per call."""
    return 1000 * seconds(call, CALLS)()
