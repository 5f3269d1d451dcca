"""Reads published test sets of CIFAR-10 from their NumPy files.

CIFAR-10-C: Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations",
2019. CIFAR-10.1: Recht et al., "Do CIFAR-10 classifiers generalize to CIFAR-10?", 2018.
"""

from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cifar10.errors import UserError, one_line, shorten

STANDARD = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""The 15 corruptions of CIFAR-10-C over which the mean corruption error is computed."""
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The other four, meant for validation."""
SEVERITIES = 5

Corruptions = dict[str, list[dict[str, float]]]
"""Corruption -> accuracy and expected calibration error (`ece`) at severities 1 to 5."""


class LabeledImages(NamedTuple):
    """Images (N, 32, 32, 3) uint8, memory-mapped, and labels (N,)."""

    images: np.ndarray
    labels: np.ndarray

    def severity(self, severity: int) -> "LabeledImages":
        """Returns the part of a corruption at this severity, 1 to 5: the files hold them in this order."""
        count = len(self.labels) // SEVERITIES
        part = slice((severity - 1) * count, severity * count)
        return LabeledImages(self.images[part], self.labels[part])

    def tensors(self, num_images: int | None = None) -> tuple[Tensor, Tensor]:
        """Returns the first images, (N, 3, 32, 32) uint8, and labels, (N,) int64."""
        planes = np.array(self.images[:num_images].transpose(0, 3, 1, 2), order="C")
        return torch.from_numpy(planes), torch.from_numpy(self.labels[:num_images].astype(np.int64))


def read_cifar10c(folder: Path) -> dict[str, LabeledImages]:
    """Returns corruption -> images at all severities. Raises UserError if a file is missing or not in this format."""
    names = [*STANDARD, *EXTRA]
    missing = [f"{name}.npy" for name in (*names, "labels") if not (folder / f"{name}.npy").is_file()]
    if missing:
        raise UserError(f"{folder}: {shorten(missing)} not found; pass the folder CIFAR-10-C with all its files")
    sets = {name: _read(folder / f"{name}.npy", folder / "labels.npy") for name in names}
    if count := next((len(one.labels) for one in sets.values() if len(one.labels) % SEVERITIES), 0):
        raise UserError(f"{folder}/labels.npy: got {count} labels, expected a multiple of the {SEVERITIES} severities")
    return sets


def read_cifar101(folder: Path) -> LabeledImages:
    """Returns CIFAR-10.1, version 6. Raises UserError if a file is missing or not in this format."""
    return _read(folder / "cifar10.1_v6_data.npy", folder / "cifar10.1_v6_labels.npy")


def mean_corruption_error(results: Corruptions) -> float:
    """Returns the mean error over the standard corruptions and the severities, in [0, 1].

    It is not normalized by the errors of a reference network, unlike that of ImageNet-C. Source: Hendrycks et al.,
    "AugMix: a simple data processing method to improve robustness and uncertainty", 2020.
    """
    return mean(1 - one["accuracy"] for kind in STANDARD for one in results[kind])


def _read(images_path: Path, labels_path: Path) -> LabeledImages:
    images, labels = _load(images_path), _load(labels_path)
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
        raise UserError(f"{images_path}: got {images.dtype} {images.shape}, expected uint8 (N, 32, 32, 3)")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise UserError(f"{labels_path}: got {labels.dtype} {labels.shape}, expected integers ({len(images)},)")
    if not len(labels) or not 0 <= labels.min() <= labels.max() < 10:
        raise UserError(f"{labels_path}: expected labels from 0 to 9")
    return LabeledImages(images, labels)


def _load(path: Path) -> np.ndarray:
    try:
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(array, np.ndarray):
            return array
        reason = "an archive of several arrays"
    except (OSError, ValueError, EOFError) as error:
        reason = one_line(error)
    raise UserError(f"{path}: not a NumPy array file ({reason}); download it again")
