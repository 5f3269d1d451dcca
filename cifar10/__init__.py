"""Three models of growing power look at CIFAR-10; `load` opens what was trained.

>>> import cifar10
>>> model = cifar10.load("runs/mlp/seed=1")
>>> answers = model.predict(["cat.png", "coffee.png"])
>>> answers.probabilities.shape  # two images, ten classes
(2, 10)
>>> set(answers.names) <= set(model.class_names)
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar10.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from cifar10.inference.predictor import TrainedModel

__all__ = ["UserError", "load"]


def load(path: str | Path, device: str | torch.device | None = None) -> TrainedModel:
    """A run folder's tested weights, or those of a checkpoint, ready for images: see `TrainedModel.predict`.

    device: the accelerator, if there is one, unless told otherwise. A checkpoint is opened with `weights_only`: a file
    that could run code is refused. Raises UserError for what is no finished run and no checkpoint of this project.
    """
    from cifar10.inference.predictor import TrainedModel  # PyTorch takes seconds to import

    return TrainedModel(path, device)
