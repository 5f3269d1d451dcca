"""Computes exact class prototypes under a Trainer: one pass over the data is one epoch."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt
from lightning import Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities import move_data_to_device
from torch import Tensor

from cifar10.color.delta_e import delta_e_76, full_precision, to_lab, to_rgb
from cifar10.color.geometric_median import GeometricMedians
from cifar10.compat import has_trainer
from cifar10.data.datamodule import ImageData
from cifar10.errors import UserError
from cifar10.models.classifier import Batch, all_gather_object, training_data
from cifar10.models.prototype import TOLERANCE, Prototype
from cifar10.networks.base import CIFAR10_CLASSES, to_unit

log = logging.getLogger(__name__)
LAB_BYTES = 2**30
"""Largest memory for keeping the converted images, which makes epochs four times as fast. CIFAR-10 needs 0.6 GiB."""
PAIRS = 2**17
"""Pairs of pixels compared at once: few enough for a CPU's cache, which makes it five times as fast."""


class Weiszfeld(Prototype):
    """Minimizes the mean distance of `typical` prototypes for cie76 exactly: geometric medians of each class's images.

    Each image is assigned to the nearest of its class's `prototypes_per_class`. Training stops when the duality gap
    (`train/gap`) is `tolerance` at most, in Delta E 1976. With one prototype per class, the result is the global
    minimum for any initialization. With several, the problem is not convex (k-medians): training also continues until
    no image changes its median. The result is a local minimum that depends on the initial images. The gap is that of
    the assignment.
    `best.ckpt` holds the pass with the lowest validation loss; on few images it can precede the last.
    """

    def __init__(
        self,
        class_names: Sequence[str] = CIFAR10_CLASSES,
        solver: Literal["weiszfeld"] = "weiszfeld",
        tolerance: Annotated[float, Gt(0)] = TOLERANCE,
        **kwargs: Any,
    ) -> None:
        super().__init__(class_names, **kwargs)
        if self.network.discriminative or self.network.delta != "cie76" or self.network.tta_flip:
            raise UserError(
                "model.solver=weiszfeld computes typical prototypes for a Euclidean difference: expected "
                "objective=typical, delta=cie76 and tta_flip=false; choose these, or solver=gradient"
            )
        self.automatic_optimization, self.compile_if_worth = True, False
        self.tolerance = tolerance
        self.medians: GeometricMedians | None = None  # until on_train_start, or a checkpoint is loaded
        self.lab_batches: list[Batch] | None = None

    @property
    def converged(self) -> bool:
        return self.medians is not None and self.medians.unchanged and self.medians.gap <= self.tolerance

    def setup(self, stage: str) -> None:
        """Raises UserError for settings that change the images, the gradients or the weights."""
        if stage == "fit":
            callbacks = self.trainer.callbacks  # type: ignore[attr-defined]  # set by one of Lightning's connectors
            averaged = any(isinstance(callback, WeightAveraging) for callback in callbacks)
            augmented = any(training_data(self.trainer).augmentation)
            limit = self.trainer.limit_train_batches
            partial = type(limit) is int or limit != 1.0  # the integer 1 is one batch
            if averaged or augmented or partial or self.gradient_clip_val is not None:
                raise UserError(
                    "model.solver=weiszfeld computes exact prototypes of all training images: expected ema_decay=null, "
                    "no data.random_flip, random_shift_px or cutout_px, no trainer.gradient_clip_val and no "
                    "trainer.limit_train_batches"
                )
        super().setup(stage)

    def on_train_start(self) -> None:
        if self.medians is None:
            self.medians = GeometricMedians(to_lab(self.network.prototypes.detach()))
        self.trainer.should_stop = self.converged  # resumed after the last epoch

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # type: ignore[override]  # one step per batch
        (images, labels), medians = batch, self.medians
        assert medians is not None
        with full_precision(self.device.type):
            if self.lab_batches is None:  # within the first epoch, so that its seconds count
                self.lab_batches = lab_batches(training_data(self.trainer))
            colors, labels = self.lab_batches[batch_idx] if self.lab_batches else (to_lab(to_unit(images)), labels)
            groups = nearest(medians.medians, colors, labels, self.network.per_class)
            self.loss_sum += float(medians.update(colors, groups))
            self.num_examples += len(labels)
            target = self.network.prototypes.detach()
            if self.trainer.is_last_batch:
                for sums in medians.sums():
                    sums.copy_(self.trainer.strategy.reduce(sums, reduce_op="sum"))
                medians.step()
                target = to_rgb(medians.medians)
                self.trainer.should_stop = self.converged
            # An SGD step at learning rate 1 moves the prototypes there, so Lightning counts and saves as for any model.
            return (self.network.prototypes - target).square().sum() / 2

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def on_train_epoch_end(self) -> None:
        assert self.medians is not None
        loss_sum, _, count = self.reduce_train_metrics()
        self.log_epoch({"train/loss": loss_sum / count, "train/gap": self.medians.gap})

    def on_train_end(self) -> None:
        """Warns if training ended before convergence."""
        if self.trainer.is_global_zero and self.medians is not None and not self.converged:
            epochs = self.trainer.current_epoch
            moving = "" if self.medians.unchanged else " and images still change their prototype"
            log.warning(
                f"model.solver=weiszfeld has not converged in {epochs} epochs: the gap is {self.medians.gap:.2g}, "
                f"tolerance={self.tolerance:g}{moving}; set epochs={2 * epochs} or more"
            )

    def teardown(self, stage: str) -> None:
        super().teardown(stage)
        self.lab_batches = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self.medians is not None:
            state = move_data_to_device(vars(self.medians), torch.device("cpu"))
            checkpoint["weiszfeld"] = all_gather_object(state, self.trainer.world_size)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if "weiszfeld" in checkpoint and has_trainer(self):
            self.medians = restored(checkpoint["weiszfeld"], self.trainer)


def restored(states: list[dict[str, Any]], trainer: Trainer) -> GeometricMedians:
    """Returns the medians of this rank's saved state on the Trainer's device, to which the model moves later."""
    state = move_data_to_device(states[trainer.global_rank], trainer.strategy.root_device)
    medians = GeometricMedians(state["medians"])
    vars(medians).update(state)
    return medians


def nearest(medians: Tensor, colors: Tensor, labels: Tensor, per_class: int) -> Tensor:
    """Returns the index of the nearest median of each image's class, (N,) int64.

    medians: (C * K, 3, H, W), colors: (N, 3, H, W), both L*a*b*; labels: (N,).
    """
    if per_class == 1:
        return labels
    own = medians.unflatten(0, (-1, per_class))
    size = max(1, PAIRS // own[0, :, 0].numel())
    blocks = zip(colors.split(size), labels.split(size), strict=True)
    chosen = torch.cat([delta_e_76(x[:, None], own[y]).mean((-2, -1)).argmin(1) for x, y in blocks])
    return labels * per_class + chosen


def lab_batches(data: ImageData) -> list[Batch]:
    """Returns all training batches in L*a*b*, or an empty list if they exceed LAB_BYTES."""
    if 4 * data.train_images.numel() > LAB_BYTES:
        return []
    # In the order of the first epoch, resumed or not, so that the sums are bit-identical.
    assert data.train_batches is not None
    batches = replace(data.train_batches, current_epoch=lambda: 0, position=(0, 0))
    return [(to_lab(to_unit(images)), labels) for images, labels in batches]
