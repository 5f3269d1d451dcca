"""Trains the convolutional network."""

from collections.abc import Sequence
from typing import Any

from cifar10.models.classifier import training_data
from cifar10.models.feed_forward import FeedForward
from cifar10.networks.base import CIFAR10_CLASSES
from cifar10.networks.cnn import CNNNetwork


class CNN(FeedForward):
    """Trains the study's third model; see `FeedForward` for its other settings.

    whitening_init: initializes the first convolution to whiten patches of the first 5,000 training images, the others
    to identities; see `CNNNetwork.init_whitening`.
    """

    network_class = CNNNetwork
    network: CNNNetwork

    def __init__(
        self, class_names: Sequence[str] = CIFAR10_CLASSES, whitening_init: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(class_names, **kwargs)
        self.whitening_init = whitening_init

    def setup(self, stage: str) -> None:
        if stage == "fit":
            images = training_data(self.trainer).train_images
            self.network.fit_normalization(images)
            if self.whitening_init:
                self.network.init_whitening(images[:5000])
