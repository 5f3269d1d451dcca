"""Reference implementations for tests of several modules."""

import numpy as np


def geometric_median(points: np.ndarray) -> np.ndarray:
    """Returns the geometric median (3,) of points (N, 3) by Weiszfeld's iteration."""
    median = points.mean(0)
    for _ in range(1000):
        weights = 1 / np.linalg.norm(points - median, axis=1)
        median = weights @ points / weights.sum()
    return median
