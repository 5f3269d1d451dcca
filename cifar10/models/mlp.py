"""The fully connected network: 3072-300-150-10 with ELU, 968,560 parameters for ten classes."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from cifar10.models.classifier import CIFAR10_CLASSES
from cifar10.models.network import Network, dense


class MLP(Network):
    """The study's second model: three fully connected layers on all pixels at once, scaled to [0, 1].

    See `Classifier` for shapes, `Network` for the settings that both networks have.
    batch_norm: normalise after each hidden layer, which loses its bias.
    """

    def __init__(self, class_names: Sequence[str] = CIFAR10_CLASSES, batch_norm: bool = False, **kwargs: Any) -> None:
        layers = nn.Sequential(
            nn.Flatten(),
            *dense(3 * 32 * 32, 300, nn.ELU, batch_norm),
            *dense(300, 150, nn.ELU, batch_norm),
            nn.Linear(150, len(class_names)),
        )
        super().__init__(class_names, layers, **kwargs)
        self.save_hyperparameters(logger=False)
