"""Fully connected network: 3072-300-150-10 with ELU."""

from torch import nn

from cifar10.networks.feed_forward import FeedForwardNetwork, dense


class MLPNetwork(FeedForwardNetwork):
    """Network of three fully connected layers on pixels in [0, 1]: 968,560 parameters for ten classes."""

    def make_layers(self, classes: int, batch_norm: bool) -> nn.Sequential:
        return nn.Sequential(
            nn.Flatten(),
            *dense(3 * 32 * 32, 300, nn.ELU, batch_norm),
            *dense(300, 150, nn.ELU, batch_norm),
            nn.Linear(150, classes),
        )
