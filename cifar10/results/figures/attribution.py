"""Explains predictions with Captum's attribution methods, and draws those of several networks on one scale.

Occlusion: the change of the predicted class's probability if a patch is replaced by the mean color of the image (Zeiler
and Fergus, ECCV 2014). Probabilities have the same meaning for all networks. Integrated gradients: contributions of the
pixels to the logit, relative to an image of the mean color (Sundararajan, Taly and Yan, ICML 2017). Grad-CAM: weighted
feature maps of the last convolution (Selvaraju et al., ICCV 2017).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from torch import Tensor, nn

from cifar10.networks.base import Network, to_unit
from cifar10.networks.feed_forward import FeedForwardNetwork
from cifar10.networks.prototype import PrototypeNetwork
from cifar10.results.figures import Figure
from cifar10.results.figures.explanation import compare

PATCH, STRIDE = 8, 2
"""Side and stride of the occluded patches, in pixels. Captum averages over the patches that cover a pixel."""

SIGNED = "RdBu_r"
"""Color map of signed values."""


class Attribution(NamedTuple):
    """Explanation of a network's prediction of an image.

    label: the predicted class; probability: in [0, 1]; occlusion: (32, 32), positive where the image supports the
    prediction; maps: further maps by name, (32, 32) or images (3, 32, 32) in [0, 1].
    """

    label: int
    probability: float
    occlusion: Tensor
    maps: dict[str, Tensor]


def attribute(network: Network, image: Tensor) -> Attribution:
    """Explains the prediction of an image, (3, 32, 32) uint8, on the network's device. Needs Captum."""
    pixels = to_unit(image)[None]
    probabilities = network(pixels).detach().softmax(1)[0]
    label = int(probabilities.argmax())
    if isinstance(network, PrototypeNetwork):
        nearest = compare(network, image)
        title = f"{nearest.unit} {float(nearest.maps[0].mean()):.3g}"
        maps = {"nearest prototype": nearest.prototypes[0], title: nearest.maps[0]}
    else:
        maps = {"integrated gradients": integrated_gradients(network, pixels, label)}
        if isinstance(network, FeedForwardNetwork) and (layer := last_convolution(network)):
            maps = {"Grad-CAM": grad_cam(network, layer, pixels, label)} | maps
    return Attribution(label, float(probabilities[label]), occlusion(network, pixels, label), maps)


def occlusion(network: Network, pixels: Tensor, label: int) -> Tensor:
    """Returns the decrease of a class's probability if a patch is occluded, (32, 32). pixels: (1, 3, 32, 32)."""
    from captum.attr import Occlusion

    method = Occlusion(lambda images: network(images).softmax(1))
    shape, stride = (3, PATCH, PATCH), (3, STRIDE, STRIDE)
    with torch.no_grad():
        found = method.attribute(pixels, shape, stride, _mean_color(pixels), label, perturbations_per_eval=64)
    return found[0, 0].cpu()


def integrated_gradients(network: Network, pixels: Tensor, label: int) -> Tensor:
    """Returns the contribution of each pixel to a class's logit, summed over channels, (32, 32)."""
    from captum.attr import IntegratedGradients

    found = IntegratedGradients(network).attribute(pixels, _mean_color(pixels), label, n_steps=50)
    return found[0].sum(0).float().cpu()


def last_convolution(network: FeedForwardNetwork) -> nn.Module | None:
    """Returns the layer whose output is flattened, or None without a convolution before it."""
    flatten = next(place for place, layer in enumerate(network.layers) if isinstance(layer, nn.Flatten))
    return network.layers[flatten - 1] if flatten else None


def grad_cam(network: FeedForwardNetwork, layer: nn.Module, pixels: Tensor, label: int) -> Tensor:
    """Returns the Grad-CAM map of a layer, without test-time augmentation, (32, 32), >= 0."""
    from captum.attr import LayerAttribution, LayerGradCam

    method = LayerGradCam(lambda images: network.layers(network.normalize(images)), layer)
    found = method.attribute(pixels, label, relu_attributions=True)
    return LayerAttribution.interpolate(found, (32, 32), "bilinear")[0, 0].detach().cpu()


def _mean_color(pixels: Tensor) -> Tensor:
    return pixels.mean((2, 3), keepdim=True).expand_as(pixels)


def to_picture(values: Tensor, highest: float | None = None) -> np.ndarray:
    """Colors a map (H, W), or converts an image (3, H, W) in [0, 1], to (H, W, 3) uint8.

    Maps with negative values are colored from blue over white, 0, to red. highest: the absolute value of the most
    saturated color, by default the highest of the map.
    """
    if values.ndim == 3:
        return (values * 255).round().byte().permute(1, 2, 0).numpy()
    scaled = values / (highest or float(values.abs().max()) or 1)
    signed = highest is not None or values.min() < 0
    colors = colormaps[SIGNED](scaled.numpy() / 2 + 0.5) if signed else colormaps["viridis"](scaled.numpy())
    return (colors[..., :3] * 255).round().astype(np.uint8)


def scale_of(found: Sequence[Attribution]) -> float:
    """Returns the common `highest` of the occlusion maps of an image."""
    return max(float(one.occlusion.abs().max()) for one in found) or 1.0


def attribution_figure(image: Tensor, names: Sequence[str], found: Sequence[Attribution], title: str = "") -> Figure:
    """Draws a row per network: the image, its maps and occlusion, which has one scale for all networks.

    image: (3, 32, 32) uint8. names: the titles of the rows. Other maps are scaled separately.
    """
    columns = 2 + max(len(one.maps) for one in found)
    figure = Figure(figsize=(1.75 * columns + 0.9, 1.8 * len(found) + 0.3), layout="constrained")
    all_axes, highest = figure.subplots(len(found), columns, squeeze=False), scale_of(found)
    for axes in all_axes.flat:
        axes.set_axis_off()
    for row, name, one in zip(all_axes, names, found, strict=True):
        shown = {name: to_picture(to_unit(image)), "occlusion": to_picture(one.occlusion, highest)}
        shown |= {method: to_picture(values) for method, values in reversed(one.maps.items())}
        for axes, (method, picture) in zip((row[0], *row[::-1]), shown.items(), strict=False):  # from the right
            axes.set_title(method)
            axes.imshow(picture, interpolation="none")
    scale = ScalarMappable(Normalize(-highest, highest), SIGNED)
    figure.colorbar(scale, ax=all_axes, label="occlusion: decrease of the probability", format="{x:.0%}", aspect=40)
    figure.suptitle(title)
    return figure
