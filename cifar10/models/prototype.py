"""Nearest typical image: one prototype per class, compared in a perceptual colour space."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from cifar10.color import mean_difference, to_lab
from cifar10.models.base import CIFAR10_CLASSES, Classifier, Rate, to_unit


class Prototype(Classifier):
    """The study's first model: an image belongs to the class whose typical image is nearest.

    `prototypes`: (C, 3, 32, 32) sRGB in [0, 1], begun as uniform noise. The distance of two images is the mean
    Delta E 1976 of their pixels; logits are negative distances. The loss is the mean distance of the images to their
    own class's prototype, so `train/loss` is in Delta E units. The problem is convex in L*a*b*: the best prototype is
    the geometric median of the class's colours at each pixel.
    """

    def __init__(self, class_names: Sequence[str] = CIFAR10_CLASSES, learning_rate: Rate = 10.0) -> None:
        super().__init__(class_names)
        self.save_hyperparameters(logger=False)
        self.learning_rate = learning_rate
        self.prototypes = nn.Parameter(torch.rand(len(class_names), 3, 32, 32))

    def forward(self, images: Tensor) -> Tensor:
        return -mean_difference(to_lab(to_unit(images)), to_lab(self.prototypes), "cie76")

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return -logits.gather(1, labels[:, None]).mean()

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.learning_rate)
        # Batches stand in for the study's full-batch steps: as the rate falls to zero, so does their noise.
        schedule = CosineAnnealingLR(optimizer, T_max=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        with torch.no_grad():
            self.prototypes.clamp_(0, 1)  # a typical image can be shown

    def pictures(self) -> dict[str, Tensor]:
        return {"prototypes": self.prototypes.detach()}
