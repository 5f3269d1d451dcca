"""Trains the fully connected network."""

from cifar10.models.feed_forward import FeedForward
from cifar10.networks.mlp import MLPNetwork


class MLP(FeedForward):
    """Trains the study's second model; see `FeedForward` for its settings."""

    network_class = MLPNetwork
