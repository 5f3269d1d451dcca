"""Draws the color difference of each pixel between an image and the nearest prototype of each class."""

from typing import NamedTuple

import torch
from torch import Tensor

from cifar10.networks.base import to_unit
from cifar10.networks.prototype import PrototypeNetwork
from cifar10.results.figures import MAX_CLASSES, Figure


class Comparison(NamedTuple):
    """Nearest prototypes of an image, one per class: the predicted class first, then by distance.

    classes: (C,) int64, at most MAX_CLASSES; prototypes: (C, 3, 32, 32) in [0, 1], flipped where that is
    nearer; maps: (C, 32, 32) color differences in `unit`.
    """

    classes: Tensor
    prototypes: Tensor
    maps: Tensor
    unit: str


@torch.inference_mode()
def compare(model: PrototypeNetwork, image: Tensor) -> Comparison:
    """Compares an image with the network's prototypes. image: (3, 32, 32) uint8, on the network's device."""
    maps, flipped = (batch[0] for batch in model.difference_maps(image[None]))
    distances = maps.mean((1, 2)).view(-1, model.per_class)
    nearest, prototype = distances.min(1)
    nearest[model(image[None])[0].argmax()] = -1
    classes = nearest.argsort()[:MAX_CLASSES]
    best = classes * model.per_class + prototype[classes]
    prototypes = model.prototypes.detach()[best]
    prototypes = torch.where(flipped[best, None, None, None], prototypes.flip(-1), prototypes)
    unit = "redmean" if model.delta == "redmean" else f"Delta E ({model.delta})"
    return Comparison(classes.cpu(), prototypes.cpu(), maps[best].cpu(), unit)


def explanation_figure(model: PrototypeNetwork, image: Tensor, title: str = "") -> Figure:
    """Draws an image, the nearest prototype of each class, and maps of their color difference with its mean.

    image: (3, 32, 32) uint8. The predicted class is bold. Draws the nearest MAX_CLASSES classes.
    """
    comparison = compare(model, image)
    highest = float(comparison.maps.max())
    figure = Figure(figsize=(0.72 * (len(comparison.classes) + 1) + 0.7, 2.4), layout="constrained")
    all_axes = figure.subplots(2, len(comparison.classes) + 1)
    for axes in all_axes.flat:
        axes.set_axis_off()
    all_axes[0, 0].imshow(to_unit(image).permute(1, 2, 0).numpy(), interpolation="none")
    all_axes[0, 0].set_title("image")
    for (upper, lower), index in zip(all_axes.T[1:], comparison.classes.argsort().tolist(), strict=True):
        upper.imshow(comparison.prototypes[index].permute(1, 2, 0).numpy(), interpolation="none")
        name = model.class_names[comparison.classes[index]]
        upper.set_title(name, fontweight="normal" if index else "bold")
        heat = lower.imshow(comparison.maps[index].numpy(), cmap="viridis", vmin=0, vmax=highest, interpolation="none")
        distance = float(comparison.maps[index].mean())
        lower.set_title(f"{distance:.1f}" if distance >= 10 else f"{distance:.3f}")
    figure.colorbar(heat, ax=all_axes, label=comparison.unit, shrink=0.8)
    figure.suptitle(title)
    figure.set_label(
        f"color difference to the nearest prototype of each class; predicted {model.class_names[comparison.classes[0]]}"
    )
    return figure
