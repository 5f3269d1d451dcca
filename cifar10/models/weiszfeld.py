"""The exact solver of typical images under a Trainer: one pass over the data is one epoch."""

import logging
from dataclasses import replace
from math import inf
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.strategies import Strategy
from torch import Tensor

from cifar10.color.delta_e import delta_e_76, to_lab
from cifar10.color.geometric_median import Medians
from cifar10.data.datamodule import ImageData
from cifar10.errors import UserError
from cifar10.models.classifier import Batch, to_unit
from cifar10.training.ema import MovingAverage
from cifar10.training.rng_state import of_each_rank

log = logging.getLogger(__name__)
LAB_BYTES = 2**30
"""How much memory the solver may take to convert images once instead of in every epoch; CIFAR-10 needs 0.6."""
PAIRS = 2**17
"""How many pairs of pixels to compare at once: few enough for a CPU's cache, which makes it five times as fast."""


class ExactSolver:
    """Geometric medians of each class's images, found to within a duality gap of `tolerance`, in Delta E 1976.

    `per_class` of them to a class, one class after the other; each image counts for its class's nearest. With several
    the problem is no longer convex (k-medians): the gap is that of the present assignment of images, and the result,
    where no image changes its median any more, a local minimum that depends on the images it was begun from.
    """

    def __init__(self, per_class: int, tolerance: float) -> None:
        self.per_class, self.tolerance = per_class, tolerance
        self.medians: Medians | None = None
        self.gap, self.settled = inf, False
        self.lab_batches: list[Batch] | None = None

    @property
    def done(self) -> bool:
        return self.settled and self.gap <= self.tolerance

    def check(self, trainer: Trainer) -> None:
        """Raises UserError for settings by which it would find something else."""
        if any(training_data(trainer).augmentation):
            raise UserError(
                "model.solver=weiszfeld looks at images as they are: "
                "set no data.random_flip, random_shift_px, cutout_px"
            )
        if any(isinstance(callback, MovingAverage) for callback in trainer.callbacks):
            raise UserError("model.solver=weiszfeld ends at the exact images: set ema_decay=null")
        if trainer.gradient_clip_val:
            raise UserError("model.solver=weiszfeld has no gradient to clip: leave out trainer.gradient_clip_val")

    def begin(self, prototypes: Tensor) -> None:
        """From these on, unless a checkpoint was loaded. prototypes: (C * K, 3, H, W) in [0, 1]."""
        if self.medians is None:
            self.medians = Medians(to_lab(prototypes))

    def count(self, batch: Batch, batch_idx: int, data: ImageData) -> Tensor:
        """Counts a batch in; returns the sum of its images' mean distances to their medians, a scalar."""
        if self.lab_batches is None:  # within the first epoch, so that its seconds count
            self.lab_batches = converted(data)
        images, labels = batch
        colours, labels = self.lab_batches[batch_idx] if self.lab_batches else (to_lab(to_unit(images)), labels)
        return self.medians.add(colours, self._nearest(colours, labels))

    def _nearest(self, colours: Tensor, labels: Tensor) -> Tensor:
        """Which median each image counts for: its class's nearest, (N,) int64."""
        first = labels * self.per_class
        if self.per_class == 1:
            return first
        own = self.medians.medians.unflatten(0, (-1, self.per_class))
        some = max(1, PAIRS // own[0, :, 0].numel())
        blocks = zip(colours.split(some), labels.split(some), strict=True)
        return first + torch.cat([delta_e_76(x[:, None], own[y]).mean((-2, -1)).argmin(1) for x, y in blocks])

    def finish_pass(self, strategy: Strategy) -> Tensor:
        """Moves the medians by the sums over all ranks; returns them, (C * K, 3, H, W) L*a*b*."""
        for sums in self.medians.sums():
            sums.copy_(strategy.reduce(sums, reduce_op="sum"))
        self.gap, self.settled = self.medians.gap(), self.per_class == 1 or self.medians.settled()
        self.medians.step()
        return self.medians.medians

    def warn_if_unfinished(self, trainer: Trainer) -> None:
        """Where training ended before `done`: so the typical images are not the exact ones."""
        if trainer.is_global_zero and not self.done:
            epochs, moving = trainer.current_epoch, "" if self.settled else " and images still change their prototype"
            log.warning(
                f"model.solver=weiszfeld has not converged in {epochs} epochs: the gap is {self.gap:.2g}, "
                f"tolerance={self.tolerance:g}{moving}; set epochs={2 * epochs} or more"
            )

    def state(self, trainer: Trainer) -> dict[str, Any]:
        """What a checkpoint needs, at any moment of a pass, with the sums of each rank."""
        medians = self.medians
        sums = of_each_rank([sums.cpu() for sums in medians.sums()], trainer.world_size)
        passes = {"medians": medians.medians, "begun": medians.begun, "before": medians.before, "sums": sums}
        return passes | {"gap": self.gap, "settled": self.settled}

    def load(self, state: dict[str, Any], trainer: Trainer) -> None:
        """Goes on from `state`."""
        device = trainer.strategy.root_device  # the model is not there yet
        self.medians, self.gap = Medians(state["medians"].to(device), state["begun"]), state["gap"]
        self.medians.before, self.settled = tuple(sums.to(device) for sums in state["before"]), state["settled"]
        for sums, value in zip(self.medians.sums(), state["sums"][trainer.global_rank], strict=True):
            sums.copy_(value)


def training_data(trainer: Trainer) -> ImageData:
    """All training images. Raises UserError where the Trainer was given a loader instead."""
    if not isinstance(trainer.datamodule, ImageData):
        raise UserError(
            "model.solver=weiszfeld and prototypes_per_class > 1 need all training images: "
            "call fit with datamodule=, one of cifar10.data, not with a loader"
        )
    return trainer.datamodule


def converted(data: ImageData) -> list[Batch]:
    """All training batches in L*a*b*, or none where they would take too much memory."""
    if 4 * data.train_images.numel() > LAB_BYTES:
        return []
    # In the order of the first epoch, resumed or not, so that the sums are the same to the bit.
    batches = replace(data.train_dataloader(), position=lambda: (0, 0))
    return [(to_lab(to_unit(images)), labels) for images, labels in batches]
