"""A trained model, from its run's folder or a checkpoint alone: images in, class names and probabilities out."""

from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cifar10.data.image_io import Layout, as_batch
from cifar10.errors import UserError, shorten
from cifar10.models.build import load_model
from cifar10.networks.checkpoint import weights_path
from cifar10.training.precision import best_device
from cifar10.training.run_folder import CONFIG


class Answers(NamedTuple):
    """What a model says of N images. probabilities: (N, C) float32, each row adds up to 1.

    Those of model=prototype with objective=typical are a softmax of negative distances: right in their order, but no
    measure of how often it is right.
    """

    probabilities: np.ndarray
    class_names: list[str]

    @property
    def labels(self) -> np.ndarray:
        """The most probable class of each image, (N,) int64, an index of `class_names`."""
        return self.probabilities.argmax(1)

    @property
    def names(self) -> list[str]:
        """The most probable class of each image."""
        return [self.class_names[label] for label in self.labels]

    def top(self, count: int) -> list[list[tuple[str, float]]]:
        """For each image its `count` most probable classes with their probabilities, the most probable first."""
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :count]
        return [
            [(self.class_names[label], float(row[label])) for label in labels]
            for row, labels in zip(self.probabilities, order, strict=True)
        ]


class TrainedModel:
    """A classifier on a device, in evaluation mode; `cifar10.load` makes it.

    path: a finished run's folder, of which it takes `best.ckpt`, or a checkpoint. `model` is the classifier itself,
    a `torch.nn.Module` from raw images to logits; `checkpoint` the file. Raises UserError for anything else.
    """

    def __init__(self, path: str | PathLike[str], device: str | torch.device | None = None) -> None:
        self.checkpoint = checkpoint_of(Path(path))
        try:
            self.device = best_device() if device is None else torch.device(device)
            self.model = load_model(self.checkpoint).to(self.device)
        except (RuntimeError, AssertionError) as error:  # no such device, or not in this build of PyTorch
            raise UserError(f"device {device or best_device()}: {str(error).splitlines()[0]}") from error
        self.class_names = self.model.class_names

    def predict(self, images: Any, layout: Layout = "NCHW", batch_size: int = 100) -> Answers:
        """Classes and probabilities of images of any kind that `cifar10.data.image_io.as_batch` knows, in float32.

        images: (N, 3, 32, 32), or (N, 32, 32, 3) with layout="NHWC", uint8 or floating point in [0, 1]; one such image;
        a Pillow image or a path, of any size; a list of either. Raises UserError for what is none of these.
        """
        return Answers(self.logits(as_batch(images, layout), batch_size).softmax(1).cpu().numpy(), self.class_names)

    @torch.inference_mode()
    def logits(self, images: Tensor, batch_size: int = 100) -> Tensor:
        """(N, C) float32 on the model's device. images: (N, 3, 32, 32) uint8, or floating point in [0, 1]."""
        if not len(images):
            return torch.empty(0, len(self.class_names), device=self.device)
        return torch.cat([self.model(batch.to(self.device)) for batch in images.split(batch_size)])


def checkpoint_of(path: Path) -> Path:
    """The file with the weights: `path` itself, or a finished run's `best.ckpt`. Raises UserError where there is none.

    A run that is still being trained has a `best.ckpt` too, of the best epoch so far: it can be named itself.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder; name a finished run's folder or a checkpoint")
    if not (path / "metrics.json").exists():
        if (path / CONFIG).exists():
            raise UserError(f"{path}: not finished; the command that began it goes on, or name its best.ckpt")
        below = [str(file.parent) for file in sorted(path.rglob("metrics.json"))]
        hint = f"there are {shorten(below)}" if below else "name the folder that train.py told at its end"
        raise UserError(f"{path}: no finished run here; {hint}")
    return weights_path(path)
