"""Applies common corruptions to images at five severities, on the images' device.

The kinds and severities are those of CIFAR-10-C (Hendrycks and Dietterich, "Benchmarking neural network robustness to
common corruptions and perturbations", 2019). Its files are not used: noise is sampled here, and Kornia compresses to
JPEG. `cifar10.inference.robustness_sets` reads the files.
"""

from collections.abc import Callable
from functools import partial
from itertools import count

import torch
from kornia.color import hsv_to_rgb, rgb_to_hsv
from kornia.enhance import jpeg_codec_differentiable
from kornia.filters import gaussian_blur2d
from torch import Tensor

from cifar10.data.augment import generator
from cifar10.networks.base import to_unit

PARAMETERS = {
    "gaussian noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # standard deviation, in units of [0, 1]
    "gaussian blur": (0.4, 0.6, 0.7, 0.8, 1.0),  # standard deviation, in pixels
    "brightness": (0.05, 0.10, 0.15, 0.20, 0.30),  # added to V of HSV
    "contrast": (0.75, 0.50, 0.40, 0.30, 0.15),  # factor of the deviation from the image's mean color
    "JPEG": (80, 65, 58, 50, 40),  # quality
}
"""Corruption -> its parameter at severities 1 to 5."""
NOISE = 3  # key of the random generator; cifar10.data.augment uses the others


def corruption(kind: str, severity: int, seed: int = 0) -> Callable[[Tensor], Tensor]:
    """Returns a function that corrupts batches (N, 3, 32, 32), uint8 or float in [0, 1]; its results are uint8.

    kind: a key of PARAMETERS. severity: 1 to 5. Noise is the same on every device: it depends on the seed, the number
    of previous calls and the batch size only.
    """
    value = PARAMETERS[kind][severity - 1]
    changes: dict[str, Callable[[Tensor, float], Tensor]] = {
        "gaussian noise": partial(_noise, calls=count(), seed=seed),
        "gaussian blur": _blur,
        "brightness": _brightness,
        "contrast": _contrast,
        "JPEG": _jpeg,
    }
    change = changes[kind]
    return lambda images: (change(to_unit(images), value).clamp(0, 1) * 255).round().to(torch.uint8)


def _noise(images: Tensor, deviation: float, calls: count, seed: int) -> Tensor:
    noise = torch.randn(images.shape, generator=generator(seed, next(calls), NOISE))
    return images + deviation * noise.to(images.device)


def _blur(images: Tensor, deviation: float) -> Tensor:
    return gaussian_blur2d(images, 9, (deviation, deviation))  # 9 pixels: four standard deviations on each side


def _brightness(images: Tensor, added: float) -> Tensor:
    hue, saturation, value = rgb_to_hsv(images).unbind(1)
    return hsv_to_rgb(torch.stack([hue, saturation, (value + added).clamp(max=1)], 1))


def _contrast(images: Tensor, factor: float) -> Tensor:
    return torch.lerp(images.mean((2, 3), keepdim=True), images, factor)


def _jpeg(images: Tensor, quality: float) -> Tensor:
    return jpeg_codec_differentiable(images, images.new_full((len(images),), quality))
