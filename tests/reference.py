"""Plain versions of what the project computes, for tests of several modules."""

import numpy as np


def geometric_median(points: np.ndarray) -> np.ndarray:
    """The point with the least mean distance to the points (N, 3), by Weiszfeld's iteration."""
    median = points.mean(0)
    for _ in range(1000):
        weights = 1 / np.linalg.norm(points - median, axis=1)
        median = weights @ points / weights.sum()
    return median
