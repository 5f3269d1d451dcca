"""`predictions.npz`: a run's predictions for all test images."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from cifar10.files import write_atomically

FILE = "predictions.npz"


@dataclass(frozen=True)
class TestPredictions:
    """Holds probabilities (N, C) float32 in [0, 1] and true labels (N,) int64, in the order of the test images."""

    __test__: ClassVar = False  # pytest must not collect it

    probabilities: np.ndarray
    labels: np.ndarray

    def save(self, folder: Path) -> None:
        """Writes the file in full precision: rounded, two classes may tie, which would change a prediction."""
        write_atomically(folder / FILE, lambda file: np.savez_compressed(file, **vars(self)))

    @classmethod
    def load(cls, folder: Path) -> "TestPredictions":
        """Reads the file. Raises OSError, ValueError or KeyError if it is missing or damaged."""
        with np.load(folder / FILE) as arrays:  # pickled objects are refused
            return cls(arrays["probabilities"].astype(np.float32), arrays["labels"])

    @property
    def predicted(self) -> np.ndarray:
        """Returns the class with the highest probability, (N,)."""
        return self.probabilities.argmax(1)

    @property
    def confidence(self) -> np.ndarray:
        """Returns the highest probability, (N,)."""
        return self.probabilities.max(1)

    def confusion(self, classes: int) -> np.ndarray:
        """Returns the confusion matrix, counts (C, C): rows are true classes, columns predicted ones."""
        return np.bincount(self.labels * classes + self.predicted, minlength=classes**2).reshape(classes, classes)

    def confident_errors(self, count: int) -> np.ndarray:
        """Returns the misclassified images, the most confident first, (<= count,)."""
        order = np.argsort(-self.confidence, kind="stable")
        return order[(self.predicted != self.labels)[order]][:count]

    def cell(self, true: int, predicted: int) -> np.ndarray:
        """Returns the indices of the images in one cell of the confusion matrix, ascending."""
        return np.flatnonzero((self.labels == true) & (self.predicted == predicted))


def most_confused(confusion: np.ndarray) -> tuple[int, int]:
    """Returns the two classes confused most often, by share of their images. confusion: (C, C) counts."""
    rates = confusion / confusion.sum(1, keepdims=True).clip(min=1)
    first, second = np.unravel_index(np.triu(rates + rates.T, 1).argmax(), rates.shape)
    return int(first), int(second)
