"""The figures of one run, from what it said of the test images: for TensorBoard and for the page of runs."""

from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from cifar10.models.test_predictions import TestPredictions, most_confused
from cifar10.networks.base import Network, to_unit
from cifar10.networks.prototype import PrototypeNetwork
from cifar10.results.figures.images import captioned_figure, difference_figure, pair_figure, weights_figure

MOST_WEIGHTS = 100
"""Units of a first layer in one picture."""
MOST_COMPARED = 20
"""Classes in one picture of why a prototype run said so."""


def mistakes_figure(said: TestPredictions, images: Tensor, class_names: list[str], title: str = "") -> Figure:
    """The 20 test images that it was most sure of and wrong. images: (N, 3, 32, 32) uint8, all of the test set."""
    worst = said.confident_errors(20)
    captions = [
        f"{class_names[said.predicted[place]]}, {said.confidence[place]:.0%}\ntruly {class_names[said.labels[place]]}"
        for place in worst
    ]
    return captioned_figure(to_unit(images[torch.from_numpy(worst)]), captions, columns=5, title=title)


def confused_pair_figure(
    said: TestPredictions, images: Tensor, class_names: list[str], title: str = "", pair: tuple[int, int] | None = None
) -> Figure:
    """Two classes in four panels, by default those that it confuses most. images: (N, 3, 32, 32) uint8."""
    first, second = pair or most_confused(said.confusion(len(class_names)))
    taken = [[said.taken(true, guess) for guess in (first, second)] for true in (first, second)]
    panels = [[to_unit(images[torch.from_numpy(places[:16])]) for places in row] for row in taken]
    counts = torch.tensor([[len(places) for places in row] for row in taken])
    return pair_figure(panels, counts, [class_names[first], class_names[second]], title)


def first_layer_figure(model: Network, title: str = "") -> Figure | None:
    """What the first layer multiplies pixels with, units of largest weights where many; None for the prototypes."""
    weights = model.first_layer()
    if weights is None:
        return None
    largest = weights.flatten(1).norm(dim=1).argsort(descending=True)[:MOST_WEIGHTS]
    return weights_figure(
        weights[largest.sort().values].float().cpu(), columns=16 if weights.shape[-1] < 8 else 20, title=title
    )


class Compared(NamedTuple):
    """An image beside the prototypes that are nearest to it, one of each class; of many classes the nearest ones.

    The class that the model takes it for comes first, then the nearer ones. classes: (C,) int64; prototypes:
    (C, 3, 32, 32) in [0, 1], mirrored where their mirror image is what was compared; maps: (C, 32, 32) differences
    in `unit`.
    """

    classes: Tensor
    prototypes: Tensor
    maps: Tensor
    unit: str


@torch.inference_mode()
def compare(model: PrototypeNetwork, image: Tensor) -> Compared:
    """image: (3, 32, 32) uint8, on the model's device."""
    maps, mirrored = (of_image[0] for of_image in model.difference_maps(image[None]))
    distances = maps.mean((1, 2)).view(-1, model.per_class)
    nearest, own = distances.min(1)  # of each class's prototypes
    nearest[model(image[None])[0].argmax()] = -1
    classes = nearest.argsort()[:MOST_COMPARED]
    best = classes * model.per_class + own[classes]
    prototypes = model.prototypes.detach()[best]
    prototypes = torch.where(mirrored[best, None, None, None], prototypes.flip(-1), prototypes)
    unit = "redmean" if model.delta == "redmean" else f"Delta E ({model.delta})"
    return Compared(*(part.cpu() for part in (classes, prototypes, maps[best])), unit)


def why_figure(model: PrototypeNetwork, image: Tensor, title: str = "") -> Figure:
    """Where an image differs from the prototype of each class that is nearest to it. image: (3, 32, 32) uint8.

    The class that the model takes it for is in bold; of many classes it is shown and those with the nearest prototypes.
    """
    found = compare(model, image)
    order = found.classes.argsort()
    titles = [model.class_names[place] for place in found.classes[order]]
    said = model.class_names[found.classes[0]]
    return difference_figure(
        to_unit(image), found.prototypes[order], found.maps[order], titles, found.unit, title, bold=said
    )
