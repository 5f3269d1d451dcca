"""Shared by all models: counting in training, one log per epoch, evaluation, checkpoints."""

from collections import deque
from math import inf
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from annotated_types import Gt, Lt
from lightning import LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import CatMetric, MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from cifar10.compat import has_trainer
from cifar10.data.batches import TrainBatches
from cifar10.data.datamodule import ImageData
from cifar10.errors import UserError
from cifar10.models.test_predictions import TestPredictions
from cifar10.networks.base import Network
from cifar10.networks.checkpoint import read_checkpoint

Batch = tuple[Tensor, Tensor]
LOSSES_AT_ONCE = 50
"""Maximum length of `Classifier.recent_losses`, for callbacks that check them."""
Rate = Annotated[float, Gt(0), Lt(inf)]
"""A learning rate."""


class Classifier(LightningModule):
    """Trains and tests a network from raw images to logits; subclasses implement `configure_optimizers`.

    A batch is images as of `Network.forward` and labels (N,) int64. Logged per epoch: `train/loss`, `train/accuracy`,
    `val/loss`, `val/accuracy`, `lr`; accuracies are in [0, 1]. A checkpoint holds the counts of a begun epoch, and what
    `load_network` needs.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        keep_nan: dict[str, Any] = {"nan_strategy": "disable"}  # else NaN losses and probabilities would be left out
        self.accuracy = MulticlassAccuracy(len(self.class_names), average="micro")
        self.mean_loss = MeanMetric(**keep_nan)
        self.probabilities, self.labels = CatMetric(**keep_nan), CatMetric(**keep_nan)
        # The epoch so far, counted by hand: metric objects take as long as the whole step of the small models.
        self.loss_sum: Tensor | float = 0.0
        self.correct: Tensor | int = 0
        self.num_examples = 0
        self.recent_losses: deque[Tensor] = deque(maxlen=LOSSES_AT_ONCE)
        self.test_results: dict[str, Any] = {}
        self.test_predictions: TestPredictions | None = None

    @property
    def class_names(self) -> list[str]:
        return self.network.class_names

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Returns the mean loss of a batch, a scalar. logits: (N, C), labels: (N,)."""
        return F.cross_entropy(logits, labels)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = self.loss(logits, labels)
        self.loss_sum = self.loss_sum + loss.detach() * len(labels)
        self.correct = self.correct + (logits.argmax(1) == labels).sum()
        self.num_examples += len(labels)
        self.recent_losses.append(loss.detach())
        if self.trainer.world_size > 1 and isinstance(batches := self.trainer.train_dataloader, TrainBatches):
            # Each image counts the same, also where a batch splits unevenly over the ranks.
            loss = loss * (len(labels) * self.trainer.world_size / batches.size(batch_idx))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch)

    def _evaluate(self, batch: Batch) -> Tensor:
        images, labels = batch
        logits = self(images)
        self.accuracy.update(logits, labels)
        self.mean_loss.update(self.loss(logits, labels), len(labels))
        return logits

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.probabilities.update(self._evaluate(batch).float().softmax(1))
        self.labels.update(batch[1])

    def _compute_and_reset(self) -> dict[str, float]:
        values = {"loss": self.mean_loss.compute().item(), "accuracy": self.accuracy.compute().item()}
        self.mean_loss.reset()
        self.accuracy.reset()
        return values

    def on_validation_epoch_end(self) -> None:
        self.log_epoch({f"val/{name}": value for name, value in self._compute_and_reset().items()}, prog_bar=True)

    def on_train_epoch_end(self) -> None:
        loss_sum, correct, count = self.reduce_train_metrics()
        lr = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log_epoch({"train/loss": loss_sum / count, "train/accuracy": correct / count, "lr": lr})

    def on_test_epoch_end(self) -> None:
        self.finish_test()
        self.log_epoch({f"test/{name}": self.test_results[name] for name in ("loss", "accuracy")})

    def finish_test(self) -> None:
        """Computes `test_results` and `test_predictions` of the test steps so far, and resets the metrics."""
        probabilities, labels = (metric.compute().cpu().numpy() for metric in (self.probabilities, self.labels))
        self.probabilities.reset()
        self.labels.reset()
        self.test_predictions = TestPredictions(probabilities, labels.astype("int64"))
        confusion = self.test_predictions.confusion(len(self.class_names))
        shares = confusion.diagonal().astype("float32") / confusion.sum(1).clip(min=1).astype("float32")
        class_accuracy = dict(zip(self.class_names, shares.tolist(), strict=True))
        per_class = {"class_accuracy": class_accuracy, "confusion": confusion.tolist()}
        self.test_results = {**self._compute_and_reset(), **per_class}

    def log_epoch(self, values: dict[str, float], prog_bar: bool = False) -> None:
        """Logs values of the whole epoch immediately: Lightning would wait until after the epoch's checkpoint.

        The x axis is the number of completed epochs, so that runs of any batch size can be compared.
        """
        self.log_dict(values, prog_bar=prog_bar, logger=False)
        epoch = self.current_epoch + (not self.trainer.testing)  # in testing all epochs are complete
        for logger in self.loggers:
            logger.log_metrics(values, step=epoch)
            logger.save()

    def reduce_train_metrics(self) -> tuple[float, float, float]:
        """Returns sum of losses, correct predictions and images of the epoch over all ranks, and resets them."""
        totals = torch.tensor([float(self.loss_sum), float(self.correct), self.num_examples], device=self.device)
        self.loss_sum, self.correct, self.num_examples = 0.0, 0, 0
        loss_sum, correct, count = self.trainer.strategy.reduce(totals, reduce_op="sum").tolist()
        return loss_sum, correct, count

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["model"] = type(self).__name__
        checkpoint["network"] = {"class": type(self.network).__name__, "arguments": self.network.arguments}
        counts = float(self.loss_sum), int(self.correct), self.num_examples
        checkpoint["train_totals"] = all_gather_object(counts, self.trainer.world_size)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Self:
        """Loads weights-only. Raises UserError as `read_checkpoint`, and for the checkpoint of another model."""
        cls._check_is_own(read_checkpoint(Path(checkpoint_path)))
        return super().load_from_checkpoint(checkpoint_path, *args, **kwargs | {"weights_only": True})

    @classmethod
    def _check_is_own(cls, checkpoint: dict[str, Any]) -> None:
        if (saved := checkpoint["model"]) != cls.__name__:
            raise UserError(f"this checkpoint is of {saved}, not of {cls.__name__}; choose that model")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._check_is_own(checkpoint)
        if has_trainer(self) and self.trainer.training:
            self.loss_sum, self.correct, self.num_examples = checkpoint["train_totals"][self.trainer.global_rank]


def all_gather_object(value: Any, world_size: int) -> list[Any]:
    """Returns the `value` of each rank, by rank, for what no sum can restore bit-identically."""
    values = [value] * world_size
    if world_size > 1:
        torch.distributed.all_gather_object(values, value)
    return values


def training_data(trainer: Trainer) -> ImageData:
    """Returns the data module. Raises UserError where the Trainer was given a loader instead."""
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, ImageData):
        raise UserError("this model needs all training images: call fit with datamodule=, one of cifar10.data")
    return data
