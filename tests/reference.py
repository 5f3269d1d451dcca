"""Reference implementations for tests of several modules."""

import numpy as np
import torch
from skimage.color import deltaE_cie76, rgb2lab


def geometric_median(points: np.ndarray) -> np.ndarray:
    """Returns the geometric median (3,) of points (N, 3) by Weiszfeld's iteration."""
    median = points.mean(0)
    for _ in range(1000):
        weights = 1 / np.linalg.norm(points - median, axis=1)
        median = weights @ points / weights.sum()
    return median


def reference_distances(images: torch.Tensor, prototypes: torch.Tensor) -> np.ndarray:
    """Returns mean Delta E 1976 of images (N, 3, H, W) and prototypes (C, 3, H, W), (N, C); uint8 or RGB in [0, 1]."""
    first, second = (rgb2lab(x, channel_axis=1) for x in (images.numpy(), prototypes.detach().double().numpy()))
    return deltaE_cie76(first[:, None], second[None], channel_axis=2).mean((2, 3))
