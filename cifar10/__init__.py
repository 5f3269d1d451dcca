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

    import torch

    from cifar10.inference.predictor import Predictor

__all__ = ["UserError", "load"]


def load(path: str | Path, device: str | torch.device | None = None) -> Predictor:
    """Loads the best weights of a finished run, or a checkpoint, for `Predictor.predict`.

    device: None selects the accelerator, or the CPU without one. Checkpoints are read with `weights_only`, and a file
    that could execute code is rejected. Raises UserError if `path` is neither a finished run nor a checkpoint.
    """
    from cifar10.inference.predictor import Predictor  # PyTorch takes seconds to import

    return Predictor(path, device)
