"""Three image classifiers for CIFAR-10: class prototypes, an MLP and a CNN.

>>> import cifar10
>>> model = cifar10.load("runs/mlp/seed=1")
>>> predictions = model.predict(["cat.png", "coffee.png"])
>>> predictions.probabilities.shape  # two images, ten classes
(2, 10)
>>> set(predictions.names) <= set(model.class_names)
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar10.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import torch

    from cifar10.inference.predictor import Predictor

__all__ = ["UserError", "list_weights", "load"]


def load(path: str | Path, device: str | torch.device | None = None) -> Predictor:
    """Loads published weights, the best weights of a finished run, or a checkpoint, for `Predictor.predict`.

    path: a name in `list_weights`, the folder of a run, or a file. device: None selects the accelerator, or the CPU
    without one. Published weights are safetensors; checkpoints are read with `weights_only`, and a file that could
    execute code is rejected. Raises UserError for any other path, and for a file that does not match its checksum.
    """
    from cifar10.inference.predictor import Predictor  # PyTorch takes seconds to import

    return Predictor(path, device)


def list_weights() -> pd.DataFrame:
    """Returns the published weights, one row per name that `load` accepts: test accuracy of the file, size, training.

    `cifar10/weights/weights.json` has more columns.
    """
    import pandas as pd

    from cifar10.networks.weights import read_index

    columns = ["model", "accuracy", "parameters", "bytes", "experiment", "seed", "minutes", "device", "license"]
    rows = [{**entry, **entry["training"], "accuracy": entry["test"]["accuracy"]} for entry in read_index().values()]
    return pd.DataFrame(rows, pd.Index(read_index(), name="name"), columns)
