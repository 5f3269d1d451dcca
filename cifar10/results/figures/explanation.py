"""Draws where an image differs from each class's nearest prototype."""

from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from cifar10.networks.base import to_unit
from cifar10.networks.prototype import PrototypeNetwork
from cifar10.results.figures import MAX_CLASSES


class Comparison(NamedTuple):
    """An image and the nearest prototype of each class, the predicted class first, then by distance.

    classes: (C,) int64, at most MAX_CLASSES; prototypes: (C, 3, 32, 32) in [0, 1], flipped where the flipped one is
    nearer; maps: (C, 32, 32) differences in `unit`.
    """

    classes: Tensor
    prototypes: Tensor
    maps: Tensor
    unit: str


@torch.inference_mode()
def compare(model: PrototypeNetwork, image: Tensor) -> Comparison:
    """Compares an image with the network's prototypes. image: (3, 32, 32) uint8, on the network's device."""
    maps, mirrored = (batch[0] for batch in model.difference_maps(image[None]))
    distances = maps.mean((1, 2)).view(-1, model.per_class)
    nearest, own = distances.min(1)  # of each class's prototypes
    nearest[model(image[None])[0].argmax()] = -1
    classes = nearest.argsort()[:MAX_CLASSES]
    best = classes * model.per_class + own[classes]
    prototypes = model.prototypes.detach()[best]
    prototypes = torch.where(mirrored[best, None, None, None], prototypes.flip(-1), prototypes)
    unit = "redmean" if model.delta == "redmean" else f"Delta E ({model.delta})"
    return Comparison(classes.cpu(), prototypes.cpu(), maps[best].cpu(), unit)


def explanation_figure(model: PrototypeNetwork, image: Tensor, title: str = "") -> Figure:
    """Draws an image, the nearest prototype of each class, and maps of where they differ with the mean under each.

    image: (3, 32, 32) uint8. The predicted class is in bold; of many classes the nearest are drawn.
    """
    found = compare(model, image)
    highest = float(found.maps.max())
    figure = Figure(figsize=(1.25 * (len(found.classes) + 1) + 0.8, 3.3), layout="constrained")
    all_axes = figure.subplots(2, len(found.classes) + 1)
    for axes in all_axes.flat:
        axes.set_axis_off()
    all_axes[0, 0].imshow(to_unit(image).permute(1, 2, 0).numpy(), interpolation="none")
    all_axes[0, 0].set_title("image", fontsize=9)
    for (above, below), place in zip(all_axes.T[1:], found.classes.argsort().tolist(), strict=True):
        above.imshow(found.prototypes[place].permute(1, 2, 0).numpy(), interpolation="none")
        name = model.class_names[found.classes[place]]
        above.set_title(name, fontsize=9, fontweight="normal" if place else "bold")
        heat = below.imshow(found.maps[place].numpy(), cmap="viridis", vmin=0, vmax=highest, interpolation="none")
        distance = float(found.maps[place].mean())
        below.set_title(f"{distance:.1f}" if distance >= 10 else f"{distance:.3f}", fontsize=9)
    figure.colorbar(heat, ax=all_axes, label=found.unit, shrink=0.8)
    figure.suptitle(title, fontsize=10)
    figure.set_label(
        f"difference of each pixel to the nearest prototypes; predicted {model.class_names[found.classes[0]]}"
    )
    return figure
