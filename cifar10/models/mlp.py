"""The fully connected network: 3072-300-150-10 with ELU, 968,560 parameters for ten classes."""

from collections.abc import Sequence

from torch import nn

from cifar10.models.base import CIFAR10_CLASSES, Rate
from cifar10.models.network import Network


class MLP(Network):
    """The study's second model. Input scaled to [0, 1]; see `Classifier` for shapes."""

    def __init__(self, class_names: Sequence[str] = CIFAR10_CLASSES, learning_rate: Rate = 1e-3) -> None:
        layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(3 * 32 * 32, 300),
            nn.ELU(),
            nn.Linear(300, 150),
            nn.ELU(),
            nn.Linear(150, len(class_names)),
        )
        super().__init__(class_names, layers, learning_rate)
        self.save_hyperparameters(logger=False)
