"""Trains the MLP and the CNN: optimizers, learning rate schedule and label smoothing."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Interval
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from cifar10.data.batches import TrainBatches
from cifar10.data.datamodule import Pixels
from cifar10.errors import UserError
from cifar10.models.classifier import Classifier, Rate
from cifar10.models.muon import Muon
from cifar10.networks.base import CIFAR10_CLASSES
from cifar10.networks.feed_forward import FeedForwardNetwork


class FeedForward(Classifier):
    """Trains a FeedForwardNetwork with the cross-entropy loss.

    See `FeedForwardNetwork` for `batch_norm`, `tta_flip` and `tta_shift_px`.

    optimizer: `adam` as in Keras, `adamw`, `sgd` with Nesterov momentum 0.9, or `muon`, which is `sgd` with
    orthogonalized updates of all weights but the first and the last layer's; it needs `batch_norm`.
    warmup_fraction: fraction of the steps over which the learning rate rises linearly to `learning_rate`, from a 25th
    of it. Then it falls linearly to nearly 0. Without it the rate is constant.
    label_smoothing: probability that is spread over all classes, in training only, so that validation losses stay
    comparable.
    """

    network_class: ClassVar[type[FeedForwardNetwork]]

    def __init__(
        self,
        class_names: Sequence[str] = CIFAR10_CLASSES,
        batch_norm: bool = False,
        tta_flip: bool = False,
        tta_shift_px: Pixels = 0,
        learning_rate: Rate = 1e-3,
        optimizer: Literal["adam", "adamw", "sgd", "muon"] = "adam",
        weight_decay: Annotated[float, Ge(0)] = 0.0,
        warmup_fraction: Annotated[float, Interval(gt=0, lt=1)] | None = None,
        label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
    ) -> None:
        if optimizer == "muon" and not batch_norm:
            raise UserError("model.optimizer=muon needs model.batch_norm=true: Muon fixes the norm of the weights")
        super().__init__(self.network_class(class_names, batch_norm, tta_flip, tta_shift_px))
        self.save_hyperparameters(logger=False)
        self.learning_rate, self.optimizer, self.weight_decay = learning_rate, optimizer, weight_decay
        self.warmup_fraction, self.label_smoothing = warmup_fraction, label_smoothing
        self.example_input_array = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)  # for TensorBoard's graph

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing if self.training else 0.0)

    def on_train_start(self) -> None:
        """Raises UserError if batch normalization would get a single image: on the CPU each rank normalizes its own."""
        batches, trainer = self.trainer.train_dataloader, self.trainer
        if not isinstance(batches, TrainBatches) or not any(isinstance(m, nn.BatchNorm1d) for m in self.modules()):
            return
        ranks = trainer.world_size if self.device.type == "cpu" else 1
        smallest = min(batches.size(batch) for batch in (0, int(trainer.num_training_batches) - 1))
        if smallest < 2 * ranks:
            raise UserError(
                f"model.batch_norm=true: a batch has {smallest} images, expected at least {2 * ranks} for {ranks} "
                "processes; choose another batch_size or data.val_size, or fewer processes with trainer.devices=N"
            )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self._optimizer()
        if self.warmup_fraction is None:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        if self.warmup_fraction * steps <= 1:
            raise UserError(
                f"model.warmup_fraction={self.warmup_fraction} of {steps} steps: expected more than one step; train "
                "longer, in smaller batches, or at a constant rate with model.warmup_fraction=null"
            )
        shape: dict[str, Any] = {"pct_start": self.warmup_fraction, "anneal_strategy": "linear"}
        schedule = OneCycleLR(optimizer, self.learning_rate, steps, cycle_momentum=False, **shape)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _optimizer(self) -> torch.optim.Optimizer:
        # Fused: one kernel for all parameters. Lightning cannot clip gradients before it in mixed precision.
        fused = self.gradient_clip_val is None
        settings: dict[str, Any] = {"lr": self.learning_rate, "weight_decay": self.weight_decay, "fused": fused}
        if self.optimizer == "adam":
            return torch.optim.Adam(self.parameters(), eps=1e-7, **settings)  # Keras's epsilon, not 1e-8
        if self.optimizer == "adamw":
            return torch.optim.AdamW(self.parameters(), **settings)
        settings |= {"momentum": 0.9, "nesterov": True}
        if self.optimizer == "sgd":
            return torch.optim.SGD(self.parameters(), **settings)
        hidden = [weight for weight in self.parameters() if weight.ndim > 1][1:-1]
        others = [parameter for parameter in self.parameters() if all(parameter is not weight for weight in hidden)]
        dtype = torch.bfloat16 if self.trainer.precision == "bf16-mixed" else torch.float32
        return Muon(hidden, others, dtype, **settings)
