"""Trains the fully connected network."""

from collections.abc import Sequence
from typing import Any

from cifar10.data.augment import Pixels
from cifar10.models.feed_forward import FeedForward
from cifar10.networks.base import CIFAR10_CLASSES
from cifar10.networks.mlp import MLPNetwork


class MLP(FeedForward):
    """Trains the study's second model.

    See `FeedForwardNetwork` for its settings, `FeedForward` for those of training.
    """

    def __init__(
        self,
        class_names: Sequence[str] = CIFAR10_CLASSES,
        batch_norm: bool = False,
        tta_flip: bool = False,
        tta_shift_px: Pixels = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(MLPNetwork(class_names, batch_norm, tta_flip, tta_shift_px), **kwargs)
        self.save_hyperparameters(logger=False)
