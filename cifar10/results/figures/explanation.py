"""Draws where an image differs from each class's nearest prototype."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from cifar10.networks.base import to_unit
from cifar10.networks.prototype import PrototypeNetwork

MAX_CLASSES = 20
"""Classes in one figure."""


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
    """Draws where an image differs from the nearest prototype of each class. image: (3, 32, 32) uint8.

    The predicted class is in bold; of many classes it and those with the nearest prototypes are drawn.
    """
    found = compare(model, image)
    order = found.classes.argsort()
    titles = [model.class_names[place] for place in found.classes[order]]
    predicted = model.class_names[found.classes[0]]
    return difference_figure(
        to_unit(image), found.prototypes[order], found.maps[order], titles, found.unit, title, bold=predicted
    )


def difference_figure(
    image: Tensor,
    prototypes: Tensor,
    maps: Tensor,
    titles: Sequence[str],
    unit: str,
    title: str = "",
    bold: str | None = None,
) -> Figure:
    """Draws an image, prototypes, and maps of where they differ with the mean under each.

    image: (3, H, W), prototypes: (P, 3, H, W), both float in [0, 1]; maps: (P, H, W) differences in `unit`.
    bold: the title that is set in bold.
    """
    figure = Figure(figsize=(1.25 * (len(titles) + 1) + 0.8, 3.3), layout="constrained")
    all_axes = figure.subplots(2, len(titles) + 1)
    for axes in all_axes.flat:
        axes.set_axis_off()
    all_axes[0, 0].imshow(image.permute(1, 2, 0).numpy(), interpolation="none")
    all_axes[0, 0].set_title("image", fontsize=9)
    distances = maps.mean((1, 2))
    for place, name in enumerate(titles):
        above, below = all_axes[:, place + 1]
        above.imshow(prototypes[place].permute(1, 2, 0).numpy(), interpolation="none")
        above.set_title(name, fontsize=9, fontweight="bold" if name == bold else "normal")
        heat = below.imshow(maps[place].numpy(), cmap="viridis", vmin=0, vmax=float(maps.max()), interpolation="none")
        below.set_title(f"{distances[place]:.1f}" if distances[place] >= 10 else f"{distances[place]:.3f}", fontsize=9)
    figure.colorbar(heat, ax=all_axes, label=unit, shrink=0.8)
    figure.suptitle(title, fontsize=10)
    return figure
