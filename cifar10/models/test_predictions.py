"""`predictions.npz`: what a run said of every test image, for pictures and pages."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifar10.files import write_atomically

FILE = "predictions.npz"


class Predictions(NamedTuple):
    """Of the test images in their order: probabilities (N, C) float32 in [0, 1], labels (N,) int64."""

    probabilities: np.ndarray
    labels: np.ndarray

    def save(self, folder: Path) -> None:
        """In full precision: rounded, two classes may tie, and what was counted as one guess be read as another."""
        write_atomically(folder / FILE, lambda file: np.savez_compressed(file, **self._asdict()))

    @classmethod
    def load(cls, folder: Path) -> "Predictions":
        """Raises OSError, ValueError or KeyError for a file that is missing or something else."""
        with np.load(folder / FILE) as arrays:  # pickled objects are refused
            return cls(arrays["probabilities"].astype(np.float32), arrays["labels"])

    @property
    def guesses(self) -> np.ndarray:
        """The class with the highest probability, (N,)."""
        return self.probabilities.argmax(1)

    @property
    def confidence(self) -> np.ndarray:
        """The highest probability, (N,)."""
        return self.probabilities.max(1)

    def confusion(self, classes: int) -> np.ndarray:
        """Counts (C, C): rows are true classes, columns guesses."""
        return np.bincount(self.labels * classes + self.guesses, minlength=classes**2).reshape(classes, classes)

    def mistakes(self, count: int) -> np.ndarray:
        """The images that it was most sure of and wrong, the surest first, (<= count,)."""
        order = np.argsort(-self.confidence, kind="stable")
        return order[(self.guesses != self.labels)[order]][:count]

    def taken(self, true: int, guess: int) -> np.ndarray:
        """The images of class `true` that were taken for `guess`, in their order."""
        return np.flatnonzero((self.labels == true) & (self.guesses == guess))


def most_confused(confusion: np.ndarray) -> tuple[int, int]:
    """The two classes that are taken for one another most often, by share of their images. confusion: (C, C) counts."""
    rates = confusion / confusion.sum(1, keepdims=True).clip(min=1)
    both = np.triu(rates + rates.T, 1)
    first, second = np.unravel_index(both.argmax(), both.shape)
    return int(first), int(second)
