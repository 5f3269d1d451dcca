"""Base class of all networks."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Network(nn.Module):
    """Maps raw images (N, 3, 32, 32), uint8 or float in [0, 1], to logits (N, C). Subclasses implement `forward`.

    arguments: the other constructor arguments of the subclass, plain Python. Checkpoints store them for `load_network`.
    """

    def __init__(self, class_names: Sequence[str], **arguments: Any) -> None:
        super().__init__()
        self.class_names = list(class_names)
        self.arguments: dict[str, Any] = {"class_names": self.class_names, **arguments}

    @property
    def name(self) -> str:
        """Returns the name of the model: "CNN" for CNNNetwork."""
        return type(self).__name__.removesuffix("Network")

    def embed(self, images: Tensor) -> Tensor:
        """Returns one feature vector per image, (N, D); the default is the logits. images: as in `forward`."""
        return self(images)

    def first_layer(self) -> Tensor | None:
        """Returns the weights of the first layer, (K, 3, h, w), or None."""
        return None

    def prototype_images(self) -> Tensor | None:
        """Returns the class prototypes, (C * K, 3, H, W) in [0, 1], grouped by class, or None."""
        return None


def to_unit(images: Tensor) -> Tensor:
    """Returns raw images as float32 in [0, 1]: divides uint8 by 255; floating point must be in [0, 1] already."""
    if images.dtype == torch.uint8:
        return images / 255
    return images.float() if images.is_floating_point() else images  # the first layer refuses other integers
