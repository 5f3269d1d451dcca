"""Makes the pictures of the demo: class prototypes, color difference maps and explanations."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from torch import Tensor

from cifar10.inference.predictor import Predictor
from cifar10.networks.prototype import PrototypeNetwork
from cifar10.results.figures.attribution import attribute, scale_of, to_picture
from cifar10.results.figures.explanation import compare

TOP = 5  # classes shown per network; prototypes shown per comparison
PIXEL = 8  # screen pixels per image pixel
Picture = tuple[np.ndarray, str]
"""Array (H, W, 3) uint8 and its caption."""


def explanations(predictors: Sequence[Predictor], image: Tensor) -> list[Picture]:
    """Returns the maps of all networks for an image (3, 32, 32) uint8, without those of `comparison`."""
    found = [attribute(predictor.network, image.to(predictor.device)) for predictor in predictors]
    highest, pictures = scale_of(found), []
    for network, one in zip((predictor.network for predictor in predictors), found, strict=True):
        maps = {} if isinstance(network, PrototypeNetwork) else one.maps
        pictures += [(enlarge(to_picture(values)), f"{network.name}: {method}") for method, values in maps.items()]
        pictures.append((enlarge(to_picture(one.occlusion, highest)), f"{network.name}: occlusion"))
    return pictures


def comparison(network: PrototypeNetwork, image: Tensor) -> list[Picture]:
    """Returns the nearest prototypes with their classes, then their difference maps from an image (3, 32, 32) uint8."""
    found = compare(network, image.to(network.prototypes.device))
    maps = found.maps[:TOP].numpy()
    pictures = [*map(to_pixels, (found.prototypes[:TOP] * 255).round().byte())]
    pictures += [*matplotlib.colormaps["viridis"](maps / maps.max(), bytes=True)[..., :3]]
    captions = [network.class_names[label] for label in found.classes[:TOP]] + [f"{one.mean():.3g}" for one in maps]
    return list(zip(map(enlarge, pictures), captions, strict=True))


def to_pixels(image: Tensor) -> np.ndarray:
    """Returns an image (3, H, W) uint8 as an array (H, W, 3)."""
    return image.permute(1, 2, 0).contiguous().numpy()


def enlarge(pixels: np.ndarray) -> np.ndarray:
    """Enlarges (H, W, 3) to (8 H, 8 W, 3) by repeating pixels."""
    return pixels.repeat(PIXEL, 0).repeat(PIXEL, 1)
