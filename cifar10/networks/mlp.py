"""The fully connected network: 3072-300-150-10 with ELU, 968,560 parameters for ten classes."""

from torch import nn

from cifar10.networks.feed_forward import FeedForwardNetwork, dense


class MLPNetwork(FeedForwardNetwork):
    """Applies three fully connected layers to all pixels at once, scaled to [0, 1]."""

    def make_layers(self, classes: int, batch_norm: bool) -> nn.Sequential:
        return nn.Sequential(
            nn.Flatten(),
            *dense(3 * 32 * 32, 300, nn.ELU, batch_norm),
            *dense(300, 150, nn.ELU, batch_norm),
            nn.Linear(150, classes),
        )
