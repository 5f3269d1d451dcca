"""Writes a folder with a web page that classifies images in the browser; any static host serves it."""

import json
from collections.abc import Mapping
from operator import methodcaller
from pathlib import Path

import torch

from cifar10.errors import UserError
from cifar10.files import write_atomically
from cifar10.inference.export import BATCH, check, export_network, onnx_runtime, to_onnx
from cifar10.inference.predictor import Predictor

PAGE = Path(__file__).with_name("static")
RUNTIME = {  # file of the npm package -> file of the page; not every host serves .mjs as JavaScript
    "dist/ort.wasm.bundle.min.mjs": "onnxruntime/ort.wasm.bundle.min.js",
    "dist/ort-wasm-simd-threaded.wasm": "onnxruntime/ort-wasm-simd-threaded.wasm",
}


def write_static_page(folder: Path, predictors: Mapping[str, Predictor], package: Path) -> int:
    """Writes the page, the networks as ONNX files, and onnxruntime-web; returns the bytes written.

    predictors: networks on the CPU by title. package: folder of the npm package onnxruntime-web. Raises UserError if it
    lacks a file, and if ONNX and PyTorch disagree on random images.
    """
    files = {path.name: path.read_bytes() for path in PAGE.iterdir()}
    for source, target in RUNTIME.items():
        if not (package / source).is_file():
            raise UserError(
                f"{package / source} not found; run npm install onnxruntime-web, "
                "or pass --onnxruntime-web PATH to the folder of the package"
            )
        files[target] = (package / source).read_bytes()
    models = []
    for number, (title, predictor) in enumerate(predictors.items(), 1):
        models.append({"title": title, "file": f"{predictor.network.name.lower()}-{number}.onnx"})
        files[models[-1]["file"]] = checked_onnx(predictor)
    class_names = next(iter(predictors.values())).class_names
    files["models.json"] = json.dumps({"classes": class_names, "models": models}, indent=1).encode()
    for name, content in files.items():
        write_atomically(folder / name, methodcaller("write", content))
    return sum(map(len, files.values()))


def checked_onnx(predictor: Predictor) -> bytes:
    """Returns the network as an ONNX file, whose logits of random images match PyTorch's."""
    content = to_onnx(export_network(predictor.network), predictor.class_names)
    images = torch.randint(256, (BATCH, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    check("onnxruntime", onnx_runtime(content), images, predictor.logits(images, BATCH))
    return content
