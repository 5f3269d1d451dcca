"""Base class of the two feed-forward networks: Glorot initialization and test-time augmentation (TTA)."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from cifar10.data.augment import augmentations
from cifar10.networks.base import CIFAR10_CLASSES, Network, to_unit


class FeedForwardNetwork(Network):
    """Applies `layers`, a `torch.nn.Sequential`, to scaled images. Weights: Glorot uniform; biases: zero (as in Keras).

    batch_norm: adds batch normalization to each hidden layer and removes the layer's bias. tta_flip, tta_shift_px: in
    evaluation mode, average the logits over horizontal flips, and over shifts by up to `tta_shift_px` pixels.
    """

    def __init__(
        self,
        class_names: Sequence[str] = CIFAR10_CLASSES,
        batch_norm: bool = False,
        tta_flip: bool = False,
        tta_shift_px: int = 0,
    ) -> None:
        super().__init__(class_names, batch_norm=batch_norm, tta_flip=tta_flip, tta_shift_px=tta_shift_px)
        self.tta_flip, self.tta_shift_px = tta_flip, tta_shift_px
        self.layers = self.make_layers(len(class_names), batch_norm)
        for layer in self.layers.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    @abstractmethod
    def make_layers(self, classes: int, batch_norm: bool) -> nn.Sequential:
        """Returns the layers from normalized images (N, 3, 32, 32) to logits (N, classes)."""

    def normalize(self, images: Tensor) -> Tensor:
        """Normalizes raw images to the input of the first layer, float32."""
        return to_unit(images)

    def forward(self, images: Tensor) -> Tensor:
        if self.training or not (self.tta_flip or self.tta_shift_px):
            return self.layers(self.normalize(images))
        augmented = augmentations(images, self.tta_flip, self.tta_shift_px)
        return torch.stack([self.layers(self.normalize(some)) for some in augmented]).mean(0)

    def embed(self, images: Tensor) -> Tensor:
        """Returns the last layer's input without TTA, (N, D): D = 150 for the MLP, 64 for the CNN."""
        return self.layers[:-1](self.normalize(images))

    def first_layer(self) -> Tensor:
        weight = next(self.layers.parameters()).detach()
        return weight if weight.ndim == 4 else weight.unflatten(1, (3, 32, 32))


def dense(inputs: int, outputs: int, activation: type[nn.Module], batch_norm: bool) -> Iterator[nn.Module]:
    """Yields the modules of a hidden fully connected layer, up to its activation."""
    yield nn.Linear(inputs, outputs, bias=not batch_norm)
    if batch_norm:
        yield nn.BatchNorm1d(outputs)
    yield activation()
