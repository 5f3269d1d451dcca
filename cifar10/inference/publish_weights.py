"""Publishes the weights of finished runs on CIFAR-10 in `cifar10/weights/`."""

import json
from collections.abc import Iterator
from operator import methodcaller
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch
from torch import Tensor

from cifar10.errors import UserError
from cifar10.files import write_atomically, write_json
from cifar10.inference.evaluate import evaluate
from cifar10.inference.model_card import describe_training
from cifar10.models.build import load_model
from cifar10.networks.checkpoint import read_checkpoint, weights_path
from cifar10.networks.weights import INDEX, SUFFIX, file_name, read_index
from cifar10.results.publish import without_local_paths
from cifar10.results.saved_run import SavedRun
from cifar10.training.record import device_name
from cifar10.training.run_folder import DEFAULT_DATA, RESULT

NAMES = ("prototype", "prototype_best", "prototype_certified", "mlp", "mlp_best", "cnn", "cnn_best")
"""Published names: those of `model=` for the study's protocol, and of `experiment=`."""
LICENSE = "MIT"
LIMITS = "Predicts one of the classes for every image, even if none applies. The input has 32 x 32 pixels. "
LIMITS += "The accuracy applies to images like those of CIFAR-10; expect less on other photographs."
UNCALIBRATED = " The probabilities rank the classes, but are not calibrated."


def publish_weights(runs: pd.DataFrame, folder: Path) -> tuple[list[str], list[str]]:
    """Writes a file for each of NAMES among `runs` and updates `weights.json`.

    Returns the names of the written files, and a line per unreadable run. runs: from `cifar10.results.load`.
    Publishes the run with the lowest seed for each name: further seeds change no file, and the accuracy is not the best
    of several. Names without a run keep their files.
    """
    index = read_index(folder) if (folder / INDEX).exists() else {}
    names, skipped = [], []
    for name, run in _chosen(runs):
        try:
            index[name] = _publish(name, run, folder)
            names.append(name)
        except UserError as error:
            skipped.append(str(error))
    write_json(folder / INDEX, {name: index[name] for name in NAMES if name in index})
    for file in set(folder.glob(f"*{SUFFIX}")) - {folder / entry["file"] for entry in index.values()}:
        file.unlink()  # of an earlier run
    return names, skipped


def _chosen(runs: pd.DataFrame) -> Iterator[tuple[str, SavedRun]]:
    """Yields each name with its run; of run folders on CIFAR-10 without changed settings."""
    folders = runs["path"].map(lambda path: path.name == RESULT)
    rows = runs[folders & (runs["data"] == DEFAULT_DATA) & (runs["changes"] == "")]
    for row in rows.sort_values("seed", kind="stable").drop_duplicates(["model", "experiment"]).itertuples():
        name = row.model.lower() if row.experiment == "study" else row.experiment
        if name in NAMES:
            yield name, SavedRun(row.path.parent, row.record)


def _publish(name: str, run: SavedRun, folder: Path) -> dict[str, Any]:
    """Writes the file of a name, tests it in float32 on the CPU, and returns its entry."""
    original, record = weights_path(run.folder), run.record
    content = to_safetensors(read_checkpoint(original))
    path = folder / file_name(name, content)
    write_atomically(path, methodcaller("write", content))
    model = load_model(path)
    images, batch_size = (run.data.test_images, run.data.test_labels), run.data.eval_batch_size
    tested, expected = (evaluate(each, *images, batch_size=batch_size) for each in (model, load_model(original)))
    changed = tested.predictions.predicted != expected.predictions.predicted
    calibrated = getattr(model.network, "discriminative", True)
    return {
        "file": path.name,
        "bytes": len(content),
        "model": record["model"],
        "parameters": record["parameters"],
        "classes": model.class_names,
        "test": {key: tested.test[key] for key in ("accuracy", "loss", "class_accuracy")},
        "device": device_name(torch.device("cpu")),
        "precision": "32-true",
        "changed_predictions": int(changed.sum()),
        "training": {
            **describe_training(without_local_paths(record)),
            "minutes": round(sum(record["seconds"].values()) / 60, 1),
            "precision": record["precision"],
            "accuracy": record["test"]["accuracy"],
            "val_accuracy": record["val_accuracy"],
        },
        "license": LICENSE,
        "limits": LIMITS if calibrated else LIMITS + UNCALIBRATED,
    }


def to_safetensors(checkpoint: dict[str, Any]) -> bytes:
    """Returns the content of a safetensors file; its metadata describes the model and the network as JSON."""
    tensors = {name: _stored(name, tensor).contiguous() for name, tensor in checkpoint["state_dict"].items()}
    description = {key: checkpoint[key] for key in ("model", "network", "hyper_parameters")}
    return safetensors.torch.save(tensors, {"checkpoint": json.dumps(description)})


def _stored(name: str, tensor: Tensor) -> Tensor:
    """Returns weight matrices and convolutions in float16. Prototypes, biases and statistics stay as they are."""
    return tensor.half() if tensor.ndim > 1 and name.endswith(".weight") else tensor
