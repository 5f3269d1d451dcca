"""Predicts class probabilities with the network of a finished run or a checkpoint."""

from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cifar10.data.batches import eval_batch_size
from cifar10.data.image_io import Layout, as_batch
from cifar10.errors import UserError, shorten
from cifar10.networks.checkpoint import load_network, weights_path
from cifar10.networks.weights import published_path, read_index
from cifar10.training.precision import best_device


class Predictions(NamedTuple):
    """Class probabilities of N images: (N, C) float32; each row sums to 1.

    For model=prototype with objective=typical they are a softmax over negative distances. These rank the classes, but
    are not calibrated.
    """

    probabilities: np.ndarray
    class_names: list[str]

    @property
    def labels(self) -> np.ndarray:
        """Returns the most probable class of each image, (N,) int64."""
        return self.probabilities.argmax(1)

    @property
    def names(self) -> list[str]:
        """Returns the name of each image's most probable class."""
        return [self.class_names[label] for label in self.labels]

    def top(self, count: int) -> list[list[tuple[str, float]]]:
        """Returns the `count` most probable classes of each image with their probabilities, best first."""
        best = zip(self.probabilities, np.argsort(-self.probabilities, kind="stable"), strict=True)
        return [[(self.class_names[label], float(row[label])) for label in order[:count]] for row, order in best]


class Predictor:
    """Network in evaluation mode on a device; returned by `cifar10.load`.

    path: the name of published weights, a checkpoint, or the folder of a finished run, which contains `best.ckpt`.
    Attributes: `network` is the `torch.nn.Module` from raw images to logits, `checkpoint` the loaded file. Raises
    UserError for any other path, and for a device that is not available.
    """

    def __init__(self, path: str | PathLike[str], device: str | torch.device | None = None) -> None:
        self.checkpoint = find_checkpoint(Path(path))
        network = load_network(self.checkpoint)
        try:
            self.device = best_device() if device is None else torch.device(device)
            self.network = network.to(self.device)
        except (RuntimeError, AssertionError) as error:  # unknown, or not supported by this build of PyTorch
            raise UserError(f"device {device or best_device()}: {str(error).splitlines()[0]}") from error
        self.class_names = network.class_names

    def predict(self, images: Any, layout: Layout = "NCHW", batch_size: int | None = None) -> Predictions:
        """Classifies images in float32.

        images: an array or tensor, uint8 or floating point in [0, 1], (N, 3, 32, 32) or one image; (N, 32, 32, 3) with
        layout="NHWC". Or a Pillow image or a path, of any size, or a list of either. Raises UserError for other input.
        """
        logits = self.logits(as_batch(images, layout), batch_size)
        return Predictions(logits.softmax(1).cpu().numpy(), self.class_names)

    @torch.inference_mode()
    def logits(self, images: Tensor, batch_size: int | None = None) -> Tensor:
        """Returns (N, C) float32 on the network's device. images: (N, 3, 32, 32) uint8, or float in [0, 1]."""
        if not len(images):
            return torch.empty(0, len(self.class_names), device=self.device)
        batches = images.split(batch_size or eval_batch_size(self.device))
        return torch.cat([self.network(batch.to(self.device)) for batch in batches])


def find_checkpoint(path: Path) -> Path:
    """Returns `path` if it is a file, the `best.ckpt` of a finished run's folder, or the file of published weights.

    A file or folder has precedence over published weights of the same name. Raises UserError for any other path.
    An unfinished run is refused: its `best.ckpt` has the weights of the best epoch so far, and has to be passed itself.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        if published := published_path(str(path)):
            return published
        names = ", ".join(read_index()) or "none yet"
        raise UserError(
            f"{path} not found; expected the folder of a finished run, a checkpoint, or the name of published weights "
            f"({names})"
        )
    if (path / "metrics.json").exists():
        return weights_path(path)
    if (path / "config.yaml").exists():
        raise UserError(f"{path}: the run is not finished; repeat its command to resume it, or pass its best.ckpt")
    runs = [str(file.parent) for file in sorted(path.rglob("metrics.json"))]
    hint = f"it contains {shorten(runs)}" if runs else "pass the folder that train.py logged"
    raise UserError(f"{path}: not a finished run; {hint}")
