"""What the two networks share: Keras's initialisation, which the study used, and its optimizer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cifar10.models.base import Classifier, to_unit


class Network(Classifier):
    """A classifier that is one `torch.nn.Sequential` from scaled images (N, 3, 32, 32) to logits (N, C).

    layers: with PyTorch's own initialisation; weights become Glorot uniform, biases zero, as in Keras.
    """

    def __init__(self, class_names: Sequence[str], layers: nn.Sequential, learning_rate: float) -> None:
        super().__init__(class_names)
        self.layers = layers
        self.learning_rate = learning_rate
        self.example_input_array = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)  # for TensorBoard's graph
        for layer in layers.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def scale(self, images: Tensor) -> Tensor:
        """Raw images as the first layer wants them, float32."""
        return to_unit(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(self.scale(images))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # Keras's epsilon (PyTorch's is 1e-8). Fused: one kernel for all parameters.
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate, eps=1e-7, fused=True)
